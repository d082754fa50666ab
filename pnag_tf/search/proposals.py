"""The search of PNAG on records: pseudo-labels near the frontier, proposals for any budget, active rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from absl import logging

from pnag_tf import config as config_lib
from pnag_tf.search import candidates, pareto
from pnag_tf.search import evaluator as evaluator_lib
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import digits, errors, scalars

PARENTS = 50  # per budget, function of accuracy and generation; each has two children
# Samples are drawn for so many times a budget: where more time makes no network better, the best leaves some.
BELOW = (1.0, 0.93, 0.86, 0.8)
REFINED = 100  # candidates of a budget
MEASURED = 25  # of the best measured ones within a budget that are refined with the samples
ROOM = 1.1  # a budget so many times the largest trained one asks for nothing else: the slowest network, with room
MUTATION = 0.05  # of a token on the last steps: about two of the paper's space, so that one can pay for the other


def training_budgets(records: records_lib.Records, settings: config_lib.Generator) -> np.ndarray:
    """K budgets over the records' latency range, in equal steps or equal ratios: ``[K]``, increasing, in ms.

    The range is that of the records, of many without the slowest and fastest 0.1 %: one odd measurement does not then
    stretch it. The first budget lies `settings.first_budget` steps above its lower end, so that some architectures
    keep it; 0 divides the whole range, as section E does.

    Raises:
      UserError: all records have the same latency.
    """
    count = settings.budgets
    low = np.quantile(records.latency_ms, 0.001, method="lower")
    high = np.quantile(records.latency_ms, 0.999, method="higher")
    if count == 1:
        return np.array([(low + high) / 2])
    if low == high:
        raise errors.UserError(f"records: expected different latencies, found {digits.shortest(low)} ms for all")
    if settings.spacing == "geometric":
        return np.geomspace(low * (high / low) ** (settings.first_budget / count), high, count)
    return np.linspace(low + settings.first_budget * (high - low) / count, high, count)


def near_frontier(
    predictors: predictor_lib.Predictors,
    start: np.ndarray,
    budgets_ms: np.ndarray,
    count: int,
    rng: np.random.Generator,
    pessimism: float = 0.0,
) -> records_lib.Records:
    """Pseudo-labelled architectures on the way from given ones to the predicted frontier.

    Generation after generation, the best predicted under each budget are mutated and crossed; everything met on the
    way is kept, good or not, so that an evaluator sees the slope as well as the crest.

    Args:
      start: choices ``[n, tokens]`` to begin with, such as the records'.
      count: how many architectures to return, at most.
      pessimism: labels are predicted top-1 less this many times the ensemble's disagreement.

    Returns:
      Records with predicted labels; `start` is not among them.
    """
    generations = max(1, -(-count // (2 * PARENTS * len(budgets_ms))))
    top1 = _pessimistic(predictors, pessimism)
    met, labels, latency_ms = climb(
        predictors.space, top1, predictors.latency_ms, start, budgets_ms, generations, rng, 0.1
    )
    new = slice(len(start), len(start) + count)
    return records_lib.Records(predictors.space, met[new], labels[new, 0], latency_ms[new])


def _pessimistic(predictors: predictor_lib.Predictors, pessimism: float) -> Callable[[np.ndarray], np.ndarray]:
    """Predicted top-1 less `pessimism` × disagreement, as a function for `climb`."""

    def top1(choices):
        mean, disagreement, _ = predictors.predict(choices)
        return (mean - pessimism * disagreement)[:, None]

    return top1


def climb(
    space: space_lib.SearchSpace,
    top1: Callable[[np.ndarray], np.ndarray],
    latency: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    budgets_ms: np.ndarray,
    generations: int,
    rng: np.random.Generator,
    mutation: float,
    parents: int = PARENTS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evolution up one or more functions of accuracy at once, each within every budget.

    Args:
      top1: choices ``[n, tokens]`` -> values of the functions, ``[n, functions]``.
      latency: choices ``[n, tokens]`` -> ms, ``[n]``.
      start: choices to begin with.
      mutation: the probability of a token.
      parents: the best by each function within each budget, that have twice as many children.

    Returns:
      (all architectures met, each once and those of `start` first; the functions' values; latency_ms).
    """
    known = {row.tobytes() for row in start}
    met, values, latency_ms = start, top1(start), latency(start)
    for _ in range(generations):
        best = np.stack(best_within_each(values, latency_ms, budgets_ms, parents))
        children = np.concatenate(offspring(space, met[best], mutation, rng, 2 * parents))
        first = {row.tobytes(): place for place, row in reversed(list(enumerate(children)))}  # much faster than unique
        new = children[sorted(place for key, place in first.items() if key not in known)]
        if not len(new):  # in a space so small that all was met
            continue
        known |= first.keys()
        met = np.concatenate([met, new])
        values = np.concatenate([values, top1(new)])
        latency_ms = np.concatenate([latency_ms, latency(new)])
    return met, values, latency_ms


