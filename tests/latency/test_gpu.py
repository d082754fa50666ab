"""The GPU's protocol on the CPU; what a GPU adds is another name of a device."""

import dataclasses
import os
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.latency import export, gpu, turns
from pnag_tf.space import network
from pnag_tf.util import errors, files


@pytest.fixture(scope="module")
def models(backbone):
    """A block, and one that has about 13 times its work."""
    small = backbone.block(1, 1, 3, 3)
    large = dataclasses.replace(small, in_size=8, out_size=8, hidden=240)
    return [network.randomise(network.build_blocks([block])) for block in (small, large)]


@pytest.fixture(scope="module")
def contents(models):
    """Their .keras files."""
    return [export.keras_file(model) for model in models]


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


def test_without_a_gpu_the_user_is_told_what_to_do(contents, no_gpu):
    for call in (lambda: gpu.measure(contents), gpu.describe):
        with pytest.raises(errors.UserError, match=r"`device=gpu`: expected a GPU .* found none .*`device=cpu`"):
            call()


@pytest.fixture
def clock(monkeypatch):
    """A clock that only batches move: by 1 us for each image and parameter. Returns the shapes that were run."""
    now_ns, shapes = [0], []

    def graph(model, shape, place, xla):
        def run(images):
            assert tuple(images.shape) == shape
            shapes.append(shape)
            now_ns[0] += 1000 * shape[0] * model.count_params()
            return [None, tf.constant(0.0)]

        return run

    monkeypatch.setattr(gpu, "_graph", graph)
    monkeypatch.setattr(gpu, "time", types.SimpleNamespace(perf_counter_ns=lambda: now_ns[0]))
    return shapes


@pytest.mark.parametrize("batch", [2, 64])
def test_latencies_are_those_of_the_clock_for_a_whole_batch(models, contents, no_gpu, clock, batch):
    latencies = gpu.measure(contents, batch, allow_cpu=True)
    assert {shape[0] for shape in clock} == {batch}
    for latency, model in zip(latencies, models, strict=True):
        expected = pytest.approx(batch * model.count_params() / 1e3)
        assert latency.p5_ms == latency.median_ms == latency.p95_ms == expected


def test_latencies_are_ordered_counted_and_described(contents, no_gpu):
    seen = []
    found = gpu.measure(contents, 8, allow_cpu=True, progress=lambda done, total: seen.append((done, total)))
    assert len(found) == 2
    for latency in found:
        assert 0 < latency.p5_ms <= latency.median_ms <= latency.p95_ms
        assert latency.runs >= turns.MIN_ROUNDS * turns.MIN_SAMPLES_PER_SLICE
        assert latency.device == gpu.describe(8, allow_cpu=True) != gpu.describe(64, allow_cpu=True)
        assert "CPU, for a test" in latency.device and "batch 8" in latency.device
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert turns.MIN_ROUNDS <= len(seen) <= turns.MAX_ROUNDS == seen[0][1]


@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="needs a GPU that TensorFlow can use")
def test_a_real_gpu_answers_like_the_model_and_is_named(models, contents):
    device = gpu.device()
    name = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"]
    assert name in device.describe() and "batch 64" in device.describe() and "CPU" not in device.describe()
    for latency in device.measure(contents):
        assert 0 < latency.p5_ms <= latency.median_ms <= latency.p95_ms
        assert latency.device == device.describe()
    images = tf.random.stateless_normal((3, *models[1].inputs[0].shape[1:]), (0, 1))
    with tf.device("/CPU:0"):
        expected = models[1](images, training=False).numpy()
    for xla in (False, True):
        outputs, _ = gpu._graph(models[1], images.shape.as_list(), "/GPU:0", xla)(images)
        assert outputs.device.endswith("GPU:0")
        # TF32 keeps ten bits of what is multiplied.
        np.testing.assert_allclose(outputs.numpy(), expected, atol=2e-2 * np.abs(expected).max())


def test_what_is_timed_answers_like_the_model(models):
    for xla in (False, True):
        images = tf.random.stateless_normal((3, *models[0].inputs[0].shape[1:]), (0, 1))
        outputs, number = gpu._graph(models[0], images.shape.as_list(), "/CPU:0", xla)(images)
        expected = models[0](images, training=False).numpy()
        np.testing.assert_allclose(outputs.numpy(), expected, atol=1e-4 * np.abs(expected).max())
        assert number.numpy() == outputs.numpy().ravel()[-1]


def test_a_file_is_taken_like_its_content(contents, no_gpu, clock, tmp_path):
    (tmp_path / "block.keras").write_bytes(contents[0])
    read, given, other = gpu.device(batch_size=8, allow_cpu=True).measure([tmp_path / "block.keras", *contents])
    assert read == given != other


def test_what_is_no_model_of_one_size_is_named(no_gpu, tmp_path):
    (tmp_path / "notes.keras").write_text("no model")
    for name in ("notes.keras", "missing.keras"):
        with pytest.raises(errors.UserError, match=name):
            gpu.measure([tmp_path / name], allow_cpu=True)
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    with pytest.raises(errors.UserError, match="the model: expected one input of fixed shape"):
        gpu.measure([export.keras_file(keras.Model(inputs, pooled))], allow_cpu=True)
    assert gpu.measure([], allow_cpu=True) == []


@pytest.mark.heavy
def test_the_whole_road_ends_in_keras_files_timed_by_the_batch(image_folder, tmp_path):
    """With the CPU in the GPU's place, which the flag allows where there is none."""
    command = [sys.executable, "-m", "pnag_tf.main", "--preset=tiny", "--dataset=folder", f"--data_dir={image_folder}"]
    command += [f"--workdir={tmp_path}/run", "--device=gpu", "--budgets=4,40"]
    refused = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"})
    assert refused.returncode == 2 and "--device=gpu: expected a GPU" in refused.stderr.splitlines()[-1]
    done = subprocess.run([*command, "--allow_cpu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    described = files.read_json(tmp_path / "run/deploy/pnag_gpu_40.json")
    assert described["file"] == "pnag_gpu_40.keras" and "batch 64" in described["device"]
    network = keras.models.load_model(tmp_path / "run/deploy/pnag_gpu_40.keras")
    assert network.output_shape == (None, 2)
