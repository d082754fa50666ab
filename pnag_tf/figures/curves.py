"""Convergence: what the evaluator and the generator do while they learn (Fig. B of the supplement)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import ticker

from pnag_tf.figures import style

_SMOOTH_FROM = 500  # rows from which on a running mean is drawn over the raw curve
_LOG_FROM = 30.0  # a loss that falls by this ratio or more gets a logarithmic axis

# (column, name and unit, colour, marker)
_EVALUATOR = (
    ("loss", "pairwise ranking loss", style.BLUE, "o"),
    ("tau", "Kendall tau,\nheld-out records", style.VERMILLION, "s"),
)
_GENERATOR = (
    ("reward", "mean reward", style.BLUE, "o"),
    ("entropy", "policy entropy\n(nats)", style.VERMILLION, "s"),
    ("within_budget", "samples within\nbudget (%)", style.GREEN, "^"),
)


@style.styled
def convergence(
    evaluator: Sequence[Mapping[str, Any]] = (), generator: Sequence[Mapping[str, Any]] = ()
) -> figure_lib.Figure:
    """Two columns of curves, the evaluator's over epochs and the generator's over iterations.

    A quantity without any value, and a column without rows, is left out.

    Args:
      evaluator: rows with `epoch`, `loss` and `tau`, which may be empty or NaN in any of them.
      generator: rows with `iteration`, `reward`, `entropy` and `within_budget` (a fraction).

    Raises:
      NothingToDraw: there is no value to draw.
    """
    parts = [
        (title, unit, _series(rows, unit, columns))
        for title, unit, rows, columns in (
            ("Evaluator", "epoch", evaluator, _EVALUATOR),
            ("Generator", "iteration", generator, _GENERATOR),
        )
    ]
    parts = [part for part in parts if part[2]]
    if not parts:
        raise style.NothingToDraw("convergence: no finite loss, tau, reward, entropy or within_budget")
    figure = style.new(4.0 * len(parts) + (len(parts) == 1), 4.8, "Convergence of " + _joined(parts))
    for part, (title, unit, series) in zip(figure.subfigures(1, len(parts), squeeze=False)[0], parts, strict=True):
        axes = part.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        window = max(_draw(axis, *curve) for axis, curve in zip(axes, series, strict=True))
        axes[0].set_title(title + (f", with means over {window} rows" if window > 1 else ""))
        axes[-1].set_xlabel(unit)
        axes[-1].xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, steps=(1, 2, 2.5, 5, 10)))
        axes[-1].xaxis.set_major_formatter(ticker.FuncFormatter(_thousands))
        if len(x := series[0][4]) == 1:
            axes[-1].set_xlim(x[0] - 1, x[0] + 1)
        part.align_ylabels(axes)
    return figure


def _series(rows: Sequence[Mapping[str, Any]], unit: str, columns: Sequence[tuple]) -> list[tuple]:
    """(column, label, colour, marker, x, y) of the columns that hold any finite value; others are left out."""
    x, found = style.column(rows, unit), []
    for name, label, colour, marker in columns:
        y = style.column(rows, name) * (100 if name == "within_budget" else 1)
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            found.append((name, label, colour, marker, x[known], y[known]))
    return found


def _draw(axis: axes_lib.Axes, name: str, label: str, colour: str, marker: str, x: np.ndarray, y: np.ndarray) -> int:
    """One curve, its last value written at its end; how many rows are averaged for the line on top of it."""
    smooth, window, last = len(y) >= _SMOOTH_FROM, 1, y[-1]
    few = {"marker": marker, "markersize": 4} if len(y) <= 30 else {}
    axis.plot(x, y, color=colour, clip_on=False, **(few | ({"linewidth": 0.5, "alpha": 0.4} if smooth else {})))
    if smooth:
        window = len(y) // 40 | 1
        # Towards the ends there are fewer rows to average.
        means = np.convolve(y, np.ones(window), "same") / np.convolve(np.ones_like(y), np.ones(window), "same")
        axis.plot(x, means, color=colour)
        last = means[-1]
    if name == "within_budget":
        axis.set_ylim(80 if y.min() >= 80 else 0, 100)
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=style.STEPS))
    elif name == "loss" and y.min() > 0 and y.max() / y.min() >= _LOG_FROM:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.10g}"))
        axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=style.STEPS))
    axis.grid(axis="y", color=style.LIGHT, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.set_ylabel(label)
    axis.annotate(
        (f"{last:.1f}" if name == "within_budget" else f"{last:.3g}").replace("-", "−"),
        (x[-1], last),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.SMALL,
        color=colour,
        fontweight="bold",
        annotation_clip=False,
    )
    return window


def _joined(parts: Sequence[tuple]) -> str:
    return " and ".join(f"the {title.lower()}" for title, *_ in parts)


def _thousands(value: float, _) -> str:
    return f"{value:,.0f}" if value >= 10_000 else f"{value:.10g}"
