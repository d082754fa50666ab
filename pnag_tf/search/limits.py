"""Limits beside latency: what is counted exactly for any number of architectures at once, and what a file tells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

NAMES = ("madds", "params", "bytes", "memory_mb")
FLOAT32 = (0.0, 4.0)  # bytes of a file beside its parameters, and of each; the same of activations
MB = 1e6


class Limits:
    """What a network may have at most; which architectures keep it.

    Bytes are those of the file, by its number of parameters; memory is that of the activations, by the block that needs
    most. Both are roughly so: a deployed file is held to the limit as it is.

    Args:
      file_bytes: what a file has beside its parameters, and for each of them.
      arena_bytes: what the memory has beside `cost.block_activations`, and for each of them.

    Raises:
      SettingError: not even the smallest network keeps a limit.
    """

    def __init__(
        self,
        settings: config_lib.Limits,
        space: space_lib.SearchSpace,
        backbone: backbone_lib.Backbone,
        file_bytes: tuple[float, float] = FLOAT32,
        arena_bytes: tuple[float, float] = FLOAT32,
    ):
        fixed, each = _linear(space, backbone, cost.params, cost.block_params)
        held = np.array([cost.block_activations(backbone.slot_block(slot)) for slot in space.layer_slots()])
        least = np.full(len(fixed), arena_bytes[0] / MB)
        counted = {
            "madds": (np.sum, *_linear(space, backbone, cost.madds, cost.block_madds)),
            "params": (np.sum, fixed, each),
            "bytes": (np.sum, file_bytes[1] * fixed + file_bytes[0], file_bytes[1] * each),
            "memory_mb": (np.max, least, arena_bytes[1] * held / MB),
        }
        asked = {name: most for name in NAMES if (most := getattr(settings, name))}
        self._space = space
        self._counted = [(most, *counted[name]) for name, most in asked.items()]
        for name, most in asked.items():
            least = self._count(space.smallest()[None], *counted[name])[0]
            if least > most:
                expected = f"expected {rounded_up(least)} or more, which the smallest network has"
                raise errors.SettingError(f"limits.{name}", f"{expected}, found {most}")

    def keeps(self, choices: np.ndarray) -> np.ndarray:
        """Which architectures keep the limits, bool ``[n]`` of choices ``[n, tokens]``."""
        choices = np.atleast_2d(choices)
        found = np.ones(len(choices), bool)
        for most, *how in self._counted:
            found &= self._count(choices, *how) <= most
        return found

    def at_most(self, choices: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
        """Latencies ``[n]`` of choices ``[n, tokens]``, infinite for what exceeds the limits."""
        return np.where(self.keeps(choices), latency_ms, np.inf)

    def __bool__(self) -> bool:
        return bool(self._counted)

    def _count(self, choices: np.ndarray, join: Callable, fixed: np.ndarray, each: np.ndarray) -> np.ndarray:
        """What the layers that are there have, joined, and what all networks of a resolution have: ``[n]``."""
        layers = self._space.layer_one_hot(choices).astype(each.dtype)
        layers = layers @ each if join is np.sum else join(layers * each, axis=1)
        return layers + fixed[self._space.resolution_places(choices)]


class Limited:
    """Predictors by which whatever exceeds the limits takes for ever, so that no search proposes it."""

    def __init__(self, predictors: predictor_lib.Predictors, limits: Limits):
        self._predictors, self._limits = predictors, limits

    def __getattr__(self, name: str):
        return getattr(self._predictors, name)

    def predict(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        top1, disagreement, latency_ms = self._predictors.predict(choices)
        return top1, disagreement, self._limits.at_most(choices, latency_ms)

    def latency_ms(self, choices: np.ndarray) -> np.ndarray:
        return self._limits.at_most(choices, self._predictors.latency_ms(choices))


def rounded_up(value: float) -> str:
    """A count as it is; others with as many digits as a limit needs."""
    return str(int(np.ceil(value))) if value >= 100 else f"{np.ceil(1e4 * value) / 1e4:g}"


def _linear(space, backbone, of_network, of_block) -> tuple[np.ndarray, np.ndarray]:
    """(what all networks of a resolution have, int64 ``[resolutions]``; what each column of `layer_one_hot` adds)."""
    each = [of_block(backbone.slot_block(slot)) for slot in space.layer_slots()]
    each, fixed = np.array(each, np.int64), []
    for place in range(max(1, len(space.resolutions))):
        choices = space.smallest()
        if space.resolutions:
            choices[-1] = place
        (arch,) = space.decode(choices)
        fixed.append(of_network(backbone, arch) - int(space.layer_one_hot(choices)[0].astype(np.int64) @ each))
    return np.array(fixed, np.int64), each
