"""The names of lines, beside the axis."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import axes as axes_lib

from pnag_tf.figures import style

LINE = 0.19  # inches between the names of lines


def names(axis: axes_lib.Axes, ends: Sequence[tuple], height: float) -> None:
    """The name of each line to the right of the axis, tied to the line's last point.

    Args:
      ends: (look, x, y) of each line.
      height: of the axis, in inches, roughly.
    """
    places = style.spread(style.fractions(axis, "y", [y for _, _, y in ends]), LINE / height)
    for (look, x, y), place in zip(ends, places, strict=True):
        axis.annotate(
            "", (x, y), (1.02, place), textcoords=axis.transAxes, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look["color"], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5},
        )  # fmt: skip
        axis.plot([1.025, 1.045, 1.065], [place] * 3, transform=axis.transAxes, clip_on=False, markersize=6.5,
                  markeredgecolor="white", markevery=[1], linewidth=1.4,
                  **{**look, "label": "_name"})  # fmt: skip
        axis.text(1.08, place, look["label"], transform=axis.transAxes, va="center")
