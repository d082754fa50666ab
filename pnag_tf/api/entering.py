"""From settings to a run in its folder: what a given supernet and the images decide, and whose folder it is."""

from __future__ import annotations

import dataclasses
import pathlib

from pnag_tf import config as config_lib
from pnag_tf import data, overrides, presets
from pnag_tf.run import context, estimate, folder, stages, targets
from pnag_tf.run import layout as layout_lib
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.supernet import ofa
from pnag_tf.util import errors


def with_supernet(config: config_lib.Config, supernet: ofa.Description) -> config_lib.Config:
    """The settings with space and backbone of a saved supernet."""
    space, backbone = supernet
    return dataclasses.replace(config, space=space, backbone=backbone)


def images_of(preset: str, dataset: str, data_dir: str) -> int:
    """How many images preset photos is made for; 0 for other presets, and where that is not known.

    Raises:
      UserError: the folder has no classes.
    """
    if preset != "photos" or (dataset or "folder") != "folder":
        return 0
    return data.count(config_lib.Data("folder", data_dir))


def check_supernet(config: config_lib.Config, path: str, supernet: ofa.Description) -> None:
    """A given supernet has its space and its shapes. Raises SettingError where the settings ask for others."""
    for part, there in zip(("space", "backbone"), supernet, strict=True):
        for name, value in dataclasses.asdict(there).items():
            found = getattr(getattr(config, part), name)
            if found != value and name not in ("resolution", "resolutions"):  # of which no weight depends
                raise errors.SettingError(f"{part}.{name}", f"expected {value}, which {path} has, found {found}")


def enter(
    config: config_lib.Config,
    workdir: pathlib.Path,
    records_file: str = "",
    supernet_file: str = "",
    force: bool = False,
    distribution: distribution_lib.Distribution | None = None,
) -> context.Context:
    """The run with these settings in a folder, which is made or checked.

    Args:
      records_file: measured records that stand for a supernet and images; empty for none.
      supernet_file: a saved supernet that is used instead of training one; empty for none.
      force: start anew: what an earlier run left in the folder is removed.

    Raises:
      UserError: there are no such images, or the folder holds something else.
    """
    if not records_file:
        config = _with_classes(config, layout_lib.Layout(workdir), force)
    if supernet_file:
        config = _adapted(config, supernet_file)
    run = context.make(config, workdir, records_file, supernet_file, distribution)
    stages.enter(run, force)
    return run


def beside(run: context.Context, target: targets.Target) -> context.Context:
    """A run for another device, in a folder inside of the run's; see `targets`.

    No records are measured for it: it makes no rounds.

    Raises:
      UserError: the folder holds something else, or the run has no network to export.
    """
    if not run.has_supernet:
        raise errors.SettingError("device", f"expected one with given records, found another, {target.name}")
    config = target.of(dataclasses.replace(run.config, eval=dataclasses.replace(run.config.eval, measurements=0)))
    overrides.check(config)
    layout = layout_lib.Layout(targets.folder_of(target, run.layout.root))
    resources = run.resources.elsewhere(config, layout)
    run = dataclasses.replace(run, config=config, layout=layout, resources=resources)
    stages.enter(run)
    return run


def within(config: config_lib.Config, workdir: pathlib.Path, hours: float | None) -> config_lib.Config:
    """The settings with as many records as an earlier call found to fit the hours; as they are where there was none."""
    path = layout_lib.Layout(workdir).estimate
    if hours is None or not path.exists() or estimate.hours(path) != hours:
        return config
    return _with_records(config, estimate.architectures(path))


def _with_records(config: config_lib.Config, count: int) -> config_lib.Config:
    """The settings with so many measured networks, in rounds where the run makes some."""
    if config.eval.measurements:
        config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, measurements=count))
        count = min(count, config.measure.architectures)
    return dataclasses.replace(config, measure=dataclasses.replace(config.measure, architectures=count))


def estimated(run: context.Context, hours: float | None = None) -> context.Context:
    """The run with its estimate in `estimate.json`; a probe makes it where it is missing.

    Args:
      hours: as many records as fit; None for those of the settings.

    Raises:
      UserError: too few hours, or a run that cannot be estimated.
    """
    path = run.layout.estimate
    if path.exists() and (hours is None or estimate.hours(path) == hours):
        return run
    found = estimate.parts(run)
    if hours is not None:
        count = estimate.fitting_records(found, run.config.measured, hours)
        found = estimate.with_records(found, run.config.measured, count)
        run = dataclasses.replace(run, config=_with_records(run.config, count))
        stages.enter(run)
    estimate.write(path, found, run.config.measured, hours)
    return run


def _with_classes(config: config_lib.Config, layout: layout_lib.Layout, force: bool) -> config_lib.Config:
    """The settings with the number of classes: of the run that is there, else of the images."""
    classes = None if force else folder.classes(layout)
    if classes is None:
        classes = len(data.class_names(config.data, config.seed))
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, classes=classes))


def _adapted(config: config_lib.Config, supernet_file: str) -> config_lib.Config:
    """The settings that adapt a given supernet, where that is asked for, or its classes or largest resolution differ.

    Smaller resolutions alone are no reason: once-for-all's weights are trained for many.
    """
    _, there = ofa.describe(supernet_file)
    if config.backbone == there and not config.supernet.adapt_epochs:
        return config
    return presets.adapted(config)
