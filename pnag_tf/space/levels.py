"""Architectures as numbers on four levels, so that a regression on few of them can tell the coarse from the fine."""

from __future__ import annotations

import numpy as np

from pnag_tf.space import space as space_lib


def levels(space: space_lib.SearchSpace, choices: np.ndarray) -> list[np.ndarray]:
    """Features of choices ``[n, tokens]``, float32 ``[n, f]`` each, the finest first.

    * each active token's option, one-hot;
    * each active token as a number, in standard deviations of its options from their mean;
    * for each unit, the sum of these over its depth, its ratios and its kernels;
    * the same sums over the whole network, and its resolution where that is searched.
    """
    choices = np.atleast_2d(choices)
    numbers = np.concatenate([_standard(space.options[kind]) for kind in space.token_kinds])
    first = np.cumsum(space.token_sizes) - space.token_sizes
    tokens = np.where(space.active(choices), numbers[first + choices], 0.0).astype(np.float32)
    of_kind = np.array(space.token_kinds)[:, None] == list(space.options)  # [tokens, kinds]
    of_unit = space.token_units[:, None] == np.arange(space.units)
    whole = np.array(space.token_kinds) == "resolution"  # of no unit
    units = (of_kind[:, None] & of_unit[..., None] & ~whole[:, None, None]).reshape(space.tokens, -1)
    return [space.one_hot(choices), tokens, *(tokens @ sums.astype(np.float32) for sums in (units, of_kind))]


def _standard(options: tuple[int, ...]) -> np.ndarray:
    """Options as numbers of mean 0 and spread 1; a lone one is 0."""
    values = np.array(options, float)
    return (values - values.mean()) / (values.std() or 1.0)
