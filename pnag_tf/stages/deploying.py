"""The stage `eval`: one network for each budget, exported and measured where there is a supernet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnag_tf import baselines, deploy, files, rounds, search, tuning
from pnag_tf import candidates as candidates_lib
from pnag_tf.stages import searching

METHODS = {
    "evo": baselines.evo,
    "kt_bayesian": tuning.kt_bayesian,
    "kt_random": tuning.kt_random,
    "nas_mo": baselines.nas_mo,
    "ofa_mo": baselines.ofa_mo,
    "random": baselines.random,
}


class Deploying(searching.Searching):
    """From a generator, or a method that PNAG is compared with, to networks.

    Attributes:
      variants: after `eval`, what is known of each kind of each network where more than float32 was asked for.
    """

    variants: Sequence[dict] = ()

    def eval(self) -> list[dict]:
        """`eval/<method>.csv` and, where there is a supernet, `deploy/`: one network for each budget."""
        self.active_rounds()
        proposals = self._proposals()
        self._write_samples(proposals)
        if self.has_supernet or self.config.eval.rounds:
            # The best network measured so far competes with the proposals.
            proposals = rounds.confirmed(proposals, self.records())
        if self.has_supernet:
            known = (
                deploy.reference(self.config, self.latency_table()) if self.config.latency.source == "table" else None
            )
            deployed = deploy.choose(self.config, self.subnets, self.splits, self.measure(), proposals, known)
            rows = [
                self.row(asked.budget_ms, finalist.found, finalist.place)
                | deploy.facts(self.config, self.subnets, self.splits, finalist)
                for asked, finalist in zip(proposals, deployed, strict=True)
            ]
            written = {}
            made = deploy.variants(self.config, self.subnets, self.splits, self.measure(), deployed, known)
            for row, finalist, kinds in zip(rows, deployed, made, strict=True):
                path = self.workdir / "deploy" / f"{self.config.device}_{row['budget_ms']}"
                written[row["budget_ms"]] = deploy.write(path, row, finalist, self.config, self.splits, kinds)
            self._keep_variants(written)
        else:
            rows = [self.row(found.budget_ms, found, 0) for found in proposals]
        files.write_csv(self.workdir / "eval" / f"{self.config.method}.csv", rows, rows[0])
        return rows

    def _keep_variants(self, written: dict[str, list[dict]]) -> None:
        """`deploy/quantized_<device>.csv`: the kinds of every network in `deploy` that has more than float32."""
        path = self.workdir / "deploy" / f"quantized_{self.config.device}.csv"
        rows = [{"budget_ms": budget} | facts for budget, kinds in written.items() for facts in kinds]
        self.variants = rows if set(self.config.eval.quantize) - {"float32"} else ()
        earlier = files.read_csv(path, ()) if path.exists() else []
        kept = [row for row in earlier if row["budget_ms"] not in written]
        if kept or self.variants:
            files.write_csv(path, [*kept, *self.variants], rows[0])
        else:
            path.unlink(missing_ok=True)

    def _proposals(self) -> list[candidates_lib.Candidates]:
        """What the method proposes for each budget, the best predicted first."""
        config, budgets_ms, predictors = self.config, self.budgets_ms(), self.predictors()
        if config.method == "pnag":
            made = self.generator()
            how = config.eval
            return search.propose(made, predictors, budgets_ms, how.samples, config.seed, how.pessimism, how.refinement)
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
        predictors, made = self.predictors(), self.generator() if method == "pnag" else None
        for proposal in proposals:
            choices = proposal.choices
            if made is not None:
                choices = made.sample([proposal.budget_ms], self.config.eval.samples, self.config.seed + 1)[0][0]
            top1, _, latency_ms = predictors.predict(choices)
            rows += [
                dict(zip(columns, (method, f"{proposal.budget_ms:g}", f"{ms:.6g}", f"{accuracy:.4f}"), strict=True))
                for ms, accuracy in zip(latency_ms, top1, strict=True)
            ]
        files.write_csv(path, rows, columns)

    def row(self, budget_ms: float, found: candidates_lib.Candidates, place: int) -> dict:
        return {
            "method": self.config.method,
            "budget_ms": f"{budget_ms:g}",
            "arch": str(self.config.space.decode(found.choices[place])[0]),
            "predicted_top1": f"{found.top1[place]:.4f}",
            "predicted_latency_ms": f"{found.latency_ms[place]:.4g}",
        }
