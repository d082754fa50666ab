"""Which finalist a budget gets, by hand-made latencies."""

import dataclasses
import functools
import types

import numpy as np
import pytest

from pnag_tf import config, presets
from pnag_tf.latency.device import Device, MeasuredLatency
from pnag_tf.run import context, evaluate, reference
from pnag_tf.run import finalists as finalists_lib
from pnag_tf.search import candidates
from pnag_tf.supernet import subnet
from pnag_tf.util import errors


def _finalist(predicted_ms):
    found = candidates.Candidates(9.0, np.zeros((1, 1), np.int32), np.array([0.5]), np.array([predicted_ms]))
    return finalists_lib.Finalist(found, 0)


def _measure(real_ms, asked):
    """A device on which finalists take `real_ms`, in order of their prediction."""

    def measure(finalists):
        for finalist in finalists:
            asked.append(finalist.predicted_ms)
            ms = real_ms[finalist.predicted_ms]
            finalist.latency = MeasuredLatency(ms, ms, ms, 1, "test")

    return measure


def test_the_best_that_measures_within_the_budget_is_taken_and_few_are_measured():
    finalists, asked = [_finalist(ms) for ms in (4.0, 3.0, 2.0, 1.0)], []
    real_ms = {4.0: 4.0, 3.0: 3.3, 2.0: 1.9, 1.0: 1.0}
    chosen = finalists_lib.measured_within(finalists, [3.0, 5.0], _measure(real_ms, asked))
    assert [each.predicted_ms for each in chosen] == [2.0, 4.0]
    assert sorted(asked) == [2.0, 3.0, 4.0]


def test_the_fastest_is_taken_where_none_fits():
    finalists, asked = [_finalist(ms) for ms in (3.0, 2.0)], []
    chosen = finalists_lib.measured_within(finalists, [1.0, 2.5], _measure({3.0: 3.0, 2.0: 2.6}, asked))
    assert [each.predicted_ms for each in chosen] == [2.0, 2.0]


def test_room_is_left_for_the_next_timing_where_a_network_leaves_it():
    finalists, asked = [_finalist(ms) for ms in (2.99, 2.0)], []
    real_ms = {2.99: 2.99, 2.0: 2.0}
    (chosen,) = finalists_lib.measured_within(finalists, [3.0], _measure(real_ms, asked))
    assert chosen.predicted_ms == 2.0
    close = [_finalist(2.99), _finalist(2.98)]  # none does: the better one that keeps the budget
    chosen = finalists_lib.measured_within(close, [3.0], _measure({2.99: 2.99, 2.98: 2.98}, []))
    assert chosen == [close[0]]


# ---- with a device on which a file is its latency, half as fast as when the table was made ---------------------------


def _timed(models):
    return [MeasuredLatency(ms := 2 * float(model), 0.9 * ms, 1.1 * ms, 1, "test") for model in models]


DEVICE = Device(".tflite", lambda network: network, _timed, lambda: "test")
ALIKE = finalists_lib.Validation()
REFERENCE = reference.Reference((b"3", b"5"), (3.0, 5.0))


def test_latencies_stay_as_measured_and_say_how_slow_the_reference_was():
    (found,) = reference.latencies_at([b"1.5"], DEVICE, REFERENCE)
    assert (found.median_ms, found.p5_ms, found.slowness, found.at_table_ms) == (3.0, 2.7, 2.0, 1.5)
    assert found.columns() == {
        "latency_ms": "3", "latency_p5_ms": "2.7", "latency_p95_ms": "3.3", "latency_at_table_ms": "1.5",
        "slowness": "2.000",
    }  # fmt: skip
    (alone,) = reference.latencies_at([b"1.5"], DEVICE, None)
    assert alone.slowness is None and alone.at_table_ms == alone.median_ms == 3.0
    assert list(alone.columns()) == ["latency_ms", "latency_p5_ms", "latency_p95_ms"]


def test_of_three_calls_each_network_has_its_median_one():
    """In the second call the machine is three times as slow, in the third the first network alone is disturbed."""
    factors = iter([(1.0, 1.1, 1, 1), (3.0, 3.0, 3, 3), (9.0, 1.2, 1, 1)])

    def measure(models):
        found = [float(model) * factor for model, factor in zip(models, next(factors), strict=True)]
        return [MeasuredLatency(ms, ms, ms, 1, "test") for ms in found]

    device = Device(".tflite", lambda network: network, measure, lambda: "test")
    first, second = reference.latencies_at([b"1", b"2"], device, REFERENCE)
    assert (first.median_ms, first.slowness) in ((1.0, 1.0), (3.0, pytest.approx(3.0)))
    assert second.at_table_ms == pytest.approx(2.2) and second.slowness == pytest.approx(1.0)


def test_the_references_scatter_averages_out():
    now = [MeasuredLatency(ms, ms, ms, 1, "test") for ms in (3.3, 5 / 1.1)]
    assert REFERENCE.slowness(now) == pytest.approx(1.0)


