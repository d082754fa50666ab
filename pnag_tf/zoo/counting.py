"""Multiply-adds and parameters of a Keras model, by the same rules as `pnag_tf.space.cost`.

Multiply-adds are those of convolutions and dense layers, the two of a squeeze-excite among them, for one image; biases,
batch norm, activations, pooling and sums cost nothing. Parameters are what training learns: weights, biases, batch
norm's scales and offsets, but not its moving statistics. So do the papers count, and PyTorch's `parameters()`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras

# Layers that learn but multiply nothing worth counting.
_FREE = (keras.layers.BatchNormalization, keras.layers.Normalization)
# Layers and operations that multiply although nothing is learnt in them.
_PRODUCTS = ("AdditiveAttention", "Attention", "Dot", "Einsum", "Inner", "Matmul", "Outer", "Tensordot", "Vdot")


def madds(model: keras.Model) -> int:
    """Multiply-adds for one image.

    A layer that is used several times costs each time. Nested models count with what is in them.

    Raises:
      ValueError: a layer is of a kind with no rule here, the model is no graph of layers, or a size is not fixed.
    """
    total = 0
    for operation, output in _calls(model):
        if isinstance(operation, keras.Model):
            total += madds(operation)
        elif kernel := _kernel_size(operation):
            total += kernel * _positions(operation, output)
    return total


def params(model: keras.Model) -> int:
    """Parameters that training learns, whether or not they are frozen now.

    Raises:
      ValueError: as for `madds`.
    """
    learnt = {}  # a layer that is used twice has its weights once
    for layer in _layers(model):
        _kernel_size(layer)
        statistics = {id(weight) for weight in _statistics(layer)}
        learnt |= {id(weight): weight for weight in layer.weights if id(weight) not in statistics}
    return sum(math.prod(weight.shape) for weight in learnt.values())


def _kernel_size(operation) -> int:
    """Multiplications for each position of the output map: the entries of the layer's kernels."""
    kind = type(operation)  # exact: a class derived from these may compute anything
    if kind in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense):
        return math.prod(operation.kernel.shape)
    if kind is keras.layers.SeparableConv2D:
        return math.prod(operation.depthwise_kernel.shape) + math.prod(operation.pointwise_kernel.shape)
    if kind.__name__ in _PRODUCTS or (getattr(operation, "weights", None) and kind not in _FREE):
        raise ValueError(f"no rule for counting {kind.__name__} '{operation.name}'")
    return 0


def _positions(layer, output) -> int:
    """Places at which a layer's kernel is applied: height times width of its output map.

    Of a dense layer, all axes but the batch and the last.
    """
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    places = output.shape[2:] if channels_first else output.shape[1:-1]
    if None in places:
        raise ValueError(f"'{layer.name}' has an output of open size {output.shape}; build the model for one size")
    return math.prod(places)


def _statistics(layer) -> list:
    """What a layer keeps without learning it."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer.moving_mean, layer.moving_variance]
    return layer.weights if isinstance(layer, keras.layers.Normalization) else []


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """All layers, those of nested models in the place of the model."""
    for operation, _ in _calls(model):
        if isinstance(operation, keras.Model):
            yield from _layers(operation)
        elif isinstance(operation, keras.layers.Layer):
            yield operation


def _calls(model: keras.Model) -> Iterator[tuple]:
    """(layer or operation, its first output) of each node in the model's graph."""
    graph = getattr(model, "_functional", None) or model  # a Sequential keeps its graph there
    depths = getattr(graph, "_nodes_by_depth", None)  # Keras has no public name for it
    if depths is None:
        raise ValueError(f"model '{model.name}' is no graph of layers; expected a functional or a built sequential one")
    for nodes in depths.values():
        for node in nodes:
            yield node.operation, node.outputs[0]
