"""Ways to spend measurements that `few.py` compares, PNAG's rounds among them.

Each is a function (start, measure, latency, budgets_ms, count, rng) -> records: `start` and up to `count` more that it
chose and `measure` measured; `latency` gives the latency of any architecture without measuring it. Settings are those
that their authors publish. Those with a library of their own need `pip install -e '.[peers]'`.
"""

import dataclasses
import functools
import warnings

import numpy as np
import other_device
from scipy import interpolate, stats
from sklearn import gaussian_process, model_selection, neural_network, tree

from pnag_tf import presets
from pnag_tf.search import baselines, pareto, predictor, process, proposals, rounds


def pnag(start, measure, latency, budgets_ms, count, rng):
    """PNAG's rounds."""
    plan = rounds.Plan(count)
    return rounds.grow(plan, start, lambda _: latency, budgets_ms, lambda _: rng, measure)


def pnag_generator(start, measure, latency, budgets_ms, count, rng, every=10, samples=100):
    """PNAG's rounds that every tenth time also start from a generator's samples, trained on what is known by then."""
    settings, seed, plan = presets.preset("search"), int(rng.integers(2**31)), rounds.Plan(count)
    table, state = start, rounds.BEGINNING
    while rounds.left(plan, len(budgets_ms), state):
        table, state = rounds.step(plan, table, lambda _: latency, budgets_ms, lambda _: rng, measure, state)
        if state.done % every == every // 2:
            known = predictor.train(table, settings.predictors, seed)
            policy, _ = other_device.own(settings, table, known, seed)
            drawn = policy.sample(budgets_ms, samples, seed).reshape(-1, table.space.tokens)
            state = dataclasses.replace(state, climbers=np.concatenate([state.climbers, drawn]))
    return table


def random(start, measure, latency, budgets_ms, count, rng):
    """Uniform architectures, as the paper draws them."""
    return start.append(measure(start.space.sample_distinct(rng, count, beside=start.choices)))


class Mean:
    """The mean of a Gaussian process as predictors."""

    def __init__(self, known, latency):
        self.known, self.latency_ms = known, latency

    def predict(self, choices):
        return self.known.top1(choices), np.zeros(len(choices)), self.latency_ms(choices)


