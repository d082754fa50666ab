"""From proposals to a network for each budget: expected accuracy chooses, the exported file's own latency decides."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.latency import anatomy, counted
from pnag_tf.latency import device as devices
from pnag_tf.run import answers, reference
from pnag_tf.search import candidates as candidates_lib
from pnag_tf.search import limits as limits_lib
from pnag_tf.search import noise
from pnag_tf.supernet import finetune, shrinking, subnet
from pnag_tf.util import errors

FINALISTS = 4  # proposals per budget whose validation accuracy is measured
SPARE = 0.1  # share of a budget that one more leaves by its prediction, should those be slower than predicted
INT8_LOSS = 0.005  # of validation top-1, above which a network is trained on with int8's rounding
HEADROOM = 0.04  # share of a budget that a network leaves when it is chosen: its next timing may differ by as much


@dataclasses.dataclass(eq=False)
class Finalist:
    """A proposal on its way to the device; what is not known yet is None.

    Attributes:
      found, place: where it was proposed.
      statistics: recalibrated batch norm, float32 [2, channels].
      network: fine-tuned; None where the supernet's weights are deployed.
      top1_before: on validation, with the supernet's weights.
      top1: on validation, of what is deployed.
      exported: the content of its file, as the device runs it.
      latency: as measured, with how slow the reference was in the same call.
      test: what it answers on the test images.
      expected_top1: `top1_before`, drawn to the prediction as far as it is noisy; see `expect`.
      top1_se: standard error of `top1_before` relative to the mean of the finalists.
    """

    found: candidates_lib.Candidates
    place: int
    statistics: np.ndarray | None = None
    network: keras.Model | None = None
    top1_before: float | None = None
    top1: float | None = None
    exported: bytes | None = None
    latency: devices.MeasuredLatency | None = None
    test: answers.Answers | None = None
    expected_top1: float | None = None
    top1_se: float | None = None

    @property
    def choices(self) -> np.ndarray:
        return self.found.choices[self.place]

    @property
    def predicted_ms(self) -> float:
        return self.found.latency_ms[self.place]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is expected of networks before their validation images are looked at.

    Attributes:
      top1: choices int32 ``[n, tokens]`` -> predicted top-1 ``[n]``, fractions.
      error: its root mean square error against the true top-1.
    """

    top1: Callable[[np.ndarray], np.ndarray]
    error: float

    def less(self, loss: float) -> Prediction:
        """What is expected where every network loses as much."""
        return dataclasses.replace(self, top1=lambda choices: self.top1(choices) - loss)


@dataclasses.dataclass(frozen=True)
class Validation:
    """How networks are judged on validation images.

    Attributes:
      weights: how much each image counts, ``[images]`` with mean 1; None where all do the same.
      deployed: the content of a file -> which images it gets right, bool ``[images]``; None where a file answers as the
        Keras model does, as one of float32.
    """

    weights: np.ndarray | None = None
    deployed: Callable[[bytes], np.ndarray] | None = None

    def top1(self, exported: bytes) -> float:
        """Of a file that does not answer as the Keras model does."""
        return float(np.average(self.deployed(exported), weights=self.weights))


def choose(
    config: config_lib.Config,
    subnets: subnet.Subnets,
    splits: data.Splits,
    device: devices.Device,
    proposals: list[candidates_lib.Candidates],
    known: reference.Reference | None,
    prediction: Prediction,
    validation: Validation = Validation(),
) -> list[Finalist]:
    """For each budget the finalist of the highest expected accuracy that keeps it when exported and measured.

    A budget is held to the latency at the latency table's speed, as records and predictors give it.
    The finalists of all budgets compete: a network found for a smaller budget may serve a larger one.

    Args:
      known: measured beside the others; None where latencies count as measured.
      prediction: what is expected of the finalists before they are judged on validation images; of their float32
        weights, so that what the run's kind costs them on average is taken off.
    """
    distinct = {}
    for found in proposals:
        for place in _best(found):
            distinct.setdefault(found.choices[place].tobytes(), Finalist(found, place))
    finalists = list(distinct.values())
    for finalist in tqdm(finalists, desc="recalibrate", unit="network"):
        finalist.statistics = subnets.statistics(finalist.choices)
    judged = subnets.hits(
        [finalist.choices for finalist in finalists],
        shrinking.validation_batches(config, splits, config.measure.finalist_images),
        [finalist.statistics for finalist in finalists],
    )
    bar = tqdm(judged, total=len(finalists), desc="validate", unit="network")
    right = np.stack([right for right, _ in bar])
    if validation.deployed:
        export(finalists, subnets, device)
        bar = tqdm(finalists, desc="validate files", unit="network")
        deployed = np.stack([validation.deployed(finalist.exported) for finalist in bar])
        prediction, right = prediction.less(float(right.mean() - deployed.mean())), deployed
    expect(finalists, right, prediction, validation.weights)
    finalists.sort(key=lambda finalist: -finalist.expected_top1)
    budgets_ms = [found.budget_ms for found in proposals]
    return measured_within(
        finalists,
        budgets_ms,
        lambda fresh: measure(fresh, subnets, device, known),
        functools.partial(over, config.limits),
        0.0 if config.device in counted.UNITS else HEADROOM,
    )


