"""What a generator's samples cost under each budget (Fig. C of the supplement)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import ticker

from pnag_tf.figures import style

_BINS = 24  # over the latencies of one budget, as far as that leaves them wide enough to see
_NARROWEST, _WIDEST = 1 / 150, 1 / 40  # a bin, as a part of the whole latency range
_FEW = 10  # samples under which a method gets a mark each instead of an outline
_LINE = 0.17  # inches, from one line of text to the next


@style.styled
def latency_histograms(samples: Sequence[Mapping[str, Any]]) -> figure_lib.Figure:
    """One histogram of latencies for each budget, one below the other over the same latency axis.

    The bars are PNAG's samples (or the first method's where PNAG is absent), hatched beyond the budget; other methods
    are outlines. A bin ends at the budget, so that no bar holds samples of both sides; a latency equal to the budget
    keeps it.

    Args:
      samples: rows with `method`, `budget_ms` and `latency_ms`; rows without a latency are left out.

    Raises:
      NothingToDraw: no row has a finite budget and latency.
    """
    samples = style.known(samples, "budget_ms", "latency_ms")
    if not samples:
        raise style.NothingToDraw("latency_histograms: no row with a budget_ms and a latency_ms")
    methods = list(style.by_method(samples))
    looks = style.appearance(methods)
    groups: dict[float, list] = {}
    for row in samples:
        groups.setdefault(float(row["budget_ms"]), []).append(row)
    budgets_ms = sorted(groups)
    everything = np.concatenate([style.column(samples, "latency_ms"), budgets_ms])
    width, row_height = 7.4, max(0.85, 1.5 / len(budgets_ms), _LINE * (len(methods) + 1.6))
    by = f" by {looks[methods[0]]['label']}" if len(methods) == 1 else ""
    title = f"Latency of architectures sampled{by} under each budget"
    figure = style.new(width, row_height * len(budgets_ms) + 1.0, title)
    axes = figure.subplots(len(budgets_ms), 1, sharex=True, squeeze=False)[:, 0]
    for axis, budget in zip(axes, budgets_ms, strict=True):
        found = style.by_method(groups[budget])
        latencies = {m: style.column(found[m], "latency_ms") for m in methods if m in found}
        _draw(axis, budget, latencies, looks, methods[0], everything, row_height)
    for axis in axes:
        style.latency_axis(axis, "x", everything)
        axis.tick_params(labelbottom=axis is axes[-1])
    axes[-1].set_xlabel("latency (ms)")
    figure.supylabel("share of samples (%)", fontsize=style.TEXT)
    over = style.column(samples, "latency_ms") > style.column(samples, "budget_ms")
    hatched = f"Hatched: samples{'' if by else ' of ' + looks[methods[0]]['label']} over the budget."
    style.footnote(figure, [hatched if over.any() else "", *(style.NOTES.get(method, "") for method in methods)])
    return figure


def _draw(
    axis: axes_lib.Axes,
    budget: float,
    latencies: Mapping[str, np.ndarray],
    looks: Mapping[str, Mapping[str, Any]],
    filled: str,
    everything: np.ndarray,
    height: float,
) -> None:
    edges = _edges(budget, np.concatenate([*latencies.values(), [budget]]), everything)
    for method, latency_ms in latencies.items():
        look, share = looks[method], 100 * _counts(latency_ms, edges) / len(latency_ms)
        if method == filled:
            within, over = edges[:-1] < budget, edges[:-1] >= budget
            solid = {"facecolor": look["color"], "edgecolor": "white", "linewidth": 0.3}
            hatched = {"facecolor": "white", "edgecolor": look["color"], "linewidth": 0.8, "hatch": "//////"}
            for part, bar in ((within & (share > 0), solid), (over & (share > 0), hatched)):
                axis.bar(edges[:-1][part], share[part], np.diff(edges)[part], align="edge", label=method, **bar)
        elif len(latency_ms) < _FEW:
            axis.plot(
                latency_ms, np.zeros_like(latency_ms), look["marker"], color=look["color"], markeredgecolor="white",
                markersize=7, clip_on=False, zorder=4, label=method,
            )  # fmt: skip
        else:
            first, last = np.flatnonzero(share)[[0, -1]]
            line = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 1.4}
            axis.stairs(share[first : last + 1], edges[first : last + 2], label=method, **line)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_locator(ticker.MaxNLocator(2, steps=style.STEPS))
    axis.axvline(budget, color=style.INK, linewidth=1.4)
    _facts(axis, budget, latencies, looks, filled, height)


def _facts(
    axis: axes_lib.Axes,
    budget: float,
    latencies: Mapping[str, np.ndarray],
    looks: Mapping[str, Mapping[str, Any]],
    filled: str,
    height: float,
) -> None:
    """To the right of the axis: the budget, and how many of each method's samples keep it."""
    beside = {"transform": axis.transAxes, "clip_on": False}
    axis.text(1.02, 1, f"budget {style.budget(budget)}", va="top", fontweight="bold", **beside)
    for number, (method, latency_ms) in enumerate(latencies.items(), 1):
        look, y = looks[method], 1 - (number + 0.45) * _LINE / (height - 0.12)
        within = style.percent(np.mean(latency_ms <= budget))
        if len(looks) == 1:
            axis.text(1.02, y, f"{within} within budget", va="center", fontsize=style.SMALL, **beside)
            continue
        axis.text(1.07, y, f"{look['label']}: {within} within", va="center", fontsize=style.SMALL, **beside)
        if method != filled and len(latency_ms) < _FEW:
            axis.plot(1.0375, y, look["marker"], color=look["color"], **beside)
        else:
            line = {"linewidth": 5, "solid_capstyle": "butt"} if method == filled else {"linestyle": look["linestyle"]}
            axis.plot([1.02, 1.055], [y, y], color=look["color"], **line, **beside)


def _edges(budget: float, values: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """Edges of equally wide bins (on the scale of the axis) over some latencies, one of the edges at the budget.

    Args:
      values: what the bins are for.
      everything: what the axis shows.
    """
    log, centre = style.is_log(everything), budget
    if log:
        values, everything, centre = np.log(values), np.log(everything), np.log(budget)
    whole = float(np.ptp(everything)) or 0.5 * (abs(centre) or 1.0)
    step = float(np.clip(np.ptp(values) / _BINS, _NARROWEST * whole, _WIDEST * whole))
    # One bin more on both sides, for the rounding of the outermost values.
    below, above = (int(np.ceil(abs(end - centre) / step)) + 1 for end in (values.min(), values.max()))
    edges = centre + step * np.arange(-below, above + 1)
    edges = np.exp(edges) if log else edges
    edges[below] = budget
    return edges


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values lie in each bin, its upper edge included: int [bins]."""
    return np.bincount(np.searchsorted(edges, values, side="left") - 1, minlength=len(edges) - 1)
