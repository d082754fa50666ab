"""Devices that count: multiply-adds as the space counts them, bytes of the file, tables that are exact."""

import numpy as np
import pytest

from pnag_tf import config
from pnag_tf.latency import anatomy, counted, export, kinds
from pnag_tf.latency import table as latency_table
from pnag_tf.space import cost, network
from pnag_tf.space import space as space_lib


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_multiply_adds_are_those_of_the_architecture(space, backbone, kind):
    (arch,) = space.decode(space.sample(np.random.default_rng(0), 1))
    exported = export.for_timing(network.classifier(network.build(backbone, arch)), kind)
    # Two products a channel normalise the pixels, in operators of another kind.
    assert anatomy.madds(exported) == cost.madds(backbone, arch)
    (found,) = kinds.of(counted.device("madds"), kind).measure([exported])
    assert found.median_ms == cost.madds(backbone, arch) / 1e6 and found.slowness is None


def test_bytes_are_those_of_the_file(tmp_path):
    (tmp_path / "net.tflite").write_bytes(bytes(1500))
    seen = []
    device = counted.device("bytes")
    found = device.measure(
        [tmp_path / "net.tflite", bytes(500)], progress=lambda done, total: seen.append((done, total))
    )
    assert [each.median_ms for each in found] == [1.5, 0.5] and seen == [(1, 2), (2, 2)]
    assert found[0].device == device.describe()


def test_a_table_of_multiply_adds_is_exact(backbone, tmp_path):
    """Also for networks that it was not calibrated with."""
    space = space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3, 5), ratios=(3, 4))
    settings = config.Latency(calibration_networks=4, check_networks=1)
    arguments = counted.device("madds"), settings, np.random.default_rng(0), tmp_path / "table.json"
    table = latency_table.measure_table(space, backbone, *arguments)
    choices = space.sample(np.random.default_rng(1), 50)
    exact = [cost.madds(backbone, arch) / 1e6 for arch in space.decode(choices)]
    np.testing.assert_allclose(table.latency_ms(choices), exact, rtol=1e-6)
