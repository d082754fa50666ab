"""Measuring the records, killed in between: every record knows its standard error, and none is measured twice."""

import dataclasses
import shutil
import types

import numpy as np
import pytest

from pnag_tf import presets
from pnag_tf.run import context as context_lib
from pnag_tf.run import hits, layout, learn, measure
from pnag_tf.search import noise, records, rounds
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files

# A space so large that no architecture is drawn twice.
SPACE = space_lib.SearchSpace(units=2, depths=(2, 3), kernels=(3, 5, 7), ratios=(3, 4, 6))
CONFIG = dataclasses.replace(presets.preset("tiny"), space=SPACE)
IMAGES = 101


class Killed(Exception):
    pass


def _right(choices):
    """Which images an architecture gets right; the more so the more its tokens sum to."""
    rng = np.random.default_rng(int(choices.sum()))
    return rng.random(IMAGES) + np.linspace(-0.3, 0.3, IMAGES) < 0.3 + 0.03 * choices.sum()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """(context, asked): the architectures asked for, which are answered until there are as many as `asked.until`."""
    asked = types.SimpleNamespace(rows=[], until=None)

    def judge(choices, batches):
        for row in choices:
            if asked.until is not None and len(asked.rows) >= asked.until:
                raise Killed
            asked.rows.append(row.tobytes())
            yield np.stack([_right(row)] * 2)

    resources = types.SimpleNamespace(
        subnets=types.SimpleNamespace(hits=judge), validation=None, image_weights=lambda images: None
    )
    monkeypatch.setattr(measure, "latencies_ms", lambda context, choices: np.ones(len(choices)))
    context = context_lib.make(CONFIG, tmp_path)
    return dataclasses.replace(context, resources=resources), asked


def _expected(choices):
    right = np.array([_right(row) for row in choices])
    packed = np.packbits(right, axis=1)
    return right.mean(1), noise.standard_errors(packed, IMAGES, noise.image_means(packed, IMAGES))


def test_a_space_of_two_networks_has_both_as_records():
    two = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3,), ratios=(2,))
    config = dataclasses.replace(CONFIG, space=two, measure=dataclasses.replace(CONFIG.measure, draw="madds"))
    assert len(measure.draw(config)) == two.size == 2


def test_records_spread_evenly_over_multiply_adds():
    config = presets.preset("demo")
    spread = {}
    for how in ("uniform", "madds"):
        settings = dataclasses.replace(config, measure=dataclasses.replace(config.measure, draw=how))
        drawn = measure.draw(settings)
        assert len(np.unique(drawn, axis=0)) == len(drawn) == config.measure.architectures
        np.testing.assert_array_equal(drawn[:2], [config.space.smallest(), config.space.largest()])
        np.testing.assert_array_equal(drawn, measure.draw(settings))
        spread[how] = np.std(np.log([cost.madds(config.backbone, arch) for arch in config.space.decode(drawn)]))
    assert spread["madds"] > 1.25 * spread["uniform"]  # an even one has a few more where the space has many


def test_a_space_of_few_architectures_gives_all_of_them():
    space = space_lib.SearchSpace(units=2, depths=(1,), kernels=(3,), ratios=(3, 4, 6))
    settings = dataclasses.replace(CONFIG, space=space, measure=dataclasses.replace(CONFIG.measure, draw="madds"))
    assert len(measure.draw(settings)) == space.size == 9


def test_a_killed_run_goes_on_and_every_record_knows_its_noise(run):
    context, asked = run
    for until in (25, 47):
        asked.until = until
        with pytest.raises(Killed):
            measure.records(context)
        assert context.layout.unfinished_records.exists() and not context.layout.records.exists()
    asked.until = None
    measure.records(context)
    found = measure.read_records(context)
    assert len(found) == CONFIG.measure.architectures
    assert len(set(asked.rows)) == len(found) and len(asked.rows) == len(found) + 5 + 2  # since the last write
    top1, top1_se = _expected(found.choices)
    np.testing.assert_allclose(found.top1, top1, atol=1e-6)
    np.testing.assert_allclose(found.top1_se, top1_se, atol=1e-6)
    left = {path.name for path in context.layout.root.iterdir()}
    assert left == {"records.csv", "record_images.npz", "seconds.json"}


def test_rounds_are_paired_with_the_records(run):
    context, _ = run
    measure.records(context)
    known = measure.read_records(context)
    more = SPACE.sample(np.random.default_rng(7), 12)
    found = measure.measure(context, more[known.lacks(more)])
    mean = np.mean([_right(row) for row in known.choices], 0)
    expected = [np.sqrt((_right(row) - mean).var(ddof=1) / IMAGES) for row in found.choices]
    np.testing.assert_allclose(found.top1_se, expected)


