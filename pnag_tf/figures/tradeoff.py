"""Top-1 against latency: what each method finds under each budget (Figs. D and E of the supplement)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import ticker

from pnag_tf.figures import labels, style
from pnag_tf.search import pareto

# The first of these that is known of every network of every method is drawn, so that methods compare.
_TOP1 = (("test_top1", "test top-1"), ("validation_top1", "validation top-1"), ("predicted_top1", "predicted top-1"))
# At the speed of the latency table, as budgets and records are, before as measured.
_LATENCY = (("latency_at_table_ms", "measured latency"), ("latency_ms", "measured latency"))
_LATENCY += (("predicted_latency_ms", "predicted latency"),)
_AXIS = 5.1  # inches of the latency axis, roughly
_CUT = 0.01  # share of the records, the least accurate, that need not lie inside the picture


@style.styled
def frontier(
    rows: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]] = (), title: str = ""
) -> figure_lib.Figure:
    """Each method's networks, from the smallest budget to the largest, over a light cloud of the records.

    Measured values are drawn where all networks have them, predicted ones otherwise; the axes say which. A network
    slower than its budget is hollow.

    Args:
      rows: `method`, `budget_ms`, `predicted_top1`, `predicted_latency_ms` and, where measured, `validation_top1`,
        `test_top1`, `latency_ms`, `latency_at_table_ms`; accuracies are fractions.
      records: `top1` and `latency_ms` of the records.

    Raises:
      NothingToDraw: no network has a latency and a top-1.
    """
    (top1_column, top1_name), (latency_column, latency_name) = _common(rows, _TOP1), _common(rows, _LATENCY)
    rows = style.known(rows, "budget_ms", top1_column, latency_column)
    if not rows:
        raise style.NothingToDraw("frontier: no network with a latency and a top-1")
    groups = style.by_method(rows)
    looks = style.appearance(list(groups))
    budgets_ms = style.column(rows, "budget_ms")
    records = style.known(records, "latency_ms", "top1")
    cloud_ms, cloud_top1 = style.column(records, "latency_ms"), 100 * style.column(records, "top1")
    top1 = 100 * style.column(rows, top1_column)

    names = [*(look["label"] for look in looks.values()), "best records"]
    margin = min(0.5 + max(map(style.text_width, names)), 5.0)
    width, height = 5.6 + margin, max(4.3, 1.4 + labels.LINE * len(names))
    figure = style.new(width, height, title or f"{top1_name.capitalize()} against {latency_name}")
    axis = figure.subplots()
    everything = np.concatenate([style.column(rows, latency_column), budgets_ms, cloud_ms])
    style.latency_axis(axis, "x", everything, f"{latency_name} (ms)")
    axis.set_ylabel(f"{top1_name} (%)")
    notes = _limits(axis, top1, cloud_top1)
    ends = []
    if len(cloud_ms):
        # Records are measured on validation images: no test top-1 can be held against the best of them.
        ends += _cloud(axis, cloud_ms, cloud_top1, best_too=top1_column != "test_top1")
        count = f"{len(cloud_ms):,} record{'s' * (len(cloud_ms) > 1)}"
        split = {"test_top1": ", validation top-1", "validation_top1": "", "predicted_top1": ", as measured"}
        notes.insert(0, f"Grey: {count}{split[top1_column]}.")
    hollow = False
    for method, found in groups.items():
        found = sorted(found, key=lambda row: float(row["budget_ms"]))
        latency_ms, y = style.column(found, latency_column), 100 * style.column(found, top1_column)
        over = latency_ms > style.column(found, "budget_ms")
        hollow |= bool(over.any())
        look = looks[method]
        axis.plot(latency_ms, y, zorder=3, markersize=6.5, markeredgecolor="white", **look)
        axis.plot(latency_ms[over], y[over], zorder=4, linestyle="", marker=look["marker"], markersize=6,
                  markerfacecolor="white", markeredgecolor=look["color"])  # fmt: skip
        ends.append((look, latency_ms[-1], y[-1]))
    if hollow:
        notes.append("Hollow: slower than its budget.")
    style.budget_lines(axis, budgets_ms.tolist(), _AXIS)
    labels.names(axis, ends, height - 1.3)
    style.footnote(figure, [" ".join(notes), *(style.NOTES.get(method, "") for method in groups)])
    return figure


@style.styled
def baselines(rows: Sequence[Mapping[str, Any]]) -> figure_lib.Figure:
    """The networks that a method found, as a line, and fixed networks, a point each; the names say the minutes.

    Args:
      rows: `network`, `method` (empty for a fixed network), `test_top1`, a fraction, `latency_ms` and `minutes`.

    Raises:
      NothingToDraw: no network has a latency and a top-1.
    """
    rows = style.known(rows, "test_top1", "latency_ms")
    if not rows:
        raise style.NothingToDraw("baselines: no network with a latency and a top-1")
    groups: dict[str, list] = {}
    for row in sorted(rows, key=lambda row: float(row["latency_ms"])):
        groups.setdefault(row["method"] or row["network"], []).append(row)
    looks = style.appearance(list(groups))
    for name, found in groups.items():
        looks[name]["label"] += f", {float(found[0]['minutes']):.3g} min" + (" in all" if found[0]["method"] else "")
    margin = min(0.5 + max(style.text_width(look["label"]) for look in looks.values()), 5.0)
    height = max(4.3, 1.4 + labels.LINE * len(looks))
    figure = style.new(5.6 + margin, height, "Test top-1 against measured latency")
    axis = figure.subplots()
    style.latency_axis(axis, "x", style.column(rows, "latency_ms"), "measured latency (ms)")
    axis.set_ylabel("test top-1 (%)")
    _limits(axis, 100 * style.column(rows, "test_top1"), np.array([]))
    ends = []
    for name, found in groups.items():
        latency_ms, top1 = style.column(found, "latency_ms"), 100 * style.column(found, "test_top1")
        looks[name]["linestyle"] = "-" if found[0]["method"] else ""
        axis.plot(latency_ms, top1, zorder=3, markersize=6.5, markeredgecolor="white", **looks[name])
        ends.append((looks[name], latency_ms[-1], top1[-1]))
    labels.names(axis, ends, height - 1.3)
    style.footnote(figure, ["Minutes: training of a fixed network; the whole run of a method, search and all."])
    return figure


def _common(rows: Sequence[Mapping[str, Any]], options: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The first option whose column has a value in every row; the last one if there is none."""
    return next((o for o in options if np.isfinite(style.column(rows, o[0])).all()), options[-1])


