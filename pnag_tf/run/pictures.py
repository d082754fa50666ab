"""All figures that the files of a run allow."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import figure as figure_lib

from pnag_tf.figures import agreement, blocks, curves, growth, histograms, style, tradeoff
from pnag_tf.run import dominance
from pnag_tf.run import layout as layout_lib
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, frozen

_METHOD = ("method", "budget_ms", "arch", "predicted_top1", "predicted_latency_ms")
_MEASURED = (
    "validation_top1",
    "test_top1",
    "latency_ms",
    "latency_at_table_ms",
)  # in the tables of methods that were deployed


def draw(layout: layout_lib.Layout) -> list[pathlib.Path]:
    """Draws into the figures' folder of a run whatever the files of the run allow.

    | figure | from |
    |---|---|
    | convergence | evaluator/history.csv, generator/history.csv |
    | latency_histograms | eval/samples.csv |
    | rounds | rounds.json, records.csv |
    | baselines | baselines/<device>.csv |
    | frontier | eval/<method>.csv, all of them; records.csv |
    | architectures_<method> | eval/<method>.csv |
    | latency_agreement | latency_table.json; eval/<method>.csv where latencies were measured |

    The name of the device in titles is that of latency_table.json. Other CSV files in eval/ are left alone.

    Returns:
      What was written, two files a figure.

    Raises:
      UserError: a file cannot be used, or there is nothing to draw.
    """
    written = []
    for name, figure in of_run(layout):
        written += style.save(figure, layout.figures / name)
    if not written:
        raise errors.UserError(
            f"{layout.root}: nothing to draw; expected evaluator/history.csv, generator/history.csv, eval/samples.csv, "
            "eval/<method>.csv or latency_table.json, found none with values"
        )
    return written


def of_run(layout: layout_lib.Layout, names: Sequence[str] = ()) -> Iterator[tuple[str, figure_lib.Figure]]:
    """Name and figure of all that the files of the run allow, or of `names`; see `draw`. Raises UserError."""
    for name, draw in _figures(layout):
        try:
            if not names or name in names:
                yield name, draw()
        except style.NothingToDraw:
            pass  # files without a value, as of a run that has only begun


def _figures(layout: layout_lib.Layout) -> Iterator[tuple[str, Callable[[], figure_lib.Figure]]]:
    """The name of each figure, and what draws it or raises NothingToDraw."""
    evaluator = _rows(layout.history(layout.evaluator), ("epoch", "loss"), ("tau",))
    generator = _rows(layout.history(layout.generator), ("iteration", "reward", "entropy"), ("within_budget",))
    yield "convergence", functools.partial(curves.convergence, evaluator, generator)
    samples = _rows(layout.samples, ("method", "budget_ms", "latency_ms"))
    yield "latency_histograms", functools.partial(histograms.latency_histograms, samples)
    for rows in dominance.tables(layout).values():
        yield "baselines", functools.partial(tradeoff.baselines, rows)
    proposed = _proposed(layout)
    records = _rows(layout.records, ("top1", "latency_ms"))
    if layout.rounds.exists():
        grown = files.read_json(layout.rounds)
        yield "rounds", functools.partial(growth.rounds, records, grown["records"], grown.get("budgets", ()))
    yield "frontier", functools.partial(tradeoff.frontier, proposed, records)
    device, networks = _table(layout.latency_table)
    backbone = _backbone(layout.config)
    for method, rows in style.by_method(proposed).items():
        drawn = [(row["arch"], blocks.caption(row)) for row in rows]
        title = f"Architectures found by {style.name(method)}" + (f" on {device}" if device else "")
        yield f"architectures_{_file_name(method)}", functools.partial(blocks.architectures, drawn, title, backbone)
    # One network may serve several budgets; it was measured once.
    deployed = {(row["arch"], row["latency_at_table_ms"]): row for row in proposed}.values()
    networks["deployed"] = [style.column(deployed, name) for name in ("predicted_latency_ms", "latency_at_table_ms")]
    yield "latency_agreement", functools.partial(agreement.latency_agreement, networks, device)


def _file_name(method: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in method)


def _proposed(layout: layout_lib.Layout) -> list[dict[str, Any]]:
    """Rows of all tables of methods, their `arch` an Architecture.

    Raises:
      UserError: a value or an architecture cannot be read, or the architectures are of different spaces.
    """
    rows, shapes = [], {}
    for path in sorted(layout.tables.glob("*.csv")):
        if path == layout.samples or not any(set(_METHOD) <= row.keys() for row in files.read_csv(path, ())):
            continue
        for row in _rows(path, _METHOD, _MEASURED):
            try:
                arch = row["arch"] = space_lib.Architecture.parse(row["arch"])
            except ValueError as error:
                raise errors.UserError(f"{path}: {error}") from None
            slots, rest = divmod(len(arch.kernels), len(arch.depths))
            if rest or len(arch.ratios) != len(arch.kernels) or max(arch.depths) > slots:
                raise errors.UserError(f"{path}: expected as many kernels and ratios as layer slots, found '{arch}'")
            if not np.isfinite(row["latency_at_table_ms"]):  # no reference was measured: as measured
                row["latency_at_table_ms"] = row["latency_ms"]
            shapes.setdefault((len(arch.depths), slots), path)
            rows.append(row)
    if len(shapes) > 1:
        first, second, *_ = shapes.values()
        raise errors.UserError(f"{second}: expected architectures of one space, found another than in {first}")
    return rows


def _backbone(path: pathlib.Path) -> backbone_lib.Backbone | None:
    """That of a run's settings; None where there are none."""
    return frozen.restore(backbone_lib.Backbone, files.read_json(path)["backbone"]) if path.exists() else None


def _table(path: pathlib.Path) -> tuple[str, dict[str, Sequence[np.ndarray]]]:
    """Device of a latency table, and (predicted, measured) of its networks in ms; nothing where there is no table."""
    if not path.exists():
        return "", {}
    value = files.read_json(path)
    try:
        networks = {
            name: [np.array([float(net[key]) for net in value[name]]) for key in ("predicted_ms", "measured_ms")]
            for name in ("calibration", "check")
        }
        return str(value["device"]), networks
    except (KeyError, TypeError, ValueError):
        raise errors.UserError(f"{path}: expected a latency table with device, calibration and check") from None


# ---- CSV files ------------------------------------------------------------------------------------------------------


def _rows(path: pathlib.Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a CSV file with these columns, as floats but for method and arch; none where there is no file.

    An empty or missing value is NaN.

    Raises:
      UserError: a required column is missing, or a value is no number.
    """
    rows = files.rows_left(path, required)
    columns = (*required, *optional)
    return [{name: _value(path, number, name, row) for name in columns} for number, row in enumerate(rows, 1)]


def _value(path: pathlib.Path, number: int, name: str, row: Mapping[str, str | None]) -> str | float:
    if name in ("method", "arch"):
        return row[name] or ""
    try:
        return float(row.get(name) or "nan")
    except ValueError:
        raise errors.UserError(f"{path}, row {number}: expected a number in {name}, found '{row[name]}'") from None
