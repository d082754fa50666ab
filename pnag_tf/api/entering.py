"""From settings to a run in its folder: what a given supernet and the images decide, and whose folder it is."""

from __future__ import annotations

import dataclasses
import pathlib

from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.run import context, folder, stages
from pnag_tf.run import layout as layout_lib
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.supernet import ofa
from pnag_tf.util import errors


def with_supernet(config: config_lib.Config, supernet: ofa.Description) -> config_lib.Config:
    """The settings with space and backbone of a saved supernet."""
    space, backbone = supernet
    images = config.data
    if backbone.classes != images.class_subset:  # the preset's subset is not what this supernet tells apart
        images = dataclasses.replace(images, class_subset=0)
    return dataclasses.replace(config, data=images, space=space, backbone=backbone)


def check_supernet(config: config_lib.Config, path: str, supernet: ofa.Description) -> None:
    """A given supernet has its space and its shapes. Raises SettingError where the settings ask for others."""
    for part, there in zip(("space", "backbone"), supernet, strict=True):
        for name, value in dataclasses.asdict(there).items():
            found = getattr(getattr(config, part), name)
            if found != value:
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
      UserError: there are no such images, a given supernet tells other classes apart, or the folder holds something
        else.
    """
    if not records_file:
        config = _with_classes(config, layout_lib.Layout(workdir), supernet_file, force)
    run = context.make(config, workdir, records_file, supernet_file, distribution)
    stages.enter(run, force)
    return run


def _with_classes(
    config: config_lib.Config, layout: layout_lib.Layout, supernet_file: str, force: bool
) -> config_lib.Config:
    """The settings with the number of classes: of the run that is there, else of the images, which are looked at."""
    classes = None if force else folder.classes(layout)
    if classes is None:
        classes = len(data.class_names(config.data, config.seed))
    if supernet_file and classes != config.backbone.classes:
        told = config.backbone.classes
        raise errors.UserError(
            f"`supernet_file={supernet_file}`: tells {told} classes apart; the images have {classes}"
        )
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, classes=classes))