def evo(start, measure, latency, budgets_ms, count, rng, parts=10):
    """Once-for-all's evolution for each budget, on the mean of the process that PNAG's rounds use.

    Its last population has converged: mutants of it make up the number.
    """
    table = start
    for size in rounds.sizes(count, len(budgets_ms), parts):
        predictors = Mean(process.fit(table, rng), latency)
        found, share = [], -(-size // len(budgets_ms))
        for budget_ms in budgets_ms:
            last, _, _ = baselines.evolve(table.space, predictors, budget_ms, rng, lambda top1, *_: top1, hard=True)
            near = table.space.mutate(rng, np.repeat(last, 10, axis=0), baselines.MUTATION_PROBABILITY)
            near = np.unique(np.concatenate([last, near]), axis=0)
            near = near[table.lacks(near) & (latency(near) <= budget_ms)]
            found.append(near[np.argsort(-predictors.known.top1(near))[:share]])
        table = table.append(measure(np.unique(np.concatenate(found), axis=0)[:size]))
    return table


def weaknas(start, measure, latency, budgets_ms, count, rng, pool=50_000, top=1000, per_round=100):
    """WeakNAS (Wu et al. 2021, arXiv:2102.10490): a weak predictor, a hundred of its best thousand by chance, again."""
    table, space = start, start.space
    everything = space.sample(rng, pool)
    everything_ms = latency(everything)
    for size in rounds.sizes(count, len(budgets_ms), max(1, count // per_round)):
        weak = neural_network.MLPRegressor(
            hidden_layer_sizes=(100, 100, 100), max_iter=300, random_state=int(rng.integers(2**31))
        )
        mean, unit = table.top1.mean(), table.top1.std()
        weak.fit(space.one_hot(table.choices), (table.top1 - mean) / unit)
        values, found = weak.predict(space.one_hot(everything)), []
        for budget_ms in budgets_ms:
            inside = np.flatnonzero((everything_ms <= budget_ms) & table.lacks(everything))
            best = inside[np.argsort(-values[inside])[: top // len(budgets_ms)]]
            found.append(rng.permutation(best)[: -(-size // len(budgets_ms))])
        table = table.append(measure(np.unique(everything[np.concatenate(found)], axis=0)[:size]))
    return table


def nsganetv2(start, measure, latency, budgets_ms, count, rng, per_round=8):
    """NSGANetV2 (Lu et al. 2020, arXiv:2007.10396): NSGA-II on the surrogate that ranks best of four, eight a round.

    Populations of 40, 20 generations; of the last front those are measured that fill the largest gaps in latency.
    """
    from pymoo import optimize
    from pymoo.algorithms.moo import nsga2
    from pymoo.core import problem
    from pymoo.operators.crossover.pntx import TwoPointCrossover
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    table, space = start, start.space

    class Surrogate(problem.Problem):
        def __init__(self, predict):
            super().__init__(n_var=space.tokens, n_obj=2, xl=0, xu=space.token_sizes - 1, vtype=int)
            self.predict = predict

        def _evaluate(self, x, out, *args, **kwargs):
            choices = space.canonical(x.astype(np.int32))
            out["F"] = np.stack([-self.predict(space.one_hot(choices)), latency(choices)], 1)

    for size in rounds.sizes(count, len(budgets_ms), max(1, count // per_round)):
        front = optimize.minimize(
            Surrogate(_best_ranking(space.one_hot(table.choices), table.top1, rng)),
            nsga2.NSGA2(
                pop_size=40,
                sampling=table.choices[rng.permutation(len(table))[:40]].astype(int),
                crossover=TwoPointCrossover(repair=RoundingRepair()),
                mutation=PM(eta=1.0, vtype=float, repair=RoundingRepair()),
                eliminate_duplicates=True,
            ),
            ("n_gen", 20),
            seed=int(rng.integers(2**31)),
        )
        found = np.unique(space.canonical(front.pop.get("X").astype(np.int32)), axis=0)
        found = found[table.lacks(found)]
        taken, left = list(table.latency_ms), list(range(len(found)))
        found_ms, chosen = latency(found), []
        while left and len(chosen) < size:
            gaps = [np.min(np.abs(np.array(taken) - found_ms[place])) for place in left]
            chosen.append(left.pop(int(np.argmax(gaps))))
            taken.append(found_ms[chosen[-1]])
        if chosen:
            table = table.append(measure(found[chosen]))
    return table


def _best_ranking(inputs, targets, rng, folds=5):
    """The regression, of the four, whose ranking of held-out folds agrees best with the truth, fitted to everything."""
    seed = int(rng.integers(2**31))
    made = {
        "mlp": lambda: neural_network.MLPRegressor(hidden_layer_sizes=(300, 300), max_iter=200, random_state=seed),
        "cart": lambda: tree.DecisionTreeRegressor(random_state=seed),
        "gp": lambda: gaussian_process.GaussianProcessRegressor(normalize_y=True, alpha=1e-4),
    }
    mean, unit = targets.mean(), targets.std()
    targets = (targets - mean) / unit

    def fitted(name, rows):
        if name == "rbf":
            # On one-hot features the usual linear tail has no single solution.
            warnings.filterwarnings("ignore", "`degree` should not be below")
            return interpolate.RBFInterpolator(inputs[rows], targets[rows], kernel="cubic", degree=0, smoothing=1e-6)
        return made[name]().fit(inputs[rows], targets[rows]).predict

    split = list(model_selection.KFold(folds, shuffle=True, random_state=seed).split(inputs))

    def agreement(name):
        return np.mean([stats.kendalltau(fitted(name, fit)(inputs[out]), targets[out]).statistic for fit, out in split])

    return fitted(max((*made, "rbf"), key=agreement), np.arange(len(inputs)))


def _optuna(start, measure, latency, budgets_ms, count, rng, sampler):
    """A sampler of Optuna's on (top-1, latency), both measured; networks beyond the largest budget are infeasible."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = start.space
    options = {
        f"{number:02d}": optuna.distributions.CategoricalDistribution(range(size))
        for number, size in enumerate(space.token_sizes.tolist())
    }
    chosen = sampler(seed=int(rng.integers(2**31)))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=chosen)
    for row, top1, latency_ms in zip(start.choices.tolist(), start.top1, start.latency_ms, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(zip(options, row, strict=True)),
                distributions=options,
                values=[float(top1), float(latency_ms)],
                constraints={"excess_ms": float(latency_ms - max(budgets_ms))},
            )
        )
    table, asked = start, 0
    while len(table) < len(start) + count and asked < 4 * count:
        trial, asked = study.ask(options), asked + 1
        row = space.canonical(np.array([[trial.params[name] for name in options]], np.int32))
        place = np.flatnonzero((table.choices == row).all(1))
        one = table[place] if len(place) else measure(row)
        table = table.append(one)
        trial.set_constraint("excess_ms", float(one.latency_ms[0] - max(budgets_ms)))
        study.tell(trial, [float(one.top1[0]), float(one.latency_ms[0])])
    return table


def nsga2(*arguments):
    """Optuna's NSGA-II, populations of 50."""
    import optuna

    return _optuna(*arguments, optuna.samplers.NSGAIISampler)


def tpe(*arguments):
    """Optuna's multi-objective tree-structured Parzen estimator."""
    import optuna

    return _optuna(*arguments, functools.partial(optuna.samplers.TPESampler, n_startup_trials=0))


def qnehvi(start, measure, latency, budgets_ms, count, rng, pool=1000, per_round=10):
    """BoTorch's qNEHVI (Daulton et al. 2021, arXiv:2105.08195) on one-hot features, ten networks a round.

    The Gaussian process is BoTorch's default; latency is known. The acquisition is maximised, greedily, over mutants
    and crossings of what is not dominated, since a gradient in one-hot features leads to no architecture.
    """
    import torch
    from botorch import fit, models, optim
    from botorch.acquisition.multi_objective import logei
    from botorch.models import deterministic
    from botorch.models.transforms import outcome
    from gpytorch import mlls

    def tensor(values):
        return torch.tensor(np.asarray(values), dtype=torch.float64)

    table, space = start, start.space
    torch.manual_seed(int(rng.integers(2**31)))
    known = {}  # latency of what a round looks at, by its features

    def negative_ms(features):
        rows = features.reshape(-1, features.shape[-1]).numpy().astype(bool)
        found = [known[np.packbits(row).tobytes()] for row in rows]
        return -tensor(found).reshape(*features.shape[:-1], 1)

    for size in rounds.sizes(count, len(budgets_ms), max(1, count // per_round)):
        front = table.choices[pareto.frontier(table.latency_ms, table.top1)]
        found = np.concatenate(proposals.offspring(space, front[None], baselines.MUTATION_PROBABILITY, rng, 2 * pool))
        found = np.unique(found, axis=0)
        found = found[table.lacks(found) & (latency(found) <= max(budgets_ms))]
        found = found[rng.permutation(len(found))[:pool]]
        inputs, options = space.one_hot(table.choices), space.one_hot(found)
        keys = [np.packbits(row.astype(bool)).tobytes() for row in np.concatenate([inputs, options])]
        known = dict(zip(keys, np.concatenate([table.latency_ms, latency(found)]), strict=True))
        top1 = models.SingleTaskGP(
            tensor(inputs), tensor(table.top1)[:, None], tensor(np.full((len(table), 1), 1e-8)),
            outcome_transform=outcome.Standardize(1),
        )  # fmt: skip
        fit.fit_gpytorch_mll(mlls.ExactMarginalLogLikelihood(top1.likelihood, top1))
        acquisition = logei.qLogNoisyExpectedHypervolumeImprovement(
            models.ModelList(top1, deterministic.GenericDeterministicModel(negative_ms)),
            ref_point=[table.top1.min(), -max(budgets_ms)],
            X_baseline=tensor(inputs),
            prune_baseline=True,
        )
        picked, _ = optim.optimize_acqf_discrete(acquisition, min(size, len(found)), tensor(options))
        places = [keys.index(np.packbits(row.astype(bool)).tobytes()) - len(table) for row in picked.numpy()]
        table = table.append(measure(found[places]))
    return table


METHODS = {each.__name__: each for each in (pnag, pnag_generator, evo, nsganetv2, weaknas, qnehvi, tpe, nsga2, random)}
