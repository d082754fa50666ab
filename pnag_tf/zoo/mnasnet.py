"""MnasNet-A1 (Tan et al., CVPR 2019, Figure 7)."""

from __future__ import annotations

import dataclasses
import functools

from pnag_tf.space.backbone import make_divisible
from pnag_tf.zoo import bottlenecks
from pnag_tf.zoo.bottlenecks import Layer, Stage
from pnag_tf.zoo.entry import Entry

DEFINITION = "github.com/tensorflow/tpu, models/official/mnasnet/mnasnet_models.py"

STAGES = (
    Stage(16, 1, (Layer(3, 1),)),
    Stage(24, 2, (Layer(3, 6),) * 2),
    Stage(40, 2, (Layer(5, 3),) * 3, squeeze=0.25),
    Stage(80, 2, (Layer(3, 6),) * 4),
    Stage(112, 1, (Layer(3, 6),) * 2, squeeze=0.25),
    Stage(160, 2, (Layer(5, 6),) * 3, squeeze=0.25),
    Stage(320, 1, (Layer(3, 6),)),
)


def network(width_multiplier: float) -> bottlenecks.Design:
    """The multiplier widens everything but the head, as in the definition."""
    stages = tuple(
        dataclasses.replace(stage, channels=make_divisible(stage.channels * width_multiplier)) for stage in STAGES
    )
    return bottlenecks.Design(make_divisible(32 * width_multiplier), stages, 1280, "relu", 1e-3, symmetric=False)


ENTRIES = {
    "mnasnet-a1-1.0": Entry(
        functools.partial(bottlenecks.build, network(1.0), "mnasnet_a1_1.0"),
        DEFINITION,
        note="3.9M parameters and 312M multiply-adds, as MnasNet's paper has it; PNAG's table prints MobileNetV2's.",
    ),
    "mnasnet-a1-1.4": Entry(
        functools.partial(bottlenecks.build, network(1.4), "mnasnet_a1_1.4"),
        DEFINITION,
        note="1 % fewer multiply-adds than printed: the release counts 591.5M, and 315.2M for 1.0x, where the paper "
        "and this count have 312M.",
    ),
}
