"""The stage `eval`: one network for each budget, exported and measured where there is a supernet."""

from __future__ import annotations

import numpy as np

from pnag_tf import tuning
from pnag_tf.run import deploy, searching
from pnag_tf.search import baselines, generator, predictor, rounds
from pnag_tf.search import candidates as candidates_lib
from pnag_tf.search import proposals as search
from pnag_tf.util import files

BEST_RECORD = "best_record"  # no search: the best of the records that were measured before any round
METHODS = {
    "evo": baselines.evo,
    "kt_bayesian": tuning.kt_bayesian,
    "kt_random": tuning.kt_random,
    "nas_mo": baselines.nas_mo,
    "ofa_mo": baselines.ofa_mo,
    "random": baselines.random,
}


class Deploying(searching.Searching):
    """From a generator, or a method that PNAG is compared with, to networks."""

    def eval(self) -> list[tuple[str, list[dict]]]:
        """`eval/<method>.csv` and, where there is a supernet, `deploy/`: one network for each budget.

        Returns:
          (title, rows) of each table: the networks; and their kinds where more than float32 was asked for.
        """
        if self.has_supernet:
            self.device.describe()  # a device that is not there is told of before hours of work
        self.active_rounds()
        predictors, made = self.predictors(), self.generator() if self.config.method == "pnag" else None
        with self.timed(f"eval/{self.config.method}"):
            proposals = self._proposals(predictors, made)
        self._write_samples(proposals, predictors, made)
        own = {choices.tobytes() for found in proposals for choices in found.choices}
        if self.config.method == "pnag" and (self.has_supernet or (self.workdir / searching.ROUNDS).exists()):
            # What was measured before competes with PNAG's proposals; its peers show what they find themselves.
            proposals = rounds.confirm(proposals, self.records())
        if self.has_supernet:
            with self.timed(f"eval/{self.config.method}/deploy"):
                rows, kinds = self._deploy(proposals)
        else:
            rows, kinds = [self.row(found.budget_ms, found, 0) for found in proposals], []
        rows = [row | {"found_by": self._finder(row["arch"], own, predictors)} for row in rows]
        files.write_csv(self.workdir / "eval" / f"{self.config.method}.csv", rows, rows[0])
        tables = [(f"{self.config.method}: a network for each budget", rows)]
        return [*tables, ("kinds of .tflite", kinds)] if kinds else tables

    def _deploy(self, proposals: list[candidates_lib.Candidates]) -> tuple[list[dict], list[dict]]:
        """Chooses, measures and writes; returns what is known of the networks, and of their kinds."""
        config, device, known = self.config, self.device, self._reference()
        chosen = deploy.choose(config, self.subnets, self.splits, device, proposals, known)
        rows = [
            self.row(asked.budget_ms, finalist.found, finalist.place)
            | deploy.facts(config, self.subnets, self.splits, finalist)
            for asked, finalist in zip(proposals, chosen, strict=True)
        ]
        made = deploy.variants(config, self.subnets, self.splits, device, chosen, known)
        kinds = []
        for row, finalist, variants in zip(rows, chosen, made, strict=True):
            budget = row["budget_ms"]
            path = self.workdir / "deploy" / f"{config.method}_{config.device}_{budget}"
            written = deploy.write(
                path, row, finalist.exported, finalist.latency.device, config, self.splits, device.suffix, variants
            )
            kinds += [{"budget_ms": budget} | facts for facts in written]
        self._keep_kinds(kinds, {row["budget_ms"] for row in rows})
        return rows, kinds

    def _reference(self) -> deploy.Reference | None:
        """What tells how fast the device is now against when its latency table was made; None without a table.

        None on a phone as well: it waits until it is cool, and what it then takes is what counts.
        """
        if self.config.latency.source != "table" or self.config.device == "mobile":
            return None
        return deploy.reference(self.config, self.latency_table(), self.device)

    def _keep_kinds(self, kinds: list[dict], budgets: set[str]) -> None:
        """`deploy/quantized_<method>_<device>.csv`: the kinds of every network in `deploy` that has more than float32.

        Args:
          budgets: of the networks just written; what the file holds of earlier ones for them goes.
        """
        path = self.workdir / "deploy" / f"quantized_{self.config.method}_{self.config.device}.csv"
        rows = [row for row in files.rows_left(path) if row["budget_ms"] not in budgets] + kinds
        if rows:
            files.write_csv(path, rows, rows[0])
        else:
            path.unlink(missing_ok=True)

    def _proposals(
        self, predictors: predictor.Predictors, made: generator.Generator | None
    ) -> list[candidates_lib.Candidates]:
        """What the method proposes for each budget, the best predicted first; `made` is PNAG's generator."""
        config, how, budgets_ms = self.config, self.config.eval, self.budgets_ms()
        if config.method == BEST_RECORD:
            return rounds.from_records(self.records()[: predictors.report["records"]], budgets_ms, deploy.FINALISTS)
        if made is not None:
            return search.propose(made, predictors, budgets_ms, how.samples, config.seed, how.pessimism, how.refinement)
        rng = np.random.default_rng([config.seed, 3])
        return METHODS[config.method](config.space, predictors, budgets_ms, rng, config)

    def _finder(self, arch: str, own: set[bytes], predictors: predictor.Predictors) -> str:
        """Who found a network: the method, if it is among its `own` proposals; else 'records' or 'rounds'."""
        (choices,) = self.config.space.encode([arch])
        if choices.tobytes() in own:
            return self.config.method
        drawn = self.records()[: predictors.report["records"]]
        return "rounds" if drawn.lacks(choices[None])[0] else "records"

    def _write_samples(
        self,
        proposals: list[candidates_lib.Candidates],
        predictors: predictor.Predictors,
        made: generator.Generator | None,
    ) -> None:
        """`eval/samples.csv`: what a method draws for each budget before any is dropped (Fig. C).

        That is samples of PNAG's policy, and OFA-MO's last population; the other methods have nothing of the kind.
        """
        if self.config.method not in ("pnag", "ofa_mo"):
            return
        path, method = self.workdir / "eval" / "samples.csv", self.config.method
        columns = ("method", "budget_ms", "latency_ms", "top1")
        rows = [row for row in files.rows_left(path, columns) if row["method"] != method]
        for proposal in proposals:
            choices, budget = proposal.choices, candidates_lib.budget_name(proposal.budget_ms)
            if made is not None:
                choices = made.sample([proposal.budget_ms], self.config.eval.samples, self.config.seed + 1)[0][0]
            top1, _, latency_ms = predictors.predict(choices)
            rows += [
                dict(zip(columns, (method, budget, f"{ms:.6g}", f"{accuracy:.4f}"), strict=True))
                for ms, accuracy in zip(latency_ms, top1, strict=True)
            ]
        files.write_csv(path, rows, columns)

    def row(self, budget_ms: float, found: candidates_lib.Candidates, place: int) -> dict:
        return {
            "method": self.config.method,
            "budget_ms": candidates_lib.budget_name(budget_ms),
            "arch": str(self.config.space.decode(found.choices[place])[0]),
            "predicted_top1": f"{found.top1[place]:.4f}",
            "predicted_latency_ms": f"{found.latency_ms[place]:.4g}",
        }
