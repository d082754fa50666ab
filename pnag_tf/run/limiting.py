"""What the deployed networks of a run may have at most, beside their latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from pnag_tf.latency import anatomy
from pnag_tf.run import context as context_lib
from pnag_tf.search import limits as limits_lib
from pnag_tf.space import cost, network
from pnag_tf.util import errors


def check(context: context_lib.Context) -> None:
    """Raises SettingError when no network keeps the limits.

    Of a file nothing is known yet but that it holds the weights.
    """
    config = context.config
    if config.limits.memory_mb and config.device == "gpu":
        raise errors.SettingError("limits.memory_mb", "expected a device that runs .tflite, found gpu")
    known = dataclasses.replace(config.limits, memory_mb=0.0)
    weights = (0.0, {"float32": 4.0, "float16": 2.0}.get(config.kind, 1.0))
    limits_lib.Limits(known, config.space, config.backbone, weights)


def limits(context: context_lib.Context) -> limits_lib.Limits:
    """The limits; of what files tell, by those of the smallest and of the largest network."""
    config, most = context.config, context.config.limits
    if not context.has_supernet or not (most.bytes or most.memory_mb):
        return limits_lib.Limits(most, config.space, config.backbone)
    ends = config.space.decode(np.stack([config.space.smallest(), config.space.largest()]))
    exported = [context.resources.exporter.export(network.build(config.backbone, arch)) for arch in ends]
    sizes = _line([cost.params(config.backbone, arch) for arch in ends], [len(content) for content in exported])
    arenas = limits_lib.FLOAT32
    if most.memory_mb:
        held = [max(map(cost.block_activations, config.backbone.blocks(arch))) for arch in ends]
        arenas = _line(held, [anatomy.arena_bytes(content) for content in exported])
    return limits_lib.Limits(most, config.space, config.backbone, sizes, arenas)


def _line(inputs: Sequence[float], outputs: Sequence[float]) -> tuple[float, float]:
    """(offset, slope) of the line through two points; without a slope where the inputs are the same."""
    slope = (outputs[1] - outputs[0]) / (inputs[1] - inputs[0]) if inputs[1] != inputs[0] else 0.0
    return outputs[0] - slope * inputs[0], slope
