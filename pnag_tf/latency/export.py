"""Keras model -> .tflite with a fixed input of one image; every conversion is checked against the Keras model.

A .tflite is of one of four kinds:

    float32       as trained
    float16       weights are stored in half the bytes and become float32 when the file is loaded
    dynamic_int8  weights are int8; convolutions round their input to int8 while they run, by its own range
    int8          activations are int8 as well, by ranges that representative images had; one kind of number throughout,
                  as integer-only hardware needs it

All four take and give float32, so that an application may exchange one for another: an int8 file begins with a
QUANTIZE and ends with a DEQUANTIZE, which cost next to nothing, and no scale has to be known outside the file. Its
softmax stays in float32: XNNPACK has none in int8, and probabilities in steps of 1/256 say nothing of the less likely
classes.

The weights are put into the graph as constants before it is converted. This is several times faster than the way
through a SavedModel file, and it cannot lose weights: `from_concrete_functions` on a function with variables that it
does not track writes a small file full of NaN without a word.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from pnag_tf.space import network
from pnag_tf.util import terminal

QUANTIZATIONS = ("float32", "float16", "dynamic_int8", "int8")
TOLERANCE = 1e-4  # of float32: largest difference to Keras, as a fraction of the largest output


class ExportError(RuntimeError):
    """The model cannot be converted, or the converted model answers something else."""


def convert(
    model: keras.Model,
    tolerance: float | None = None,
    quantization: str = "float32",
    representative: np.ndarray | None = None,
) -> bytes:
    """The .tflite of a model with one input, for batch 1: input float32 [1, ...] -> output float32 [1, ...].

    Args:
      tolerance: largest difference to Keras as a fraction of the largest output. Where None, TOLERANCE for float32, and
        any for the others: what rounding does depends on the weights and is no error of the conversion, so that
        accuracy has to judge it.
      quantization: one of QUANTIZATIONS.
      representative: images float32 [n, ...] like those the network will see, about a hundred; 'int8' takes the ranges
        of its activations from them, the other kinds do not need them.

    Raises:
      ExportError: a dimension other than the batch is open, 'int8' comes without representative images, the converter
        fails, or the outputs differ from those of Keras, are not finite or have another shape.
    """
    if quantization not in QUANTIZATIONS:
        raise ExportError(f"quantization '{quantization}'; choose from {', '.join(QUANTIZATIONS)}")
    shape = (1, *model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(model.outputs) != 1 or None in shape:
        raise ExportError(f"expected one input of fixed shape and one output, found input {model.inputs[0].shape}")
    if quantization == "int8":
        _check_representative(representative, shape[1:])
        # A range without end aborts the calibration, or becomes a scale of which nothing is seen in int8.
        _finite("the Keras model", _answers(model, representative), "the representative images")
    tflite = _converted(model, quantization, representative)
    if tolerance is None and quantization == "float32":
        tolerance = TOLERANCE
    check_parity(model, tflite, tolerance)
    return tflite


def for_timing(model: keras.Model, quantization: str = "float32") -> bytes:
    """The .tflite of a network or of a part of one, for batch 1, whose answers do not matter.

    The ranges of 'int8' are those of random input. A part of a network then takes and gives int8, as it does inside of
    one: a QUANTIZE and a DEQUANTIZE for each part would count several times.

    Raises:
      ExportError: the converter fails.
    """
    if quantization == "float32":
        return convert(model)
    rng, shape = np.random.default_rng(0), (4, *model.inputs[0].shape[1:])
    whole = model.inputs[0].name == network.PIXELS
    inputs = rng.uniform(0, 255, shape) if whole else rng.normal(size=shape)
    return _converted(model, quantization, inputs.astype(np.float32), integers=quantization == "int8" and not whole)


def _converted(
    model: keras.Model, quantization: str, representative: np.ndarray | None, integers: bool = False
) -> bytes:
    """The converted model, not checked yet; with `integers` its input and output are int8."""
    try:
        with terminal.quiet():
            converter = _converter(model, quantization, representative, integers)
            if quantization != "int8" or integers:  # a part of a network has no softmax
                return converter.convert()
            options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=["SOFTMAX"])
            selective = tf.lite.experimental.QuantizationDebugger(
                converter=converter,
                debug_dataset=converter.representative_dataset,
                debug_options=options,
            )
            return selective.get_nondebug_quantized_model()
    except Exception as error:  # the converter raises whatever its passes raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"the TFLite converter failed: {lines[-1]}") from error


def keras_file(model: keras.Model) -> bytes:
    """The content of the model's .keras file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def check_parity(model: keras.Model, tflite: bytes, tolerance: float | None = TOLERANCE, samples: int = 2) -> float:
    """The largest difference between .tflite and Keras on random inputs, as a fraction of the largest output.

    Inputs are pixels where the model takes these, else normal numbers.

    Args:
      tolerance: the largest that is allowed; None allows any.

    Raises:
      ExportError: it is above `tolerance`, an output is not finite, or the shapes differ.
    """
    rng = np.random.default_rng(0)
    shape = (samples, *model.inputs[0].shape[1:])
    takes_pixels = model.inputs[0].name == network.PIXELS
    inputs = (rng.uniform(0, 255, shape) if takes_pixels else rng.normal(size=shape)).astype(np.float32)
    expected, actual = _answers(model, inputs), run(tflite, inputs)
    _finite("the Keras model", expected, "random input")
    _finite("the .tflite", actual, "random input")
    if actual.shape != expected.shape:
        raise ExportError(f"the .tflite answers shape {actual.shape[1:]}, the Keras model {expected.shape[1:]}")
    difference = float(np.abs(actual - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if tolerance is not None and difference > tolerance:
        raise ExportError(
            f"the .tflite differs from Keras by {difference:.1e} of the largest output; {tolerance:.0e} is allowed"
        )
    return difference


class Runner:
    """Runs a .tflite that was made for batch 1 on images, one after the other in each worker.

    Larger batches would not be faster, and some graphs cannot be resized to them; workers share the cores instead.

    Args:
      workers: interpreters, of one thread each, that the images are parted among.
    """

    def __init__(self, tflite: bytes, workers: int = 1):
        with terminal.quiet():
            self._interpreters = [litert.Interpreter(model_content=tflite, num_threads=1) for _ in range(workers)]
            for interpreter in self._interpreters:
                interpreter.allocate_tensors()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self._interpreters[0].get_input_details()[0]["shape"].tolist())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The outputs float32 [n, ...] on images float32 [n, ...]; n >= 1."""
        interpreters = self._interpreters[: len(images)]
        parts = np.array_split(images, len(interpreters))
        with concurrent.futures.ThreadPoolExecutor(len(interpreters)) as pool:  # LiteRT lets go of Python's lock
            return np.concatenate(list(pool.map(self._part, interpreters, parts)))

    @staticmethod
    def _part(interpreter: litert.Interpreter, images: np.ndarray) -> np.ndarray:
        source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        outputs = []
        for image in images:
            interpreter.set_tensor(source, image[None])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(target)[0])
        return np.stack(outputs)


def run(tflite: bytes, images: np.ndarray, workers: int = 1) -> np.ndarray:
    """The outputs float32 [n, ...] of a .tflite on images float32 [n, ...]; see `Runner`."""
    return Runner(tflite, workers)(images)


def _check_representative(images: np.ndarray | None, shape: tuple[int, ...]) -> None:
    expected = f"quantization 'int8' needs representative images {('n', *shape)}"
    if images is None:
        raise ExportError(f"{expected}, found none")
    if images.shape[1:] != shape or not len(images):
        raise ExportError(f"{expected}, found {images.shape}")


def _answers(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def _finite(who: str, outputs: np.ndarray, inputs: str) -> None:
    if not np.isfinite(outputs).all():
        raise ExportError(f"{who} answers NaN or infinity to {inputs}")


def frozen(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The model's inference as operations of a caller's graph, with the weights as constants in it."""
    trainable = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    other = [keras.ops.convert_to_numpy(variable) for variable in model.non_trainable_variables]

    def answer(images):
        constants = [[tf.constant(value) for value in values] for values in (trainable, other)]
        return model.stateless_call(*constants, images, training=False)[0]

    return answer


def _converter(
    model: keras.Model, quantization: str, representative: np.ndarray | None, integers: bool
) -> tf.lite.TFLiteConverter:
    shape = (1, *model.inputs[0].shape[1:])
    answer = tf.function(
        frozen(model), input_signature=[tf.TensorSpec(shape, tf.float32, name="images")], autograph=False
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([answer.get_concrete_function()], tf.Module())
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":
        converter.representative_dataset = lambda: ([image[None]] for image in representative.astype(np.float32))
        # Only operators that exist in int8: the converter would leave the others in float32 without a word.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if integers:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter
