"""The stage `finetune`: the networks that `eval` chose, trained on alone, deployed again."""

from __future__ import annotations

from absl import logging

from pnag_tf.run import deploy, deploying
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import finetune
from pnag_tf.util import errors, files


class Finetuning(deploying.Deploying):
    """From deployed networks to better ones."""

    def finetune(self) -> list[tuple[str, list[dict]]]:
        """`finetune/`, `eval/<method>_finetuned.csv` and `deploy/<method>_finetuned_*`.

        A network that serves several budgets is trained once. All are timed in one call of the device; the latency
        of an architecture does not change with its weights, so that its budget is kept. With `Finetune.archs` the
        architectures are those of a file: their latencies may be another run's, and a budget that is missed is warned
        of.
        """
        config, name = self.config, f"{self.config.method}_finetuned"
        if not self.has_supernet:
            raise errors.UserError("--stage=finetune: with --records there is no network to train")
        chosen = self._given() if config.finetune.archs else self._chosen()
        trained = {arch: self._trained(arch) for arch in dict.fromkeys(row["arch"] for row in chosen)}
        if not self.distribution.first:  # the first worker deploys
            return []
        exported = {arch: self.device.export(network) for arch, (network, _) in trained.items()}
        latencies = deploy.latencies_at(list(exported.values()), self.device, self._reference())
        latency_of = dict(zip(exported, latencies, strict=True))
        tested = {arch: self._tested(network) for arch, (network, _) in trained.items()}
        rows = []
        for row in chosen:
            arch, latency = row["arch"], latency_of[row["arch"]]
            top1, top5 = tested[arch]
            rows.append(
                {
                    "method": name,
                    "budget_ms": row["budget_ms"],
                    "arch": arch,
                    "predicted_top1": row.get("predicted_top1", ""),
                    "predicted_latency_ms": row.get("predicted_latency_ms", ""),
                    "validation_top1": f"{max(each['val_accuracy'] for each in trained[arch][1]):.4f}",
                    "test_top1_before": row.get("test_top1", ""),
                    "test_top1": f"{top1:.4f}",
                    "test_top5": f"{top5:.4f}",
                    **latency.columns(),
                    "params": cost.params(config.backbone, space_lib.Architecture.parse(arch)),
                    "madds": cost.madds(config.backbone, space_lib.Architecture.parse(arch)),
                }
            )
            if latency.at_table_ms > float(row["budget_ms"]):
                logging.warning("budget %s ms is missed: %.3g ms", row["budget_ms"], latency.at_table_ms)
            target = self.workdir / "deploy" / f"{name}_{config.device}_{row['budget_ms']}"
            deploy.write(target, rows[-1], exported[arch], latency.device, config, self.splits, self.device.suffix)
        files.write_csv(self.workdir / "eval" / f"{name}.csv", rows, rows[0])
        return [(f"{name}: the same architectures after up to {config.finetune.epochs} epochs alone", rows)]

    def _chosen(self) -> list[dict[str, str]]:
        """The rows of what `eval` chose, which it does first where it has not."""
        path = self.workdir / "eval" / f"{self.config.method}.csv"
        if not path.exists() and self.distribution.replicas > 1:
            raise errors.UserError(f"--stage=finetune on several workers: expected {path}, found none: run eval first")
        if not path.exists():
            self.eval()
        return files.read_csv(path, ("budget_ms", "arch", "test_top1"))

    def _given(self) -> list[dict[str, str]]:
        """Budgets and architectures of the file that the user gave; its accuracies and predictions are another run's.

        Raises:
          UserError: the file cannot be used, or an architecture is of another space.
        """
        path = self.config.finetune.archs
        rows = [
            {name: row[name] for name in ("budget_ms", "arch")} for row in files.read_csv(path, ("budget_ms", "arch"))
        ]
        if not rows:
            raise errors.UserError(f"--archs={path}: expected at least one architecture, found none")
        for number, row in enumerate(rows, 1):
            try:
                self.config.space.encode([row["arch"]])
                if not 0 < float(row["budget_ms"]) < float("inf"):
                    raise ValueError(f"expected milliseconds in budget_ms, found '{row['budget_ms']}'")
            except (TypeError, ValueError) as error:
                raise errors.UserError(f"--archs={path}, row {number}: {error}") from None
        return rows

    def _trained(self, arch: str):
        """(network, history) of an architecture; a folder of its own keeps what is done."""
        config = self.config
        folder = self.workdir / "finetune" / f"{files.digest(arch)}-{config.finetune.epochs}"
        choices = config.space.encode([arch])[0]
        with self.timed("finetune"):
            return finetune.train(
                lambda: self.subnets.extract(choices),
                config,
                self.splits,
                folder,
                log=self.log(f"finetune/{folder.name}"),
                distribution=self.distribution,
            )

    def _tested(self, network) -> tuple[float, float]:
        """(top-1, top-5) on the test images."""
        return finetune.accuracy(network, self.splits.test(self.config.measure.batch_size))
