"""The paper's ablation tables on given records: what the number of budgets, joint training and the reward are worth.

Every variant changes one thing in the recipe of the run; all share the predictors.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.search import baselines, reinforce
from pnag_tf.search import candidates as candidates_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import proposals as search
from pnag_tf.search import records as records_lib

TRAINED_BUDGETS = (1, 2, 5, 10, 30)  # K, main paper, Table 4
SAMPLES = 1000  # a budget: as the policy draws them; refined, all variants would look alike
BUDGETS, SEARCH, REWARD = "number of budgets", "joint or independent search", "reward"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the tables.

    Attributes:
      name: a file's name as well.
      rows: (table, title of its row there); the full method stands in every table.
      settings: of the generator.
      accuracy: whether the evaluator's dominance has its part about accuracy, Eqn. (E).
      joint: one policy for all budgets; False: a policy, and an evaluator where the reward has one, for each.
    """

    name: str
    rows: tuple[tuple[str, str], ...]
    settings: config_lib.Generator
    accuracy: bool = True
    joint: bool = True


def variants(settings: config_lib.Generator) -> list[Variant]:
    """The rows of the three tables; `settings` is the full method's generator, with the reward 'pareto'."""
    own = settings.budgets
    full = ((BUDGETS, f"K = {own}"), (SEARCH, "joint"), (REWARD, "Pareto dominance"))
    found = [Variant("pnag", full, settings)]
    for budgets in TRAINED_BUDGETS:
        if budgets != own:
            row = ((BUDGETS, f"K = {budgets}"),)
            found.append(Variant(f"budgets_{budgets}", row, dataclasses.replace(settings, budgets=budgets)))
    found.append(Variant("independent", ((SEARCH, "independent"),), settings, joint=False))
    found.append(Variant("latency_only", ((REWARD, "Pareto without accuracy"),), settings, accuracy=False))
    for reward, title in (("multi_objective", "multi-objective"), ("absolute", "absolute")):
        changed = dataclasses.replace(settings, reward=reward)
        found.append(Variant(reward, ((REWARD, title),), changed))
    return found


def run(
    variant: Variant,
    records: records_lib.Records,
    predictors: predictor_lib.Predictors,
    config: config_lib.Config,
    budgets_ms: np.ndarray,
    progress: bool = False,
) -> list[candidates_lib.Candidates]:
    """What a variant proposes for each budget, the best predicted first."""

    def evaluator(trained_ms):
        if variant.settings.reward != "pareto":
            return None
        return search.train_evaluator(
            records, predictors, config.evaluator, trained_ms, config.seed, variant.accuracy, progress
        )[0]

    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, samples=SAMPLES))
    if not variant.joint:
        rng = np.random.default_rng([config.seed, 4])
        judges = [evaluator(np.array([budget_ms])) for budget_ms in budgets_ms]
        return baselines.independent(predictors, budgets_ms, rng, config, variant.settings, judges)
    trained_ms = search.training_budgets(records, variant.settings)
    policy, _ = reinforce.train_generator(
        variant.settings, predictors, evaluator(trained_ms), trained_ms, config.seed, progress=progress
    )
    return search.propose(policy, predictors, budgets_ms, config.eval.samples, config.seed, config.eval.pessimism)


def tables(results: dict[str, list[dict]], settings: config_lib.Generator) -> list[tuple[str, list[dict]]]:
    """The three tables: (title, rows), a row holding ``variant``, top-1 in percent per budget, and ``mean``.

    A network that misses its budget, and a mean with one, is marked: it does not compare.

    Args:
      results: variant's name -> its rows, one a budget, with ``budget_ms``, ``predicted_top1`` and
        ``predicted_latency_ms``; where all rows have the same measured, that is taken instead.
      settings: as for `variants`.
    """
    measured = all("measured_top1" in row for rows in results.values() for row in rows)
    kind = "measured" if measured else "predicted"
    found = []
    for table in (BUDGETS, SEARCH, REWARD):
        lines = []
        for variant in sorted(variants(settings), key=lambda variant: variant.settings.budgets):
            for title in [title for name, title in variant.rows if name == table]:
                rows = results[variant.name]
                top1 = [100 * float(row[f"{kind}_top1"]) for row in rows]
                over = [float(row[f"{kind}_latency_ms"]) > float(row["budget_ms"]) for row in rows]
                budgets = [f"{row['budget_ms']} ms" for row in rows]
                shown = dict(zip(budgets, map(_mark, top1, over), strict=True))
                lines.append({"variant": title} | shown | {"mean": _mark(np.mean(top1), any(over))})
        found.append((f"{table} ({kind} top1, %; ! over budget)", lines))
    return found


def _mark(top1: float, over: bool) -> str:
    return f"{top1:.2f}{'!' if over else ''}"