def test_nothing_is_divided_on_a_phone(tmp_path):
    run = context.make(dataclasses.replace(presets.preset("tiny"), device="mobile"), tmp_path)
    assert evaluate.reference_of(run) is None


@pytest.fixture
def chosen(space, monkeypatch):
    """Calls `finalists_lib.choose` for budgets: of two networks the slower one is better on validation."""
    choices = np.stack([space.smallest(), space.largest()])
    real_ms = {row.tobytes(): ms for row, ms in zip(choices, (1.0, 2.0), strict=True)}
    monkeypatch.setattr(
        subnet, "extract", lambda net, arch, statistics: str(real_ms[space.encode([str(arch)])[0].tobytes()]).encode()
    )
    fake = types.SimpleNamespace(
        net=types.SimpleNamespace(space=space),
        statistics=lambda row: None,
        hits=lambda rows, batches, statistics: [_right(0.5 + 0.1 * real_ms[row.tobytes()]) for row in rows],
    )

    def test(batch_size):
        raise AssertionError("test images are read before the choice is made")

    splits = types.SimpleNamespace(validation=lambda batch_size, images, held_bytes: [], test=test)

    def choose(budgets_ms, known, validation=ALIKE):
        proposals = [candidates.Candidates(ms, choices, np.array([0.5, 0.6]), np.ones(2)) for ms in budgets_ms]
        settings = config.Config("tiny", space=space)
        prediction = finalists_lib.Prediction(lambda rows: np.full(len(rows), 0.5), 0.1)
        found = finalists_lib.choose(settings, fake, splits, DEVICE, proposals, known, prediction, validation)
        return [each.exported for each in found]

    return choose


def _right(top1):
    """Of 100 images the first are right, by top-1 and by top-5."""
    return np.stack([np.arange(100) < round(100 * top1)] * 2)


def test_a_budget_is_held_to_the_latency_at_the_tables_speed_and_no_test_image_is_read(chosen):
    assert chosen([1.1, 2.1], REFERENCE) == [b"1.0", b"2.0"]
    assert chosen([2.1, 4.2], None) == [b"1.0", b"2.0"]


def test_one_finalist_is_faster_than_asked_for():
    """Should the best ones turn out slower than predicted, there is one with room to spare."""
    latency_ms = np.array([0.99, 0.98, 0.97, 0.96, 0.95, 0.85, 0.8])
    found = candidates.Candidates(1.0, np.zeros((7, 1), np.int32), np.linspace(0.9, 0.6, 7), latency_ms)
    assert finalists_lib._best(found) == [0, 1, 2, 3, 5]
    assert finalists_lib._best(dataclasses.replace(found, budget_ms=9.0)) == [0, 1, 2, 3]


def test_a_finalist_that_is_better_by_luck_gives_way_to_the_prediction():
    """The second gets two images more of 100, one by one other ones; the first is predicted 3 points better."""
    finalists = [_finalist(1.0), _finalist(2.0)]
    right = np.zeros((2, 100), bool)
    right[0, :70], right[1, 20:92] = True, True
    for error, best in ((0.001, 0), (1.0, 1)):
        finalists_lib.expect(finalists, right, finalists_lib.Prediction(lambda rows: np.array([0.80, 0.77]), error))
        assert [each.top1 for each in finalists] == [0.70, 0.72]
        assert np.argmax([each.expected_top1 for each in finalists]) == best
        assert sum(each.expected_top1 for each in finalists) == pytest.approx(1.42)


def test_a_note_says_why_a_budget_gets_the_network_of_a_smaller_one():
    def row(budget_ms, arch, latency_ms):
        return {"method": "pnag", "budget_ms": budget_ms, "arch": arch, "latency_ms": latency_ms, "found_by": "pnag"}

    rows = [row("0.54", "a", "0.3"), row("0.3", "a", "0.3"), row("1", "b", "0.9")]
    better = "no network within the budget has a higher expected accuracy than the 0.3 ms one"
    assert evaluate.notes(rows) == [f"note: 0.54 ms: {better}"]
    assert evaluate.notes(rows[1:]) == []
    missed = "missed, the network takes 0.3 ms"
    over = [row("0.1", "a", "0.3"), row("0.2", "a", "0.3"), row("0.3", "b", "0.3")]
    assert evaluate.notes(over) == [f"note: 0.1 ms: {missed}", f"note: 0.2 ms: {missed}"]
    assert evaluate.notes([{"network": "a", "latency_ms": "1"}, {"network": "b", "budget_ms": "1"}]) == []


# ---- in a kind whose files do not answer as the Keras model does -----------------------------------------------------


