"""Stages that learn from records alone: predictors, evaluator and generator, and rounds that add to the records."""

from __future__ import annotations

import shutil

import numpy as np
from tqdm import tqdm

from pnag_tf.run import measuring, workdir
from pnag_tf.search import evaluator, generator, predictor, reinforce, rounds
from pnag_tf.search import proposals as search
from pnag_tf.search import records as records_lib
from pnag_tf.util import errors, files

ROUNDS = "rounds.json"


class Searching(measuring.Measuring):
    """From records to a generator."""

    def predictors(self) -> predictor.Predictors:
        """`predictors/`: accuracy and latency of any architecture."""
        folder = self.workdir / "predictors"
        if not (folder / predictor.FILE).exists():
            table = self.records()
            with self.timed("predictors"):
                made = predictor.train(table, self.config.predictors, self.config.seed, True, self.log("predictors"))
            files.write_json(folder / "report.json", made.report)
            made.save(folder)
        return predictor.load(folder, self.config.space)

    def evaluator(self) -> evaluator.Evaluator:
        """`evaluator/`: R(α|B; w), with the history of its training."""
        folder, predictors = self.workdir / "evaluator", self.predictors()
        if not (folder / evaluator.FILE).exists():
            table = self.records()
            budgets_ms = search.training_budgets(table, self.config.generator)
            with self.timed("evaluator"):
                made, history = search.train_evaluator(
                    table,
                    predictors,
                    self.config.evaluator,
                    budgets_ms,
                    self.config.seed,
                    progress=True,
                    log=self.log("evaluator"),
                )
            workdir.write_history(folder / "history.csv", history)
            held_out = table.split(np.random.default_rng(self.config.seed), self.config.evaluator.held_out)[1]
            workdir.write_history(folder / "ranking.csv", evaluator.ranking(made, held_out))
            made.save(folder)
        return evaluator.load(folder, self.config.space, predictors)

    def generator(self) -> generator.Generator:
        """`generator/`: f(B; θ), with the history of its training."""
        folder, config = self.workdir / "generator", self.config
        if not (folder / generator.FILE).exists():
            judge, predictors = self.evaluator(), self.predictors()
            rewards = reinforce.reward(config.generator, judge.budgets_ms, judge, predictors)
            with self.timed("generator"):
                made, history = reinforce.train(
                    config.space,
                    rewards,
                    config.generator,
                    judge.budgets_ms,
                    config.seed,
                    folder,
                    predictors,
                    progress=True,
                    log=self.log("generator"),
                )
            workdir.write_history(folder / "history.csv", history)
            made.save(folder)
            (folder / reinforce.CHECKPOINT).unlink(missing_ok=True)
        return generator.load(folder, config.space)

    def active_rounds(self) -> None:
        """Proposes and measures: the records grow, and correct the predictors.

        After the last round evaluator and generator, which learnt from the predictors before, are remade.
        """
        settings, path = self.config.eval, self.workdir / ROUNDS
        left = range(files.read_json(path)["done"] if path.exists() else 0, settings.rounds)
        if not left:
            return
        table, predictors, made = self.records(), self.predictors(), self.generator()
        share = settings.measurements // settings.rounds
        for number in left:
            with self.timed("rounds"):
                budgets_ms = np.array(self.budgets_ms())
                chosen = rounds.choose(made, predictors, table, budgets_ms, share, self.config.seed + number)
                if len(chosen):
                    table = table.append(self.measured(chosen))
                    records_lib.write(self.workdir / "records.csv", table)
                predictors = predictor.corrected(predictors, table)
                predictors.save(self.workdir / "predictors")
            if number + 1 == settings.rounds:
                for name in ("evaluator", "generator"):
                    shutil.rmtree(self.workdir / name, ignore_errors=True)  # gone after a crash at this very place
            files.write_json(path, {"done": number + 1})

    def measured(self, choices: np.ndarray) -> records_lib.Records:
        """Records of chosen architectures, by the user's command or by the supernet and this machine."""
        config = self.config
        if config.eval.measure_command:
            measure = rounds.command(config.eval.measure_command, config.space, config.eval.measure_timeout_s)
            return measure(choices)
        if not self.has_supernet:
            raise errors.UserError("--rounds with --records: expected --measure_command, found none")
        judged = self.subnets.accuracies(choices, self.validation)
        top1 = [top1 for top1, _ in tqdm(judged, total=len(choices), desc="round", unit="network")]
        return records_lib.Records(config.space, choices, np.array(top1), self.latencies_ms(choices))

    def budgets_ms(self) -> list[float]:
        """The budgets asked for; five in equal ratios over the range of the records where none are.

        The smallest leaves a choice; the largest leaves the slowest network room for the noise of a measurement.
        """
        if self.config.eval.budgets:
            return list(self.config.eval.budgets)
        low, high = self.records().latency_ms.min(), self.records().latency_ms.max()
        budgets_ms = [float(f"{budget:.3g}") for budget in np.geomspace(1.5 * low, 1.03 * high, 5)]
        return list(dict.fromkeys(budgets_ms))  # a narrow range has fewer
