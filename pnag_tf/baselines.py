"""Searches that PNAG is compared with: evolution per budget, policies trained per budget, and random choice.

Each is a function (space, predictors, budgets_ms, rng, config) -> ranked candidates per budget, PNAG's own signature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from pnag_tf import candidates, reinforce
from pnag_tf import config as config_lib
from pnag_tf import predictor as predictor_lib
from pnag_tf import space as space_lib

# OFA's published settings of its evolutionary search.
POPULATION, GENERATIONS, PARENTS, MUTATION_PROBABILITY, MUTATION_RATIO = 100, 500, 0.25, 0.1, 0.5
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
      hard: the latency is a constraint: what exceeds the budget ranks behind all that keeps it, by its excess.

    Returns:
      (choices, predicted top-1, predicted latency in ms) of the last population, the fittest first.
    """

    def judged(choices):
        top1, _, latency_ms = predictors.predict(choices)
        value = fitness(top1, latency_ms, budget_ms)
        return choices, top1, latency_ms, np.where(latency_ms <= budget_ms, value, -latency_ms) if hard else value

    first = space.sample(rng, 20 * population)
    # OFA draws until the population keeps the budget; the fastest of a large draw and the smallest network do as well.
    first[0] = space.smallest()
    if hard:
        latency_ms = predictors.latency_ms(first)
        first = first[np.argsort(np.where(latency_ms <= budget_ms, 0.0, latency_ms), kind="stable")]
    alive = judged(first[:population])
    parents, mutants = int(PARENTS * population), int(MUTATION_RATIO * population)
    for _ in range(generations):
        order = np.argsort(-alive[3], kind="stable")[:parents]
        alive = tuple(part[order] for part in alive)
        chosen = alive[0][rng.integers(0, parents, (3, mutants))]
        crossed = space.crossover(rng, chosen[1], alive[0][rng.integers(0, parents, mutants)])[: population - mutants]
        children = np.concatenate([space.mutate(rng, chosen[0], MUTATION_PROBABILITY), crossed])
        alive = tuple(np.concatenate(parts) for parts in zip(alive, judged(children), strict=True))
    order = np.argsort(-alive[3], kind="stable")
    return alive[0][order], alive[1][order], alive[2][order]


def evo(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """EVO: evolution for each budget by itself, the latency a hard constraint (the supplement's comparison)."""
    del config
    return [
        candidates.ranked(predictors, b, evolve(space, predictors, b, rng, lambda top1, *_: top1, hard=True)[0])
        for b in budgets_ms
    ]


def ofa_mo(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """OFA-MO: the same evolution with MnasNet's reward instead of the constraint.

    The supplement names it without a definition; this is ours. The fittest is proposed, whether it keeps the budget
    or not: that is what the method's histogram shows.
    """
    del config
    found = []
    for b in budgets_ms:
        found.append(candidates.Candidates(float(b), *evolve(space, predictors, b, rng, multi_objective, hard=False)))
    return found


def random(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """As many uniform architectures as evolution looks at; the best predicted one within each budget."""
    del config
    choices = space.sample(rng, POPULATION * (1 + GENERATIONS) // 2)
    return [candidates.ranked(predictors, b, choices) for b in budgets_ms]


def nas_mo(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """NAS-MO: the generator's policy trained for one budget at a time with MnasNet's reward."""
    settings = dataclasses.replace(config.generator, reward="multi_objective", reward_exponent=EXPONENT)
    return independent(space, predictors, budgets_ms, rng, config, settings)


def independent(
    space, predictors, budgets_ms, rng, config: config_lib.Config, settings: config_lib.Generator, evaluators=None
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
        rewards = reinforce.reward(settings, [budget_ms], evaluator, predictors)
        policy, _ = reinforce.train(space, rewards, settings, [budget_ms], seed)
        choices = policy.sample([budget_ms], config.eval.samples, seed)[0][0]
        found.append(candidates.ranked(predictors, budget_ms, choices))
    return found
