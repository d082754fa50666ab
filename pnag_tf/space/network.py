"""A plain Keras model of one architecture: standard layers only, so that it saves, loads and converts anywhere.

Layer names are fixed, so that weights can be copied by name: 'stem_conv', 'stem_bn'; for each block its name followed
by '_expand_conv', '_expand_bn', '_depthwise_conv', '_depthwise_bn' (for a fused block '_fused_conv', '_fused_bn'
instead of these four), '_squeeze_reduce', '_squeeze_expand', '_project_conv', '_project_bn' (the fixed block, 'first',
does not expand); 'final_expand_conv', 'final_expand_bn', 'feature_mix_conv', 'classifier'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras
import numpy as np

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib

PIXELS = "pixels"  # name of the input of what takes them as they are
BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # weight of the old average; PyTorch calls this 0.1

# Keras has hard_swish(x) = x * relu6(x + 3) / 6 under the name hard_silu.
_KERAS_ACTIVATIONS = {"relu": "relu", "hard_swish": "hard_silu"}


def build(
    backbone: backbone_lib.Backbone,
    arch: space_lib.Architecture,
    dropout: float = 0.0,
    batch_norm_momentum: float = BATCH_NORM_MOMENTUM,
) -> keras.Model:
    """The network of an architecture, freshly initialised: images float32 [n, r, r, 3] -> logits [n, classes].

    r is the architecture's resolution where it has one, else the backbone's.

    Args:
      dropout: rate in front of the classifier, in training.
      batch_norm_momentum: weight of the old moving average in each training step.

    Raises:
      ValueError: the architecture has another number of units than the backbone.
    """
    backbone = backbone.at(arch)
    images = keras.Input((backbone.resolution, backbone.resolution, 3), name="images")
    x = stem(images, backbone, batch_norm_momentum)
    for block in backbone.blocks(arch):
        x = convolve(x, block, batch_norm_momentum)
    logits = head(x, backbone, dropout, batch_norm_momentum)
    return keras.Model(images, logits, name="subnet")


def classifier(model: keras.Model, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.25,)) -> keras.Model:
    """A network as an application uses it: pixels from 0 to 255, float32 [n, r, r, 3] -> probabilities [n, classes].

    Args:
      model: images float32 [n, r, r, 3], normalised to (pixel / 255 - mean) / std -> logits [n, classes].
      mean, std: for each channel, or one for all; latency does not depend on them.
    """
    pixels = keras.Input(model.input_shape[1:], name=PIXELS)
    mean, std = (np.broadcast_to(np.array(values, np.float32), 3) for values in (mean, std))
    scale, offset = (1 / (255 * std)).tolist(), (-mean / std).tolist()
    logits = model(keras.layers.Rescaling(scale, offset, name="normalise")(pixels))
    return keras.Model(pixels, keras.layers.Softmax(name="probabilities")(logits), name=model.name)


def build_blocks(blocks: Iterable[backbone_lib.Block]) -> keras.Model:
    """One block, or a chain of blocks that fit each other: float32 [n, s, s, c] -> [n, s', s', c'].

    The blocks' names must differ.
    """
    blocks = list(blocks)
    first = blocks[0]
    features = keras.Input((first.in_size, first.in_size, first.in_channels), name="features")
    x = features
    for block in blocks:
        x = convolve(x, block)
    return keras.Model(features, x, name="blocks")


def stem(x, backbone: backbone_lib.Backbone, batch_norm_momentum: float = BATCH_NORM_MOMENTUM):
    """3x3 convolution, batch norm, activation: images -> [n, stem_size, stem_size, stem]."""
    conv = keras.layers.Conv2D
    x = _padded(x, conv, "stem_conv", 3, backbone.stem_stride, filters=backbone.stem)
    return _activation(_batch_norm(x, "stem_bn", batch_norm_momentum), backbone.edge_activation, "stem_act")


def convolve(x, block: backbone_lib.Block, batch_norm_momentum: float = BATCH_NORM_MOMENTUM):
    """Expand and depthwise, or both fused; squeeze-excite, project; with the shortcut where the shapes allow it."""
    shortcut, name = x, block.name

    def normalised(x, part):
        x = _batch_norm(x, f"{name}_{part}_bn", batch_norm_momentum)
        return _activation(x, block.activation, f"{name}_{part}_act")

    if block.kind == "fused":
        conv, settings = keras.layers.Conv2D, {"filters": block.hidden}
        x = normalised(_padded(x, conv, f"{name}_fused_conv", block.kernel, block.stride, **settings), "fused")
    else:
        if block.expands:
            x = normalised(_pointwise(x, block.hidden, f"{name}_expand_conv"), "expand")
        conv = keras.layers.DepthwiseConv2D
        x = normalised(_padded(x, conv, f"{name}_depthwise_conv", block.kernel, block.stride), "depthwise")
    if block.squeeze:
        x = _squeeze_excite(x, block)
    x = _pointwise(x, block.out_channels, f"{name}_project_conv")
    x = _batch_norm(x, f"{name}_project_bn", batch_norm_momentum)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x]) if block.residual else x


def head(x, backbone: backbone_lib.Backbone, dropout: float = 0.0, batch_norm_momentum: float = BATCH_NORM_MOMENTUM):
    """Final expand, pooling, feature mix, classifier: [n, final_size, final_size, c] -> logits [n, classes]."""
    if backbone.final_expand:
        x = _batch_norm(
            _pointwise(x, backbone.final_expand, "final_expand_conv"), "final_expand_bn", batch_norm_momentum
        )
        x = _activation(x, backbone.edge_activation, "final_expand_act")
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    if backbone.feature_mix:
        x = _pointwise(x, backbone.feature_mix, "feature_mix_conv")
        x = _activation(x, backbone.edge_activation, "feature_mix_act")
    x = keras.layers.Dropout(dropout, name="dropout")(keras.layers.Flatten(name="flatten")(x))
    return keras.layers.Dense(backbone.classes, name="classifier")(x)


def normalised_kernels(model: keras.Model) -> list[keras.Variable]:
    """Kernels [k, k, in, out] of the full convolutions in front of a batch norm, but for the stem's."""
    names = {layer.name for layer in model.layers}
    convolutions = [layer for layer in model.layers if type(layer) is keras.layers.Conv2D and layer.name != "stem_conv"]
    return [layer.kernel for layer in convolutions if layer.name.removesuffix("conv") + "bn" in names]


def _squeeze_excite(x, block: backbone_lib.Block):
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{block.name}_squeeze_pool")(x)
    gate = keras.layers.Conv2D(block.squeeze, 1, activation="relu", name=f"{block.name}_squeeze_reduce")(gate)
    gate = keras.layers.Conv2D(block.hidden, 1, activation="hard_sigmoid", name=f"{block.name}_squeeze_expand")(gate)
    return keras.layers.Multiply(name=f"{block.name}_squeeze_multiply")([x, gate])


def _pointwise(x, filters: int, name: str):
    return keras.layers.Conv2D(filters, 1, use_bias=False, name=name)(x)


def _padded(x, layer: type[keras.layers.Layer], name: str, kernel: int, stride: int, **settings):
    """A convolution with padding kernel // 2 on every side; 'same' pads unevenly at stride 2."""
    if stride > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    return layer(kernel_size=kernel, strides=stride, padding=padding, use_bias=False, name=name, **settings)(x)


def _batch_norm(x, name: str, momentum: float):
    return keras.layers.BatchNormalization(momentum=momentum, epsilon=BATCH_NORM_EPSILON, name=name)(x)


def _activation(x, kind: str, name: str):
    return keras.layers.Activation(_KERAS_ACTIVATIONS[kind], name=name)(x)


def randomise(model: keras.Model) -> keras.Model:
    """Gives batch norm random offsets: activations then keep their size through all layers, as in a trained network.

    Freshly initialised, they fade to denormal numbers, which a CPU may compute more slowly.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(rng.normal(scale=0.5, size=layer.beta.shape))
    return model
