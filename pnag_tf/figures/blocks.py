"""Architectures as drawings: a block for each layer (Figs. F, G and H of the supplement)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import patches

from pnag_tf.figures import style
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib

# Lengths in slots, the room of one layer from left to right.
_SLOT_INCHES = 0.33
_WIDTH, _HEIGHT = 0.82, 2.3  # of a block; the height is that of the largest expand ratio
_LEAST = 0.6  # height that a kernel size still fits into
_GAP = 0.6  # between units
_FIXED = 0.72  # width of a block of stem or head
_ABOVE, _BELOW = 1.45, 0.3  # a drawing's caption and the room under it
# Kernel size to colours of the block and of its text; the larger, the darker.
_KERNELS = {
    1: ("#FFFFFF", style.INK),
    3: (style.YELLOW, style.INK),
    5: (style.SKY, style.INK),
    7: (style.BLUE, "white"),
    9: (style.BLACK, "white"),
}
_OTHER = (style.PURPLE, style.INK)


def caption(row: Mapping[str, Any]) -> str:
    """What is known of a network, as in 'budget 25 ms, latency 24.6 ms, test top-1 79.1 %'.

    Args:
      row: of `eval/<method>.csv`; what was not measured may be missing or empty, and is predicted then.
    """
    parts = []
    for kind, columns in (
        ("budget", (("budget_ms", "budget"),)),
        (
            "latency",
            (
                ("latency_at_table_ms", "latency"),
                ("latency_ms", "latency"),
                ("predicted_latency_ms", "predicted latency"),
            ),
        ),
        (
            "top1",
            (
                ("test_top1", "test top-1"),
                ("validation_top1", "validation top-1"),
                ("predicted_top1", "predicted top-1"),
            ),
        ),
    ):
        for name, words in columns:
            if np.isfinite(value := style.column([row], name)[0]):
                said = {"budget": style.budget, "latency": style.ms, "top1": style.percent}[kind](value)
                parts.append(f"{words} {said}")
                break
    if pixels := row.get("resolution"):
        parts.append(f"{pixels} px")
    return ", ".join(parts)


def architecture(
    arch: space_lib.Architecture, title: str = "", backbone: backbone_lib.Backbone | None = None
) -> figure_lib.Figure:
    """One network from stem to head, see `architectures`."""
    return architectures([(arch, "")], title, backbone)


@style.styled
def architectures(
    networks: Sequence[tuple[space_lib.Architecture, str]],
    title: str = "Architectures",
    backbone: backbone_lib.Backbone | None = None,
) -> figure_lib.Figure:
    """Networks of one space, one below the other.

    A block is a layer: its kernel size is written on it and gives its colour, its expand ratio is written above it
    and gives its height. Layers stand in the slots of their unit, so that depths compare from network to network;
    the line runs through the slots of layers that are not there. Stem and head, grey, are the same in all networks.

    Args:
      networks: (architecture, caption); the caption, such as `caption` gives it, stands above the drawing.
      backbone: what stem and head consist of, and which units have fused blocks; by default the paper's.

    Raises:
      NothingToDraw: there are none.
      ValueError: they are of different spaces.
    """
    if not networks:
        raise style.NothingToDraw("architectures: no network")
    shapes = {(len(arch.depths), len(arch.kernels)) for arch, _ in networks}
    if len(shapes) != 1:
        raise ValueError(f"architectures: expected networks of one space, found (units, layers) {sorted(shapes)}")
    units, layers = shapes.pop()
    stem, head = _fixed(backbone or backbone_lib.Backbone())
    starts = _FIXED * len(stem) + _GAP + np.arange(units) * (layers // units + _GAP)  # of each unit's first slot
    end = starts[-1] + layers // units + _GAP + _FIXED * len(head)
    edges = ((stem, 0.0), (head, end - _FIXED * len(head)))
    largest = max(ratio for arch, _ in networks for ratio in arch.ratios)
    above = _ABOVE if any(text for _, text in networks) else 0.6
    pitch = above + _HEIGHT + _BELOW
    depth = pitch * len(networks) + 2.7  # names of the units and the legend below the last one
    width = max(end, 14.0, *(style.text_width(text) / _SLOT_INCHES for _, text in networks))
    figure, axis = style.canvas(width * _SLOT_INCHES, depth * _SLOT_INCHES, title)
    axis.set(xlim=(0, width), ylim=(-depth, 0))
    for number, (arch, text) in enumerate(networks):
        middle = -(number * pitch + above + _HEIGHT / 2)
        axis.text(0, middle + _HEIGHT / 2 + 0.68, text, fontweight="bold", va="bottom")
        _network(axis, arch, middle, starts, edges, largest, number)
    bottom = -pitch * len(networks) - 0.05
    _unit_names(axis, starts, layers // units, edges, bottom, backbone.kinds if backbone else ())
    _legend(axis, {k for a, _ in networks for k in a.kernels if k}, {r for a, _ in networks for r in a.ratios if r},
            largest, bottom - 1.9)  # fmt: skip
    return figure


_Edges = tuple[tuple[tuple[str, ...], float], ...]
"""Stem and head: the names of their parts, and where the first one begins."""


def _fixed(backbone: backbone_lib.Backbone) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands in front of the first unit, and behind the last."""
    stem = ("conv 3×3", "block 3×3") if backbone.base_first else ("conv 3×3",)
    expand = ("expand 1×1",) if backbone.base_final_expand else ()
    return stem, (*expand, "pool, mix" if backbone.base_feature_mix else "pool", "classifier")