def offspring(
    space: space_lib.SearchSpace,
    parents: np.ndarray,
    mutation: float,
    rng: np.random.Generator,
    count: int = 2 * PARENTS,
) -> tuple[np.ndarray, np.ndarray]:
    """(mutants, crossings) of parents drawn at random, int32 ``[n, tokens]``, of each group as many.

    Args:
      parents: choices ``[groups, parents, tokens]``; only those of one group are crossed.
      count: children of a group, half of them mutants.
    """
    groups, most, _ = parents.shape
    picks = rng.integers(0, most, (3, groups, count // 2))
    first, second, third = parents[np.arange(groups)[:, None], picks].reshape(3, -1, space.tokens)
    return space.mutate(rng, first, mutation), space.crossover(rng, second, third)


def best_within(values: np.ndarray, latency_ms: np.ndarray, budget_ms: float, count: int) -> list[np.ndarray]:
    """Places of the best `count` within a budget, the best first, by every function of values ``[n, functions]``.

    Where too few keep the budget, the fastest of the others follow.
    """
    fits, found = latency_ms <= budget_ms, []
    for column in values.T:
        value = np.where(fits, column - column.min(initial=0.0), -latency_ms)
        best = np.argpartition(-value, min(count, len(value)) - 1)[:count]
        found.append(best[np.argsort(-value[best], kind="stable")])
    return found


def best_within_each(
    values: np.ndarray, latency_ms: np.ndarray, budgets_ms: np.ndarray, count: int
) -> list[np.ndarray]:
    """`best_within` of every budget, one after the other."""
    return [order for each in budgets_ms for order in best_within(values, latency_ms, each, count)]


def train_evaluator(
    records: records_lib.Records,
    predictors: predictor_lib.Predictors,
    settings: config_lib.Evaluator,
    budgets_ms: np.ndarray,
    seed: int = 0,
    accuracy: bool = True,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
) -> tuple[evaluator_lib.Evaluator, list[dict[str, float]]]:
    """`evaluator.train` on records and as many pseudo-labelled architectures as the settings ask for."""
    pseudo = None
    if settings.pseudo_labels:
        rng = np.random.default_rng([seed, 3])
        start = records.choices[rng.permutation(len(records))[:4000]]
        pseudo = near_frontier(predictors, start, budgets_ms, settings.pseudo_labels, rng, settings.pessimism)
    return evaluator_lib.train(records, predictors, settings, budgets_ms, seed, pseudo, accuracy, progress, log)


def propose(
    generator: generator_lib.Generator,
    predictors: predictor_lib.Predictors,
    budgets_ms: np.ndarray,
    samples: int,
    seed: int,
    pessimism: float = 0.0,
    refinement: int = 0,
    measured: records_lib.Records | None = None,
) -> list[candidates.Candidates]:
    """Many architectures for each budget in one batch; those predicted over budget dropped, the rest ranked.

    Args:
      samples: of a budget; a part of them is drawn for somewhat smaller ones, see `BELOW`.
      refinement: generations of `refine`.
      measured: the best of these within a budget join its samples: rounds may have climbed a hill that a policy misses.

    A budget outside the trained range takes the nearest trained one's policy, with a warning that names the range where
    it lies well outside.
    """
    low, high = generator.budgets_ms[0], generator.budgets_ms[-1]
    for budget_ms in budgets_ms:
        if not low <= budget_ms <= ROOM * high:
            budget = digits.shortest(budget_ms)
            logging.warning("budget %s ms lies outside the trained range %.4g to %.4g ms", budget, low, high)
    below_ms = np.outer(budgets_ms, BELOW)
    choices = generator.sample(below_ms.ravel(), -(-samples // len(BELOW)), seed)
    choices = list(choices.reshape(len(budgets_ms), -1, choices.shape[-1])[:, :samples])
    if measured is not None and len(measured):
        best = best_within_each(measured.top1[:, None], measured.latency_ms, budgets_ms, MEASURED)
        choices = [np.concatenate([drawn, measured.choices[rows]]) for drawn, rows in zip(choices, best, strict=True)]
    return answer(predictors, budgets_ms, choices, seed, pessimism, refinement)


def answer(
    predictors: predictor_lib.Predictors,
    budgets_ms: np.ndarray,
    choices: Iterable[np.ndarray],
    seed: int,
    pessimism: float = 0.0,
    refinement: int = 0,
) -> list[candidates.Candidates]:
    """What was drawn for each budget, choices ``[n, tokens]``, ranked and refined; see `propose`."""
    found = [
        candidates.rank(predictors, budget_ms, drawn, pessimism)
        for budget_ms, drawn in zip(budgets_ms, choices, strict=True)
    ]
    return refine(found, predictors, refinement, np.random.default_rng([seed, 5]), pessimism)


def refine(
    found: list[candidates.Candidates],
    predictors: predictor_lib.Predictors,
    generations: int,
    rng: np.random.Generator,
    pessimism: float = 0.0,
) -> list[candidates.Candidates]:
    """Candidates a few steps further up the predictors' hill: mutated and crossed for some generations.

    A policy that still explores rarely draws the very top. All budgets go together: a child made for one budget may
    serve another.
    """
    if not generations:
        return found
    budgets_ms = [proposal.budget_ms for proposal in found]
    limits_ms = [candidates.limit_ms(predictors, budget_ms) for budget_ms in budgets_ms]
    start = np.unique(np.concatenate([proposal.choices[:PARENTS] for proposal in found]), axis=0)
    top1 = _pessimistic(predictors, pessimism)
    met, values, latency_ms = climb(
        predictors.space, top1, predictors.latency_ms, start, limits_ms, generations, rng, MUTATION
    )
    best = [best_within(values, latency_ms, limit_ms, REFINED)[0] for limit_ms in limits_ms]
    return candidates.within(predictors, budgets_ms, met[np.concatenate(best)], pessimism)


def satisfaction(
    generator: generator_lib.Generator,
    predictors: predictor_lib.Predictors,
    budgets_ms: np.ndarray,
    samples: int,
    seed: int,
) -> np.ndarray:
    """The fraction of raw samples predicted within each budget, ``[budgets]`` (Fig. C)."""
    choices = generator.sample(budgets_ms, samples, seed)
    latency_ms = np.stack([predictors.latency_ms(drawn) for drawn in choices])
    return np.mean(latency_ms <= np.asarray(budgets_ms)[:, None], 1)


def volume(found: list[candidates.Candidates], worst_latency_ms: float, worst_top1: float) -> float:
    """Hypervolume of the best predicted candidate of every budget, in ms × fraction."""
    return pareto.hypervolume(
        [c.latency_ms[0] for c in found], [c.top1[0] for c in found], worst_latency_ms, worst_top1
    )
