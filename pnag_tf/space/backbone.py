"""The backbone: which layers an architecture stands for, with every shape. By default once-for-all's MobileNetV3.

`Backbone.blocks(arch)` is the one description of the network; counting, building, timing and drawing all read it.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pnag_tf.space import space

Kind = Literal["mbconv", "fused"]
Activation = Literal["relu", "hard_swish"]


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to a multiple of `divisor`, never below 90 % of it (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclasses.dataclass(frozen=True)
class Block:
    """One block with its shapes.

    Attributes:
      kind: 'mbconv', an inverted bottleneck (1 × 1, depthwise k × k, 1 × 1), or 'fused', which has one full k × k
        convolution in the place of the first two (EfficientNetV2, section 3.2).
      name: 'first' for the fixed block, else 'unit1_layer0' (units from 1, as in the paper; layers from 0).
      unit: index of the unit from 0, -1 for the fixed block.
      layer: index of the layer in its unit.
      in_size: height (= width) of the feature maps before it, in pixels.
      out_size: the same behind it.
      in_channels: channels before it.
      hidden: channels inside; as many as `in_channels` in the fixed block, which does not expand.
      out_channels: channels behind it.
      kernel: k of the k × k convolution, whose padding is k // 2 on every side, also at stride 2. On maps smaller than
        the kernel the taps that would see padding alone are left out: same function, less work.
      stride: of the same convolution.
      squeeze: channels of the squeeze-excite bottleneck, 0 for none.
      activation: 'relu' or 'hard_swish'.
    """

    kind: Kind
    name: str
    unit: int
    layer: int
    in_size: int
    out_size: int
    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    squeeze: int
    activation: str

    @property
    def expands(self) -> bool:
        """Whether a 1 × 1 convolution comes first."""
        return self.kind == "mbconv" and self.unit >= 0

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Everything of the network that is not searched. Per-unit tuples have one entry a unit.

    Base widths are those of width multiplier 1.0; `Backbone` applies the multiplier. A fixed block, a final expand or
    a feature mix of width 0 is not there.
    """

    base_widths: tuple[int, ...] = (24, 40, 80, 112, 160)  # channels that each unit puts out
    strides: tuple[int, ...] = (2, 2, 2, 1, 2)  # of each unit's first layer
    squeeze_excite: tuple[bool, ...] = (False, True, False, True, True)  # whether each unit's blocks have it
    activations: tuple[Activation, ...] = ("relu", "relu", "hard_swish", "hard_swish", "hard_swish")  # of each unit
    kinds: tuple[Kind, ...] = ()  # of each unit's blocks; empty = 'mbconv' in all
    base_stem: int = 16  # channels of the first convolution
    base_first: int = 16  # channels of the fixed block
    base_final_expand: int = 960  # channels behind the last unit, before pooling
    base_feature_mix: int = 1280  # channels behind pooling, before the classifier
    edge_activation: Activation = "hard_swish"  # of stem and head
    width_multiplier: float = 1.0  # of all base widths
    stem_stride: int = 2  # of the first convolution
    resolution: int = 224  # side of the images in pixels
    classes: int = 1000  # that the classifier tells apart

    def __post_init__(self):
        per_unit = [self.base_widths, self.strides, self.squeeze_excite, self.activations, self.kinds]
        lengths = {len(setting) for setting in per_unit if setting or setting is not self.kinds}
        if len(lengths) != 1:
            raise ValueError(f"backbone: per-unit settings have different lengths {sorted(lengths)}")

    def _width(self, base: int) -> int:
        return make_divisible(base * self.width_multiplier) if base else 0

    @property
    def units(self) -> int:
        return len(self.base_widths)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self._width(base) for base in self.base_widths)

    @property
    def stem(self) -> int:
        return self._width(self.base_stem)

    @property
    def first(self) -> int:
        return self._width(self.base_first)

    @property
    def final_expand(self) -> int:
        return self._width(self.base_final_expand)

    @property
    def feature_mix(self) -> int:
        return self._width(self.base_feature_mix)

    def hidden(self, in_channels: int, ratio: int) -> int:
        return make_divisible(round(in_channels * ratio))

    @property
    def stem_size(self) -> int:
        """Height of the feature maps behind the stem."""
        return strided(self.resolution, self.stem_stride)

    @property
    def final_size(self) -> int:
        """Height of the feature maps that the head pools."""
        size = self.stem_size
        for stride in self.strides:
            size = strided(size, stride)
        return size

    def at(self, arch: space.Architecture) -> Backbone:
        """The backbone at the resolution of an architecture, where it has one of its own."""
        return dataclasses.replace(self, resolution=arch.resolution) if arch.resolution else self

    def slot_block(self, slot: tuple[int, int, int, int, int]) -> Block:
        """The block of one of `SearchSpace.layer_slots`."""
        unit, layer, resolution, ratio, kernel = slot
        here = dataclasses.replace(self, resolution=resolution or self.resolution)
        return here.block(unit, layer, ratio, kernel)

    def first_block(self) -> Block | None:
        """The fixed block behind the stem, which does not expand."""
        if not self.base_first:
            return None
        size = self.stem_size
        return Block("mbconv", "first", -1, 0, size, size, self.stem, self.stem, self.first, 3, 1, 0, "relu")

    @property
    def head_channels(self) -> int:
        """Channels that the classifier reads."""
        return self.feature_mix or self.final_expand or self.widths[-1]

    def block(self, unit: int, layer: int, ratio: int, kernel: int) -> Block:
        """The block in one layer slot, for one setting of it."""
        size = self.stem_size
        for stride in self.strides[:unit]:
            size = strided(size, stride)
        stride = self.strides[unit] if layer == 0 else 1
        before = self.widths[unit - 1] if unit else self.first or self.stem
        in_channels = self.widths[unit] if layer else before
        size = size if layer == 0 else strided(size, self.strides[unit])
        hidden = self.hidden(in_channels, ratio)
        return Block(
            kind=self.kinds[unit] if self.kinds else "mbconv",
            name=f"unit{unit + 1}_layer{layer}",
            unit=unit,
            layer=layer,
            in_size=size,
            out_size=strided(size, stride),
            in_channels=in_channels,
            hidden=hidden,
            out_channels=self.widths[unit],
            kernel=min(kernel, 2 * size - 1),
            stride=stride,
            squeeze=make_divisible(hidden / 4) if self.squeeze_excite[unit] else 0,
            activation=self.activations[unit],
        )

    def blocks(self, arch: space.Architecture) -> list[Block]:
        """All blocks of an architecture in order, the fixed first one included, at the architecture's resolution."""
        if len(arch.depths) != self.units:
            raise ValueError(f"architecture '{arch}' has {len(arch.depths)} units; the backbone has {self.units}")
        slots, here = len(arch.kernels) // self.units, self.at(arch)
        fixed = [here.first_block()] if self.base_first else []
        return fixed + [
            here.block(unit, layer, arch.ratios[unit * slots + layer], arch.kernels[unit * slots + layer])
            for unit, depth in enumerate(arch.depths)
            for layer in range(depth)
        ]


def strided(size: int, stride: int) -> int:
    """Output height of a convolution with padding kernel // 2."""
    return (size - 1) // stride + 1