@pytest.fixture
def rounds_run(run, monkeypatch):
    """`run` with 60 records and 25 more measurements in rounds of 4 or 5."""
    context, asked = run
    monkeypatch.setattr(measure, "latencies_ms", lambda context, choices: _latency_ms(choices))
    monkeypatch.setattr(measure, "latency_model", lambda context, table: _latency_ms)
    return _asking(context, measurements=85, rounds=6, budgets=(12.0, 20.0)), asked


def _latency_ms(choices):
    """With as many digits as a clock gives."""
    return 1.0 + choices @ np.random.default_rng(1).uniform(0.7, 1.3, SPACE.tokens)


def _asking(context, **changes):
    how = dataclasses.replace(context.config.eval, **changes)
    return dataclasses.replace(context, config=dataclasses.replace(context.config, eval=how))


def test_rounds_grow_the_records_to_as_many_as_are_asked_for(rounds_run):
    context, asked = rounds_run
    assert learn.rounds_left(context) == [5, 4, 4, 4, 4, 4]
    measure.records(context)
    for stage in ("predictors", "evaluator", "generator"):  # of fewer records
        (context.layout.root / stage).mkdir()
    learn.rounds(context)
    found = measure.read_records(context)
    assert len(found) == 85 and len(np.unique(found.choices, axis=0)) == 85 == len(asked.rows)
    assert np.isfinite(found.top1_se).all() and found.latency_ms[60:].max() <= 20
    assert not any((context.layout.root / stage).exists() for stage in ("predictors", "evaluator", "generator"))
    assert learn.rounds_left(context) == [] and len(learn.drawn(context, found)) == 60
    assert found.top1[60:].mean() > found.top1[:60].mean() + found.top1[:60].std() / 2


def test_more_measurements_go_on_where_the_rounds_ended(rounds_run):
    context, _ = rounds_run
    measure.records(context)
    learn.rounds(context)
    context = _asking(context, measurements=92, rounds=0)
    assert learn.rounds_left(context) == [7]
    learn.rounds(context)
    found = measure.read_records(context)
    assert len(found) == 92 and len(learn.drawn(context, found)) == 60 and learn.rounds_left(context) == []


def test_killed_rounds_go_on_as_if_nothing_had_happened(rounds_run, tmp_path):
    context, asked = rounds_run
    measure.records(context)
    shutil.copytree(context.layout.root, tmp_path / "other")
    learn.rounds(context)
    whole = measure.read_records(context)
    context = dataclasses.replace(context, layout=layout.Layout(tmp_path / "other"))
    asked.until = len(asked.rows) + 15  # within the fourth round
    with pytest.raises(Killed):
        learn.rounds(context)
    assert learn.rounds_left(context) == [4, 4, 4] and len(measure.read_records(context)) == 73
    asked.until = None
    learn.rounds(context)
    np.testing.assert_array_equal(measure.read_records(context).choices, whole.choices)


def test_other_budgets_ask_for_no_further_rounds(rounds_run):
    context, asked = rounds_run
    context = _asking(context, rounds=0)
    measure.records(context)
    asked.until = 60 + 15  # within the fourth round of six
    with pytest.raises(Killed):
        learn.rounds(context)
    asked.until, other = None, _asking(context, budgets=(10.0, 13.0, 16.0, 18.0, 20.0))
    assert learn.rounds_left(other) == learn.rounds_left(context) == [4, 4, 4]  # for the budgets they began with
    learn.rounds(other)
    assert learn.rounds_left(other) == learn.rounds_left(context) == [] and len(measure.read_records(other)) == 85
    for folder in (stages := [context.layout.predictors, context.layout.evaluator, context.layout.generator]):
        folder.mkdir()
    before = len(asked.rows)
    learn.rounds(other)
    learn.rounds(_asking(context, measurements=0))
    assert len(asked.rows) == before and all(folder.exists() for folder in stages)  # they are as good as before


def test_budgets_by_default_are_those_of_the_records(rounds_run, monkeypatch):
    context, _ = rounds_run
    context = _asking(context, budgets=(), rounds=0)
    assert learn.rounds_left(context) == [13, 12]  # for as many as there usually are
    measure.records(context)
    monkeypatch.setattr(learn, "budgets_ms", lambda context, table: [20.0])
    learn.rounds(context)
    assert files.read_json(context.layout.rounds)["done"] == 12 and learn.rounds_left(context) == []


