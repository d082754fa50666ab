"""Searches that PNAG is compared with: evolution per budget, policies trained per budget, and random choice.

Each is a function (space, predictors, budgets_ms, rng, config) -> candidates per budget, whatever of these it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.search import candidates, reinforce
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import proposals as search
from pnag_tf.space import space as space_lib

# OFA's published settings of its evolutionary search.
POPULATION, GENERATIONS, PARENTS, MUTATION_PROBABILITY, MUTATION_RATIO = 100, 500, 0.25, 0.1, 0.5
DRAWN = 1000  # uniform architectures that a random subnet is chosen among
REDRAWS = 50  # of what exceeds the budget; OFA draws for as long as it takes, which may be for ever
EXPONENT = -0.07  # MnasNet's

# (top1 [n], latency_ms [n], budget_ms) -> fitness [n]; the larger the better
Fitness = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def multi_objective(top1: np.ndarray, latency_ms: np.ndarray, budget_ms: float) -> np.ndarray:
    """MnasNet's reward acc · (lat / T)^w, w = −0.07."""
    return top1 * (latency_ms / budget_ms) ** EXPONENT


def evolve(
    space: space_lib.SearchSpace,
    predictors: predictor_lib.Predictors,
    budget_ms: float,
    rng: np.random.Generator,
    fitness: Fitness,
    hard: bool,
    population: int = POPULATION,
    generations: int = GENERATIONS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """OFA's evolutionary search: the fittest quarter breeds, half of the children by mutation, half by crossover.

    Args:
      hard: the latency is a constraint: what exceeds the budget is drawn again, children from the same parents. What
        does so `REDRAWS` times is left out of the children; in the first population, which the smallest network
        belongs to, it ranks by its excess behind all that keeps the budget.

    Returns:
      (choices, predicted top-1, predicted latency in ms) of the last population, the fittest first.
    """

    def judge(choices):
        top1, _, latency_ms = predictors.predict(choices)
        value = fitness(top1, latency_ms, budget_ms)
        return choices, top1, latency_ms, np.where(latency_ms <= budget_ms, value, -latency_ms) if hard else value

    first = space.sample(rng, population)
    if hard:
        first, _ = _within(lambda rows: space.sample(rng, len(rows)), first, predictors, budget_ms)
    first[0] = space.smallest()
    alive = judge(first)
    parents, mutants = int(PARENTS * population), int(MUTATION_RATIO * population)
    for _ in range(generations):
        order = np.argsort(-alive[3], kind="stable")[:parents]
        alive = tuple(part[order] for part in alive)
        pairs = alive[0][rng.integers(0, len(order), (2, population))]

        def breed(rows, pairs=pairs):
            children = space.crossover(rng, pairs[0, rows], pairs[1, rows])
            mutated = rows < mutants
            children[mutated] = space.mutate(rng, pairs[0, rows[mutated]], MUTATION_PROBABILITY)
            return children

        children = breed(np.arange(population))
        if hard:
            children, keeps = _within(breed, children, predictors, budget_ms)
            children = children[keeps]
        if len(children):
            alive = tuple(np.concatenate(parts) for parts in zip(alive, judge(children), strict=True))
    order = np.argsort(-alive[3], kind="stable")
    return alive[0][order], alive[1][order], alive[2][order]


def _within(
    draw: Callable[[np.ndarray], np.ndarray],
    choices: np.ndarray,
    predictors: predictor_lib.Predictors,
    budget_ms: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(choices, which of them keep the budget: bool ``[n]``), those that exceed it drawn again up to `REDRAWS` times.

    Args:
      draw: rows that are to be drawn again -> new choices for them.
    """
    keeps = predictors.latency_ms(choices) <= budget_ms
    for _ in range(REDRAWS):
        rows = np.flatnonzero(~keeps)
        if not len(rows):
            break
        choices[rows] = draw(rows)
        keeps[rows] = predictors.latency_ms(choices[rows]) <= budget_ms
    return choices, keeps


def evo(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """EVO: evolution for each budget by itself, the latency a hard constraint (the supplement's comparison).

    The constraint is the limit that every method's candidates are held to, a little below the budget.
    """
    found = []
    for budget_ms in budgets_ms:
        limit_ms = candidates.limit_ms(predictors, budget_ms)
        choices, _, _ = evolve(space, predictors, limit_ms, rng, lambda top1, *_: top1, hard=True)
        found.append(candidates.rank(predictors, budget_ms, choices))
    return found


def ofa_mo(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """OFA-MO: the same evolution with MnasNet's reward instead of the constraint.

    The supplement names it without a definition; this is ours. The fittest is proposed, whether it keeps the budget
    or not: that is what the method's histogram shows.
    """
    found = []
    for b in budgets_ms:
        found.append(candidates.Candidates(float(b), *evolve(space, predictors, b, rng, multi_objective, hard=False)))
    return found


def random(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """As many uniform architectures as evolution looks at; the best predicted one within each budget."""
    choices = space.sample(rng, POPULATION * (1 + GENERATIONS) // 2)
    return [candidates.rank(predictors, b, choices) for b in budgets_ms]


def random_subnet(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """No search: for each budget a uniform architecture among those drawn that take at least nine tenths of it.

    Where none does, the slowest one within the budget.
    """
    drawn = candidates.within(predictors, budgets_ms, space.sample(rng, DRAWN))
    found = []
    for each in drawn:
        near = np.flatnonzero(each.latency_ms >= 0.9 * each.budget_ms)
        place = rng.choice(near) if len(near) else np.argmax(each.latency_ms)
        only = slice(place, place + 1)
        found.append(candidates.Candidates(each.budget_ms, each.choices[only], each.top1[only], each.latency_ms[only]))
    return found


def nas_mo(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """NAS-MO: the generator's policy trained for one budget at a time with MnasNet's reward.

    Its samples are refined as PNAG's are. OFA-MO needs none: it is an evolution from the start.
    """
    settings = dataclasses.replace(config.generator, reward="multi_objective", reward_exponent=EXPONENT)
    found = independent(predictors, budgets_ms, rng, config, settings)
    return search.refine(found, predictors, config.eval.refinement, rng, config.eval.pessimism)


def independent(
    predictors, budgets_ms, rng, config: config_lib.Config, settings: config_lib.Generator, evaluators=None
) -> list[candidates.Candidates]:
    """One policy per budget, each trained alone (the ablation 'independent search').

    Args:
      evaluators: one per budget, for the reward 'pareto'.
    """
    settings = dataclasses.replace(settings, budgets=1)
    found = []
    for number, budget_ms in enumerate(budgets_ms):
        seed = int(rng.integers(2**31))
        evaluator = evaluators[number] if evaluators else None
        policy, _ = reinforce.train_generator(settings, predictors, evaluator, [budget_ms], seed)
        choices = policy.sample([budget_ms], config.eval.samples, seed)[0]
        found.append(candidates.rank(predictors, budget_ms, choices))
    return found
