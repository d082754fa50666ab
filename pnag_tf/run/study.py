"""The stages beside the road: settings of the search, ablations, the comparison, pictures and the report."""

from __future__ import annotations

import shutil

import numpy as np

from pnag_tf import tuning, zoo
from pnag_tf.run import compare as compare_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import evaluate, learn, measure, pictures
from pnag_tf.run import report as report_lib
from pnag_tf.search import ablation as ablation_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import records as records_lib
from pnag_tf.util import files

COMPARED = (evaluate.PNAG, "evo", "nas_mo", "ofa_mo", "random", evaluate.BEST_RECORD)


def tune(context: context_lib.Context) -> None:
    """Searches for settings of the evaluator and the generator with KerasTuner."""
    table, predictors = measure.read_records(context), learn.read_predictors(context)
    tuning.tune(table, predictors, context.config, context.layout.tune, progress=True)


def ablation(context: context_lib.Context) -> evaluate.Tables:
    """The paper's ablation tables on the records, from one file a variant; see `search.ablation.tables`.

    With a measuring command the proposals are measured as well.
    """
    table, predictors, results = measure.read_records(context), learn.read_predictors(context), {}
    for variant in ablation_lib.variants(context.config.generator):
        results[variant.name] = _ablated(context, variant, table, predictors)
    found = ablation_lib.tables(results, context.config.generator)
    for number, (_, rows) in enumerate(found, 1):
        context_lib.write_history(context.layout.ablation / f"table_{number}.csv", rows)
    return found


def _ablated(
    context: context_lib.Context,
    variant: ablation_lib.Variant,
    table: records_lib.Records,
    predictors: predictor_lib.Predictors,
) -> list[dict]:
    """What a variant proposes, one row a budget, by its file where that is for the same budgets."""
    config, budgets_ms = context.config, np.array(learn.budgets_ms(context, table))
    path, columns = context.layout.ablation / f"{variant.name}.csv", [*evaluate.ROW[1:]]
    columns += ["measured_top1", "measured_latency_ms"] if config.eval.measure_command else []
    rows = files.rows_left(path)
    same = [float(row["budget_ms"]) for row in rows] == list(budgets_ms)
    if same and set(columns) <= rows[0].keys():
        return rows
    print(f"ablation: {variant.name}", flush=True)
    found = ablation_lib.run(variant, table, predictors, config, budgets_ms, progress=True)
    rows = [evaluate.row(context, proposal.budget_ms, proposal, 0) for proposal in found]
    if config.eval.measure_command:
        measured = measure.measure(context, np.stack([proposal.choices[0] for proposal in found]))
        for row, top1, latency_ms in zip(rows, measured.top1, measured.latency_ms, strict=True):
            row |= {"measured_top1": f"{top1:.4f}", "measured_latency_ms": f"{latency_ms:.4g}"}
    rows = [{column: row[column] for column in columns} for row in rows]
    files.write_csv(path, rows, columns)
    return rows


def compare(context: context_lib.Context) -> evaluate.Tables:
    """The networks of the literature and of all methods, timed on the run's device in one run."""
    config, device, folder = context.config, context.resources.device, context.layout.compare
    networks = []
    for method in COMPARED:
        rows = files.read_csv(context.layout.table(method), ("method", "budget_ms", "arch"))
        networks += compare_lib.of_method(rows, config.backbone, _search_seconds(context, method))
    networks += compare_lib.of_zoo(zoo.names(), config.device, config.backbone)
    description, parts = device.describe(), folder / f"{config.device}.parts"
    with context_lib.bars() as progress:
        rows = compare_lib.measure(networks, device, parts, progress)
    rows += compare_lib.numbers_only(config.device)
    shown = compare_lib.write(folder, config.device, description, rows)
    shutil.rmtree(parts)
    return [(f"{description}: measured beside published", shown)]


def _search_seconds(context: context_lib.Context, method: str) -> float | None:
    """What a method took from the records to its architectures, the predictors included.

    Rounds count, measurements and all, for every method that asks the predictors, which they correct.
    """
    seconds, parts = context.seconds(), [f"eval/{method}"]
    if method != evaluate.BEST_RECORD:
        parts += ["predictors"] + ["rounds"] * context.layout.rounds.exists()
    if method == evaluate.PNAG:
        parts += ["evaluator", "generator"]
    return sum(seconds[part] for part in parts) if set(parts) <= seconds.keys() else None


def report(context: context_lib.Context) -> evaluate.Tables:
    """The run on one page; returns the table of the run's method."""
    method = context.config.method
    rows = files.read_csv(context.layout.table(method), ("method", "budget_ms", "arch"))
    path = report_lib.write(context.layout)
    return [(f"{method}: a network for each budget; all in {path}", rows)]


def figures(context: context_lib.Context) -> None:
    """Pictures of whatever the run has made so far, as PNG and SVG."""
    pictures.draw(context.layout)
