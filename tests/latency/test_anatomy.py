"""The memory of a .tflite by hand, and of networks against what is counted beforehand."""

import keras
import numpy as np
import pytest

from pnag_tf.latency import anatomy, export
from pnag_tf.space import cost, fitting, network


def test_tensors_that_are_not_needed_at_the_same_time_share_memory():
    """Pooling writes its 16th part while its input is there; what lies behind fits into what the input leaves."""
    inputs = keras.Input((16, 16, 8))
    x = inputs
    for _ in range(3):
        x = keras.layers.MaxPooling2D(2)(x)
    found = anatomy.arena_bytes(export.convert(keras.Model(inputs, x)))
    whole = 4 * 16 * 16 * 8
    assert whole + whole // 4 <= found < whole * (1 + 1 / 4 + 1 / 16 + 1 / 64)


@pytest.mark.parametrize(("kind", "size"), [("float32", 4), ("int8", 1)])
def test_what_is_counted_beforehand_tells_the_memory_of_networks(kind, size):
    """On a line through the smallest and the largest network, none of ten others is off by more than 8 %."""
    space, backbone = fitting.fit(28)
    choices = np.concatenate([[space.smallest(), space.largest()], space.sample(np.random.default_rng(0), 10)])
    counted, found = [], []
    for arch in space.decode(choices):
        counted.append(size * max(map(cost.block_activations, backbone.blocks(arch))))
        found.append(anatomy.arena_bytes(export.for_timing(network.classifier(network.build(backbone, arch)), kind)))
    expected = np.interp(counted, counted[:2], found[:2])
    np.testing.assert_allclose(expected, found, rtol=0.08)
    assert found[1] > 1.5 * found[0]
