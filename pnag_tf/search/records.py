"""Records: the table of architectures with measured accuracy and latency, from our CSV or the authors' JSON."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pathlib

import numpy as np

from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files

COLUMNS = ("arch", "top1", "latency_ms")
SE = "top1_se"  # a column that may be missing


@dataclasses.dataclass(frozen=True)
class Records:
    """Measured architectures of one space.

    Attributes:
      space: the space they belong to.
      choices: int32 ``[n, tokens]``.
      top1: validation accuracy as a fraction, float64 ``[n]``.
      latency_ms: float64 ``[n]``.
      top1_se: standard error of `top1` relative to the mean of all records, float64 ``[n]``; NaN where it is unknown,
        as it is for all where not given. See `noise.standard_errors`.
    """

    space: space_lib.SearchSpace
    choices: np.ndarray
    top1: np.ndarray
    latency_ms: np.ndarray
    top1_se: np.ndarray | None = None

    def __post_init__(self):
        if self.top1_se is None:
            object.__setattr__(self, "top1_se", np.full(len(self.choices), np.nan))

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, rows) -> Records:
        return Records(self.space, self.choices[rows], self.top1[rows], self.latency_ms[rows], self.top1_se[rows])

    def lacks(self, choices: np.ndarray) -> np.ndarray:
        """Which of the choices ``[n, tokens]`` are not in the table: bool ``[n]``."""
        known = {row.tobytes() for row in self.choices}
        return np.array([row.tobytes() not in known for row in choices], bool)

    def append(self, other: Records) -> Records:
        """Both tables, one after the other; architectures already present in the first are not repeated."""
        other = other[self.lacks(other.choices)]
        return Records(
            self.space,
            np.concatenate([self.choices, other.choices]),
            np.concatenate([self.top1, other.top1]),
            np.concatenate([self.latency_ms, other.latency_ms]),
            np.concatenate([self.top1_se, other.top1_se]),
        )

    def split(self, rng: np.random.Generator, held_out: float) -> tuple[Records, Records]:
        """A random division into (training, held-out) records."""
        order = rng.permutation(len(self))
        count = max(1, round(held_out * len(self)))
        return self[np.sort(order[count:])], self[np.sort(order[:count])]


def read(path: str | os.PathLike, space: space_lib.SearchSpace, device: str = "mobile") -> Records:
    """Reads a records file.

    Args:
      path: our CSV, columns ``arch,top1,latency_ms``, where known ``top1_se`` (more may follow), or the public PNAG
        file: a JSON list of ``{"arch": str, "w1.2": {"top1_acc": fraction, "<device>_latency": seconds, ...}}``.
      space: the space that every architecture must lie in.
      device: whose latency is taken from the JSON file: mobile, cpu or gpu. Seconds become ms here and nowhere else.

    Raises:
      UserError: the file cannot be read, a value is no number, or an architecture is of another space.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(f"cannot read records {path}: {getattr(error, 'strerror', error)}") from None
    rows = _json_rows(path, text, device) if path.suffix == ".json" else csv_rows(text, str(path))
    if not rows:
        raise errors.UserError(f"{path}: expected records, found none")
    return from_rows(rows, space, str(path))


def from_rows(rows: list[tuple], space: space_lib.SearchSpace, source: str) -> Records:
    """Records of (arch, top1, latency_ms, top1_se or "") rows; `source` names their origin in errors."""
    columns = ([], [], [], [])
    for number, row in enumerate(rows, 1):
        try:
            arch, top1, latency_ms = space_lib.Architecture.parse(row[0]), float(row[1]), float(row[2])
            top1_se = float(row[3]) if row[3] else np.nan
            space.check(arch)
        except (TypeError, ValueError) as error:
            raise errors.UserError(f"{source}, record {number}: {error}") from None
        if not (0 <= top1 <= 1 and 0 < latency_ms < float("inf")):
            raise errors.UserError(
                f"{source}, record {number}: expected top1 as a fraction and latency_ms > 0, found {row[1]}, {row[2]}"
            )
        if row[3] and not 0 <= top1_se <= 1:
            raise errors.UserError(f"{source}, record {number}: expected {SE} as a fraction, found {row[3]}")
        for column, value in zip(columns, (arch, top1, latency_ms, top1_se), strict=True):
            column.append(value)
    return Records(space, space.encode(columns[0]), *map(np.array, columns[1:]))


def csv_rows(text: str, source: str) -> list[tuple[str, str, str, str]]:
    """Rows of a CSV's text, for `from_rows`; `source` names its origin in errors."""
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        found = ",".join(reader.fieldnames or ("nothing",))
        raise errors.UserError(f"{source}: expected a CSV with columns {','.join(COLUMNS)}, found {found[:200]}")
    return [(*(row[column] for column in COLUMNS), row.get(SE) or "") for row in reader]


def _json_rows(path: pathlib.Path, text: str, device: str) -> list[tuple[str, float, float, str]]:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise errors.UserError(f"{path}: expected JSON, found {error}") from None
    rows = []
    for number, entry in enumerate(table if isinstance(table, list) else [], 1):
        try:
            # One width multiplier per entry, its name the key: "w1.0" or "w1.2".
            values = next(value for key, value in entry.items() if key.startswith("w"))
            rows.append((entry["arch"], values["top1_acc"], 1000.0 * values[f"{device}_latency"], ""))
        except (AttributeError, KeyError, StopIteration, TypeError) as error:
            raise errors.UserError(
                f"{path}, record {number}: expected arch, top1_acc and {device}_latency, found none ({error})"
            ) from None
    return rows


def write(path: str | os.PathLike, records: Records) -> None:
    """Writes the CSV form, atomically; without ``top1_se`` where that is unknown for all.

    Numbers have all their digits: what goes on from the file repeats what would have gone on from memory.
    """
    columns = (records.top1.tolist(), records.latency_ms.tolist(), records.top1_se.tolist())
    rows = (
        {"arch": str(arch), "top1": top1, "latency_ms": latency_ms} | ({SE: top1_se} if np.isfinite(top1_se) else {})
        for arch, top1, latency_ms, top1_se in zip(records.space.decode(records.choices), *columns, strict=True)
    )
    files.write_csv(path, rows, (*COLUMNS, SE) if np.isfinite(records.top1_se).any() else COLUMNS)
