"""The stages of a run: which files each needs, and which it makes.

Files in, files out: a stage reads what earlier stages wrote into the run's folder, and first makes what is missing.
What is there is not made again, so the same command goes on after a crash.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pnag_tf import (
    ablation,
    baselines,
    data,
    deploy,
    evaluator,
    export,
    figures,
    files,
    generator,
    latency_table,
    predictor,
    reinforce,
    rounds,
    search,
    shrinking,
    subnet,
    tuning,
)
from pnag_tf import candidates as candidates_lib
from pnag_tf import config as config_lib
from pnag_tf import records as records_lib
from pnag_tf.devices import host

NAMES = ("supernet", "records", "predictors", "evaluator", "generator", "eval", "tune", "ablation", "figures")
METHODS = {"evo": baselines.evo, "nas_mo": baselines.nas_mo, "ofa_mo": baselines.ofa_mo, "random": baselines.random}
METHODS |= {"kt_bayesian": tuning.kt_bayesian, "kt_random": tuning.kt_random}
ROUNDS = "rounds.json"
WRITE_EVERY = 10  # records between two writes of the unfinished table


class Run:
    """One run: its settings, its folder, and its stages, each of which returns what it made or found.

    Args:
      config: the settings; what changes the files of a stage must not change from call to call.
      workdir: the folder of the run.
      records_file: measured records to start from instead of a supernet; empty for none.
    """

    def __init__(self, config: config_lib.Config, workdir: pathlib.Path, records_file: str = ""):
        self.config, self.workdir, self.records_file = config, workdir, records_file

    def open(self, force: bool = False) -> None:
        """Makes the folder, or checks that it belongs to the same settings.

        Args:
          force: start anew: what an earlier run left in the folder is removed.

        Raises:
          UserError: the folder holds a run with other settings, or something that is no run.
        """
        path = self.workdir / "config.json"
        if force and path.exists():
            shutil.rmtree(self.workdir)
        if not path.exists() and self.workdir.exists() and any(self.workdir.iterdir()):
            raise files.UserError(f"{self.workdir}: expected an empty folder or a run, found other files")
        settings = self._settings()
        if path.exists():
            found = files.read_json(path)
            if not any((self.workdir / made).exists() for made in ("evaluator", "generator", "ablation")):
                # Nothing there depends on these yet: they may now be what `tune` found.
                found |= {part: settings[part] for part in ("evaluator", "generator")}
            if found != settings:
                difference = next(_differences(settings, found))
                raise files.UserError(f"{self.workdir} was made with other settings: {difference}; --force starts anew")
        files.write_json(path, settings)

    def _settings(self) -> dict:
        """What the files of all stages but `eval` depend on, as JSON gives it back."""
        settings = dataclasses.asdict(self.config) | {"records_file": self.records_file}
        for free in ("eval", "method", "tune"):
            del settings[free]
        return json.loads(json.dumps(settings))

    @property
    def has_supernet(self) -> bool:
        return not self.records_file

    @functools.cached_property
    def splits(self) -> data.Splits:
        return data.load(self.config.data, self.config.backbone.resolution, self.config.seed)

    @functools.cached_property
    def subnets(self) -> subnet.Subnets:
        """The trained supernet with its calibration images in memory."""
        return subnet.Subnets(self.supernet(), list(shrinking.calibration_batches(self.config, self.splits)))

    def make(self, stage: str):
        """Runs a stage by name and returns what it made.

        Raises:
          UserError: something that the user can mend, a broken image file among it.
        """
        try:
            return getattr(self, stage)()
        except tf.errors.InvalidArgumentError:
            if self.has_supernet:
                self.splits.check_files()
            raise

    # ---- stages -----------------------------------------------------------------------------------------------------

    def supernet(self) -> keras.Model:
        """`supernet/`: the trained supernet."""
        if not self.has_supernet:
            raise files.UserError("--stage=supernet: with --records there is no supernet to train")
        return shrinking.train(self.config, self.splits, self.workdir / "supernet")

    def records(self) -> records_lib.Records:
        """`records.csv`: architectures with validation top-1 and latency."""
        path, config = self.workdir / "records.csv", self.config
        if not path.exists():
            if self.records_file:
                records_lib.write(path, records_lib.read(self.records_file, config.space, config.device))
            else:
                self._measure_records(path)
        return records_lib.read(path, config.space)

    def predictors(self) -> predictor.Predictors:
        """`predictors/`: accuracy and latency of any architecture."""
        folder = self.workdir / "predictors"
        if not (folder / predictor.FILE).exists():
            made = predictor.train(
                self.records(), self.config.predictors, self.config.seed, progress=True, focus=self._rounds_done() > 0
            )
            files.write_json(folder / "report.json", made.report)
            made.save(folder)
        return predictor.load(folder, self.config.space)

    def evaluator(self) -> evaluator.Evaluator:
        """`evaluator/`: R(α|B; w), with the history of its training."""
        folder, predictors = self.workdir / "evaluator", self.predictors()
        if not (folder / evaluator.FILE).exists():
            table = self.records()
            budgets_ms = search.training_budgets(table, self.config.generator.budgets)
            made, history = search.train_evaluator(
                table, predictors, self.config.evaluator, budgets_ms, self.config.seed, progress=True
            )
            _write_history(folder / "history.csv", history)
            held_out = table.split(np.random.default_rng(self.config.seed), self.config.evaluator.held_out)[1]
            _write_history(folder / "ranking.csv", evaluator.ranking(made, held_out))
            made.save(folder)
        return evaluator.load(folder, self.config.space, predictors)

    def generator(self) -> generator.Generator:
        """`generator/`: f(B; θ), with the history of its training."""
        folder, config = self.workdir / "generator", self.config
        if not (folder / generator.FILE).exists():
            judge, predictors = self.evaluator(), self.predictors()
            rewards = reinforce.reward(config.generator, judge.budgets_ms, judge, predictors)
            made, history = reinforce.train(
                config.space, rewards, config.generator, judge.budgets_ms, config.seed, folder, predictors, True
            )
            _write_history(folder / "history.csv", history)
            made.save(folder)
            (folder / reinforce.CHECKPOINT).unlink(missing_ok=True)
        return generator.load(folder, config.space)

    def eval(self) -> list[dict]:
        """`eval/<method>.csv` and, where there is a supernet, `deploy/`: one network for each budget."""
        self._active_rounds()
        proposals = self._proposals()
        self._write_samples(proposals)
        if self.has_supernet or self.config.eval.rounds:
            # The best network measured so far competes with the proposals.
            proposals = rounds.confirmed(proposals, self.records())
        if self.has_supernet:
            known = (
                deploy.reference(self.config, self.latency_table()) if self.config.latency.source == "table" else None
            )
            deployed = deploy.choose(self.config, self.subnets, self.splits, self._measure(), proposals, known)
            rows = [
                self._row(asked.budget_ms, finalist.found, finalist.place)
                | deploy.facts(self.config, self.subnets, self.splits, finalist)
                for asked, finalist in zip(proposals, deployed, strict=True)
            ]
            for row, finalist in zip(rows, deployed, strict=True):
                path = self.workdir / "deploy" / f"{self.config.device}_{row['budget_ms']}"
                deploy.write(path, row, finalist, self.config, self.splits)
        else:
            rows = [self._row(found.budget_ms, found, 0) for found in proposals]
        files.write_csv(self.workdir / "eval" / f"{self.config.method}.csv", rows, rows[0])
        return rows

    def ablation(self) -> list[tuple[str, list[dict]]]:
        """`ablation/`: the paper's ablation tables on the records, from one file a variant; see `ablation.tables`.

        With a measuring command the proposals are measured as well.
        """
        table, predictors, results = self.records(), self.predictors(), {}
        columns = ["budget_ms", "arch", "predicted_top1", "predicted_latency_ms"]
        columns += ["measured_top1", "measured_latency_ms"] if self.config.eval.measure_command else []
        budgets_ms = np.array(self.budgets_ms())
        for variant in ablation.variants(self.config.generator):
            path = self.workdir / "ablation" / f"{variant.name}.csv"
            rows = files.read_csv(path, ()) if path.exists() else []
            same = [row["budget_ms"] for row in rows] == [f"{budget_ms:g}" for budget_ms in budgets_ms]
            if not same or not set(columns) <= rows[0].keys():
                print(f"ablation: {variant.name}", flush=True)
                found = ablation.run(variant, table, predictors, self.config, budgets_ms, progress=True)
                rows = [self._row(proposal.budget_ms, proposal, 0) for proposal in found]
                if self.config.eval.measure_command:
                    measured = self._measured(np.stack([proposal.choices[0] for proposal in found]))
                    for row, top1, latency_ms in zip(rows, measured.top1, measured.latency_ms, strict=True):
                        row |= {"measured_top1": f"{top1:.4f}", "measured_latency_ms": f"{latency_ms:.4g}"}
                rows = [{column: row[column] for column in columns} for row in rows]
                files.write_csv(path, rows, columns)
            results[variant.name] = rows
        found = ablation.tables(results, self.config.generator)
        for number, (_, rows) in enumerate(found, 1):
            _write_history(self.workdir / "ablation" / f"table_{number}.csv", rows)
        return found

    def tune(self) -> dict[str, dict[str, float]]:
        """`tune/`: settings of the evaluator and the generator, searched for with KerasTuner."""
        return tuning.tune(self.records(), self.predictors(), self.config, self.workdir / "tune", progress=True)

    def figures(self) -> list[pathlib.Path]:
        """`figures/`: pictures of whatever the run has made so far, as PNG and SVG."""
        return figures.draw_run(self.workdir)

    # ---- records ----------------------------------------------------------------------------------------------------

    def latency_table(self) -> latency_table.LatencyTable:
        """`latency_table.json`: the blocks of the space, timed on this machine."""
        path, config = self.workdir / "latency_table.json", self.config
        if path.exists():
            return latency_table.load(path, config.space, config.backbone, self._device())
        bars: dict[str, tqdm] = {}

        def progress(what, done, total):
            bar = bars.setdefault(what, tqdm(total=total, desc=what))
            bar.update(done - bar.n)
            if done == total:
                bar.close()

        rng = np.random.default_rng([config.seed, 2])
        measure = self._measure()
        table = latency_table.measure_table(config.space, config.backbone, measure, config.latency, rng, path, progress)
        for bar in bars.values():
            bar.close()
        return table

    def _measure(self):
        return functools.partial(host.measure, threads=self.config.latency.threads)

    def _device(self) -> str:
        return host.describe(self.config.latency.threads)

    def _measure_records(self, path: pathlib.Path) -> None:
        """Draws architectures and measures them; goes on from an unfinished table.

        The smallest and the largest network are among them: they span the range of budgets.
        """
        config, unfinished = self.config, path.with_name("records.unfinished.csv")
        drawn = config.space.sample(np.random.default_rng([config.seed, 1]), config.measure.architectures - 2)
        choices = np.stack([config.space.smallest(), config.space.largest(), *drawn])
        latency_ms = self._latencies(choices)
        validation = list(self.splits.validation(config.measure.batch_size, config.measure.validation_images))
        top1 = []
        if unfinished.exists():
            top1 = records_lib.read(unfinished, config.space).top1.tolist()
        bar = tqdm(total=len(choices), initial=len(top1), desc="records", unit="network")
        while len(top1) < len(choices):
            top1.append(self.subnets.accuracy(choices[len(top1)], validation)[0])
            bar.update()
            if len(top1) % WRITE_EVERY == 0:
                done = len(top1)
                table = records_lib.Records(config.space, choices[:done], np.array(top1), latency_ms[:done])
                records_lib.write(unfinished, table)
        bar.close()
        records_lib.write(path, records_lib.Records(config.space, choices, np.array(top1), latency_ms))
        unfinished.unlink(missing_ok=True)

    def _latencies(self, choices: np.ndarray) -> np.ndarray:
        """Latency in ms of each architecture, by the table or measured: float64 [n]."""
        if self.config.latency.source == "table":
            return self.latency_table().latency_ms(choices)
        models = [
            export.convert(self.subnets.extract(row)) for row in tqdm(choices, desc="convert networks", unit="network")
        ]
        return np.array([latency.median_ms for latency in self._measure()(models)])

    # ---- active rounds ----------------------------------------------------------------------------------------------

    def _active_rounds(self) -> None:
        """Proposes, measures and refits; the records grow, and all that was learnt from fewer of them is remade."""
        settings = self.config.eval
        for number in range(self._rounds_done(), settings.rounds):
            table, predictors = self.records(), self.predictors()
            chosen = rounds.choose(
                self.generator(),
                predictors,
                table,
                np.array(self.budgets_ms()),
                settings.measurements // settings.rounds,
                self.config.seed + number,
            )
            records_lib.write(self.workdir / "records.csv", table.append(self._measured(chosen)))
            remade = ("predictors", "evaluator", "generator") if number + 1 == settings.rounds else ("predictors",)
            for name in remade:
                shutil.rmtree(self.workdir / name, ignore_errors=True)  # gone after a crash at this very place
            files.write_json(self.workdir / ROUNDS, {"done": number + 1})

    def _rounds_done(self) -> int:
        path = self.workdir / ROUNDS
        return files.read_json(path)["done"] if path.exists() else 0

    def _measured(self, choices: np.ndarray) -> records_lib.Records:
        """Records of chosen architectures, by the user's command or by the supernet and this machine."""
        config = self.config
        if config.eval.measure_command:
            measure = rounds.command(config.eval.measure_command, config.space, config.eval.measure_timeout_s)
            return measure(choices)
        if not self.has_supernet:
            raise files.UserError("--rounds with --records: expected --measure_command, found none")
        validation = list(self.splits.validation(config.measure.batch_size, config.measure.validation_images))
        top1 = [self.subnets.accuracy(row, validation)[0] for row in tqdm(choices, desc="round", unit="network")]
        return records_lib.Records(config.space, choices, np.array(top1), self._latencies(choices))

    # ---- eval -------------------------------------------------------------------------------------------------------

    def budgets_ms(self) -> list[float]:
        """The budgets asked for; five in equal ratios over the range of the records where none are.

        The smallest leaves a choice; the largest leaves the slowest network room for the noise of a measurement.
        """
        if self.config.eval.budgets:
            return list(self.config.eval.budgets)
        low, high = self.records().latency_ms.min(), self.records().latency_ms.max()
        return [float(f"{budget:.3g}") for budget in np.geomspace(1.5 * low, 1.03 * high, 5)]

    def _proposals(self) -> list[candidates_lib.Candidates]:
        """What the method proposes for each budget, the best predicted first."""
        config, budgets_ms, predictors = self.config, self.budgets_ms(), self.predictors()
        if config.method == "pnag":
            made = self.generator()
            how = config.eval
            return search.propose(
                made, predictors, budgets_ms, how.samples, config.seed, how.pessimism, how.refinement
            )
        rng = np.random.default_rng([config.seed, 3])
        return METHODS[config.method](config.space, predictors, budgets_ms, rng, config)

    def _write_samples(self, proposals: list[candidates_lib.Candidates]) -> None:
        """`eval/samples.csv`: what a method draws for each budget before any is dropped (Fig. C).

        That is samples of PNAG's policy, and OFA-MO's last population; the other methods have nothing of the kind.
        """
        if self.config.method not in ("pnag", "ofa_mo"):
            return
        path, method = self.workdir / "eval" / "samples.csv", self.config.method
        columns = ("method", "budget_ms", "latency_ms", "top1")
        rows = [row for row in files.read_csv(path, columns) if row["method"] != method] if path.exists() else []
        for proposal in proposals:
            choices = proposal.choices
            if method == "pnag":
                asked = [proposal.budget_ms]
                choices = self.generator().sample(asked, self.config.eval.samples, self.config.seed + 1)[0][0]
            top1, _, latency_ms = self.predictors().predict(choices)
            rows += [
                dict(zip(columns, (method, f"{proposal.budget_ms:g}", f"{ms:.6g}", f"{accuracy:.4f}"), strict=True))
                for ms, accuracy in zip(latency_ms, top1, strict=True)
            ]
        files.write_csv(path, rows, columns)

    def _row(self, budget_ms: float, found: candidates_lib.Candidates, place: int) -> dict:
        return {
            "method": self.config.method,
            "budget_ms": f"{budget_ms:g}",
            "arch": str(self.config.space.decode(found.choices[place])[0]),
            "predicted_top1": f"{found.top1[place]:.4f}",
            "predicted_latency_ms": f"{found.latency_ms[place]:.4g}",
        }


def _write_history(path: pathlib.Path, rows: list[dict]) -> None:
    files.write_csv(path, rows, dict.fromkeys(key for row in rows for key in row))


def _differences(expected: dict, found: dict, name: str = ""):
    """Sentences that name the settings in which two runs differ."""
    for key in expected:
        here, there = expected[key], found.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, f"{name}{key}.")
        elif here != there:
            yield f"{name}{key} is {there} there and {here} here"
