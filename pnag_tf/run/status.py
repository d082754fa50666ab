"""Where a run stands, read off the files in its folder: what is done, what is under way, what comes next."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time

from pnag_tf.run import workdir
from pnag_tf.search import evaluator, generator, predictor, reinforce
from pnag_tf.util import files


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A stage and its traces.

    Attributes:
      done: a pattern of which a file exists when the stage is over.
      begun: patterns of which files exist earlier than that.
    """

    name: str
    done: str
    begun: tuple[str, ...] = ()


_ROAD = (
    _Stage("supernet", "", ("supernet/*",)),
    _Stage("latency_table", "latency_table.json", ("latency_table.json.parts/*",)),
    _Stage("records", "records.csv", ("records.unfinished.csv",)),
    _Stage("predictors", f"predictors/{predictor.FILE}"),
    _Stage("evaluator", f"evaluator/{evaluator.FILE}"),
    _Stage("generator", f"generator/{generator.FILE}", (f"generator/{reinforce.CHECKPOINT}",)),
    _Stage("eval", "eval/*.csv", ("deploy/*",)),
)
_BESIDE = (
    _Stage("finetune", "eval/*_finetuned.csv", ("finetune/*/*",)),
    _Stage("tune", "tune/best.json", ("tune/*",)),
    _Stage("ablation", "ablation/table_3.csv", ("ablation/*.csv",)),
    _Stage("compare", "compare/*.md", ("compare/*/*",)),
    _Stage("figures", "figures/*.png"),
    _Stage("report", "report/index.html"),
)


def look(folder: pathlib.Path) -> list[dict[str, str]]:
    """One row a stage: `stage`, `state`, `changed` (how long ago), `size` and `took` (all processes that ended).

    Raises:
      UserError: the folder holds no run.
    """
    settings = workdir.read_settings(folder)
    seconds = files.read_json(folder / workdir.SECONDS) if (folder / workdir.SECONDS).exists() else {}
    rows, found_next = [], False
    for stage in (*_road(settings), *_BESIDE):
        state, paths = _state(folder, stage, settings)
        if state == "to come" and stage in _BESIDE:
            continue
        if state != "done" and stage not in _BESIDE and not found_next:
            state, found_next = f"{state}, next" if state != "to come" else "next", True
        took = sum(value for name, value in seconds.items() if name.split("/")[0] == stage.name)
        rows.append(
            {
                "stage": stage.name,
                "state": state,
                "changed": _ago(max(path.stat().st_mtime for path in paths)) if paths else "",
                "size": f"{sum(path.stat().st_size for path in paths) / 1e6:.2f} MB" if paths else "",
                "took": _duration(took) if took else "",
            }
        )
    return rows


def _road(settings: dict) -> tuple[_Stage, ...]:
    """The stages that a run with these settings needs."""
    skipped = set()
    if settings.get("records_file"):
        skipped |= {"supernet", "latency_table"}
    if settings.get("supernet_file"):
        skipped.add("supernet")
    if settings["latency"]["source"] != "table":
        skipped.add("latency_table")
    last = f"supernet/{len(settings['supernet']['phases']) - 1}_*.keras"
    road = (dataclasses.replace(_ROAD[0], done=last), *_ROAD[1:])
    return tuple(stage for stage in road if stage.name not in skipped)


def _state(folder: pathlib.Path, stage: _Stage, settings: dict) -> tuple[str, list[pathlib.Path]]:
    """What has become of a stage, and the files that tell."""
    if any(folder.glob(stage.done)):
        whole = folder / stage.name  # where a stage has a folder of its own, all that is in it
        return "done", [
            path for path in (whole.rglob("*") if whole.is_dir() else folder.glob(stage.done)) if path.is_file()
        ]
    paths = [path for pattern in stage.begun for path in folder.glob(pattern) if path.is_file()]
    return (f"under way{_progress(folder, stage, settings)}" if paths else "to come"), paths


def _progress(folder: pathlib.Path, stage: _Stage, settings: dict) -> str:
    if stage.name == "supernet":
        phases = settings["supernet"]["phases"]
        done = len(list(folder.glob("supernet/*.keras")))
        return f": {done} of {len(phases)} phases"
    if stage.name == "records":
        lines = (folder / "records.unfinished.csv").read_text().count("\n") - 1
        return f": {lines} of {settings['measure']['architectures']}"
    if stage.name == "generator":
        arrays = files.read_npz(folder / "generator" / reinforce.CHECKPOINT)
        asked = json.loads(str(arrays["identity"]))["iterations"]
        return f": {int(arrays['iteration'])} of {asked} iterations"
    return ""


def _ago(changed: float) -> str:
    return f"{_duration(max(0.0, time.time() - changed))} ago"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
