"""The stages that train on images: `supernet`, and `finetune`, which trains chosen networks alone and deploys them."""

from __future__ import annotations

import keras
from absl import logging

from pnag_tf.run import context as context_lib
from pnag_tf.run import deploy, evaluate, measure
from pnag_tf.run import layout as layout_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import finetune as finetune_lib
from pnag_tf.supernet import shrinking
from pnag_tf.util import digits, errors, files


def supernet(context: context_lib.Context) -> None:
    """Trains the supernet; goes on where a killed call was."""
    with context.timed("supernet"):
        shrinking.train(
            context.config,
            context.resources.splits,
            context.layout.supernet,
            log=context.log("supernet"),
            distribution=context.distribution,
        )


def check(context: context_lib.Context) -> None:
    """Raises UserError when the given architectures cannot be used."""
    if context.config.finetune.archs:
        _given(context)


def finetune(context: context_lib.Context) -> evaluate.Tables:
    """Trains the networks that `eval` chose, or those of `finetune.archs`, and deploys them as another method.

    A network that serves several budgets is trained once. All are timed in one call of the device; the latency of an
    architecture does not change with its weights, so that its budget is kept. Architectures of a file may have their
    latencies from another run: a budget that is missed is warned of.
    """
    config, open_ = context.config, context.resources
    chosen = _given(context) if config.finetune.archs else _chosen(context)
    trained = {arch: train_alone(context, arch) for arch in dict.fromkeys(row["arch"] for row in chosen)}
    if not context.distribution.first:  # the first worker deploys
        return []
    if config.latency.source == "table" and not context.layout.latency_table.exists():
        measure.latency_table(context)  # where the architectures are another run's
    exported = {arch: open_.device.export(network) for arch, (network, _) in trained.items()}
    latencies = deploy.latencies_at(list(exported.values()), open_.device, evaluate.reference(context))
    latency_of = dict(zip(exported, latencies, strict=True))
    tested = {
        arch: finetune_lib.accuracy(network, open_.splits.test(config.measure.batch_size))
        for arch, (network, _) in trained.items()
    }
    name, rows = f"{config.method}{layout_lib.FINETUNED}", []
    for row in chosen:
        arch, latency = row["arch"], latency_of[row["arch"]]
        validation_top1 = max(each["val_accuracy"] for each in trained[arch][1])
        rows.append(_facts(context, name, row, validation_top1, tested[arch], latency))
        if latency.at_table_ms > float(row["budget_ms"]):
            logging.warning("budget %s ms is missed: %.3g ms", row["budget_ms"], latency.at_table_ms)
        target = context.layout.network(name, config.device, row["budget_ms"])
        deploy.write(target, rows[-1], exported[arch], latency.device, config, open_.splits, open_.device.suffix)
    files.write_csv(context.layout.table(name), rows, rows[0])
    return [(f"{name}: the same architectures after up to {config.finetune.epochs} epochs alone", rows)]


def train_alone(context: context_lib.Context, arch: str) -> tuple[keras.Model, list[dict]]:
    """(network, history) of an architecture; a folder of its own keeps what is done."""
    config = context.config
    folder = context.layout.finetune / f"{files.digest(arch)}-{config.finetune.epochs}"
    choices = config.space.encode([arch])[0]
    with context.timed("finetune"):
        return finetune_lib.train(
            lambda: context.resources.subnets.extract(choices),
            config,
            context.resources.splits,
            folder,
            log=context.log(f"finetune/{folder.name}"),
            distribution=context.distribution,
        )


def _chosen(context: context_lib.Context) -> list[dict[str, str]]:
    """The rows of what `eval` chose."""
    return files.read_csv(context.layout.table(context.config.method), ("budget_ms", "arch", "test_top1"))


def _given(context: context_lib.Context) -> list[dict[str, str]]:
    """Budgets and architectures of the file that the user gave; its accuracies and predictions are another run's.

    Raises:
      UserError: the file cannot be used, or an architecture is of another space.
    """
    path, columns = context.config.finetune.archs, ("budget_ms", "arch")
    rows = [{name: row[name] for name in columns} for row in files.read_csv(path, columns)]
    if not rows:
        raise errors.UserError(f"{path}: expected at least one architecture, found none")
    for number, row in enumerate(rows, 1):
        try:
            context.config.space.encode([row["arch"]])
            if not 0 < float(row["budget_ms"]) < float("inf"):
                raise ValueError(f"expected milliseconds in budget_ms, found '{row['budget_ms']}'")
            row["budget_ms"] = digits.shortest(float(row["budget_ms"]))
            if row["budget_ms"] in [earlier["budget_ms"] for earlier in rows[: number - 1]]:
                raise ValueError(f"expected one architecture for each budget, found another for {row['budget_ms']} ms")
        except (TypeError, ValueError) as error:
            raise errors.UserError(f"{path}, row {number}: {error}") from None
    return rows


def _facts(
    context, name: str, row: dict[str, str], validation_top1: float, tested: tuple[float, float], latency
) -> dict:
    """What is known of a fine-tuned network, as columns."""
    backbone, arch = context.config.backbone, space_lib.Architecture.parse(row["arch"])
    return {
        "method": name,
        "budget_ms": row["budget_ms"],
        "arch": row["arch"],
        "predicted_top1": row.get("predicted_top1", ""),
        "predicted_latency_ms": row.get("predicted_latency_ms", ""),
        "validation_top1": f"{validation_top1:.4f}",
        "test_top1_before": row.get("test_top1", ""),
        "test_top1": f"{tested[0]:.4f}",
        "test_top5": f"{tested[1]:.4f}",
        **latency.columns(),
        "params": cost.params(backbone, arch),
        "madds": cost.madds(backbone, arch),
    }
