"""Latency on a GPU: TensorFlow's graph of a Keras model, batch 64 as in the paper.

What is timed is one call of a graph with the weights as constants, so that TensorFlow folds batch norm into the
convolutions. The images lie on the device beforehand, and the outputs stay there. A GPU works behind the program's
back: the clock stops when one number of the outputs has arrived, which cannot be before all of them are there.

The models of one call take turns in short slices, as on the CPU: what slows the GPU, such as its temperature, slows all
of them, and their medians compare.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from pnag_tf import devices, files

BATCH_SIZE = 64  # of the paper's GPU figures
SLICE_MS = 20.0  # each model is timed for this long before it is the next one's turn
MIN_SAMPLES_PER_SLICE = 3
WARM_UP_SAMPLES = 2  # at the start of each slice: the clock of an idle GPU has to rise again
MIN_ROUNDS, MAX_ROUNDS = 12, 30
STABLE = 0.01  # rounds end early when every median is known this well (standard error, as a fraction)

Model = keras.Model | str | os.PathLike
"""A Keras model with one input of fixed shape and one output, or the path of a .keras file with one."""


def measure(
    models: Sequence[Model],
    batch_size: int = BATCH_SIZE,
    allow_cpu: bool = False,
    xla: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[devices.Latency]:
    """Latency of each model in ms per batch, not per image; see `devices.Measure`.

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
    timers = [_Timer(model, place, batch_size, xla, inputs) for model in models]
    rounds = MAX_ROUNDS if timers else 0
    for done in range(1, rounds + 1):
        for timer in timers:
            timer.slice()
        if progress is not None:
            progress(done, rounds)
        if done >= MIN_ROUNDS and max(timer.error() for timer in timers) <= STABLE:
            break
    return [timer.latency(device) for timer in timers]


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


class _Timer:
    """One model: its graph on the device, and the samples taken so far."""

    def __init__(self, model: Model, place: str, batch_size: int, xla: bool, inputs: dict[tuple[int, ...], tf.Tensor]):
        name = "the model" if isinstance(model, keras.Model) else os.fspath(model)
        model = _load(model)
        shape = (batch_size, *model.inputs[0].shape[1:])
        if len(model.inputs) != 1 or len(model.outputs) != 1 or None in shape:
            raise files.UserError(
                f"{name}: expected one input of fixed shape and one output, found input {model.inputs[0].shape}"
            )
        with tf.device(place):
            if shape not in inputs:
                inputs[shape] = tf.random.stateless_normal(shape, (0, 0))
        try:
            self._run, self._images = _graph(model, shape, place, xla), inputs[shape]
            self._run_ms = min(self._sample() for _ in range(4))  # the first ones choose algorithms, and compile
        except (tf.errors.OpError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise files.UserError(f"{name}: cannot run with a batch of {batch_size} on {place} ({reason})") from None
        self.samples: list[float] = []  # ms per batch
        self.slices: list[float] = []  # median of each slice

    def _sample(self) -> float:
        start = time.perf_counter_ns()
        self._run(self._images)[1].numpy()
        return (time.perf_counter_ns() - start) / 1e6

    def slice(self) -> None:
        """Warms up, then times until the slice is over."""
        for _ in range(WARM_UP_SAMPLES):
            self._sample()
        samples = [self._sample() for _ in range(max(MIN_SAMPLES_PER_SLICE, int(SLICE_MS / self._run_ms)))]
        self.samples += samples
        self.slices.append(float(np.median(samples)))

    def error(self) -> float:
        """Standard error of the median as a fraction of it, judged by how the slices' medians scatter."""
        median = np.median(self.slices)
        deviation = 1.4826 * np.median(np.abs(np.array(self.slices) - median))
        return float(1.2533 * deviation / np.sqrt(len(self.slices)) / median)

    def latency(self, device: str) -> devices.Latency:
        p5, median, p95 = np.percentile(self.samples, (5, 50, 95)).tolist()
        return devices.Latency(median, p5, p95, len(self.samples), device)


def _place(allow_cpu: bool) -> str:
    if tf.config.list_physical_devices("GPU"):
        return "/GPU:0"
    if allow_cpu:
        return "/CPU:0"
    raise files.UserError(
        "--device=gpu: expected a GPU that TensorFlow can use, found none (BUILD.md tells what it needs); "
        "--device=cpu measures on this machine's CPU"
    )


def _load(model: Model) -> keras.Model:
    if isinstance(model, keras.Model):
        return model
    try:
        return keras.models.load_model(model, compile=False)
    except (ValueError, OSError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise files.UserError(f"{os.fspath(model)}: expected a .keras file of a model ({reason})") from None


def _graph(model: keras.Model, shape: tuple[int, ...], place: str, xla: bool) -> Callable[[tf.Tensor], list]:
    """Images on the device -> (outputs, one number of them); the outputs keep XLA from computing that one alone."""
    trainable = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    other = [keras.ops.convert_to_numpy(variable) for variable in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False, jit_compile=xla)
    def answer(images):
        with tf.device(place):
            constants = [[tf.constant(value) for value in values] for values in (trainable, other)]
            outputs, _ = model.stateless_call(*constants, images, training=False)
            return outputs, tf.reshape(outputs, [-1])[-1]

    return answer.get_concrete_function()
