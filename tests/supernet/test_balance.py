"""Balanced accuracy as a metric, and losses in which each class counts the same."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config
from pnag_tf.supernet import balance, distribution, finetune, shrinking


def test_balanced_accuracy_is_the_mean_of_the_classes():
    metric = balance.BalancedAccuracy(4)
    labels, named = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]  # two of three, one of two, none; class 3 has no image
    for part in (slice(0, 4), slice(4, 6)):
        metric.update_state(tf.one_hot(labels[part], 4), tf.one_hot(named[part], 4) * 9.0)
    assert float(metric.result()) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    metric.reset_state()
    metric.update_state(tf.one_hot([3], 4), tf.one_hot([3], 4))
    assert float(metric.result()) == 1


def test_weights_of_classes_in_the_loss_by_hand(supernet):
    weights = np.array([2.0, 0.5] + [1.0] * 8, np.float32)
    phase, settings = config.Phase("full", 1, 0.1), config.Supernet(label_smoothing=0.0)
    logits = tf.random.stateless_normal((3, 10), [0, 1])
    labels = tf.constant([0, 1, 5])
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy()
    weighted = shrinking.Trainer(supernet, phase, settings, 0, class_weights=weights)
    assert float(weighted.loss_of(logits, labels, None)) == pytest.approx(np.mean(each * [2.0, 0.5, 1.0]))
    even = shrinking.Trainer(supernet, phase, settings, 0, class_weights=np.ones(10, np.float32))
    assert even.class_weights is None and float(even.loss_of(logits, labels, None)) == pytest.approx(np.mean(each))
    taught = tf.nn.softmax(tf.random.stateless_normal((3, 10), [0, 2]))
    distilled = tf.nn.softmax_cross_entropy_with_logits(taught, logits).numpy()
    both = (each + distilled) / 2
    assert float(weighted.loss_of(logits, labels, taught)) == pytest.approx(np.mean(both * [2.0, 0.5, 1.0]), rel=1e-5)


def test_fine_tuning_is_fed_with_the_weights():
    batch = tf.data.Dataset.from_tensors((tf.zeros((2, 4, 4, 3)), tf.constant([1, 0])))
    here = distribution.make()
    (plain,) = finetune.fed(batch, 2, here, np.ones(2, np.float32))
    assert len(plain) == 2
    ((_, targets, weights),) = finetune.fed(batch, 2, here, np.array([0.5, 1.5], np.float32))
    np.testing.assert_array_equal(weights, [1.5, 0.5])
    np.testing.assert_array_equal(targets, [[0, 1], [1, 0]])


def test_what_validation_judges_by_is_a_setting():
    assert dataclasses.replace(config.Measure(), objective="balanced_top1").objective == "balanced_top1"
