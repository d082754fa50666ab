"""Accuracy and latency predictors on tables whose truth is known."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from pnag_tf import config
from pnag_tf.search import accuracy, predictor, process, records, regression
from pnag_tf.space import features
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

SETTINGS = config.Predictors(members=2, hidden=16, layers=2, activation="silu", epochs=20, batch_size=32)


def test_graph_features_equal_numpys(space):
    choices = space.sample(np.random.default_rng(0), 50)
    encoder = features.Encoder(space)
    assert (encoder.one_hot(choices).numpy() == space.one_hot(choices)).all()
    assert (encoder.layer_one_hot(choices).numpy() == space.layer_one_hot(choices)).all()
    assert (encoder.active(choices).numpy() == space.active(choices)).all()


def test_ridge_recovers_a_line_and_ignores_noise():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 3))
    np.testing.assert_allclose(regression.ridge(inputs, 2 + inputs @ [1, -1, 0.5]), [2, 1, -1, 0.5], atol=1e-6)
    noise = regression.ridge(rng.normal(size=(60, 50)), rng.normal(size=60))
    assert np.abs(noise[1:]).max() < 0.2  # least squares would give coefficients near 1


def test_pairs_recover_a_product():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 4)).astype(np.float32)
    allowed = np.triu(np.ones((4, 4), np.float32), 1)
    weights = regression.pairs(inputs, 3 * inputs[:, 0] * inputs[:, 2], allowed, 1e-3)
    expected = np.zeros((4, 4))
    expected[0, 2] = 3
    np.testing.assert_allclose(weights, expected, atol=1e-2)


def test_members_average_to_the_prediction(table, predictors):
    members = predictors.members(table.choices)
    assert members.shape == (len(table), predictors.settings.members)
    # Before they are added to a top-1 of 0.6, whose last bit of float32 is as large as some of the differences.
    parts = predictors._accuracy.parts(table.space.one_hot(table.choices))[2].numpy()
    assert (parts.std(1) > 0).all()
    share = float(predictors._accuracy.shares[1])
    np.testing.assert_allclose(members.std(1), share * parts.std(1), atol=1e-7)
    np.testing.assert_allclose(members.mean(1), predictors.top1(table.choices), atol=1e-5)


def test_latency_of_a_sum_over_blocks_is_exact(table, predictors):
    assert predictors.report["latency_max_error_ms"] < 1e-3 * table.latency_ms.std()
    np.testing.assert_allclose(predictors.latency_ms(table.choices), table.latency_ms, rtol=1e-4)


def test_accuracy_ranks_unseen_architectures(space, truth, predictors):
    unseen = space.sample(np.random.default_rng(99), 300)
    top1, _ = truth(unseen)
    assert np.corrcoef(predictors.top1(unseen), top1)[0, 1] > 0.97
    assert predictors.report["top1_tau"] > 0.8


def test_save_and_load_predict_the_same(space, predictors, tmp_path):
    predictors.save(tmp_path)
    again = predictor.load(tmp_path, space)
    choices = space.sample(np.random.default_rng(1), 20)
    for first, second in zip(predictors.predict(choices), again.predict(choices), strict=True):
        np.testing.assert_array_equal(first, second)
    assert again.report == predictors.report
    with pytest.raises(errors.UserError, match="this space has"):
        predictor.load(tmp_path, space_lib.SearchSpace())
    with pytest.raises(errors.UserError, match="cannot read"):
        predictor.load(tmp_path / "none", space)


def test_the_same_seed_gives_the_same_predictors(space, table):
    settings = config.Predictors(members=2, hidden=8, layers=2, epochs=2, batch_size=32)
    first, second = (predictor.train(table[:100], settings, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.top1(table.choices), second.top1(table.choices))


def test_a_network_each_as_in_the_paper(space, table, truth, tmp_path):
    settings = dataclasses.replace(SETTINGS, model="mlp", members=1, hidden=32, epochs=100)
    found = predictor.train(table, settings, 0)
    unseen = space.sample(np.random.default_rng(99), 300)
    top1, latency_ms = truth(unseen)
    assert np.corrcoef(found.top1(unseen), top1)[0, 1] > 0.9
    assert 0.95 < np.corrcoef(found.latency_ms(unseen), latency_ms)[0, 1] < 0.99999  # a ridge regression is exact
    assert found.report["latency_rmse_ms"] > 10 * predictor.train(table, SETTINGS, 0).report["latency_rmse_ms"]
    found.save(tmp_path)
    again = predictor.load(tmp_path, space)
    for first, second in zip(found.predict(unseen), again.predict(unseen), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_process_predicts_from_few_records(space, table, truth, tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, model="process")
    found = predictor.train(table[:100], settings, 0)
    unseen = space.sample(np.random.default_rng(99), 300)
    top1, disagreement, _ = found.predict(unseen)
    assert stats.kendalltau(top1, truth(unseen)[0]).statistic > 0.85
    assert found.report["top1_tau"] > 0.6 and found.members(unseen).shape == (300, 6)
    seen = found.predict(table[:100].choices)
    assert np.abs(seen[0] - table.top1[:100]).max() < 2e-3 and seen[1].max() < disagreement.mean()
    found.save(tmp_path)
    again = predictor.load(tmp_path, space)
    np.testing.assert_array_equal(again.members(unseen), found.members(unseen))
    with pytest.raises(errors.UserError, match="predictors of .* features; this space has"):
        predictor.load(tmp_path, space_lib.SearchSpace())
    monkeypatch.setattr(process, "MOST", 99)
    assert predictor.train(table[:100], settings, 0).settings.model == "blend"


def test_predictors_that_an_earlier_version_corrected_are_an_error(predictors, space, tmp_path):
    predictors.save(tmp_path)
    arrays = dict(np.load(tmp_path / predictor.FILE))
    np.savez(tmp_path / predictor.FILE, **arrays, errors_mean=np.zeros(2))
    with pytest.raises(errors.UserError, match="rounds of an earlier version corrected"):
        predictor.load(tmp_path, space)


def test_a_ridge_regression_weighs_its_records():
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(60, 3)), np.where(np.arange(60) < 40, 1.5, 1e-9)
    targets = inputs @ [1, -1, 0.5] + 10 * (np.arange(60) >= 40)
    np.testing.assert_allclose(regression.ridge(inputs, targets, weights), [0, 1, -1, 0.5], atol=1e-3)


def test_records_that_know_to_be_noisy_weigh_less(space, table):
    rng, settings = np.random.default_rng(0), dataclasses.replace(SETTINGS, epochs=1)
    se = np.where(rng.random(len(table)) < 0.5, 0.1, 0.001)
    noisy = dataclasses.replace(table, top1=table.top1 + se * rng.normal(size=len(table)))
    unseen = space.one_hot(table.choices)
    errors = []
    for records_ in (noisy, dataclasses.replace(noisy, top1_se=se)):
        training, held_out = records_.split(np.random.default_rng(0), 0.2)
        linear = accuracy.fit(training, held_out, settings, 0).linear
        errors.append(np.std(linear[0] + unseen @ linear[1:] - table.top1))
    assert errors[1] < 0.7 * errors[0]


def test_records_that_a_blend_is_fitted_to_do_not_judge_it(space, table):
    """Each half of the held-out records is predicted by shares that the other half gives."""
    training, held_out = table.split(np.random.default_rng(0), 0.2)
    model = accuracy.fit(training, held_out, SETTINGS, 0)
    judged = accuracy.predict_held_out(model, held_out, SETTINGS)
    flat = records.Records(space, held_out.choices, held_out.top1.copy(), held_out.latency_ms)
    flat.top1[0::2] = model.parts(space.one_hot(held_out.choices))[0][0::2]  # the first half leaves no correction
    moved = accuracy.predict_held_out(model, flat, SETTINGS)
    np.testing.assert_array_equal(moved[0::2], judged[0::2])
    assert np.abs(moved[1::2] - judged[1::2]).max() > 1e-4


def test_noise_alone_adds_no_correction(space):
    rng = np.random.default_rng(0)
    choices = space.sample(rng, 200)
    noise = records.Records(space, choices, 0.5 + 0.1 * rng.random(200), 1 + rng.random(200))
    predictors = predictor.train(noise, SETTINGS, 0)
    assert predictors.top1(space.sample(rng, 200)).std() < 0.03


def test_too_few_records_are_a_clear_error(table):
    with pytest.raises(errors.UserError, match="expected 20 records or more, found 5"):
        predictor.train(table[:5], SETTINGS)
