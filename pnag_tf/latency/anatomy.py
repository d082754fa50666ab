"""What LiteRT makes of a .tflite: its operators, how XNNPACK takes it, the memory of its activations."""

from __future__ import annotations

import collections
import dataclasses
import math

from ai_edge_litert import interpreter as litert

from pnag_tf.util import terminal

_MULTIPLYING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # each weight once at each place of the output


@dataclasses.dataclass(frozen=True)
class Delegation:
    """How XNNPACK takes a graph on this machine.

    Attributes:
      pieces: subgraphs that XNNPACK runs, each a whole.
      outside: operator -> how many of it LiteRT's own kernels run, before, between and after the pieces.
    """

    pieces: int
    outside: dict[str, int]

    def columns(self) -> dict[str, str | int]:
        """The two as columns of a table."""
        left = " ".join(f"{operator}:{count}" for operator, count in sorted(self.outside.items()))
        return {"xnnpack_pieces": self.pieces, "outside_xnnpack": left or "none"}


def operators(tflite: bytes) -> list[str]:
    """The operators of a .tflite in order, such as 'CONV_2D' and 'HARD_SWISH'."""
    return [op["op_name"] for op in _operator_details(tflite, litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)]


def delegated(tflite: bytes) -> bool:
    """Whether XNNPACK takes the whole graph, from its input to its output, in one piece."""
    found = delegation(tflite)
    return found.pieces == 1 and not found.outside


def delegation(tflite: bytes) -> Delegation:
    """What XNNPACK takes of a graph, and what it leaves to LiteRT's own kernels."""
    details = _operator_details(tflite, litert.OpResolverType.AUTO)
    pieces = [op for op in details if op["op_name"] == "DELEGATE"]
    # The operators that a piece replaces stay in the list: they are those between its inputs and its outputs.
    replaced = {op["index"]: op["op_name"] for op in details if op["op_name"] != "DELEGATE"}
    makers = {tensor: op for op in details if op["index"] in replaced for tensor in op["outputs"]}
    outside = dict(replaced)
    for piece in pieces:
        inputs, tensors = set(piece["inputs"]), list(piece["outputs"])
        while tensors:
            tensor = tensors.pop()
            if tensor not in inputs and tensor in makers and outside.pop(makers[tensor]["index"], None):
                tensors += list(makers[tensor]["inputs"])
    return Delegation(len(pieces), dict(collections.Counter(outside.values())))


def _operator_details(tflite: bytes, resolver: litert.OpResolverType) -> list[dict]:
    return _interpreter(tflite, resolver)._get_ops_details()


def _interpreter(tflite: bytes, resolver: litert.OpResolverType) -> litert.Interpreter:
    with terminal.quiet():
        interpreter = litert.Interpreter(model_content=tflite, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    return interpreter


def madds(tflite: bytes) -> int:
    """Multiply-adds for one image: those of convolutions and fully connected layers, as `space.cost` counts them."""
    interpreter = _interpreter(tflite, litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    shapes = {detail["index"]: detail["shape"].tolist() for detail in interpreter.get_tensor_details()}
    total = 0
    for op in interpreter._get_ops_details():
        if op["op_name"] in _MULTIPLYING:
            weights, output = shapes[op["inputs"][1]], shapes[op["outputs"][0]]
            total += math.prod(weights) * math.prod(output[1:-1])
    return total


def arena_bytes(tflite: bytes) -> int:
    """The memory that the interpreter keeps for inputs, outputs and what lies between them, without a delegate.

    It lays them out when they are allocated, so that tensors which are not needed at the same time share memory.
    """
    interpreter = _interpreter(tflite, litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    made = {detail["index"] for detail in interpreter.get_input_details()}
    made |= {tensor for op in interpreter._get_ops_details() for tensor in op["outputs"]}
    starts, ends = [], []
    for tensor in made:
        view = interpreter.tensor(tensor)()
        starts.append(view.__array_interface__["data"][0])
        ends.append(starts[-1] + view.nbytes)
    return max(ends) - min(starts)
