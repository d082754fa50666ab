"""The folder of a run, which belongs to one set of settings."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Iterator

import pnag_tf
from pnag_tf import config as config_lib
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.util import errors, files, scalars

CONFIG = "config.json"
SECONDS = "seconds.json"
# Settings that may change from call to call.
FREE = ("eval", "finetune", "memory", "method", "mixed_precision", "ray", "tune")
MADE_BY = "made_by"  # in CONFIG: what tells a run's folder from anybody else's; ...
# ... a version that did not write it yet wrote all of these.
_UNMARKED = ("preset", "space", "backbone", "data", "supernet", "measure", "latency", "predictors", "evaluator")
_UNMARKED += ("generator", "device", "seed", "records_file")


class Workdir:
    """A run's settings and its folder.

    Args:
      config: the settings; what changes the files of a stage must not change from call to call.
      workdir: the folder of the run.
      records_file: measured records to start from instead of a supernet; empty for none.
      supernet_file: a saved supernet to use instead of training one; empty for none.
      distribution: what supernet and fine-tuning are trained on; None for this process alone.
    """

    def __init__(
        self,
        config: config_lib.Config,
        workdir: pathlib.Path,
        records_file: str = "",
        supernet_file: str = "",
        distribution: distribution_lib.Distribution | None = None,
    ):
        self.config, self.workdir = config, workdir
        self.distribution = distribution or distribution_lib.make()
        self.records_file, self.supernet_file = records_file, supernet_file

    def open(self, force: bool = False) -> None:
        """Makes the folder, or checks that it belongs to the same settings.

        Of several workers the first one writes; the others wait for its settings and check them.

        Args:
          force: start anew: what an earlier run left in the folder is removed.

        Raises:
          UserError: the folder holds a run with other settings, or something that is no run.
        """
        path = self.workdir / CONFIG
        if force and path.exists():
            read_settings(self.workdir)  # a folder that is not a run's is left as it is
            shutil.rmtree(self.workdir)
        # Listed before the settings are looked for: the first worker writes them before anything else.
        made = {each.name for each in _entries(self.workdir) if not files.is_temporary(each)}
        if made and not path.exists():
            raise errors.UserError(f"{self.workdir}: expected an empty folder or a run, found other files")
        settings, made_by = self._settings(), f"pnag_tf {pnag_tf.__version__}"
        if self.distribution.shared(path).exists():
            there = read_settings(self.workdir)
            made_by = there.pop(MADE_BY, made_by)
            found = _completed(there)
            if made <= {CONFIG}:
                found = settings  # nothing is made yet
            if not made & {"evaluator", "generator", "ablation"}:
                # Nothing there depends on these yet: they may now be what `tune` found.
                found |= {part: settings[part] for part in ("evaluator", "generator")}
            if found != settings:
                difference = next(_differences(settings, found))
                raise errors.UserError(
                    f"{self.workdir} was made with other settings: {difference}; --force starts anew"
                )
        if self.distribution.first:
            files.write_json(path, {MADE_BY: made_by} | settings)

    def _settings(self) -> dict:
        """What the files of all stages but `eval` depend on, as JSON gives it back."""
        settings = dataclasses.asdict(self.config) | {
            "records_file": self.records_file,
            "supernet_file": self.supernet_file,
        }
        for free in FREE:
            del settings[free]
        return json.loads(json.dumps(settings))

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Adds the seconds that its block takes to those in `seconds.json`, whether or not the block ends well."""
        start = time.monotonic()
        try:
            yield
        finally:
            known = self.seconds()
            if self.distribution.first:
                files.write_json(
                    self.workdir / SECONDS, known | {what: round(known.get(what, 0.0) + time.monotonic() - start, 1)}
                )

    def seconds(self) -> dict[str, float]:
        """What has been made so far -> the seconds spent on it; those of a killed process are not known."""
        path = self.workdir / SECONDS
        return files.read_json(path) if path.exists() else {}

    def log(self, stage: str) -> scalars.Log:
        """Where the curves of a training go: `tensorboard --logdir=<workdir>/logs` shows them."""
        return scalars.into(self.workdir / "logs" / stage) if self.distribution.first else scalars.nowhere

    @property
    def has_supernet(self) -> bool:
        return not self.records_file


def write_history(path: pathlib.Path, rows: list[dict]) -> None:
    """A CSV with every column that any row has."""
    files.write_csv(path, rows, dict.fromkeys(key for row in rows for key in row))


def read_settings(folder: pathlib.Path) -> dict:
    """`config.json` of a run's folder.

    Raises:
      UserError: there is none, or it is not one that this program wrote.
    """
    path = folder / CONFIG
    if not path.exists():
        raise errors.UserError(f"{folder}: expected the folder of a run, found no {CONFIG} in it")
    found, parts = files.read_json(path), dataclasses.asdict(config_lib.Config(""))
    marked = isinstance(found, dict) and str(found.get(MADE_BY, "")).startswith("pnag_tf ")
    whole = isinstance(found, dict) and all(name in found for name in _UNMARKED)
    if not (marked or whole) or any(
        isinstance(value, dict) and not isinstance(found.get(name, {}), dict) for name, value in parts.items()
    ):
        raise errors.UserError(f"{path}: expected the settings of a run, found something else; left as it is")
    return found


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    """What lies in a folder that need not exist."""
    return list(folder.iterdir()) if folder.exists() else []


def _completed(found: dict) -> dict:
    """Settings of an earlier version: what it did not have yet was as it is by default."""
    defaults = json.loads(json.dumps(dataclasses.asdict(config_lib.Config(""))))
    phase = dataclasses.asdict(config_lib.Phase("", 0, 0))
    known = {name: value for name, value in defaults.items() if name not in FREE}
    whole = known | {"records_file": "", "supernet_file": ""} | found
    for part, value in known.items():
        if isinstance(value, dict):
            whole[part] = value | whole[part]
    whole["supernet"]["phases"] = [json.loads(json.dumps(phase)) | each for each in whole["supernet"]["phases"]]
    return whole


def _differences(expected: dict, found: dict, name: str = ""):
    """Sentences that name the settings in which two runs differ."""
    for key in expected:
        here, there = expected[key], found.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, f"{name}{key}.")
        elif here != there:
            yield f"{name}{key} is {there} there and {here} here"