def over(most: config_lib.Limits, finalist: Finalist) -> dict[str, float]:
    """The limits that the file of a finalist exceeds -> what it has; multiply-adds and parameters never do."""
    found = {"bytes": len(finalist.exported)} if most.bytes else {}
    if most.memory_mb:
        found["memory_mb"] = anatomy.arena_bytes(finalist.exported) / limits_lib.MB
    return {name: value for name, value in found.items() if value > getattr(most, name)}


def _best(found: candidates_lib.Candidates) -> list[int]:
    """Places of the best proposals for a budget, and of the best one with `SPARE`."""
    spare = np.flatnonzero(found.latency_ms <= (1 - SPARE) * found.budget_ms)[:1].tolist()
    return list(dict.fromkeys([*range(min(FINALISTS, len(found))), *spare]))


def expect(
    finalists: list[Finalist], right: np.ndarray, prediction: Prediction, weights: np.ndarray | None = None
) -> None:
    """Sets the top-1 of finalists with the supernet's weights and what to expect of them; see `noise.expected`.

    Args:
      right: which validation images each of them gets right, bool ``[n, images]``, two images or more.
      weights: see `Validation`.
    """
    packed, images = np.packbits(right, axis=1), right.shape[1]
    se = noise.standard_errors(packed, images, noise.image_means(packed, images), weights)
    predicted = prediction.top1(np.stack([finalist.choices for finalist in finalists]))
    measured = np.average(right, axis=1, weights=weights)
    expected = noise.expected(measured, se, predicted, prediction.error)
    for finalist, top1, expected_top1, top1_se in zip(finalists, measured, expected, se, strict=True):
        finalist.top1_before = finalist.top1 = float(top1)
        finalist.expected_top1, finalist.top1_se = float(expected_top1), float(top1_se)


def measured_within(
    finalists: list[Finalist],
    budgets_ms: list[float],
    measure: Callable[[list[Finalist]], None],
    over: Callable[[Finalist], dict[str, float]] = lambda finalist: {},
    headroom: float = HEADROOM,
) -> list[Finalist]:
    """For each budget the first finalist that measures within it and leaves `headroom`, a share of it.

    Where none does, the first one that measures within it, else the fastest measured one. Networks are measured in
    rounds, in each the next one for every budget not yet served, so that few are exported and those of a round
    compare. One that is predicted over a budget is not tried for it.

    Args:
      finalists: the best first.
      measure: sets the latency of each finalist of a list.
      over: the limits that one which was exported exceeds; it is not chosen then.

    Raises:
      SettingError: every one that was measured exceeds a limit.
    """
    queues = [[each for each in finalists if each.predicted_ms <= budget_ms] for budget_ms in budgets_ms]
    fastest = min(finalists, key=lambda each: each.predicted_ms)
    chosen: list[Finalist | None] = [None] * len(budgets_ms)
    while None in chosen:
        heads = [queue[0] if queue else fastest for queue in queues]
        waiting = [number for number, pick in enumerate(chosen) if pick is None]
        fresh = list({id(heads[n]): heads[n] for n in waiting if heads[n].latency is None}.values())
        if fresh:
            measure(fresh)
        for number in waiting:
            inside = heads[number].latency.at_table_ms <= (1 - headroom) * budgets_ms[number]
            if inside and not over(heads[number]):
                chosen[number] = heads[number]
            elif queues[number]:
                queues[number].pop(0)
            else:
                measured = [each for each in finalists if each.latency is not None]
                known = [each for each in measured if not over(each)]
                if not known:
                    exceeded = [over(each) for each in measured]
                    name = next(iter(exceeded[0]))
                    least = limits_lib.rounded_up(min(each[name] for each in exceeded if name in each))
                    raise errors.SettingError(f"limits.{name}", f"expected {least} or more, the least found")
                within = [each for each in known if each.latency.at_table_ms <= budgets_ms[number]]
                chosen[number] = within[0] if within else min(known, key=lambda each: each.latency.at_table_ms)
    return chosen


