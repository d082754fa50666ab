"""Stages beside the road: settings of the search, ablations, the comparison, pictures and the report."""

from __future__ import annotations

import copy
import dataclasses
import pathlib
import shutil

import numpy as np

from pnag_tf import figures, tuning, zoo
from pnag_tf.run import compare, deploying, finetuning, measuring, report, searching, workdir
from pnag_tf.search import ablation
from pnag_tf.search import candidates as candidates_lib
from pnag_tf.util import files

COMPARED = ("pnag", "evo", "nas_mo", "ofa_mo", "random", deploying.BEST_RECORD)


class Studying(finetuning.Finetuning):
    """What is done with a run for its own sake."""

    def tune(self) -> dict[str, dict[str, float]]:
        """`tune/`: settings of the evaluator and the generator, searched for with KerasTuner."""
        return tuning.tune(self.records(), self.predictors(), self.config, self.workdir / "tune", progress=True)

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
            rows = files.rows_left(path)
            same = [row["budget_ms"] for row in rows] == list(map(candidates_lib.budget_name, budgets_ms))
            if not same or not set(columns) <= rows[0].keys():
                print(f"ablation: {variant.name}", flush=True)
                found = ablation.run(variant, table, predictors, self.config, budgets_ms, progress=True)
                rows = [self.row(proposal.budget_ms, proposal, 0) for proposal in found]
                if self.config.eval.measure_command:
                    measured = self.measured(np.stack([proposal.choices[0] for proposal in found]))
                    for row, top1, latency_ms in zip(rows, measured.top1, measured.latency_ms, strict=True):
                        row |= {"measured_top1": f"{top1:.4f}", "measured_latency_ms": f"{latency_ms:.4g}"}
                rows = [{column: row[column] for column in columns} for row in rows]
                files.write_csv(path, rows, columns)
            results[variant.name] = rows
        found = ablation.tables(results, self.config.generator)
        for number, (_, rows) in enumerate(found, 1):
            workdir.write_history(self.workdir / "ablation" / f"table_{number}.csv", rows)
        return found

    def compare(self) -> list[tuple[str, list[dict]]]:
        """`compare/`: the networks of the literature and of all methods, timed on the run's device in one run.

        A method that has no `eval/<method>.csv` yet is run first; so the table has all of `COMPARED`.
        """
        config, backbone = self.config, self.config.backbone
        description = self.device.describe()
        networks = []
        for method in COMPARED:
            rows = self._found_by(method)
            search_s = self._search_seconds(method)
            networks += compare.of_method(rows, backbone, search_s)
        networks += compare.of_zoo(zoo.names(), config.device, backbone)
        folder = self.workdir / "compare"
        with measuring.bars() as progress:
            rows = compare.measure(networks, self.device, folder / f"{config.device}.parts", progress)
        rows += compare.numbers_only(config.device)
        shown = compare.write(folder, config.device, description, rows)
        shutil.rmtree(folder / f"{config.device}.parts")
        return [(f"{description}: measured beside published", shown)]

    def _found_by(self, method: str) -> list[dict[str, str]]:
        """`eval/<method>.csv`, made where it is missing or is for other budgets than were asked for."""
        path = self.workdir / "eval" / f"{method}.csv"
        found = [row["budget_ms"] for row in files.rows_left(path, ("budget_ms",))]
        asked = list(map(candidates_lib.budget_name, self.config.eval.budgets))
        if not found or (asked and asked != found):
            peer = copy.copy(self)  # with the images and the supernet that are in memory
            peer.config = dataclasses.replace(self.config, method=method)
            peer.eval()
        return files.read_csv(path, ("method", "budget_ms", "arch"))

    def _search_seconds(self, method: str) -> float | None:
        """What a method took from the records to its architectures, the predictors included.

        Rounds count, measurements and all, for every method that asks the predictors, which they correct.
        """
        seconds, parts = self.seconds(), [f"eval/{method}"]
        if method != deploying.BEST_RECORD:
            parts += ["predictors"] + ["rounds"] * (self.workdir / searching.ROUNDS).exists()
        if method == "pnag":
            parts += ["evaluator", "generator"]
        return sum(seconds[part] for part in parts) if set(parts) <= seconds.keys() else None

    def report(self) -> list[tuple[str, list[dict]]]:
        """`report/index.html`: the run on one page; returns the table of the run's method."""
        rows = self._found_by(self.config.method)
        path = report.write(self.workdir)
        return [(f"{self.config.method}: a network for each budget; all in {path}", rows)]

    def figures(self) -> list[pathlib.Path]:
        """`figures/`: pictures of whatever the run has made so far, as PNG and SVG."""
        return figures.draw_run(self.workdir)
