"""Spaces that fit the image: `small` up to 64 pixels, `mid` up to 160, the paper's above.

A convolution of stride 2 that leaves a map of 2 × 2 pixels or less costs what it costs and sees padding; so the
strides follow from the resolution: as many halvings as leave the last map at 4 × 4 or above.
"""

from __future__ import annotations

import dataclasses

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib

LEAST_MAP = 4  # pixels
STEM = -1  # among the places that halve


@dataclasses.dataclass(frozen=True)
class Family:
    """A search space with the backbone that it is searched in.

    Attributes:
      name: 'small', 'mid' or 'paper'.
      least: the smallest resolution that it is made for, in pixels.
      most: the largest one.
      space: what is searched.
      backbone: at any resolution; `fit` sets that and the strides.
      halvings: what has stride 2, the stem or the index of a unit, the first to have it first.
    """

    name: str
    least: int
    most: int
    space: space_lib.SearchSpace
    backbone: backbone_lib.Backbone
    halvings: tuple[int, ...]


# Few operations, as their calls cost more than their arithmetic here, and full convolutions: at the same latency on a
# CPU they are more accurate than depthwise ones on maps this small (benchmarks/results.md).
SMALL = Family(
    "small",
    16,
    64,
    space_lib.SearchSpace(units=3, depths=(1, 2), kernels=(3,), ratios=(1, 2, 3)),
    backbone_lib.Backbone(
        base_widths=(16, 32, 64),
        strides=(1, 2, 2),
        squeeze_excite=(False, False, False),
        activations=("relu", "relu", "relu"),
        kinds=("fused", "fused", "fused"),
        base_stem=8,
        base_first=0,
        base_final_expand=0,
        base_feature_mix=0,
        edge_activation="relu",
        resolution=32,
    ),
    (STEM, 2, 1, 0),
)
# EfficientNetV2's order: fused blocks where maps are large and channels few, depthwise ones with squeeze-excite behind.
MID = Family(
    "mid",
    65,
    160,
    space_lib.SearchSpace(units=5, depths=(1, 2, 3), kernels=(3, 5), ratios=(2, 3, 4)),
    backbone_lib.Backbone(
        base_widths=(16, 32, 64, 96, 128),
        strides=(2, 2, 2, 1, 2),
        squeeze_excite=(False, False, False, True, True),
        activations=("relu", "relu", "hard_swish", "hard_swish", "hard_swish"),
        kinds=("fused", "fused", "mbconv", "mbconv", "mbconv"),
        base_stem=16,
        base_first=0,
        base_final_expand=512,
        base_feature_mix=0,
        resolution=128,
    ),
    (STEM, 0, 1, 2, 4),
)
PAPER = Family(
    "paper", 161, 1024, space_lib.SearchSpace(), backbone_lib.Backbone(), (STEM, 0, 1, 2, 4)
)  # once-for-all's, to the last multiply-add
FAMILIES = (SMALL, MID, PAPER)


def fit(resolution: int) -> tuple[space_lib.SearchSpace, backbone_lib.Backbone]:
    """The space for images of `resolution` pixels, and its backbone.

    Raises:
      ValueError: there is none; the message names those that there are.
    """
    for family in FAMILIES:
        if family.least <= resolution <= family.most:
            return family.space, _halved(family, resolution)
    known = ", ".join(f"'{family.name}' from {family.least} to {family.most}" for family in FAMILIES)
    raise ValueError(f"expected pixels that a space fits ({known}), found {resolution}")


def minimal(backbone: backbone_lib.Backbone) -> backbone_lib.Backbone:
    """The backbone without h-swish and squeeze-excite: MobileNetV3 calls it minimalistic.

    In int8 XNNPACK and most accelerators then run a network in one piece (EfficientNet-Lite does the same).
    """
    units = backbone.units
    return dataclasses.replace(
        backbone, activations=("relu",) * units, squeeze_excite=(False,) * units, edge_activation="relu"
    )


def _halved(family: Family, resolution: int) -> backbone_lib.Backbone:
    size, halved = resolution, set()
    for place in family.halvings:
        size = backbone_lib.strided(size, 2)
        if size < LEAST_MAP:
            break
        halved.add(place)
    return dataclasses.replace(
        family.backbone,
        resolution=resolution,
        stem_stride=2 if STEM in halved else 1,
        strides=tuple(2 if unit in halved else 1 for unit in range(family.backbone.units)),
    )