def train_alone(
    chosen: list[Finalist],
    budgets_ms: list[float],
    subnets: subnet.Subnets,
    device: devices.Device,
    known: reference.Reference | None,
    train: Callable[[list[str]], list[tuple[keras.Model, list[dict]]]],
    validation: Validation = Validation(),
    train_rounded: Callable[[str, keras.Model], keras.Model] | None = None,
) -> list[Finalist]:
    """Trains each chosen network, and chooses once more among them, by what they now reach on validation.

    That is drawn to what was expected of them before, as far as it is noisy: on few images a small network that was
    chosen for a small budget may look better than that of a larger one by luck.

    Args:
      chosen: the finalist of each budget; one that serves several is trained once.
      train: architectures -> (network, history) of each; see `supernet.finetune.train`.
      train_rounded: trains on with int8's rounding, an architecture and its trained network, what loses more than
        `INT8_LOSS` by it; None where that is not wanted.

    Returns:
      For each budget the best of them that keeps it, exported and measured anew in one call.
    """
    distinct = list({id(finalist): finalist for finalist in chosen}.values())
    archs = [str(subnets.net.space.decode(finalist.choices)[0]) for finalist in distinct]
    for finalist, (finalist.network, history) in zip(distinct, train(archs), strict=True):
        _, finalist.top1 = finetune.before_and_best(history)
        finalist.exported = None
    export(distinct, subnets, device)
    if validation.deployed:
        for finalist, arch in zip(tqdm(distinct, desc="validate files", unit="network"), archs, strict=True):
            before, finalist.top1 = finalist.top1, validation.top1(finalist.exported)
            if train_rounded and before - finalist.top1 > INT8_LOSS:
                _replace_by_better(finalist, train_rounded(arch, finalist.network), device, validation)
    measure(distinct, subnets, device, known)
    settled = {id(finalist): top1 for finalist, top1 in zip(distinct, _settled(distinct), strict=True)}
    found = []
    for budget_ms, own in zip(budgets_ms, chosen, strict=True):
        inside = [each for each in (own, *distinct) if each.latency.at_table_ms <= budget_ms]
        found.append(max(inside or [own], key=lambda finalist: settled[id(finalist)]))  # its own one of equal ones
    return found


def _settled(finalists: list[Finalist]) -> np.ndarray:
    """What to expect of trained networks, by validation and by what was expected before they were trained, ``[n]``."""
    top1, se, before = (
        np.array([getattr(finalist, name) for finalist in finalists], float)
        for name in ("top1", "top1_se", "expected_top1")
    )
    return noise.expected(top1, se, before, 0.0)


def _replace_by_better(
    finalist: Finalist, network: keras.Model, device: devices.Device, validation: Validation
) -> None:
    exported = device.export(network)
    if (top1 := validation.top1(exported)) > finalist.top1:
        finalist.network, finalist.exported, finalist.top1 = network, exported, top1


def model(subnets: subnet.Subnets, finalist: Finalist) -> keras.Model:
    """A finalist as a plain model: images float32 [n, r, r, 3] -> logits [n, classes]."""
    if finalist.network is not None:
        return finalist.network
    return subnet.extract(subnets.net, subnets.net.space.decode(finalist.choices)[0], finalist.statistics)


def measure(
    finalists: list[Finalist], subnets: subnet.Subnets, device: devices.Device, known: reference.Reference | None
) -> None:
    """Exports and measures, in two passes: one would disturb the other."""
    export(finalists, subnets, device)
    latencies = reference.latencies_at([finalist.exported for finalist in finalists], device, known)
    for finalist, latency in zip(finalists, latencies, strict=True):
        finalist.latency = latency


def export(finalists: list[Finalist], subnets: subnet.Subnets, device: devices.Device) -> None:
    """Makes the files of those that have none."""
    waiting = [finalist for finalist in finalists if finalist.exported is None]
    for finalist in tqdm(waiting, desc="export", unit="network", disable=not waiting):
        finalist.exported = device.export(model(subnets, finalist))