def _network(
    axis: axes_lib.Axes,
    arch: space_lib.Architecture,
    middle: float,
    starts: np.ndarray,
    edges: _Edges,
    largest: int,
    number: int,
) -> None:
    slots = len(arch.kernels) // len(arch.depths)
    names, left = edges[-1]
    axis.plot([0.1, left + _FIXED * len(names) - 0.1], [middle] * 2, color=style.GREY, linewidth=1.2, zorder=1)
    for unit, start in enumerate(starts):
        axis.add_patch(
            patches.FancyBboxPatch(
                (start - 0.1, middle - _HEIGHT / 2 - 0.14), slots + 0.2, _HEIGHT + 0.74,
                boxstyle="round,pad=0,rounding_size=0.12", facecolor="#F0F0F0", edgecolor="none", zorder=0,
                gid=f"unit-{number}-{unit}",
            )
        )  # fmt: skip
    for names, left in edges:
        for place, name in enumerate(names):
            x = left + _FIXED * place
            _block(axis, x + 0.05, middle, _FIXED - 0.1, _HEIGHT, ("#DDDDDD", style.INK), f"fixed-{number}-{x:.2f}")
            axis.text(x + _FIXED / 2, middle, name, rotation=90, ha="center", va="center", fontsize=7, zorder=3)
    for slot, (kernel, ratio) in enumerate(zip(arch.kernels, arch.ratios, strict=True)):
        unit, layer = divmod(slot, slots)
        if layer >= arch.depths[unit]:
            continue
        x, height = starts[unit] + layer + (1 - _WIDTH) / 2, _block_height(ratio, largest)
        colours = _KERNELS.get(kernel, _OTHER)
        _block(axis, x, middle, _WIDTH, height, colours, f"layer-{number}-{slot}")
        _numbers(axis, x + _WIDTH / 2, middle, height, kernel, ratio)


def _numbers(axis: axes_lib.Axes, x: float, middle: float, height: float, kernel: int | str, ratio: int | str) -> None:
    """The kernel size on a block, the expand ratio above it."""
    axis.text(x, middle - 0.03, f"{kernel}", ha="center", va="center", fontsize=10, fontweight="bold",
              color=_KERNELS.get(kernel, _OTHER)[1], zorder=3)  # fmt: skip
    axis.text(x, middle + height / 2 + 0.05, f"{ratio}", ha="center", va="bottom", fontsize=style.SMALL, zorder=3)


def _block(axis, x: float, middle: float, width: float, height: float, colours: tuple[str, str], gid: str) -> None:
    axis.add_patch(
        patches.Rectangle(
            (x, middle - height / 2), width, height, facecolor=colours[0], edgecolor=style.INK, linewidth=0.6,
            zorder=2, gid=gid,
        )
    )  # fmt: skip


def _block_height(ratio: int, largest: int) -> float:
    return max(_HEIGHT * ratio / largest, _LEAST)


def _unit_names(
    axis: axes_lib.Axes, starts: np.ndarray, slots: int, edges: _Edges, y: float, kinds: Sequence[str]
) -> None:
    """Stem, units and head; units of fused blocks say so."""
    for name, (parts, left) in zip(("stem", "head"), edges, strict=True):
        axis.text(left + _FIXED * len(parts) / 2, y, name, ha="center", va="top")
    for unit, (start, kind) in enumerate(itertools.zip_longest(starts, kinds), 1):
        name = f"unit {unit}" + ("\nfused" if kind == "fused" else "")
        axis.text(start + slots / 2, y, name, ha="center", va="top")


def _legend(axis: axes_lib.Axes, kernels: set[int], ratios: set[int], largest: int, y: float) -> None:
    """Colours and heights, in words."""
    x = 0.0
    axis.text(x, y, "kernel size", va="center")
    x += style.text_width("kernel size") / _SLOT_INCHES
    for kernel in sorted(kernels):
        _block(axis, x, y, _WIDTH, _LEAST, _KERNELS.get(kernel, _OTHER), f"legend-kernel-{kernel}")
        _numbers(axis, x + _WIDTH / 2, y, _LEAST, kernel, "")
        x += 1
    x += 0.8
    axis.text(x, y, "expand ratio", va="center")
    x += style.text_width("expand ratio") / _SLOT_INCHES
    for ratio in sorted(ratios):
        height = 0.6 * _block_height(ratio, largest)
        _block(axis, x, y, _WIDTH * 0.6, height, ("white", style.INK), f"legend-ratio-{ratio}")
        _numbers(axis, x + _WIDTH * 0.3, y, height, "", ratio)
        x += 0.8
