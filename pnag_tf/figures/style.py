"""The look that all figures share: colours, type, latency axes, the names of methods; and how figures are saved."""

from __future__ import annotations

import functools
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from matplotlib import font_manager, textpath, ticker
from matplotlib import style as mpl_style

from pnag_tf.util import digits, files

# Okabe and Ito, "Color Universal Design".
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
INK, GREY, LIGHT = "#222222", "#666666", "#C8C8C8"

TEXT, SMALL, TITLE = 9.0, 8.0, 11.0  # points
DPI = 200
STEPS = (1, 2, 5, 10)  # between ticks
EDGE = 0.08  # inches from the edge of a figure to what stands in it
LOG_FROM = 5.0  # a latency range of this ratio or more gets a logarithmic axis

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures look the same everywhere
    "font.size": TEXT,
    "text.color": INK,
    "text.usetex": False,
    "axes.titlesize": TEXT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "pnag_tf",  # ids of clip paths would differ from file to file
}

# The methods that this package knows: name to read, colour, marker, dash.
_METHODS = {
    "pnag": ("PNAG", BLUE, "o", "-"),
    "evo": ("EVO", VERMILLION, "s", (0, (5, 1.5))),
    "nas_mo": ("NAS-MO", GREEN, "^", (0, (5, 1.5, 1, 1.5))),
    "ofa_mo": ("OFA-MO", PURPLE, "D", (0, (1, 1))),
    "random": ("random", GREY, "X", (0, (3, 1, 1, 1, 1, 1))),
}
NOTES = {"ofa_mo": "OFA-MO: the evolutionary search of once-for-all on the reward acc · (lat / T)ʷ"}
# Numbers of entries without a common factor: the first 5 · 7 · 3 other methods all look different.
_COLOURS = (ORANGE, SKY, BLACK, VERMILLION, BLUE, GREEN, PURPLE)
_MARKERS = ("v", "P", "<", "h", ">")
_DASHES = ((0, (7, 2)), (0, (3, 1)), (0, (6, 1, 1, 1, 1, 1)))


class NothingToDraw(ValueError):
    """The rows hold no value that the figure could show."""


def styled(function: Callable) -> Callable:
    """Runs a function under the settings of all figures, whatever those of the process, which come back afterwards."""

    @functools.wraps(function)
    def inside(*args, **kwargs):
        with mpl_style.context(_STYLE, after_reset=True):
            return function(*args, **kwargs)

    return inside


class Picture(figure_lib.Figure):
    """A figure that a notebook shows by itself: IPython asks for PNGs only of figures that pyplot has made."""

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as png:
            self.savefig(png, format="png")
            return png.getvalue()


def new(width: float, height: float, title: str) -> figure_lib.Figure:
    """An empty figure, sizes in inches, with a title in as many lines as it needs."""
    figure = Picture((width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=EDGE, h_pad=0.06)
    if title:
        _title(figure, fitted(title, width - 0.3, TITLE))
    return figure


def canvas(width: float, height: float, title: str) -> tuple[figure_lib.Figure, axes_lib.Axes]:
    """A figure for a drawing: the title, and under it an axis without frame of exactly this size in inches."""
    title = fitted(title, width, TITLE) if title else ""
    above = EDGE + (0.08 + 1.25 * TITLE / 72 * (title.count("\n") + 1)) * bool(title)
    whole = np.array([width + 2 * EDGE, height + above + EDGE])
    figure = Picture(tuple(whole))
    if title:
        _title(figure, title, y=1 - EDGE / whole[1], va="top")
    axis = figure.add_axes((*(EDGE / whole), *([width, height] / whole)))
    axis.set_axis_off()
    return figure, axis


def _title(figure: figure_lib.Figure, text: str, **place) -> None:
    left = EDGE / figure.get_size_inches()[0]
    figure.suptitle(text, x=left, ha="left", fontsize=TITLE, fontweight="bold", **place)


def fitted(text: str, width: float, size: float) -> str:
    """Text in lines that fit a width in inches at a type size in points, as far as words allow."""
    lines = []
    for paragraph in text.split("\n"):
        lines.append("")
        for word in paragraph.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and text_width(longer, size) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def text_width(text: str, size: float = TEXT, weight: str = "bold") -> float:
    """Inches that a line of text takes, with what rounding to pixels may add."""
    font = font_manager.FontProperties(family=_STYLE["font.family"], size=size, weight=weight)
    return textpath.text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] * 1.06 / 72


@styled
def save(figure: figure_lib.Figure, path: str | os.PathLike) -> list[pathlib.Path]:
    """Writes `<path>.png` and `<path>.svg`, atomically; the same figure gives the same bytes.

    Args:
      path: without a suffix; what stands behind a dot, as in `0.119`, is kept.

    Returns:
      The two paths.
    """
    path, written = pathlib.Path(path), []
    for suffix, settings in ((".png", {"dpi": DPI}), (".svg", {"metadata": {"Date": None}})):
        written.append(path.with_name(path.name + suffix))
        with files.replacing(written[-1]) as beside:
            figure.savefig(beside, format=suffix[1:], **settings)
    return written


