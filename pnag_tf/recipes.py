"""The search's settings by preset: (Predictors, Evaluator, Generator, Eval).

paper: every number of the supplement, sections A, C, D and E.
search: the recipe for records of the paper's size, four minutes on two cores; the README lists each deviation.
demo: the same recipe for some hundred records, about a minute on two cores.
tiny: seconds, for tests on a two-unit space.
"""

from __future__ import annotations

from pnag_tf import config

_RANKING = {
    "hidden": 256,
    "encoding": "slack",
    "loss": "margin",
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "final_learning_rate": 1e-5,
    "weight_decay": 1e-3,
    "between": True,
}
_POLICY = {
    "heads": "token",
    "learning_rate": 5e-3,
    "final_learning_rate": 5e-4,
    "entropy_weight": 0.2,
    "final_entropy_weight": 0.03,
    "advantage": "normalised",
    "between": True,
    "aim": 0.1,
}
_ENSEMBLE = {"members": 6, "hidden": 96, "activation": "silu", "weight_decay": 1e-2}

SEARCH: dict[str, tuple[config.Predictors, config.Evaluator, config.Generator, config.Eval]] = {
    "paper": (
        config.Predictors(model="mlp", members=1, hidden=400),
        config.Evaluator(),
        config.Generator(first_budget=0.0),
        config.Eval(),
    ),
    "search": (
        config.Predictors(**_ENSEMBLE, epochs=30, held_out=0.03),
        config.Evaluator(**_RANKING, epochs=8, batch_size=192, pseudo_labels=20_000, held_out=0.03),
        config.Generator(**_POLICY, samples=8, iterations=1500, checkpoint_every=250),
        config.Eval(refinement=30),
    ),
    "demo": (
        config.Predictors(**_ENSEMBLE, epochs=200, batch_size=64),
        config.Evaluator(**_RANKING, epochs=8, batch_size=128, pseudo_labels=10_000),
        config.Generator(**_POLICY, samples=8, iterations=1000, checkpoint_every=250),
        config.Eval(refinement=30),
    ),
    "tiny": (
        config.Predictors(members=2, hidden=16, layers=2, activation="silu", epochs=20, batch_size=16),
        config.Evaluator(**_RANKING | {"hidden": 32}, epochs=10, batch_size=32, pseudo_labels=200),
        config.Generator(
            **_POLICY, budgets=3, samples=4, iterations=100, hidden=16, budget_embedding=16, checkpoint_every=50
        ),
        config.Eval(samples=100, refinement=3),
    ),
}
