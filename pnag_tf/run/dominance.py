"""Networks of a run against the baselines: the table of both, and which are dominated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pnag_tf.run import layout as layout_lib
from pnag_tf.util import files

COLUMNS = (
    "network",
    "method",  # that found it; empty off the shelf
    "budget_ms",
    "arch",
    "weights",  # that it started from
    "minutes",  # of training; of the whole run where a method found it
    "epochs",
    "validation_top1",
    "test_top1",
    "test_top5",
    "latency_ms",
    "latency_p5_ms",
    "latency_p95_ms",
    "latency_at_table_ms",
    "slowness",
    "params",
    "madds",
)
Rows = Sequence[Mapping[str, str]]


def tables(layout: layout_lib.Layout) -> dict[str, list[dict[str, str]]]:
    """Device -> the rows of its table, once the networks of the run and the baselines in it are measured."""
    found = {}
    for path in sorted(layout.baselines.glob("*.csv")):
        rows = [row for row in files.read_csv(path, COLUMNS) if row["latency_ms"] and row["test_top1"]]
        if len({bool(row["method"]) for row in rows}) == 2:
            found[path.stem] = rows
    return found


def dominating(network: Mapping[str, str], rows: Rows) -> list[str]:
    """The off-the-shelf networks that are more accurate on test images and faster, the most accurate first."""
    top1, latency_ms = _figures(network)
    better = [(*_figures(row), row["network"]) for row in rows if not row["method"]]
    better = [each for each in better if each[0] > top1 and each[1] < latency_ms]
    return [name for _, _, name in sorted(better, key=lambda each: (-each[0], each[1]))]


def verdict(rows: Rows) -> str:
    """How many networks of the run are dominated, and by what, in a sentence."""
    own = [row for row in rows if row["method"]]
    beaten = {row["network"]: names for row in own if (names := dominating(row, rows))}
    count = f"{len(beaten) or 'None'} of {len(own)} {own[0]['method']} networks"
    said = f"{count} {'is' if len(beaten) < 2 else 'are'} dominated (higher test top-1 at lower latency)"
    by = "; ".join(f"{name} by {', '.join(names)}" for name, names in beaten.items())
    return f"{said}: {by}" if by else said


def _figures(row: Mapping[str, str]) -> tuple[float, float]:
    return float(row["test_top1"]), float(row["latency_ms"])
