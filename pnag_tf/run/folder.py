"""Whose folder a run's is: it belongs to one set of settings, written into it and checked at every call."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import pnag_tf
from pnag_tf import config as config_lib
from pnag_tf.run import layout as layout_lib
from pnag_tf.run import provenance
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.util import errors, files, frozen

# Settings that may change from call to call.
FREE = ("baselines", "eval", "finetune", "limits", "memory", "method", "mixed_precision", "phone", "ray", "tune")
# What all devices of a run have in common.
OF_IMAGES = ("preset", "space", "backbone", "data", "supernet", "measure", "seed", "supernet_file")
SOURCES = ("records_file", "supernet_file")  # given files, beside the settings
PROVENANCE = "provenance"  # the call that made the folder, and ...
IMAGES = "images_sha256"  # ... which images it has
MADE_BY = "made_by"  # what tells a run's folder from anybody else's; ...
# ... a version that did not write it yet wrote all of these.
_UNMARKED = ("preset", "space", "backbone", "data", "supernet", "measure", "latency", "predictors", "evaluator")
_UNMARKED += ("generator", "device", "seed", "records_file")


def belonging(config: config_lib.Config, records_file: str, supernet_file: str) -> dict:
    """What the files of all stages but `eval` depend on, as JSON gives it back."""
    settings = dataclasses.asdict(config) | {"records_file": records_file, "supernet_file": supernet_file}
    for free in FREE:
        del settings[free]
    return json.loads(json.dumps(settings))


def enter(
    layout: layout_lib.Layout, settings: dict, distribution: distribution_lib.Distribution, force: bool = False
) -> None:
    """Makes the folder, or checks that it belongs to the same settings.

    Of several workers the first one writes; the others wait for its settings and check them.

    Args:
      settings: see `belonging`.
      force: start anew: what an earlier run left in the folder is removed.

    Raises:
      UserError: the folder holds a run with other settings, or something that is no run.
    """
    path = layout.config
    if layout.home != layout.root:
        _check_home(layout, settings)
    if force and path.exists():
        read_settings(layout)  # a folder that is not a run's is left as it is
        shutil.rmtree(layout.root)
    # Listed before the settings are looked for: the first worker writes them before anything else.
    made = {each.name for each in _entries(layout.root) if not files.is_temporary(each)}
    if made and not path.exists():
        raise errors.UserError(f"{layout.root}: expected an empty folder or a run, found other files")
    origin = {MADE_BY: f"pnag_tf {pnag_tf.__version__}", PROVENANCE: provenance.of_call()}
    if distribution.shared(path).exists():
        there = read_settings(layout)
        origin |= {name: there.pop(name) for name in (MADE_BY, PROVENANCE) if name in there}
        found = _completed(there)
        if made <= _before_anything(layout):
            found = settings
        if not made & {each.name for each in (layout.evaluator, layout.generator, layout.ablation)}:
            # Nothing there depends on these yet: they may now be what `tune` found.
            found |= {part: settings[part] for part in ("evaluator", "generator")}
        if not found["supernet"]["adapt_epochs"] and not settings["supernet"]["adapt_epochs"]:
            # Nothing is adapted: what it would be adapted by may be another version's.
            found["supernet"]["adapt_learning_rate"] = settings["supernet"]["adapt_learning_rate"]
        if found != settings:
            difference = next(frozen.differences(settings, found))
            raise OtherSettings(f"{layout.root} was made with other settings: {difference}")
    if distribution.first:
        files.write_json(path, origin | settings)


def _check_home(layout: layout_lib.Layout, settings: dict) -> None:
    """Another device of a run shares what is trained on images with it. Raises OtherSettings where it cannot."""
    home = layout_lib.Layout(layout.home)
    there = _completed(read_settings(home))
    for difference in frozen.differences({name: settings[name] for name in OF_IMAGES}, there):
        raise OtherSettings(f"{home.root}, which another device is added to, was made otherwise: {difference}")


def note_images(layout: layout_lib.Layout, digest: str) -> None:
    """Writes into `config.json` which images the run has; nothing where there is no such file.

    Raises:
      OtherSettings: something was made of other images.
    """
    if not layout.config.exists():
        return
    settings = read_settings(layout)
    origin = settings.get(PROVENANCE, {})
    known = origin.get(IMAGES)
    if known == digest:
        return
    if known and not {each.name for each in _entries(layout.root)} <= _before_anything(layout):
        raise OtherSettings(f"{layout.root} was made of other images: expected SHA-256 {known}, found {digest}")
    files.write_json(layout.config, settings | {PROVENANCE: origin | {IMAGES: digest}})


def _before_anything(layout: layout_lib.Layout) -> set[str]:
    """What lies in a run's folder before anything is made of the images."""
    return {each.name for each in (layout.config, layout.images, layout.skipped, layout.seconds, layout.estimate)}


class OtherSettings(errors.UserError):
    """The folder belongs to a run with other settings; it can be started anew."""


def classes(layout: layout_lib.Layout) -> int | None:
    """How many classes the images of the run in a folder have; None where nothing is made yet."""
    made = {each.name for each in _entries(layout.root)} - _before_anything(layout)
    return read_settings(layout)["backbone"].get("classes") if made and layout.config.exists() else None


def read_settings(layout: layout_lib.Layout) -> dict:
    """`config.json` of a run's folder.

    Raises:
      UserError: there is none, or it is not one that this program wrote.
    """
    path = layout.config
    if not path.exists():
        raise errors.UserError(f"{layout.root}: expected the folder of a run, found no {path.name} in it")
    found, parts = files.read_json(path), dataclasses.asdict(config_lib.Config(""))
    marked = isinstance(found, dict) and str(found.get(MADE_BY, "")).startswith("pnag_tf ")
    whole = isinstance(found, dict) and all(name in found for name in _UNMARKED)
    if not (marked or whole) or any(
        isinstance(value, dict) and not isinstance(found.get(name, {}), dict) for name, value in parts.items()
    ):
        raise errors.UserError(f"{path}: expected the settings of a run, found something else; left as it is")
    return found


def _entries(root: pathlib.Path) -> list[pathlib.Path]:
    """What lies in a folder that need not exist."""
    return list(root.iterdir()) if root.exists() else []


def _completed(found: dict) -> dict:
    """Settings of an earlier version: what it did not have yet was as it is by default, what is free now goes."""
    defaults = json.loads(json.dumps(dataclasses.asdict(config_lib.Config(""))))
    phase = dataclasses.asdict(config_lib.Phase("", 0, 0))
    known = {name: value for name, value in defaults.items() if name not in FREE}
    whole = known | dict.fromkeys(SOURCES, "") | {name: value for name, value in found.items() if name not in FREE}
    for part, value in known.items():
        if isinstance(value, dict):
            whole[part] = value | whole[part]
    whole["supernet"]["phases"] = [json.loads(json.dumps(phase)) | each for each in whole["supernet"]["phases"]]
    return whole
