"""Architectures as numbers on four levels, so that a regression on few of them can tell the coarse from the fine."""

from __future__ import annotations

import numpy as np

from pnag_tf.space import space as space_lib


def matrices(space: space_lib.SearchSpace) -> list[np.ndarray]:
    """What `SearchSpace.one_hot` is multiplied by, float32 ``[h, f]`` each, the finest level first.

    * each active token's option, one-hot;
    * each active token as a number, in standard deviations of its options from their mean;
    * for each unit, the sum of these over its depth, its ratios and its kernels;
    * the same sums over the whole network, and its resolution where that is searched.
    """
    owner, _ = space.one_hot_columns
    numbers = np.concatenate([_standard(space.options[kind]) for kind in space.token_kinds])
    tokens = numbers[:, None] * (owner[:, None] == np.arange(space.tokens))
    kinds = np.array(space.token_kinds)
    of_kind = kinds[:, None] == list(space.options)  # [tokens, kinds]
    of_unit = (space.token_units[:, None] == np.arange(space.units)) & (kinds != "resolution")[:, None]
    units = (of_unit[..., None] & of_kind[:, None]).reshape(space.tokens, -1)
    found = [np.eye(len(owner)), tokens, tokens @ units, tokens @ of_kind]
    return [matrix.astype(np.float32) for matrix in found]


def _standard(options: tuple[int, ...]) -> np.ndarray:
    """Options as numbers of mean 0 and spread 1; a lone one is 0."""
    values = np.array(options, float)
    return (values - values.mean()) / (values.std() or 1.0)
