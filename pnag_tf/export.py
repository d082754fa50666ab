"""Keras model -> .tflite with a fixed input of one image; every conversion is checked against the Keras model.

The weights are put into the graph as constants before it is converted. This is several times faster than the way
through a SavedModel file, and it cannot lose weights: `from_concrete_functions` on a function with variables that it
does not track writes a small file full of NaN without a word.
"""

from __future__ import annotations

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from pnag_tf import files, terminal

TOLERANCE = 1e-4  # largest difference to Keras, as a fraction of the largest output


class ExportError(RuntimeError):
    """The model cannot be converted, or the converted model answers something else."""


def convert(model: keras.Model, tolerance: float = TOLERANCE) -> bytes:
    """The .tflite of a model with one input, for batch 1, float32: input [1, ...] -> output [1, ...].

    Raises:
      ExportError: a dimension other than the batch is open, the converter fails, or the outputs on random input differ
        from those of Keras or are not finite.
    """
    shape = (1, *model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(model.outputs) != 1 or None in shape:
        raise ExportError(f"expected one input of fixed shape and one output, found input {model.inputs[0].shape}")
    try:
        with terminal.quiet():
            tflite = _converter(model, shape).convert()
    except Exception as error:  # the converter raises whatever its passes raise
        raise ExportError(f"the TFLite converter failed: {str(error).strip().splitlines()[-1]}") from error
    check_parity(model, tflite, tolerance)
    return tflite


def save(model: keras.Model, path: str | os.PathLike, tolerance: float = TOLERANCE) -> None:
    """Writes the .tflite of a model; nothing is written when the check fails. Raises ExportError like `convert`."""
    tflite = convert(model, tolerance)
    with files.replacing(path) as beside:
        pathlib.Path(beside).write_bytes(tflite)


def check_parity(model: keras.Model, tflite: bytes, tolerance: float = TOLERANCE, samples: int = 2) -> float:
    """The largest difference between .tflite and Keras on random inputs, as a fraction of the largest output.

    Raises:
      ExportError: it is above `tolerance`, or an output is not finite.
    """
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(samples, *model.inputs[0].shape[1:])).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(inputs, training=False))
    actual = run(tflite, inputs)
    for who, outputs in (("the Keras model", expected), ("the .tflite", actual)):
        if not np.isfinite(outputs).all():
            raise ExportError(f"{who} answers NaN or infinity to random input")
    if actual.shape != expected.shape:
        raise ExportError(f"the .tflite answers shape {actual.shape[1:]}, the Keras model {expected.shape[1:]}")
    difference = float(np.abs(actual - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if difference > tolerance:
        raise ExportError(
            f"the .tflite differs from Keras by {difference:.1e} of the largest output; {tolerance:.0e} is allowed"
        )
    return difference


def run(tflite: bytes, images: np.ndarray, threads: int = 1) -> np.ndarray:
    """The outputs [n, ...] of a .tflite, made for batch 1, on images float32 [n, ...], one after the other."""
    with terminal.quiet():
        interpreter = litert.Interpreter(model_content=tflite, num_threads=threads)
        interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in images:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target)[0])
    return np.stack(outputs)


def operators(tflite: bytes) -> list[str]:
    """The operators of a .tflite in order, such as 'CONV_2D' and 'HARD_SWISH'."""
    return [op["op_name"] for op in _operator_details(tflite, litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)]


def delegated(tflite: bytes) -> bool:
    """Whether XNNPACK takes the whole graph, from its input to its output, in one piece."""
    details = _operator_details(tflite, litert.OpResolverType.AUTO)
    delegates = [op for op in details if op["op_name"] == "DELEGATE"]
    with terminal.quiet():
        interpreter = litert.Interpreter(model_content=tflite)
    ends = {interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]}
    return len(delegates) == 1 and ends <= {*delegates[0]["inputs"], *delegates[0]["outputs"]}


def _operator_details(tflite: bytes, resolver: litert.OpResolverType) -> list[dict]:
    with terminal.quiet():
        interpreter = litert.Interpreter(model_content=tflite, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    return interpreter._get_ops_details()


def _converter(model: keras.Model, shape: tuple[int, ...]) -> tf.lite.TFLiteConverter:
    trainable = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    other = [keras.ops.convert_to_numpy(variable) for variable in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="images")], autograph=False)
    def answer(x):
        outputs, _ = model.stateless_call(
            [tf.constant(value) for value in trainable], [tf.constant(value) for value in other], x, training=False
        )
        return outputs

    return tf.lite.TFLiteConverter.from_concrete_functions([answer.get_concrete_function()], tf.Module())
