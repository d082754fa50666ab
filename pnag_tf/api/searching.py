"""The search in Python: records in, networks for any latency budget out."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf import overrides, presets
from pnag_tf.api import proposing
from pnag_tf.search import elsewhere, generator, predictor, proposals, reinforce
from pnag_tf.search import records as records_lib
from pnag_tf.search import rounds as rounds_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, frozen, scalars

Callback = Callable[[str, int, dict], None]
"""Called with what is learnt ('predictors', 'evaluator', 'generator'), a step, and numbers such as the loss at it."""

Measure = Callable[[list[space_lib.Architecture]], Iterable[tuple[float, float]]]
"""Architectures -> (top-1 as a fraction, latency in ms) of each."""

FILE, RECORDS = "search.json", "records.csv"
PARTS = {  # of the settings that a saved search has
    "predictors": config_lib.Predictors,
    "evaluator": config_lib.Evaluator,
    "generator": config_lib.Generator,
    "eval": config_lib.Eval,
}
# The settings that a search on records has, by the beginnings of their names.
SETTINGS = ("predictors.", "evaluator.", "generator.", "eval.samples", "eval.refinement", "eval.pessimism")


def read_records(path: str | os.PathLike, space: space_lib.SearchSpace | None = None) -> records_lib.Records:
    """Reads measured architectures.

    Args:
      path: a CSV file with the columns `arch,top1,latency_ms` and, where known, `top1_se`, such as a run's
        `records.csv`; or the public JSON file of the PNAG authors, of which the latencies on the phone are taken.
      space: the `SearchSpace` of the architectures; by default the paper's.

    Returns:
      Records with the arrays `choices` `(n, tokens)`, `top1` `(n,)`, a fraction, `latency_ms` `(n,)`, and `top1_se`
      `(n,)`, the standard error of `top1`, NaN where it is unknown.

    Raises:
      UserError: the file cannot be read, or an architecture is of another space.

    Examples:
      >>> import pnag_tf as pnag
      >>> space = pnag.SearchSpace(units=2, depths=(2, 3))
      >>> records = pnag.read_records("records.csv", space)
      >>> len(records), records.top1.shape
      (400, (400,))
    """
    return records_lib.read(path, space or space_lib.SearchSpace())


class Search:
    """Learns from measured architectures to propose one for any latency budget.

    `fit` trains predictors of accuracy and latency, the Pareto-aware evaluator and the generator; `propose` then
    answers in a second. Neither reads images or measures anything; `rounds` measures with a function of yours.

    Args:
      preset: whose settings to begin with: `"search"` for some thousand records, `"demo"` for some hundred, `"paper"`
        for every number of the paper, `"tiny"` for tests.
      seed: of everything random; the same seed and records give the same networks.
      settings: single settings as `"name=value"`, such as `"generator.iterations=500"`; those that begin with
        `predictors.`, `evaluator.` or `generator.`, and `eval.samples`, `eval.refinement` and `eval.pessimism`.
      progress: whether `fit` shows bars.

    Attributes:
      history: after `fit`: `"evaluator"` and `"generator"` -> a list of dictionaries, as training went on.
      records: after `fit`: the records, those that `rounds` have added among them.
      report: after `fit`: errors of the predictors on records that were held out, such as `top1_rmse`.
      budgets_ms: after `fit`: the increasing budgets that it was trained for. Any other one may be asked for; outside
        of their range the nearest one decides.

    Raises:
      SettingError: a setting does not exist, cannot have this value, or is no setting of a search.

    Examples:
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
        config = self.config
        known = predictor.train(records, config.predictors, config.seed, self.progress, _log("predictors", callbacks))
        budgets_ms = proposals.training_budgets(records, config.generator)
        judge, ranked = proposals.train_evaluator(
            records,
            known,
            config.evaluator,
            budgets_ms,
            config.seed,
            progress=self.progress,
            log=_log("evaluator", callbacks),
        )
        made, rewarded = reinforce.train_generator(
            config.generator,
            known,
            judge,
            judge.budgets_ms,
            config.seed,
            progress=self.progress,
            log=_log("generator", callbacks),
        )
        self.history = {"evaluator": ranked, "generator": rewarded}
        self._keep(records, made, known, grown=False)
        return self

    def rounds(
        self,
        measure: Measure,
        budgets_ms: Iterable[float],
        measurements: int = 200,
        rounds: int = 0,
        callbacks: Sequence[Callback] = (),
        least_gain: float = 0.0,
    ) -> Search:
        """Measures what looks best by a Gaussian process on the records, again and again, and learns from all of it.

        After the last round everything is trained anew, and `propose` answers with a measured network where it predicts
        no better one.

        Args:
          measure: called with a list of architectures; returns a pair `(top1, latency_ms)` for each, in their order,
            top-1 being a fraction.
          budgets_ms: the budgets that the measurements are shared among.
          measurements: in all rounds together, at most.
          rounds: how often to ask for some of them; 0 for as often as suits their number.
          callbacks: as for `fit`.
          least_gain: in top-1; the rounds end once less is expected of going on. 0.001 are 0.1 points.

        Returns:
          The search itself; `records` holds what was measured as well.

        Raises:
          UserError: `fit` was not called, there is no budget or one is no positive number, or `measure` returns
            something else. What was measured before stays in `records`, whatever `measure` raises.

        Examples:
          >>> import pnag_tf as pnag
          >>> records = pnag.read_records("records.csv", pnag.SearchSpace(units=2, depths=(2, 3)))
          >>> search = pnag.Search(preset="tiny", settings=["generator.iterations=50"], progress=False).fit(records)
          >>> def measure(architectures):
          ...     return [(0.7, 8.0 + 0.1 * sum(arch.depths)) for arch in architectures]
          >>> search = search.rounds(measure, budgets_ms=[8, 10], measurements=10)
          >>> len(records), len(search.records)
          (400, 410)
        """
        made, known = self._learnt("rounds")
        how = proposing.asked(self.config, budgets_ms, rounds=rounds, measurements=measurements, least_gain=least_gain)
        if not how.budgets:
            raise errors.UserError("rounds: expected budgets, found none")
        table = rounds_lib.grow(
            rounds_lib.Plan(measurements, rounds, least_gain=least_gain),
            self.records,
            rounds_lib.latency_of,
            how.budgets,
            lambda number: np.random.default_rng([self.config.seed, 4, number]),
            functools.partial(_measured, measure, self.records.space),
            keep=lambda grown, _: self._keep(grown, made, known, grown=True),
        )
        self.fit(table, callbacks)
        self._grown = True
        return self

    def _keep(
        self, records: records_lib.Records, made: generator.Generator, known: predictor.Predictors, grown: bool
    ) -> None:
        """Takes what was learned; `grown`: rounds have added to the records."""
        self._grown = grown
        self.records, self.report, self.budgets_ms = records, known.report, made.budgets_ms
        self._fitted = made, known

    def _learnt(self, what: str) -> tuple[generator.Generator, predictor.Predictors]:
        if self._fitted is None:
            raise errors.UserError(f"{what}: expected a search that has learnt from records; call fit first")
        return self._fitted

    def propose(self, budgets_ms: Iterable[float]) -> list[proposing.Found]:
        """The best network predicted within each latency budget.

        Args:
          budgets_ms: different budgets in milliseconds.

        Returns:
          One `Found` a budget, in their order. Where nothing keeps a budget it is the fastest network, with a warning.

        Raises:
          UserError: `fit` was not called, or a budget is no positive number.
        """
        made, known = self._learnt("propose")
        how = proposing.asked(self.config, budgets_ms)
        if not how.budgets:
            return []
        measured = self.records if self._grown else None
        found = proposals.propose(
            made, known, how.budgets, how.samples, self.config.seed, how.pessimism, how.refinement, measured
        )
        if measured is not None:
            found = rounds_lib.confirm(found, measured)
        return proposing.best_of(found, known.space)

    def probes(self, count: int = 50) -> list[space_lib.Architecture]:
        """Architectures to measure on another device, for `elsewhere`: half of them such as it proposes, half uniform.

        Args:
          count: the more, the better is latency known; 20 or more. A space that has fewer gives all of its own.

        Raises:
          UserError: `fit` was not called, or `count` is too small.
        """
        made, known = self._learnt("probes")
        if count < elsewhere.LEAST:
            raise errors.UserError(f"probes: expected a count of {elsewhere.LEAST} or more, found {count}")
        return known.space.decode(elsewhere.probes(made, count, self.config.seed))

    def elsewhere(self, latencies_ms: Mapping[space_lib.Architecture | str, float]) -> proposing.Elsewhere:
        """The search for another device, by latencies that were measured there. Nothing is trained.

        Accuracy, and the generator, stay what they are. Two standard deviations of the fitted latency are kept free of
        each budget, and no layer is proposed that none of the measured networks has. With few latencies, networks come
        out smaller than would fit, and one may still exceed its budget by chance: time those that are proposed, add
        their latencies to the others, and ask again.

        Args:
          latencies_ms: architecture -> its latency in milliseconds on that device, such as of `probes`; 20 or more.

        Raises:
          UserError: `fit` was not called, there are too few latencies, or one is no positive number.

        Examples:
          >>> import pnag_tf as pnag
          >>> records = pnag.read_records("records.csv", pnag.SearchSpace(units=2, depths=(2, 3)))
          >>> search = pnag.Search(preset="tiny", settings=["generator.iterations=50"], progress=False).fit(records)
          >>> latencies_ms = {each: 2.0 + sum(each.depths) + 0.1 * sum(each.ratios) for each in search.probes(40)}
          >>> there = search.elsewhere(latencies_ms)
          >>> all(each.latency_ms <= each.budget_ms for each in there.propose([9, 10]))
          True
        """
        made, known = self._learnt("elsewhere")
        latencies_ms = {str(arch): latency_ms for arch, latency_ms in latencies_ms.items()}
        if len(latencies_ms) < elsewhere.LEAST:
            raise errors.UserError(
                f"elsewhere: expected {elsewhere.LEAST} latencies or more, found {len(latencies_ms)}"
            )
        rows = [(arch, "0", latency_ms, "") for arch, latency_ms in latencies_ms.items()]
        measured = records_lib.from_rows(rows, known.space, "elsewhere")
        return proposing.Elsewhere(self.config, made, elsewhere.There(known, measured))

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes what was learnt, and the records, into a folder; see `load`.

        Args:
          path: the folder; made where it is missing.

        Returns:
          The path.

        Raises:
          UserError: `fit` was not called.
        """
        made, known = self._learnt("save")
        folder = pathlib.Path(path)
        known.save(folder)
        made.save(folder)
        records_lib.write(folder / RECORDS, self.records)
        parts = {name: dataclasses.asdict(getattr(self.config, name)) for name in PARTS}
        head = {"preset": self.config.preset, "seed": self.config.seed, "grown": self._grown, "history": self.history}
        files.write_json(folder / FILE, head | {"space": dataclasses.asdict(known.space)} | parts)
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike, progress: bool = True) -> Search:
        """A search as `save` wrote it: it proposes the same networks.

        Args:
          path: the folder.
          progress: whether `fit` and `rounds` show bars.

        Raises:
          UserError: a file is missing, or no such search.

        Examples:
          >>> import pnag_tf as pnag
          >>> records = pnag.read_records("records.csv", pnag.SearchSpace(units=2, depths=(2, 3)))
          >>> search = pnag.Search(preset="tiny", settings=["generator.iterations=50"], progress=False).fit(records)
          >>> again = pnag.Search.load(search.save("search"))
          >>> again.propose([8]) == search.propose([8])
          True
        """
        folder = pathlib.Path(path)
        saved = files.read_json(folder / FILE)
        try:
            search = cls(saved["preset"], saved["seed"], progress=progress)
            parts = {name: frozen.restore(kind, saved[name]) for name, kind in PARTS.items()}
            space, search.history = frozen.restore(space_lib.SearchSpace, saved["space"]), saved["history"]
        except (KeyError, TypeError, AttributeError) as error:
            raise errors.UserError(
                f"{folder / FILE}: expected a saved search, found something else ({error})"
            ) from None
        search.config = dataclasses.replace(search.config, **parts)
        records = records_lib.read(folder / RECORDS, space)
        search._keep(records, generator.load(folder, space), predictor.load(folder, space), saved.get("grown", False))
        return search


def _measured(measure: Measure, space: space_lib.SearchSpace, choices: np.ndarray) -> records_lib.Records:
    """What a user's function answers, as records. Raises UserError."""
    asked = space.decode(choices)
    said = measure(asked)
    try:
        answer = list(said)
    except TypeError:
        raise errors.UserError(f"measure: expected pairs (top1, latency_ms), found {str(said)[:100]}") from None
    if len(answer) != len(asked):
        raise errors.UserError(f"measure: expected {len(asked)} pairs (top1, latency_ms), found {len(answer)}")
    try:
        rows = [(str(arch), top1, latency_ms, "") for arch, (top1, latency_ms) in zip(asked, answer, strict=True)]
    except (TypeError, ValueError):
        raise errors.UserError(f"measure: expected pairs (top1, latency_ms), found {str(answer)[:100]}") from None
    return records_lib.from_rows(rows, space, "measure")


def starting(preset: str, resolution: int = 0, dataset: str = "", images: int = 0) -> config_lib.Config:
    """The settings of a preset; see `presets.preset`. Raises SettingError for an unknown name."""
    if preset not in presets.NAMES:
        raise errors.SettingError("preset", f"expected one of {', '.join(presets.NAMES)}, found '{preset}'")
    return presets.preset(preset, resolution=resolution, dataset=dataset, images=images)


def _log(what: str, callbacks: Sequence[Callback]) -> scalars.Log:
    def log(step, values):
        for callback in callbacks:
            callback(what, step, dict(values))

    return log
