"""What trains on images: the stage `supernet`, and a chosen network alone."""

from __future__ import annotations

import keras

from pnag_tf.run import context as context_lib
from pnag_tf.supernet import finetune, shrinking
from pnag_tf.util import files


def supernet(context: context_lib.Context) -> None:
    """Trains the supernet; goes on where a killed call was."""
    with context.timed("supernet"):
        shrinking.train(
            context.config,
            context.resources.splits,
            context.layout.supernet,
            log=context.log("supernet"),
            distribution=context.distribution,
        )


def alone(context: context_lib.Context, arch: str) -> tuple[keras.Model, list[dict]]:
    """Trains one network from the supernet's weights: (network, history); a folder of its own keeps what is done."""
    config = context.config
    folder = context.layout.finetune / f"{files.digest(arch)}-{config.finetune.epochs}"
    choices = config.space.encode([arch])[0]
    with context.timed("finetune" if config.finetune.archs else f"eval/{config.method}/finetune"):
        return finetune.train(
            lambda: context.resources.subnets.extract(choices),
            config,
            context.resources.splits,
            folder,
            log=context.log(f"finetune/{folder.name}"),
            distribution=context.distribution,
        )
