"""Latency on a GPU: TensorFlow's graph of a Keras model, batch 64 as in the paper.

What is timed is one call of a graph with the weights as constants, so that TensorFlow folds batch norm into the
convolutions. The images lie on the device beforehand, and the outputs stay there. A GPU works behind the program's
back: the clock stops when one number of the outputs has arrived, which cannot be before all of them are there.
"""

from __future__ import annotations

import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from pnag_tf.latency import device as devices
from pnag_tf.latency import export, turns
from pnag_tf.util import errors

BATCH_SIZE = 64  # of the paper's GPU figures
SLICE_MS = 20.0  # each model is timed for this long before it is the next one's turn


def device(batch_size: int = BATCH_SIZE, allow_cpu: bool = False) -> devices.Device:
    """This machine's GPU, on which TensorFlow runs .keras files; see `measure`."""
    settings = {"batch_size": batch_size, "allow_cpu": allow_cpu}
    return devices.Device(
        ".keras", export.keras_file, functools.partial(measure, **settings), functools.partial(describe, **settings)
    )


def measure(
    models: Sequence[devices.Model],
    batch_size: int = BATCH_SIZE,
    allow_cpu: bool = False,
    xla: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[devices.MeasuredLatency]:
    """Latency of each .keras (content or path) in ms per batch, not per image; see `device.Measure`.

    A model has one input of fixed shape and one output.

    Args:
      batch_size: images in one call.
      allow_cpu: take the CPU where there is no GPU; for tests of this road, its figures tell nothing of a GPU.
      xla: compile each graph with XLA, which fuses more and takes seconds a model.
      progress: called with (rounds done, rounds at most).

    Raises:
      UserError: there is no GPU, or a model cannot be read or run, for instance because the batch does not fit.
    """
    place, device = _place(allow_cpu), describe(batch_size, allow_cpu, xla)
    inputs: dict[tuple[int, ...], tf.Tensor] = {}  # models of one shape share theirs: a hundred blocks would not fit
    timers = [_timer(model, place, batch_size, xla, inputs) for model in models]
    return turns.measure(timers, device, progress)


def describe(batch_size: int = BATCH_SIZE, allow_cpu: bool = False, xla: bool = False) -> str:
    """The GPU and the runtime, for a person to read; figures with different descriptions do not compare.

    Raises:
      UserError: there is no GPU.
    """
    _place(allow_cpu)
    gpus = tf.config.list_physical_devices("GPU")
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU, for a test"
    if gpus and tf.config.experimental.tensor_float_32_execution_enabled():
        name += ", TF32 allowed"  # changes what a convolution costs where the GPU has it
    return f"{name}, TensorFlow {tf.__version__}{' with XLA' if xla else ''}, batch {batch_size}"


def _timer(
    model: devices.Model, place: str, batch_size: int, xla: bool, inputs: dict[tuple[int, ...], tf.Tensor]
) -> turns.Timer:
    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    model = _load(model, name)
    shape = (batch_size, *model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(model.outputs) != 1 or None in shape:
        raise errors.UserError(
            f"{name}: expected one input of fixed shape and one output, found input {model.inputs[0].shape}"
        )
    with tf.device(place):
        if shape not in inputs:
            inputs[shape] = tf.random.stateless_normal(shape, (0, 0))
    try:
        run, images = _graph(model, shape, place, xla), inputs[shape]

        def sample() -> float:
            """ms of one batch."""
            start = time.perf_counter_ns()
            run(images)[1].numpy()
            return (time.perf_counter_ns() - start) / 1e6

        run_ms = min(sample() for _ in range(4))  # the first ones choose algorithms, and compile
    except (tf.errors.OpError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"{name}: cannot run with a batch of {batch_size} on {place} ({reason})") from None
    return turns.Timer(sample, run_ms, SLICE_MS)


def _place(allow_cpu: bool) -> str:
    if tf.config.list_physical_devices("GPU"):
        return "/GPU:0"
    if allow_cpu:
        return "/CPU:0"
    raise errors.DeviceError(
        "`device=gpu`: expected a GPU that TensorFlow can use, found none (BUILD.md tells what it needs); "
        "`device=cpu` measures on this machine's CPU"
    )


def _load(model: devices.Model, name: str) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = model
        if isinstance(model, bytes):  # Keras reads models from files alone
            path = pathlib.Path(folder) / "model.keras"
            path.write_bytes(model)
        try:
            return keras.models.load_model(path, compile=False)
        except (ValueError, OSError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise errors.UserError(f"{name}: expected a .keras file of a model ({reason})") from None


def _graph(model: keras.Model, shape: tuple[int, ...], place: str, xla: bool) -> Callable[[tf.Tensor], list]:
    """Images on the device -> (outputs, one number of them); the outputs keep XLA from computing that one alone."""
    frozen = export.frozen(model)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False, jit_compile=xla)
    def answer(images):
        with tf.device(place):
            outputs = frozen(images)
            return outputs, tf.reshape(outputs, [-1])[-1]

    return answer.get_concrete_function()
