"""Atomic writes: a file of a run is either the old one or the new one, whole, whenever the process dies."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import pathlib
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pnag_tf.util import errors

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\..+")


def digest(identity: object) -> str:
    """A short name for whatever has this `repr`."""
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]


def unfinished(path: str | os.PathLike) -> pathlib.Path:
    """A name beside `path` that no other process has, to write to and then rename; hidden, with the same suffixes."""
    path = pathlib.Path(path)
    # The suffixes stay last: Keras and matplotlib choose the format by them.
    # Process ids are the same in two containers that share a folder.
    return path.with_name(f".{uuid.uuid4().hex}.{path.name}")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a name beside `path` to write to; renames it to `path` when the block ends well, else removes it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = unfinished(path)
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def is_temporary(path: pathlib.Path) -> bool:
    """Whether this is what `unfinished` names."""
    return _TEMPORARY.fullmatch(path.name) is not None


def write_text(path: str | os.PathLike, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_json(path: str | os.PathLike, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_bytes(path: str | os.PathLike) -> bytes:
    """Raises UserError when the file cannot be read."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.UserError(f"cannot read {path}: {error.strerror or error}") from None


def read_json(path: str | os.PathLike) -> Any:
    """Raises UserError when the file is missing or is not JSON."""
    try:
        return json.loads(pathlib.Path(path).read_text())
    except OSError as error:
        raise errors.UserError(f"cannot read {path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: expected JSON, found {error}") from None


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises UserError when the file is missing or is none."""
    try:
        with np.load(path) as stored:
            return dict(stored)
    except OSError as error:
        raise errors.UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise errors.UserError(f"{path}: expected an .npz file, found {error}") from None


def write_csv(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    with replacing(path) as beside, open(beside, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: str | os.PathLike, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV with a header. Raises UserError when the file is missing, or one of `columns` is."""
    try:
        with open(path, newline="") as stream:
            reader = csv.DictReader(stream)
            rows, names = list(reader), reader.fieldnames or []
    except OSError as error:
        raise errors.UserError(f"cannot read {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: expected a CSV, found {error}") from None
    missing = [column for column in columns if column not in names]
    if missing:
        raise errors.UserError(f"{path}: expected a column {missing[0]}, found {','.join(names)[:100] or 'nothing'}")
    return rows


def rows_left(path: str | os.PathLike, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV that an earlier run may have left: none where there is no file, else as `read_csv`."""
    return read_csv(path, columns) if os.path.exists(path) else []
