"""Multiply-adds, parameters and activations of an architecture, counted from its description alone.

Counted are convolutions, linear layers and the two squeeze-excite convolutions (their biases, and batch norm's two
vectors, as parameters); nothing else, so that figures compare with those of once-for-all and MobileNetV3.
"""

from __future__ import annotations

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space


def block_madds(block: backbone_lib.Block) -> int:
    """Multiply-adds of one block for one image."""
    expand = block.in_size**2 * block.in_channels * block.hidden if block.expands else 0
    window = block.out_size**2 * block.hidden * block.kernel**2 * _joined(block)
    squeeze_excite = 2 * block.hidden * block.squeeze
    project = block.out_size**2 * block.hidden * block.out_channels
    return expand + window + squeeze_excite + project


def block_params(block: backbone_lib.Block) -> int:
    """Trainable parameters of one block: weights, biases, batch norm's scale and offset."""
    expand = (block.in_channels + 2) * block.hidden if block.expands else 0
    window = (block.kernel**2 * _joined(block) + 2) * block.hidden
    squeeze_excite = 2 * block.hidden * block.squeeze + block.hidden + block.squeeze if block.squeeze else 0
    project = (block.hidden + 2) * block.out_channels
    return expand + window + squeeze_excite + project


def block_activations(block: backbone_lib.Block) -> int:
    """Numbers that are held at once, at most, while a block is computed for one image.

    Its input, where a shortcut needs that again, and what one operation reads, writes, and lays out for itself: a full
    k × k convolution copies each window (im2col).
    """
    before, behind, out = block.in_size**2, block.out_size**2, block.out_size**2 * block.out_channels
    shortcut = before * block.in_channels if block.residual else 0
    wide = block.in_channels if block.kind == "fused" or not block.expands else block.hidden
    padded = (block.in_size + 2 * (block.kernel // 2)) ** 2 * wide if block.stride > 1 else before * wide
    windows = behind * block.kernel**2 * block.in_channels if block.kind == "fused" else 0
    hidden = behind * block.hidden
    steps = [padded + windows + hidden, hidden + out, 2 * out]
    if block.expands:
        steps.append(before * (block.in_channels + block.hidden))
    if block.stride > 1:
        steps.append(before * wide + padded)
    if block.squeeze or block.activation == "hard_swish":
        steps.append(2 * hidden)
    return shortcut + max(steps)


def _joined(block: backbone_lib.Block) -> int:
    """Input channels that an output channel of the k × k convolution sees."""
    return block.in_channels if block.kind == "fused" else 1


def madds(backbone: backbone_lib.Backbone, arch: space.Architecture) -> int:
    """Multiply-adds of the network for one image."""
    backbone = backbone.at(arch)
    stem = backbone.stem_size**2 * 27 * backbone.stem
    head = backbone.final_size**2 * backbone.widths[-1] * backbone.final_expand
    mix = (backbone.final_expand or backbone.widths[-1]) * backbone.feature_mix
    classifier = backbone.head_channels * backbone.classes
    return stem + sum(map(block_madds, backbone.blocks(arch))) + head + mix + classifier


def params(backbone: backbone_lib.Backbone, arch: space.Architecture) -> int:
    """Trainable parameters of the network."""
    stem = (27 + 2) * backbone.stem
    head = (backbone.widths[-1] + 2) * backbone.final_expand
    mix = (backbone.final_expand or backbone.widths[-1]) * backbone.feature_mix
    classifier = (backbone.head_channels + 1) * backbone.classes
    return stem + sum(map(block_params, backbone.blocks(arch))) + head + mix + classifier
