"""Limits beside latency: counted exactly, never exceeded, and refused where nothing keeps them."""

import dataclasses

import numpy as np
import pytest

from pnag_tf import config as config_lib
from pnag_tf.run import limiting
from pnag_tf.search import candidates, limits, proposals
from pnag_tf.space import cost
from pnag_tf.util import errors


def made(space, backbone, overhead=0, **most):
    return limits.Limits(config_lib.Limits(**most), space, backbone, (overhead, 4))


@pytest.mark.parametrize("resolutions", [(), (12, 16)])
def test_counts_are_those_of_each_architecture(space, backbone, resolutions):
    space = dataclasses.replace(space, resolutions=resolutions)
    choices = space.sample(np.random.default_rng(0), 60)
    archs = space.decode(choices)
    for name, count in (("madds", cost.madds), ("params", cost.params)):
        exact = np.array([count(backbone, arch) for arch in archs])
        for most in np.quantile(exact, (0.2, 0.7)).astype(int):
            found = made(space, backbone, **{name: int(most)}).keeps(choices)
            np.testing.assert_array_equal(found, exact <= most)
    exact = np.array([4 * cost.params(backbone, arch) + 1000 for arch in archs])
    most = int(np.median(exact))
    np.testing.assert_array_equal(made(space, backbone, 1000, bytes=most).keeps(choices), exact <= most)


def test_without_limits_everything_is_kept(space, backbone):
    none = made(space, backbone)
    assert not none and none.keeps(space.sample(np.random.default_rng(0), 5)).all()


def test_limits_are_never_exceeded(space, backbone, predictors, table):
    """200 random limits, alone and together, at budgets that are generous and tight."""
    rng, (smallest,), (largest,) = np.random.default_rng(1), *map(space.decode, (space.smallest(), space.largest()))

    def memory_mb(backbone, arch):
        return 4e-6 * max(map(cost.block_activations, backbone.blocks(arch)[1:]))

    counts = {"madds": cost.madds, "params": cost.params, "memory_mb": memory_mb}
    low, high = (np.array([count(backbone, arch) for count in counts.values()]) for arch in (smallest, largest))
    budgets_ms = np.quantile(table.latency_ms, (0.02, 0.5, 1.0))
    for number in range(200):
        most = low + rng.random(3) ** 3 * (high - low)
        most[:2] = most[:2].astype(int)
        asked = {name: value for name, value in zip(counts, most.tolist(), strict=True) if rng.random() < 0.7}
        keeps = made(space, backbone, **asked)
        drawn = space.sample(rng, 40)
        held = limits.Limited(predictors, keeps)
        found = candidates.within(held, budgets_ms, drawn)
        if number % 20 == 0:  # the search itself takes longer
            found = proposals.refine(found, held, 3, rng)
        for each in found:
            for arch in space.decode(each.choices):
                for name, count in counts.items():
                    assert count(backbone, arch) <= asked.get(name, np.inf)


def test_the_search_still_climbs_below_a_limit(space, backbone, predictors, table):
    """Within a limit that half of the records keep, what it finds is better than the best of many random ones."""
    rng, budgets_ms = np.random.default_rng(2), [float(table.latency_ms.max())]
    exact = np.array([cost.params(backbone, arch) for arch in table.space.decode(table.choices)])
    held = limits.Limited(predictors, made(space, backbone, params=int(np.median(exact))))
    start = candidates.within(held, budgets_ms, space.sample(rng, 50))
    (found,) = proposals.refine(start, held, 20, rng)
    (drawn,) = candidates.within(held, budgets_ms, space.sample(rng, 500))
    assert found.top1[0] > drawn.top1[0]


@pytest.mark.parametrize("name", limits.NAMES)
def test_what_nothing_keeps_is_refused(space, backbone, name):
    with pytest.raises(
        errors.SettingError, match=f"limits.{name}.*expected [0-9.]+ or more, which the smallest network"
    ):
        made(space, backbone, **{name: 0.001 if name == "memory_mb" else 10})


def test_the_stage_is_refused_before_it_begins(space, backbone):
    class Context:
        config = dataclasses.replace(
            config_lib.Config("tiny", space=space, backbone=backbone), limits=config_lib.Limits(params=10)
        )

    with pytest.raises(errors.SettingError, match="limits.params"):
        limiting.check(Context)