def test_finalists_are_judged_by_their_files_and_the_prediction_gives_what_the_kind_costs(chosen, monkeypatch):
    """Of both networks the file is ten points worse, of the second twenty: it is no longer the better one."""
    asked = []

    def deployed(exported):
        asked.append(exported)
        return _right({b"1.0": 0.58, b"2.0": 0.55}[exported])[0]

    seen, less = [], finalists_lib.Prediction.less
    monkeypatch.setattr(finalists_lib.Prediction, "less", lambda self, loss: seen.append(loss) or less(self, loss))
    found = chosen([2.1], REFERENCE, finalists_lib.Validation(deployed=deployed))
    assert sorted(asked) == [b"1.0", b"2.0"] and found == [b"1.0"]
    assert seen == [pytest.approx(0.65 - 0.565)]


def test_a_network_that_loses_by_rounding_is_trained_on_and_the_better_one_is_kept(monkeypatch, space):
    """Of two networks the first loses three points in its file; trained on, its file is two points better."""
    finalists = [dataclasses.replace(_finalist(1.0), exported=b"old"), _finalist(2.0)]
    for finalist, choices in zip(finalists, (space.smallest(), space.largest()), strict=True):
        finalist.found = dataclasses.replace(finalist.found, choices=choices[None])
    top1 = {b"a": 0.77, b"b": 0.80, b"a rounded": 0.79, b"worse": 0.7}
    validation = finalists_lib.Validation(deployed=lambda exported: _right(top1[exported])[0])
    subnets = types.SimpleNamespace(net=types.SimpleNamespace(space=space))
    device = dataclasses.replace(DEVICE, measure=lambda models: [MeasuredLatency(1.0, 1.0, 1.0, 1, "test")] * 2)
    history = [{"val_accuracy": 0.80, "kept": 1.0}]

    def train(archs):
        return [(b"a", history), (b"b", history)]

    for answer, best, expected in ((b"a rounded", b"a rounded", 0.79), (b"worse", b"a", 0.77)):
        asked = []

        def rounded(arch, network, answer=answer, asked=asked):
            asked.append((arch, network))
            return answer

        finalists_lib.train_alone(finalists, [9.0, 9.0], subnets, device, None, train, validation, rounded)
        assert asked == [(str(space.decode(space.smallest())[0]), b"a")]
        assert (finalists[0].network, finalists[0].exported, finalists[0].top1) == (best, best, expected)
        assert (finalists[1].exported, finalists[1].top1) == (b"b", 0.80)


def test_a_file_is_held_to_its_limits_as_it_was_written(monkeypatch):
    monkeypatch.setattr(finalists_lib.anatomy, "arena_bytes", lambda exported: 1e6 * len(exported))
    finalists = [dataclasses.replace(_finalist(ms), exported=b"x" * size) for ms, size in ((3.0, 30), (2.0, 20))]
    for most, expected in (
        (config.Limits(bytes=25), [2.0]),
        (config.Limits(memory_mb=25.0), [2.0]),
        (config.Limits(bytes=40, memory_mb=25.0), [2.0]),
        (config.Limits(), [3.0]),
    ):
        for finalist in finalists:
            finalist.latency = None
        over = functools.partial(finalists_lib.over, most)
        chosen = finalists_lib.measured_within(finalists, [9.0], _measure({3.0: 3.0, 2.0: 2.0}, []), over)
        assert [each.predicted_ms for each in chosen] == expected
    for name, value in (("bytes", 10), ("memory_mb", 10.0)):
        over = functools.partial(finalists_lib.over, config.Limits(**{name: value}))
        with pytest.raises(errors.SettingError, match=f"`limits.{name}`: expected 20 or more, the least found"):
            finalists_lib.measured_within(finalists, [9.0], _measure({3.0: 3.0, 2.0: 2.0}, []), over)


@pytest.mark.parametrize(
    ("se", "slow_ms", "expected"),
    [(0.02, 2.0, [0, 1]), (0.001, 2.0, [0, 0]), (0.02, 3.1, [0, 0])],
)
def test_a_smaller_network_serves_a_larger_budget_where_it_is_better_beyond_the_noise(space, se, slow_ms, expected):
    """Five points worse before training, and one point better afterwards; or the larger one has grown too slow."""
    finalists = []
    for choices, before in ((space.smallest(), 0.70), (space.largest(), 0.75)):
        found = candidates.Candidates(9.0, choices[None], np.array([0.5]), np.array([1.0]))
        finalists.append(finalists_lib.Finalist(found, 0, expected_top1=before, top1_se=se))
    subnets = types.SimpleNamespace(net=types.SimpleNamespace(space=space))

    def measure(models):
        return [MeasuredLatency(ms, ms, ms, 1, "test") for ms in (1.0, slow_ms)]

    def train(archs):
        return [(name, [{"val_accuracy": top1, "kept": 1.0}]) for name, top1 in ((b"small", 0.77), (b"large", 0.76))]

    device = dataclasses.replace(DEVICE, measure=measure)
    chosen = finalists_lib.train_alone(finalists, [1.5, 3.0], subnets, device, None, train)
    assert [finalists.index(each) for each in chosen] == expected
