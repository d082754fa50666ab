import dataclasses
import json
import pathlib

import numpy as np
import pytest

from pnag_tf import config
from pnag_tf.latency import device as devices
from pnag_tf.latency import export, host
from pnag_tf.latency import table as latency_table
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

SETTINGS = config.Latency(calibration_networks=4, check_networks=2)


@pytest.fixture(scope="module")
def small_space():
    """Few different blocks, so that few are converted."""
    return space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3, 7), ratios=(3,))


class Fake:
    """A device whose latency is the size of the file; counts what it is asked for."""

    def __init__(self, dies_at_call=None):
        self.calls = []
        self.dies_at_call = dies_at_call

    def __call__(self, models, progress=None):
        self.calls.append([pathlib.Path(model).stem for model in models])
        if len(self.calls) == self.dies_at_call:
            raise KeyboardInterrupt
        if progress is not None:
            progress(1, 1)
        sizes = [pathlib.Path(model).stat().st_size / 1e5 for model in models]
        return [devices.MeasuredLatency(ms, ms, ms, 1, "fake") for ms in sizes]


def measure(small_space, backbone, device, path, progress=lambda *_: None):
    rng = np.random.default_rng(0)
    real = devices.Device(".tflite", export.convert, device, lambda: "fake")
    return latency_table.measure_table(small_space, backbone, real, SETTINGS, rng, path, progress)


