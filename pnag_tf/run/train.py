"""What trains on images: the stage `supernet`, and fine-tuning."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras
from tqdm import tqdm

from pnag_tf import config as config_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import side_by_side
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import finetune, model, ofa, shrinking, transfer
from pnag_tf.util import files

ROUNDED = 0.1  # of the learning rate, where a trained network goes on with the rounding of int8

Trained = tuple[keras.Model, list[dict]]
"""A network as it was after its best epoch, and its history."""


def supernet(context: context_lib.Context) -> None:
    """Trains the supernet, or adapts the given one; goes on where a killed call was."""
    config, path = context.config, context.supernet_file

    def begin() -> model.Supernet:
        return transfer.adapted(ofa.load(path), config.space, config.backbone, config.supernet.dropout, config.seed)

    with context.timed("supernet"):
        shrinking.train(
            config,
            context.resources.splits,
            context.layout.supernet,
            log=context.log("supernet"),
            distribution=context.distribution,
            start=begin if path else None,
        )


def alone(context: context_lib.Context, archs: Sequence[str]) -> list[Trained]:
    """Trains each network from the supernet's weights; one folder a network keeps what is done.

    Returns:
      (network, history) of each, in the order of `archs`; one that is there twice is trained once.
    """
    distinct = list(dict.fromkeys(archs))
    waiting = [arch for arch in distinct if not finetune.finished(_folder(context, arch), _epochs(context, arch))]
    with context.timed("finetune" if context.config.finetune.archs else f"eval/{context.config.method}/finetune"):
        if (processes := side_by_side.processes(context, len(waiting))) > 1:
            _side_by_side(context, waiting, processes)
        trained = {arch: here(context, arch) for arch in distinct}
    return [trained[arch] for arch in archs]


def here(context: context_lib.Context, arch: str, epoch: Callable[[], None] | None = None) -> Trained:
    """Trains one network in this process, or reads it where that was done.

    Args:
      epoch: called after each epoch, instead of a progress bar.
    """
    folder = _folder(context, arch)
    log = context.log(f"finetune/{folder.name}")

    def counted(step: int, values: dict) -> None:
        log(step, values)
        epoch()

    return finetune.train(
        _start(context, arch),
        planned(context, arch),
        context.resources.splits.at(_backbone(context, arch).resolution),
        folder,
        progress=epoch is None,
        log=counted if epoch else log,
        distribution=context.distribution,
    )


def with_rounding(context: context_lib.Context, arch: str, network: keras.Model) -> keras.Model:
    """A trained network after some more epochs with the rounding of int8, or read where that was done."""
    settings, batch = context.config.finetune, context.config.data.batch_size
    rate, kind = ROUNDED * settings.learning_rate, "adam" if settings.optimizer == "adam" else "sgd"
    settings = dataclasses.replace(settings, epochs=settings.int8_epochs, learning_rate=rate, optimizer=kind)
    folder, splits = _folder(context, arch) / "int8", context.resources.splits.at(_backbone(context, arch).resolution)
    return finetune.train(
        lambda: network,
        dataclasses.replace(context.config, finetune=settings),
        splits,
        folder,
        log=context.log(f"finetune/{folder.parent.name}/int8"),
        distribution=context.distribution,
        steps=splits.steps_per_epoch(batch),
        rounding=True,
    )[0]


def _side_by_side(context: context_lib.Context, archs: Sequence[str], processes: int) -> None:
    """The largest network first, so that the processes end together.

    All are taken from the supernet here, where its functions are traced already.
    """
    for arch in archs:
        finetune.begin(_folder(context, arch), _start(context, arch))
    left = sum(_epochs(context, arch) - finetune.done_epochs(_folder(context, arch)) for arch in archs)
    order = sorted(archs, key=lambda arch: _madds(context, arch), reverse=True)
    with tqdm(total=left, desc=f"train {len(archs)} networks", unit="epoch") as bar:
        side_by_side.train(context, order, processes, bar.update)


def _start(context: context_lib.Context, arch: str) -> Callable[[], keras.Model]:
    """Makes the network that a training begins with."""
    return lambda: context.resources.subnets.extract(context.config.space.encode([arch])[0])


def _backbone(context: context_lib.Context, arch: str) -> backbone_lib.Backbone:
    return context.config.backbone.at(space_lib.Architecture.parse(arch))


def _madds(context: context_lib.Context, arch: str) -> int:
    return cost.madds(context.config.backbone, space_lib.Architecture.parse(arch))


def planned(context: context_lib.Context, arch: str) -> config_lib.Config:
    """The settings with the epochs of one network."""
    config = context.config
    (largest,) = config.space.decode(config.space.largest())
    longer = (cost.madds(config.backbone, largest) / _madds(context, arch)) ** config.finetune.equalise
    epochs = round(config.finetune.epochs * longer)
    return dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, epochs=epochs))


def _epochs(context: context_lib.Context, arch: str) -> int:
    """How many epochs a network is trained; see `finetune.planned`."""
    config = planned(context, arch)
    return finetune.planned(config.finetune, context.resources.splits.steps_per_epoch(config.data.batch_size))[0]


def _folder(context: context_lib.Context, arch: str) -> pathlib.Path:
    return context.layout.finetune / f"{files.digest(arch)}-{planned(context, arch).finetune.epochs}"
