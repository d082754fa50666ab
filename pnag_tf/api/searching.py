"""The search in Python: records in, networks for any latency budget out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence

from pnag_tf import config as config_lib
from pnag_tf import overrides, presets
from pnag_tf.search import predictor, proposals, reinforce
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, scalars

Callback = Callable[[str, int, dict], None]
"""Called with what is learnt ('predictors', 'evaluator', 'generator'), a step, and numbers such as the loss at it."""

# The settings that a search on records has, by the beginnings of their names.
SETTINGS = ("predictors.", "evaluator.", "generator.", "eval.samples", "eval.refinement", "eval.pessimism")


def read_records(path: str | os.PathLike, space: space_lib.SearchSpace | None = None) -> records_lib.Records:
    """Reads measured architectures.

    Args:
      path: a CSV file with the columns `arch,top1,latency_ms`, such as a run's `records.csv`; or the public JSON file
        of the PNAG authors, of which the latencies on the phone are taken.
      space: the `SearchSpace` of the architectures; by default the paper's.

    Returns:
      Records with the arrays `choices` `(n, tokens)`, `top1` `(n,)`, a fraction, and `latency_ms` `(n,)`.

    Raises:
      UserError: the file cannot be read, or an architecture is of another space.

    Example:

    >>> import pnag_tf as pnag
    >>> space = pnag.SearchSpace(units=2, depths=(2, 3))
    >>> records = pnag.read_records("records.csv", space)
    >>> len(records), records.top1.shape
    (400, (400,))
    """
    return records_lib.read(path, space or space_lib.SearchSpace())


@dataclasses.dataclass(frozen=True)
class Found:
    """A network that a search proposes for a budget.

    Attributes:
      budget_ms: the latency budget asked for.
      architecture: the `Architecture`.
      top1: predicted accuracy, a fraction.
      latency_ms: predicted latency.
    """

    budget_ms: float
    architecture: space_lib.Architecture
    top1: float
    latency_ms: float


class Search:
    """Learns from measured architectures to propose one for any latency budget.

    `fit` trains predictors of accuracy and latency, the Pareto-aware evaluator and the generator; `propose` then
    answers in a second. Neither reads images or measures anything.

    Args:
      preset: whose settings to begin with: `"search"` for some thousand records, `"demo"` for some hundred, `"paper"`
        for every number of the paper, `"tiny"` for tests.
      seed: of everything random; the same seed and records give the same networks.
      settings: single settings as `"name=value"`, such as `"generator.iterations=500"`; those that begin with
        `predictors.`, `evaluator.` or `generator.`, and `eval.samples`, `eval.refinement` and `eval.pessimism`.
      progress: whether `fit` shows bars.

    Attributes:
      history: after `fit`: `"evaluator"` and `"generator"` -> a list of dictionaries, as training went on.
      report: after `fit`: errors of the predictors on records that were held out, such as `top1_rmse`.
      budgets_ms: after `fit`: the increasing budgets that it was trained for. Any other one may be asked for; outside
        of their range the nearest one decides.

    Raises:
      SettingError: a setting does not exist, cannot have this value, or is no setting of a search.

    Example:

    >>> import pnag_tf as pnag
    >>> records = pnag.read_records("records.csv", pnag.SearchSpace(units=2, depths=(2, 3)))
    >>> search = pnag.Search(preset="tiny", settings=["generator.iterations=50"], progress=False).fit(records)
    >>> found = search.propose(budgets_ms=[8, 10])
    >>> [each.budget_ms for each in found]
    [8.0, 10.0]
    >>> all(each.latency_ms <= each.budget_ms for each in found)
    True
    """

    def __init__(self, preset: str = "search", seed: int = 0, settings: Iterable[str] = (), progress: bool = True):
        settings = list(settings)
        self.config = overrides.apply(dataclasses.replace(starting(preset), seed=seed), settings)
        overrides.check(self.config)
        for each in settings:
            name = each.partition("=")[0].strip()
            if not name.startswith(SETTINGS):
                raise errors.SettingError(name, f"no setting of a search; those begin with {', '.join(SETTINGS)}")
        self.progress = progress
        self._fitted = None

    def fit(self, records: records_lib.Records, callbacks: Sequence[Callback] = ()) -> Search:
        """Learns from records.

        Args:
          records: what `read_records` gives.
          callbacks: functions that are called as `callback(what, step, values)` during training; `what` is
            `"predictors"`, `"evaluator"` or `"generator"`, and `values` holds numbers such as `loss`.

        Returns:
          The search itself.

        Raises:
          UserError: there are too few records.
          FloatingPointError: a loss became NaN.
        """
        config, progress = self.config, self.progress
        known = predictor.train(records, config.predictors, config.seed, progress, _log("predictors", callbacks))
        budgets_ms = proposals.training_budgets(records, config.generator)
        judge, ranked = proposals.train_evaluator(
            records,
            known,
            config.evaluator,
            budgets_ms,
            config.seed,
            progress=progress,
            log=_log("evaluator", callbacks),
        )
        made, rewarded = reinforce.train_generator(
            config.generator,
            known,
            judge,
            judge.budgets_ms,
            config.seed,
            progress=progress,
            log=_log("generator", callbacks),
        )
        self.history = {"evaluator": ranked, "generator": rewarded}
        self.report, self.budgets_ms = known.report, made.budgets_ms
        self._fitted = made, known
        return self

    def propose(self, budgets_ms: Iterable[float]) -> list[Found]:
        """The best network predicted within each latency budget.

        Args:
          budgets_ms: different budgets in milliseconds.

        Returns:
          One `Found` a budget, in their order. Where nothing keeps a budget it is the fastest network, with a warning.

        Raises:
          UserError: `fit` was not called, or a budget is no positive number.
        """
        if self._fitted is None:
            raise errors.UserError("propose: expected a search that has learnt from records; call fit first")
        made, known = self._fitted
        how = dataclasses.replace(self.config.eval, budgets=tuple(map(float, budgets_ms)))
        overrides.check(dataclasses.replace(self.config, eval=how))
        if not how.budgets:
            return []
        found = proposals.propose(
            made, known, how.budgets, how.samples, self.config.seed, how.pessimism, how.refinement
        )
        return [
            Found(
                each.budget_ms,
                known.space.decode(each.choices[:1])[0],
                float(each.top1[0]),
                float(each.latency_ms[0]),
            )
            for each in found
        ]


def starting(preset: str) -> config_lib.Config:
    """The settings of a preset. Raises SettingError for an unknown name."""
    if preset not in presets.NAMES:
        raise errors.SettingError("preset", f"expected one of {', '.join(presets.NAMES)}, found '{preset}'")
    return presets.preset(preset)


def _log(what: str, callbacks: Sequence[Callback]) -> scalars.Log:
    def log(step, values):
        for callback in callbacks:
            callback(what, step, dict(values))

    return log
