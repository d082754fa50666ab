"""The stage `finetune`: given architectures, such as another run's, fine-tuned from the supernet's weights.

The networks of the run itself are trained in `eval`.
"""

from __future__ import annotations

from pnag_tf.run import answers, deploy, evaluate, measure, reference, train
from pnag_tf.run import context as context_lib
from pnag_tf.run import layout as layout_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import finetune as finetune_lib
from pnag_tf.util import digits, errors, files


def check(context: context_lib.Context) -> None:
    """Raises UserError when there are no architectures, or they cannot be used."""
    if not context.config.finetune.epochs:
        raise errors.SettingError("finetune.epochs", "expected 1 or more for stage finetune, found 0")
    _given(context)


def finetune(context: context_lib.Context) -> evaluate.Tables:
    """Trains the networks of `finetune.archs` and deploys them as another method.

    A network that serves several budgets is trained once. All are timed in one call of the device. The latencies may be
    another run's: a budget may be missed.
    """
    config, open_ = context.config, context.resources
    rows_given = _given(context)
    archs = list(dict.fromkeys(row["arch"] for row in rows_given))
    trained = dict(zip(archs, train.alone(context, archs), strict=True))
    if not context.distribution.first:  # the first worker deploys
        return []
    if config.latency.source == "table" and not context.layout.latency_table.exists():
        measure.latency_table(context)
    exported = {arch: open_.exporter.export(network) for arch, (network, _) in trained.items()}
    latencies = reference.latencies_at(list(exported.values()), open_.device, evaluate.reference_of(context))
    latency_of = dict(zip(exported, latencies, strict=True))
    tested = {arch: open_.exporter.tested(network, exported[arch]) for arch, (network, _) in trained.items()}
    name, rows = f"{config.method}{layout_lib.FINETUNED}", []
    for row in rows_given:
        arch, latency = row["arch"], latency_of[row["arch"]]
        rows.append(_facts(context, name, row, finetune_lib.before_and_best(trained[arch][1]), tested[arch], latency))
        target = context.layout.network(name, config.device, row["budget_ms"])
        made = (exported[arch], tested[arch], latency.device)
        deploy.write(target, rows[-1], *made, config, open_.splits, open_.device.suffix)
    files.write_csv(context.layout.table(name), rows, rows[0])
    return [(f"{name}: the given architectures, fine-tuned", rows)]


def _given(context: context_lib.Context) -> list[dict[str, str]]:
    """Budgets and architectures of the file that the user gave; its accuracies and predictions are another run's.

    Raises:
      UserError: the file cannot be used, or an architecture is of another space.
    """
    path, columns = context.config.finetune.archs, ("budget_ms", "arch")
    if not path:
        expected = "expected a file of architectures for stage finetune, found none (eval trains the run's own)"
        raise errors.SettingError("finetune.archs", expected)
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
    context, name: str, row: dict[str, str], judged: tuple[float, float], tested: answers.Answers, latency
) -> dict:
    """What is known of a trained network, as columns."""
    backbone, arch = context.config.backbone, space_lib.Architecture.parse(row["arch"])
    return {
        "method": name,
        "budget_ms": row["budget_ms"],
        "arch": row["arch"],
        **deploy.resolution(arch),
        "validation_top1_before": f"{judged[0]:.4f}",
        "validation_top1": f"{judged[1]:.4f}",
        "test_top1": f"{tested.top1:.4f}",
        "test_top5": f"{tested.top5:.4f}",
        **deploy.objective(context.config, tested),
        **latency.columns(),
        "params": cost.params(backbone, arch),
        "madds": cost.madds(backbone, arch),
    }
