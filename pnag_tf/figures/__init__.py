"""The figures of PNAG, from plain rows and arrays; `run.pictures` draws them from the files of a run.

    from pnag_tf import figures
    figure = figures.frontier(rows, records)               # one figure: a matplotlib Figure, no pyplot behind it
    figures.save(figure, "frontier")                       # frontier.png and frontier.svg

Colours are those of Okabe and Ito; marker, dash or lightness tells again what the colour tells.
"""

from pnag_tf.figures.agreement import latency_agreement
from pnag_tf.figures.blocks import architecture, architectures, caption
from pnag_tf.figures.curves import convergence
from pnag_tf.figures.growth import rounds
from pnag_tf.figures.histograms import latency_histograms
from pnag_tf.figures.style import save, svg
from pnag_tf.figures.tradeoff import baselines, frontier

__all__ = [
    "architecture",
    "architectures",
    "baselines",
    "caption",
    "convergence",
    "frontier",
    "latency_agreement",
    "latency_histograms",
    "rounds",
    "save",
    "svg",
]
