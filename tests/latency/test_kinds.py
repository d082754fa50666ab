"""A device for networks of one kind: parts in int8 throughout, figures that name the kind."""

import numpy as np
import pytest

from pnag_tf.latency import anatomy, export, host, kinds
from pnag_tf.latency import device as devices
from pnag_tf.space import network


@pytest.fixture(scope="module")
def block(backbone):
    """A model of one block with h-swish and squeeze-excite."""
    return network.build_blocks([backbone.block(1, 1, 3, 5)])


def test_a_part_takes_and_gives_int8_and_a_network_float32(space, backbone, block):
    part = export.for_timing(block, "int8")
    assert not {"QUANTIZE", "DEQUANTIZE"} & {anatomy.operators(part)[0], anatomy.operators(part)[-1]}
    whole = network.classifier(network.build(backbone, space.decode(space.smallest())[0]))
    operators = anatomy.operators(export.for_timing(whole, "int8"))
    assert operators[0] == "QUANTIZE" and operators[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    (found,) = host.measure([part])
    assert found.median_ms > 0


@pytest.mark.parametrize("kind", export.QUANTIZATIONS)
def test_every_kind_is_timed_as_that_kind(block, kind):
    def measure(models, progress=None):
        return [devices.MeasuredLatency(len(model), 1, 1, 1, "a phone") for model in models]

    plain = devices.Device(".tflite", export.convert, measure, lambda: "a phone")
    device = kinds.of(plain, kind)
    exported = device.export(block)
    (found,) = device.measure([exported])
    named = "a phone" if kind == "float32" else f"a phone, {kind}"
    assert (found.median_ms, found.device, device.describe()) == (len(exported), named, named)
    assert (len(exported) < 0.6 * len(export.convert(block))) == (kind != "float32")


def test_probabilities_in_int8_are_as_fine_as_in_float32(space, backbone, subnets):
    """Its softmax is not: 1/256 would be the least probability, and XNNPACK takes the graph in one piece."""
    model = network.classifier(subnets.extract(space.smallest()))
    images = np.random.default_rng(0).uniform(0, 255, (20, 16, 16, 3)).astype(np.float32)
    tflite = export.convert(model, quantization="int8", representative=images)
    found = export.run(tflite, images)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert not np.allclose(found * 256, np.round(found * 256), atol=1e-3)
    assert "SOFTMAX" not in anatomy.delegation(tflite).outside
