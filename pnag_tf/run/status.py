"""Where a run stands, read off the files in its folder: what is done, what is under way, what comes next."""

from __future__ import annotations

import json
import pathlib
import time

from pnag_tf.run import folder, signal, stages, timing
from pnag_tf.run import layout as layout_lib
from pnag_tf.search import reinforce
from pnag_tf.util import files


def look(root: pathlib.Path) -> list[dict[str, str]]:
    """One row a stage: `stage`, `state`, `changed` (how long ago), `size`, `took` and `share` (of all the time).

    Raises:
      UserError: the folder holds no run.
    """
    layout = layout_lib.Layout(root)
    settings = folder.read_settings(layout)
    seconds = timing.by_stage(timing.read(layout.seconds))
    rows, found_next = [], False
    for stage in stages.STAGES.values():
        state, paths = _state(layout, stage, settings)
        beside = stage in stages.BESIDE or stage.name == "rounds"
        if stage.name in stages.lacking(settings) or (state == "to come" and beside):
            continue
        if state != "done" and not beside and not found_next:
            state, found_next = f"{state}, next" if state != "to come" else "next", True
        took = seconds.get(stage.name, 0.0)
        rows.append(
            {
                "stage": stage.name,
                "state": state,
                "changed": _ago(max(path.stat().st_mtime for path in paths)) if paths else "",
                "size": f"{sum(path.stat().st_size for path in paths) / 1e6:.2f} MB" if paths else "",
                "took": timing.duration(took) if took else "",
                "share": timing.share(took, sum(seconds.values())) if took else "",
            }
        )
    return rows


def notes(root: pathlib.Path) -> list[str]:
    """What to say under the table of the stages, a sentence each: how much of the records' differences is signal."""
    return signal.notes(layout_lib.Layout(root))


def _state(layout: layout_lib.Layout, stage: stages.Stage, settings: dict) -> tuple[str, list[pathlib.Path]]:
    """What has become of a stage, and the files that tell."""
    made = [path for path in stage.made(layout, settings) if path.is_file()]
    if made:
        whole = layout.root / stage.name  # where a stage has a folder of its own, all that is in it
        return "done", [path for path in whole.rglob("*") if path.is_file()] if whole.is_dir() else made
    paths = [path for path in stage.begun(layout) if path.is_file()]
    return (f"under way{_progress(layout, stage, settings)}" if paths else "to come"), paths


def _progress(layout: layout_lib.Layout, stage: stages.Stage, settings: dict) -> str:
    if stage.name == "supernet":
        done = len(list(layout.supernet.glob("*.keras")))
        return f": {done} of {len(settings['supernet']['phases'])} phases"
    if stage.name == "records":
        lines = layout.unfinished_records.read_text().count("\n") - 1
        return f": {lines} of {settings['measure']['architectures']}"
    if stage.name == "generator":
        arrays = files.read_npz(layout.generator / reinforce.CHECKPOINT)
        asked = json.loads(str(arrays["identity"]))["iterations"]
        return f": {int(arrays['iteration'])} of {asked} iterations"
    return ""


def _ago(changed: float) -> str:
    return f"{timing.duration(max(0.0, time.time() - changed))} ago"
