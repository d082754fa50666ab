"""How much of what tells the records of a run apart is signal, in words for the status, the report and the terminal."""

from __future__ import annotations

import numpy as np
from absl import logging

from pnag_tf.run import layout as layout_lib
from pnag_tf.search import noise, records
from pnag_tf.util import files

LITTLE = 0.2  # share of the variance below which the records tell next to nothing


def of_run(layout: layout_lib.Layout) -> noise.Signal | None:
    """What the spread of the records' top-1 is made of; None where standard errors are not known."""
    rows = [row for row in files.rows_left(layout.records, records.COLUMNS) if row.get(records.SE)]
    top1, top1_se = (np.array([float(row[name]) for row in rows]) for name in ("top1", records.SE))
    return noise.signal(top1, top1_se)


def told(found: noise.Signal) -> str:
    """How much is signal, in a sentence; `warning` instead where it is next to nothing."""
    return f"{100 * found.share:.0f} % of the variance of the records' top-1 is signal ({_numbers(found)})"


def warning(found: noise.Signal) -> str | None:
    """What to do where next to nothing is signal; None where there is enough."""
    if found.share >= LITTLE:
        return None
    return (
        f"the records' top-1 differ by no more than their noise ({_numbers(found)}): use more validation images "
        "(measure.validation_images) or train the supernet longer"
    )


def _numbers(found: noise.Signal) -> str:
    return f"standard deviation {100 * found.deviation:.2f} points, standard error {100 * found.error:.2f} points"


def notes(layout: layout_lib.Layout) -> list[str]:
    """What to print of a run: nothing, the share of the signal, or a warning."""
    found = of_run(layout)
    if found is None:
        return []
    problem = warning(found)
    return [f"warning: {problem}" if problem else told(found)]


def warn(layout: layout_lib.Layout) -> None:
    """Logs the warning where there is one."""
    found = of_run(layout)
    if found is not None and (problem := warning(found)):
        logging.warning("%s", problem)