@styled
def svg(figure: figure_lib.Figure) -> str:
    """The figure as the text of an SVG file."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


# ---- rows -----------------------------------------------------------------------------------------------------------


def column(rows: Iterable[Mapping[str, Any]], name: str) -> np.ndarray:
    """One column of rows, as of `csv.DictReader`: float64 [n]; NaN where the value is missing or empty."""
    values = (row.get(name) for row in rows)
    return np.array([float("nan" if value in ("", None) else value) for value in values], np.float64)


def known(rows: Iterable[Mapping[str, Any]], *names: str) -> list[Mapping[str, Any]]:
    """The rows with a finite value in each of the columns."""
    rows = list(rows)
    finite = np.all([np.isfinite(column(rows, name)) for name in names], axis=0)
    return [row for row, keep in zip(rows, finite, strict=True) if keep]


def by_method(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of each method; PNAG first, then in the order in which they come."""
    groups: dict[str, list] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    return dict(sorted(groups.items(), key=lambda item: item[0] != "pnag"))


def appearance(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How to draw each method: `label`, `color`, `marker`, `linestyle`; known methods look the same everywhere.

    Others first take the colours that none of the known ones beside them has.
    """
    looks, others = {}, sorted(set(methods) - set(_METHODS))
    taken = {_METHODS[method][1] for method in methods if method in _METHODS}
    colours = sorted(_COLOURS, key=lambda colour: colour in taken)
    for method in methods:
        if method in _METHODS:
            label, *look = _METHODS[method]
        else:
            label, number = method, others.index(method)
            look = [part[number % len(part)] for part in (colours, _MARKERS, _DASHES)]
        looks[method] = {"label": label} | dict(zip(("color", "marker", "linestyle"), look, strict=True))
    return looks


def name(method: str) -> str:
    return appearance([method])[method]["label"]


def footnote(figure: figure_lib.Figure, notes: Iterable[str]) -> None:
    """Small print below everything."""
    width = figure.get_size_inches()[0]
    text = "\n".join(fitted(note, width - 0.3, SMALL) for note in notes if note)
    if text:
        figure.supxlabel(text, x=EDGE / width, ha="left", fontsize=SMALL, color=GREY)


# ---- axes -----------------------------------------------------------------------------------------------------------


def ms(value: float) -> str:
    """A latency as it is said: 0.119 ms, 25 ms, 1130 ms."""
    return f"{value:.3g} ms" if value < 1000 else f"{value:.0f} ms"


def budget(value_ms: float) -> str:
    """A budget, being given, is said with all its digits."""
    return f"{digits.shortest(value_ms)} ms"


def percent(share: float) -> str:
    """One decimal; a share that is not whole never reads as 100 %."""
    return f"{min(100 * share, 100.0 if share >= 1 else 99.9):.1f} %"


def is_log(values: np.ndarray) -> bool:
    """Whether latencies spread so far that their ratios are what matters."""
    return bool(np.min(values) > 0 and np.max(values) / np.min(values) >= LOG_FROM)


def latency_axis(axis: axes_lib.Axes, which: str, values: np.ndarray, label: str = "") -> None:
    """Scale, limits, ticks and label of a latency axis that shows all of `values` (ms).

    Args:
      which: 'x' or 'y'.
    """
    low, high = float(np.min(values)), float(np.max(values))
    log = is_log(values)
    if log:
        pad = (high / low) ** 0.05
        limits = low / pad, high * pad
    else:
        pad = 0.06 * (high - low) or 0.1 * high or 1.0
        limits = low - pad, high + pad
    axis.set(**{f"{which}scale": "log" if log else "linear", f"{which}lim": limits, f"{which}label": label})
    line = axis.xaxis if which == "x" else axis.yaxis
    if log:
        subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
        line.set_major_locator(ticker.LogLocator(subs=subs, numticks=20))
        line.set_minor_locator(ticker.NullLocator())
    else:
        line.set_major_locator(ticker.MaxNLocator(6, steps=STEPS))
    line.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.10g}"))


def fractions(axis: axes_lib.Axes, which: str, values: Sequence[float]) -> np.ndarray:
    """Where values lie along an axis: 0 at its lower, 1 at its upper limit."""
    number = "xy".index(which)
    points = np.zeros((len(values), 2))
    points[:, 1 - number] = axis.get_xlim()[0] if number else axis.get_ylim()[0]
    points[:, number] = values
    return (axis.transScale + axis.transLimits).transform(points)[:, number]


def spread(positions: Sequence[float], gap: float) -> np.ndarray:
    """Positions moved as little as a sweep allows so that no two are nearer than `gap`; within 0 and 1 if they fit."""
    positions = np.asarray(positions, float)
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    moved = np.maximum.accumulate(np.clip(positions[order], 0, 1) - steps)
    moved = np.minimum(moved, max(1 - steps[-1], 0.0)) + steps if len(steps) else moved
    result = np.empty_like(positions)
    result[order] = moved
    return result


def budget_lines(axis: axes_lib.Axes, budgets_ms: Sequence[float], width: float) -> None:
    """Dotted lines at the budgets, labelled above the axis; labels that would collide stand upright.

    Args:
      width: of the axis, in inches, roughly.
    """
    budgets_ms = sorted(set(budgets_ms))
    places = fractions(axis, "x", budgets_ms)
    needed = max(text_width(f"≤ {budget(budget_ms)}", SMALL, "normal") for budget_ms in budgets_ms) + 0.02
    upright = bool(np.any(np.diff(places) * width < needed))
    labels = spread(places, 0.16 / width) if upright else places
    for budget_ms, place in zip(budgets_ms, labels, strict=True):
        axis.axvline(budget_ms, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        axis.text(
            place,
            1.015,
            f"≤ {budget(budget_ms)}",
            transform=axis.transAxes,
            rotation=90 if upright else 0,
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color=INK,
        )
