"""Adapting a trained supernet: what it keeps, what is new, and how long it is trained."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config, presets
from pnag_tf.supernet import model, transfer


def test_the_body_stays_and_the_classifier_is_new(supernet, backbone):
    other = dataclasses.replace(backbone, classes=3, resolution=24)
    net = transfer.adapted(supernet, supernet.space, other, dropout=0.2, seed=1)
    assert net.backbone == other and net.dropout == 0.2
    new = {id(weight) for weight in net.classifier.weights}
    for weight, given in zip(net.weights, supernet.weights, strict=True):
        assert id(weight) in new or (weight.numpy() == given.numpy()).all()
    again = transfer.adapted(supernet, supernet.space, other, dropout=0.2, seed=1)
    assert (again.classifier.kernel.numpy() == net.classifier.kernel.numpy()).all()
    third = transfer.adapted(supernet, supernet.space, other, 0.2, 2)
    assert (third.classifier.kernel.numpy() != net.classifier.kernel.numpy()).any()


def test_the_features_are_those_of_the_given_supernet(supernet, backbone):
    """With the old classifier's weights put back, the logits are the same: the statistics came along too."""
    net = transfer.adapted(supernet, supernet.space, backbone, supernet.dropout, seed=1)
    inputs = {"images": tf.random.stateless_normal([4, 16, 16, 3], [0, 1])}
    inputs["choices"] = tf.constant(supernet.space.smallest())
    assert not np.allclose(net(inputs), supernet(inputs))
    for weight, given in zip(net.classifier.weights, supernet.classifier.weights, strict=True):
        weight.assign(given)
    np.testing.assert_array_equal(net(inputs), supernet(inputs))


def test_another_backbone_is_refused(supernet, backbone):
    wider = dataclasses.replace(backbone, width_multiplier=2.0)
    with pytest.raises(ValueError, match="expected space and backbone of the given supernet"):
        transfer.adapted(supernet, supernet.space, wider, 0.1, 0)
    assert isinstance(supernet, model.Supernet)


@pytest.mark.parametrize("preset", ["demo", "paper"])
def test_adapting_takes_the_place_of_training(preset):
    """In the preset's own way: sandwiches, or the full network first."""
    before = presets.preset(preset)
    asked = dataclasses.replace(before.supernet, adapt_epochs=3.0, adapt_learning_rate=0.004)
    after = presets.adapted(dataclasses.replace(before, supernet=asked)).supernet
    assert sum(phase.epochs for phase in after.phases) == pytest.approx(3.0)
    assert {phase.learning_rate for phase in after.phases} == {0.004}
    assert [phase.sandwich for phase in after.phases] == ([True] if preset == "demo" else [False, False])
    assert after.phases[-1].ratios == before.space.ratios
    assert presets.adapted(before).supernet.adapt_epochs == presets.ADAPT_EPOCHS
    assert config.Supernet().adapt_epochs == 0