@pytest.fixture(scope="module")
def device():
    """The device of `table`."""
    return Fake()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Where `table` is."""
    return tmp_path_factory.mktemp("run") / "latency_table.json"


@pytest.fixture(scope="module")
def table(small_space, backbone, device, path):
    return measure(small_space, backbone, device, path)


def test_fit_finds_the_three_numbers_in_spite_of_one_disturbed_network():
    sums = np.arange(1.0, 11)
    latency = 0.5 + 1.2 * sums + 0.03 * sums**2
    latency[3] *= 1.5
    assert latency_table.fit(sums, latency) == pytest.approx((0.5, 1.2, 0.03), rel=0.05)


def test_fit_has_no_negative_curvature():
    sums = np.arange(1.0, 7)
    offset, scale, curvature = latency_table.fit(sums, 1 + np.sqrt(sums))
    assert scale > 0 and curvature == 0


def test_fit_takes_a_line_where_a_curve_would_fall_below_the_networks():
    """Four small networks of one run: slower blocks did make slower networks."""
    sums, latency = np.array([0.00711, 0.00945, 0.01567, 0.02007]), np.array([0.00904, 0.0114, 0.01409, 0.01868])
    offset, scale, curvature = latency_table.fit(sums, latency)
    assert (offset, scale, curvature) == pytest.approx((0.00377, 0.742, 0.0), rel=0.01)


def test_fit_refuses_what_tells_nothing():
    with pytest.raises(errors.UserError, match="did not make slower networks"):
        latency_table.fit(np.array([1.0, 2, 3]), np.array([3.0, 2, 1]))
    with pytest.raises(errors.UserError, match="at least 3 calibration networks, found 2"):
        latency_table.fit(np.array([1.0, 2]), np.array([1.0, 2]))


def test_skewed_architectures_lie_in_the_space_and_prefer_options():
    space = space_lib.SearchSpace()
    rng = np.random.default_rng(0)
    choices = latency_table.skewed(space, rng, 300)
    np.testing.assert_array_equal(space.encode(space.decode(choices)), choices)
    kernels = np.array([np.bincount(arch.kernels, minlength=8) for arch in space.decode(choices)])
    without_slowest = kernels[:, 7] == 0
    uniform = np.array([np.bincount(a.kernels, minlength=8) for a in space.decode(space.sample(rng, 300))])
    assert without_slowest.mean() > 0.15 > 0.02 > (uniform[:, 7] == 0).mean()
    for kernel in space.kernels:
        assert kernels[:, kernel].sum() > 0.2 * kernels[:, 3:].sum()


def test_prediction_is_the_offset_and_the_blocks_that_are_there(small_space, table):
    choices = small_space.sample(np.random.default_rng(1), 20)
    rows = []
    for choice in choices:
        layers_ms = 0.0
        for unit, column in enumerate(small_space.depth_columns):
            for layer in range(small_space.depths[choice[column]]):
                slot = unit * small_space.max_depth + layer
                layers_ms += table.layer_ms[slot, choice[column + 2 + 2 * layer]]  # one ratio: the kernel alone counts
        rows.append(table.offset_ms[0] + layers_ms + table.curvature[0] * layers_ms**2)
    np.testing.assert_allclose(table.latency_ms(choices), rows)
    assert table.latency_ms(choices).dtype == np.float64


def test_a_cost_that_adds_up_is_predicted(table):
    """File sizes add up but for the few hundred bytes around the weights."""
    assert len(table.calibration) == 4 and len(table.check) == 2
    assert table.error < 0.03
    assert table.device == "fake"


def test_equal_blocks_are_measured_once(table, device, path):
    blocks, networks = device.calls
    assert len(blocks) == 2 * 2 * 2  # units, first and second layer, kernels
    assert len(networks) == len({net.arch for net in table.calibration + table.check})
    assert [file.name for file in path.parent.iterdir()] == ["latency_table.json"]


def test_a_killed_measurement_goes_on(small_space, backbone, table, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        measure(small_space, backbone, Fake(dies_at_call=2), tmp_path / "table.json")
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "table.json.parts").iterdir()}
    device = Fake()
    steps = []
    resumed = measure(small_space, backbone, device, tmp_path / "table.json", lambda *step: steps.append(step))
    assert len(device.calls) == 1  # the blocks are not measured again
    assert len(written) == 8 + 1 + len(device.calls[0])
    np.testing.assert_allclose(resumed.layer_ms, table.layer_ms, rtol=1e-3)
    assert [net.arch for net in resumed.check] == [net.arch for net in table.check]
    assert {what for what, _, _ in steps} == {"convert networks", "measure networks"}


def test_saved_and_loaded_table_predicts_the_same(small_space, backbone, table, path):
    loaded = latency_table.load(path, small_space, backbone, "fake")
    choices = small_space.sample(np.random.default_rng(2), 5)
    np.testing.assert_array_equal(loaded.latency_ms(choices), table.latency_ms(choices))
    assert loaded.check == table.check and loaded.calibration == table.calibration


def test_a_table_of_another_run_is_refused_with_the_difference(small_space, backbone, table, path, tmp_path):
    with pytest.raises(errors.UserError, match="backbone.resolution is 16 there and 24 here"):
        latency_table.load(path, small_space, dataclasses.replace(backbone, resolution=24), "fake")
    with pytest.raises(errors.UserError, match="space.ratios is"):
        latency_table.load(path, dataclasses.replace(small_space, ratios=(4,)), backbone, "fake")
    with pytest.raises(errors.UserError, match="device is fake there and phone here"):
        latency_table.load(path, small_space, backbone, "phone")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(errors.UserError, match="expected a latency table"):
        latency_table.load(tmp_path / "list.json", small_space, backbone, "fake")


def test_table_of_this_machine(small_space, backbone, tmp_path):
    """The real device, end to end; how good it is depends on what else runs, see benchmarks/latency_table.py."""
    table = latency_table.measure_table(
        small_space, backbone, host.device(), SETTINGS, np.random.default_rng(0), tmp_path / "table.json"
    )
    choices = small_space.sample(np.random.default_rng(0), 50)
    assert np.isfinite(table.latency_ms(choices)).all()
    assert (table.layer_ms > 0).all()
    assert table.device == host.describe()


def test_each_resolution_has_its_blocks_and_its_networks(small_space, backbone, path, tmp_path):
    """The table of two resolutions holds at the larger one what the table of that one alone does."""
    both = dataclasses.replace(small_space, resolutions=(8, 16))
    table = measure(both, backbone, Fake(), tmp_path / "table.json")
    assert table.offset_ms.shape == table.curvature.shape == (2,)
    assert table.layer_ms.shape == (both.layers, both.layer_settings)
    assert len(table.calibration) == 2 * 4 and len(table.check) == 2 * 2 and table.error < 0.05
    assert {net.arch.rsplit(":", 1)[1] for net in table.calibration} == {"8", "16"}
    alone = latency_table.load(path, small_space, backbone, "fake")
    choices = small_space.sample(np.random.default_rng(1), 20)
    here = np.concatenate([choices, np.ones_like(choices[:, :1])], 1)
    np.testing.assert_allclose(table.latency_ms(here), alone.latency_ms(choices), rtol=0.05)
    again = latency_table.load(tmp_path / "table.json", both, backbone, "fake")
    np.testing.assert_array_equal(again.latency_ms(here), table.latency_ms(here))


def test_a_table_from_before_resolutions_were_searched_is_read(small_space, backbone, table, tmp_path):
    value = json.loads(json.dumps(dataclasses.asdict(table), default=np.ndarray.tolist))
    value |= {name: value[name][0] for name in ("offset_ms", "curvature")}
    del value["space"]["resolutions"]
    (tmp_path / "old.json").write_text(json.dumps(value))
    choices = small_space.sample(np.random.default_rng(1), 5)
    old = latency_table.load(tmp_path / "old.json", small_space, backbone, "fake")
    np.testing.assert_array_equal(old.latency_ms(choices), table.latency_ms(choices))
