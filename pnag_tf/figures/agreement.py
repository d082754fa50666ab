"""Latency as predicted against latency as measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import figure as figure_lib
from matplotlib import ticker
from numpy.typing import ArrayLike

from pnag_tf.figures import style

_LOOKS = (
    (style.GREY, "o", "none"),
    (style.BLUE, "s", style.BLUE),
    (style.VERMILLION, "^", style.VERMILLION),
    (style.GREEN, "D", "none"),
    (style.BLACK, "v", style.BLACK),
)


@style.styled
def latency_agreement(networks: Mapping[str, tuple[ArrayLike, ArrayLike]], device: str = "") -> figure_lib.Figure:
    """Above, measured against predicted latency with the line of equality; below, the error of each prediction.

    Args:
      networks: name of a group, such as 'check', to (predicted, measured) latencies in ms, two [n]; pairs without
        both values are left out.
      device: for the title.

    Raises:
      NothingToDraw: no network has both latencies.
    """
    groups = {}
    for name, pair in networks.items():
        predicted_ms, measured_ms = (np.asarray(values, np.float64) for values in pair)
        known = np.isfinite(predicted_ms) & np.isfinite(measured_ms) & (measured_ms > 0)
        if known.any():
            groups[name] = predicted_ms[known], measured_ms[known]
    if not groups:
        raise style.NothingToDraw("latency_agreement: no network with a predicted and a measured latency")
    everything = np.concatenate([values for pair in groups.values() for values in pair])
    title = "Predicted against measured latency" + (f"\n{device}" if device else "")
    figure = style.new(5.2, 6.4, title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
    for axis, which in ((above, "x"), (above, "y"), (below, "x")):
        style.latency_axis(axis, which, everything, {"x": "", "y": "measured latency (ms)"}[which])
    below.set(xlabel="predicted latency (ms)", ylabel="error of prediction\n(% of measured)")
    ends = above.get_xlim()
    above.plot(ends, ends, color=style.INK, linewidth=0.9, label="equal", zorder=1)
    below.axhline(0, color=style.INK, linewidth=0.9, zorder=1)
    for number, (name, (predicted_ms, measured_ms)) in enumerate(groups.items()):
        colour, marker, face = _LOOKS[number % len(_LOOKS)]
        error = np.median(np.abs(predicted_ms / measured_ms - 1))
        count = f"{len(predicted_ms):,} network{'s' * (len(predicted_ms) > 1)}"
        look = {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": "", "markersize": 6}
        above.plot(predicted_ms, measured_ms, label=f"{name}, {count}: median error {_share(error)}", **look)
        below.plot(predicted_ms, 100 * (predicted_ms / measured_ms - 1), label=name, **look)
    reach = 1.25 * max(np.abs(below.dataLim.intervaly).max(), 1.0)
    below.set_ylim(-reach, reach)
    below.yaxis.set_major_locator(ticker.MaxNLocator(5, symmetric=True, steps=style.STEPS))
    below.yaxis.set_major_formatter(
        ticker.FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    )
    for axis in (above, below):
        axis.grid(color=style.LIGHT, linewidth=0.5)
        axis.set_axisbelow(True)
    handles, labels = above.get_legend_handles_labels()
    above.legend(handles[1:], labels[1:], loc="upper left", frameon=True, framealpha=0.9, edgecolor="none",
                 fontsize=style.SMALL, handletextpad=0.3, borderpad=0.2)  # fmt: skip
    return figure


def _share(error: float) -> str:
    return f"{100 * error:.1f} %" if error >= 0.001 else f"{100 * error:.2g} %"