def test_a_kill_between_the_two_files_repeats_the_round(rounds_run, monkeypatch):
    context, _ = rounds_run
    measure.records(context)
    write = files.write_json

    def killed(path, content):
        if path == context.layout.rounds and content["done"] == 3:
            raise Killed
        write(path, content)

    monkeypatch.setattr(files, "write_json", killed)
    with pytest.raises(Killed):
        learn.rounds(context)
    assert len(measure.read_records(context)) == 73 and sum(learn.rounds_left(context)) == 16
    monkeypatch.setattr(files, "write_json", write)
    learn.rounds(context)
    assert len(measure.read_records(context)) == 85


def test_what_was_learned_stays_until_something_new_is_measured(rounds_run):
    context, asked = rounds_run
    measure.records(context)
    context.layout.predictors.mkdir()
    asked.until = len(asked.rows) + 2  # within the first round
    with pytest.raises(Killed):
        learn.rounds(context)
    assert context.layout.predictors.exists()


def test_rounds_measure_nothing_beyond_the_limits(rounds_run):
    context, _ = rounds_run
    measure.records(context)
    most = int(np.median(_params(SPACE.sample(np.random.default_rng(0), 50))))
    limits = dataclasses.replace(CONFIG.limits, params=most)
    learn.rounds(dataclasses.replace(context, config=dataclasses.replace(context.config, limits=limits)))
    found = measure.read_records(context)
    assert len(found) == 85 and max(_params(found.choices[60:])) <= most


def _params(choices):
    return [cost.params(CONFIG.backbone, arch) for arch in SPACE.decode(choices)]


def test_more_minutes_go_on_with_the_clock(rounds_run, monkeypatch):
    context, asked = rounds_run
    now = [0.0]
    monkeypatch.setattr(rounds.time, "monotonic", lambda: now[0])
    measured = measure.measure

    def slowly(context, choices):
        now[0] += 30.0 * len(choices)  # seconds
        return measured(context, choices)

    monkeypatch.setattr(measure, "measure", slowly)
    context = _asking(context, measurements=1000, rounds=0, minutes=5.0)
    measure.records(context)
    learn.rounds(context)
    assert len(measure.read_records(context)) == 60 + 10 and now[0] == 300.0
    context = _asking(context, minutes=6.0)
    learn.rounds(context)
    assert len(measure.read_records(context)) == 60 + 12 and learn.rounds_left(context) == []
    assert learn.rounds_left(_asking(context, minutes=3.0)) == []


def test_rounds_of_an_earlier_version_are_an_error(rounds_run):
    context, _ = rounds_run
    files.write_json(context.layout.rounds, {"done": 2})
    with pytest.raises(errors.UserError, match="expected rounds of this version"):
        learn.rounds_left(context)


def test_what_an_earlier_version_left_unfinished_is_kept_without_standard_errors(run):
    context, asked = run
    choices = measure.draw(CONFIG)[:30]
    records.write(context.layout.unfinished_records, records.Records(SPACE, choices, np.full(30, 0.5), np.ones(30)))
    measure.records(context)
    found = measure.read_records(context)
    assert len(asked.rows) == CONFIG.measure.architectures - 30
    assert np.isnan(found.top1_se[:30]).all() and np.isfinite(found.top1_se[30:]).all()
    np.testing.assert_allclose(found.top1_se[30:], _expected(found.choices[30:])[1], atol=1e-6)


def test_a_round_of_an_earlier_versions_run_has_no_standard_errors(run):
    found = measure.measure(run[0], SPACE.sample(np.random.default_rng(7), 3))
    assert np.isnan(found.top1_se).all() and (found.top1 > 0).all()


def test_bits_of_any_number_of_images_come_back(tmp_path):
    rng = np.random.default_rng(0)
    choices, right = rng.integers(0, 3, (3, 4)).astype(np.int32), rng.random((3, 13)) < 0.5
    known = hits.Hits(0, {})
    for row, each in zip(choices, right, strict=True):
        known.add(row, each)
    hits.write(tmp_path / "kept" / "1.npz", choices[:2], known)
    files.unfinished(tmp_path / "kept" / "1.npz").write_bytes(b"torn")
    again = hits.read(tmp_path / "kept")
    places, packed = again.of(choices)
    assert again.images == 13 and places.tolist() == [0, 1]
    assert (np.unpackbits(packed, axis=1, count=13) == right[:2]).all()
    assert hits.read(tmp_path / "nothing").images == 0