def _limits(axis: axes_lib.Axes, top1: np.ndarray, cloud: np.ndarray) -> list[str]:
    """Sets the limits of the accuracy; a sentence if records lie below them."""
    low, high = top1.min(), top1.max()
    if len(cloud):
        low, high = min(low, np.quantile(cloud, _CUT)), max(high, cloud.max())
    pad = 0.06 * (high - low) or 0.5
    axis.set_ylim(low - pad, high + pad)
    axis.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=style.STEPS))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.10g}"))
    below = int(np.sum(cloud < low - pad))
    return [f"{below:,} of them {'lies' if below == 1 else 'lie'} below the axis."] if below else []


def _cloud(axis: axes_lib.Axes, latency_ms: np.ndarray, top1: np.ndarray, best_too: bool) -> list[tuple]:
    """Draws the records and, if asked for, the best of them; the end of that line, if there is one."""
    many = len(top1) > 1000
    # Thousands of points as an image: the vector file stays small.
    axis.scatter(
        latency_ms, top1, s=3 if many else 9, color=style.LIGHT, alpha=0.35 if many else 0.8, linewidths=0,
        zorder=0, rasterized=many, label="records",
    )  # fmt: skip
    if not best_too:
        return []
    best = pareto.frontier(latency_ms, top1)
    look = {"label": "best records", "color": style.GREY, "linestyle": "-", "marker": ""}
    axis.plot(latency_ms[best], top1[best], drawstyle="steps-post", linewidth=0.9, zorder=2, **look)
    return [(look, latency_ms[best][-1], top1[best][-1])]
