"""What was found by how many measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colors, ticker
from matplotlib import figure as figure_lib

from pnag_tf.figures import labels, style

_LIGHTEST = 0.4  # of the colours: that of the smallest budget; the largest has 1
_SHOWN_FROM = 10  # networks


@style.styled
def rounds(records: Sequence[Mapping[str, Any]], first: int, budgets_ms: Sequence[float]) -> figure_lib.Figure:
    """The best measured network within each budget, as more and more were measured.

    Args:
      records: rows with `top1`, a fraction, and `latency_ms`, in the order of their measurement.
      first: how many there were before the rounds.
      budgets_ms: that the rounds aimed at.

    Raises:
      NothingToDraw: there were no rounds, or no record keeps a budget.
    """
    top1, latency_ms = 100 * style.column(records, "top1"), style.column(records, "latency_ms")
    count, start = np.arange(1, len(top1) + 1), min(_SHOWN_FROM, first)
    curves = {
        budget_ms: np.maximum.accumulate(np.where(latency_ms <= budget_ms, top1, -np.inf))
        for budget_ms in sorted(budgets_ms)
        if np.any(latency_ms <= budget_ms)
    }
    if not curves or len(top1) <= first:
        raise style.NothingToDraw("rounds: no record of rounds that keeps a budget")
    names = [f"≤ {style.budget(budget_ms)}" for budget_ms in curves]
    height = max(3.6, 1.4 + labels.LINE * len(names))
    margin = 0.5 + max(map(style.text_width, names))
    figure = style.new(5.6 + margin, height, "The best measured network within each budget")
    axis = figure.subplots()
    axis.set(xscale="log", xlim=(start, len(top1)), xlabel="networks measured", ylabel="validation top-1 (%)")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.grid(axis="y", color=style.LIGHT, linewidth=0.5)
    axis.axvline(first, color=style.GREY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axis.annotate("rounds", (first, 1.0), (4, 3), xycoords=axis.get_xaxis_transform(), textcoords="offset points",
                  fontsize=style.SMALL, color=style.GREY)  # fmt: skip
    ends = []
    for best, shade, name in zip(curves.values(), _shades(len(curves)), names, strict=True):
        seen = np.isfinite(best) & (count >= start)
        look = {"color": shade, "linestyle": "-", "marker": "", "label": name}
        axis.step(count[seen], best[seen], where="post", **look)
        ends.append((look, count[-1], best[-1]))
    labels.names(axis, ends, height - 1.3)
    said = f"{first:,} random networks, then {len(top1) - first:,} in rounds."
    style.footnote(figure, [f"{said} Noise flatters the best of many."])
    return figure


def _shades(count: int) -> list[tuple[float, float, float]]:
    """So many shades of one colour, from light to dark."""
    blue = np.array(colors.to_rgb(style.BLUE))
    return [tuple(1 - share * (1 - blue)) for share in np.linspace(_LIGHTEST, 1.0, count)]
