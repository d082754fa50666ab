"""The Gaussian process on architectures: what it says of seen and unseen ones, and the functions drawn from it."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize, stats

from pnag_tf.search import process, records
from pnag_tf.space import levels
from pnag_tf.space import space as space_lib


@pytest.fixture(scope="module")
def learned(table):
    return process.fit(table[:60], np.random.default_rng(0))


def test_levels_go_from_options_to_the_whole_network():
    space = space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3, 5), ratios=(2,), resolutions=(16, 24))
    arch = space_lib.Architecture((1, 2), (5, 0, 3, 5), (2, 0, 2, 2), 24)
    seen = space.one_hot(space.encode([arch]))
    one_hot, tokens, units, whole = ((seen @ matrix)[0] for matrix in levels.matrices(space))
    np.testing.assert_array_equal(one_hot, space.one_hot(space.encode([arch]))[0])
    # depth, then ratio and kernel of each layer; a lone option is 0, as is what is not there
    np.testing.assert_array_equal(tokens, [-1, 0, 1, 0, 0, 1, 0, -1, 0, 1, 1])
    kinds = {kind: place for place, kind in enumerate(space.options)}
    by_unit = units.reshape(2, len(kinds))
    np.testing.assert_array_equal(by_unit[:, kinds["depth"]], [-1, 1])
    np.testing.assert_array_equal(by_unit[:, kinds["kernel"]], [1, 0])
    assert not by_unit[:, kinds["resolution"]].any()
    assert [whole[kinds[kind]] for kind in ("depth", "kernel", "ratio", "resolution")] == [0, 1, 0, 1]


def test_it_goes_through_what_was_measured_and_tells_of_the_rest(table, truth, learned, space):
    np.testing.assert_allclose(learned.top1(table[:60].choices), table[:60].top1, atol=2e-3)
    unseen = space.sample(np.random.default_rng(1), 500)
    assert stats.kendalltau(learned.top1(unseen), truth(unseen)[0]).statistic > 0.8


def test_what_all_layers_have_in_common_is_learned_from_a_dozen(space):
    """Every layer's kernel is worth the same: 12 networks tell, although 64 options are not yet seen often."""
    rng = np.random.default_rng(2)
    choices = space.sample(rng, 1012)
    top1 = 0.5 + 0.01 * space.one_hot(choices) @ levels.matrices(space)[3] @ [1.0, 0.3, 0.5]
    known = records.Records(space, choices[:12], top1[:12], np.ones(12))
    assert stats.kendalltau(process.fit(known, rng).top1(choices[12:]), top1[12:]).statistic > 0.9


def test_functions_drawn_agree_where_it_was_measured_and_differ_elsewhere(table, learned, space):
    unseen = space.sample(np.random.default_rng(3), 200)
    drawn = learned.draw(200, np.random.default_rng(4))
    seen, elsewhere = drawn(table[:60].choices), drawn(unseen)
    assert seen.shape == (60, 200)
    assert seen.std(1).max() < 0.5 * elsewhere.std(1).mean()
    np.testing.assert_allclose(elsewhere.mean(1), learned.top1(unseen), atol=4 * elsewhere.std(1).max() / 200**0.5)
    mean = learned.draw(2, np.random.default_rng(5), 0.0)(unseen)
    np.testing.assert_allclose(mean.T, [learned.top1(unseen)] * 2, atol=1e-5)


def test_draws_spread_as_the_posterior_does(table, learned, space):
    """Against the posterior's variance by its closed form."""
    unseen = space.sample(np.random.default_rng(6), 40)
    one_hot, variances = space.one_hot(unseen).astype(float), np.exp(learned.logs)
    each = levels.matrices(space)
    scales = np.sqrt(np.repeat(variances[process.LEVELS] / space.layers, [matrix.shape[1] for matrix in each]))
    linear = (one_hot @ np.concatenate(each, 1) - learned.center) * scales
    apart = ((one_hot[:, None] - learned.one_hot) ** 2).sum(2) / (2 * space.layers)
    local = variances[process.LOCAL] * np.exp(-variances[process.DECAY] * apart)
    across = linear @ learned.linear.T + local
    own = (linear**2).sum(1) + variances[process.LOCAL]
    left = own - np.sum(np.linalg.solve(learned.factor, across.T) ** 2, 0)
    spread = learned.draw(2000, np.random.default_rng(7))(unseen).std(1)
    assert np.median(spread / (learned.unit * np.sqrt(left))) == pytest.approx(1, abs=0.1)


def test_pairs_of_functions_have_the_posteriors_mean_and_are_the_same_in_a_graph(learned, space):
    unseen = space.sample(np.random.default_rng(9), 30)
    drawn = learned.draw(3, np.random.default_rng(10), paired=True)
    values = drawn(unseen)
    assert values.shape == (30, 6) and values.std(1).min() > 1e-4
    np.testing.assert_allclose(values.mean(1), learned.top1(unseen), atol=1e-6)
    np.testing.assert_allclose(values[:, :3], learned.draw(3, np.random.default_rng(10))(unseen), atol=1e-6)
    np.testing.assert_allclose(drawn.graph(space.one_hot(unseen)), values, atol=2e-5)


def test_the_gradient_is_the_likelihoods(table, monkeypatch):
    asked = []

    def minimize(function, start, **_):
        asked.append(function)
        return optimize.OptimizeResult(x=start)

    monkeypatch.setattr(process.optimize, "minimize", minimize)
    process.fit(dataclasses.replace(table, top1_se=np.full(len(table), 0.002))[:50], np.random.default_rng(0))
    at = process.USUAL + 0.3
    numeric = optimize.approx_fprime(at, lambda logs: asked[0](logs)[0], 1e-6)
    np.testing.assert_allclose(asked[0](at)[1], numeric, rtol=1e-3, atol=1e-3)


def test_known_noise_is_averaged_away(table):
    rng = np.random.default_rng(8)
    noisy = dataclasses.replace(table, top1=table.top1 + rng.normal(0, 0.02, len(table)))
    known = dataclasses.replace(noisy, top1_se=np.full(len(table), 0.02))
    smooth = process.fit(known[:200], rng)
    errors = smooth.top1(table[:200].choices) - table[:200].top1
    assert errors.std() < 0.5 * 0.02
    assert (smooth.noise >= (0.02 / smooth.unit) ** 2).all()


def test_many_records_are_fitted_to_some_of_them():
    rows = process._some(1000, np.random.default_rng(0))
    assert len(rows) == process.FITTED and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows[-process.FITTED // 2 :], np.arange(1000 - process.FITTED // 2, 1000))


def test_equal_records_have_no_scale(table):
    flat = dataclasses.replace(table[:20], top1=np.full(20, 0.7))
    np.testing.assert_allclose(process.fit(flat, np.random.default_rng(0)).top1(table.choices), 0.7, atol=1e-6)
