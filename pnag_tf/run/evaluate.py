"""The stage `eval`: one network for each budget, exported and measured where there is a supernet."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from pnag_tf import tuning
from pnag_tf.latency import counted
from pnag_tf.latency import device as devices
from pnag_tf.run import context as context_lib
from pnag_tf.run import deploy, deployable, learn, limiting, measure, reference, train
from pnag_tf.run import finalists as finalists_lib
from pnag_tf.search import baselines, generator, noise, predictor, proposals, records, rounds
from pnag_tf.search import candidates as candidates_lib
from pnag_tf.search import limits as limits_lib
from pnag_tf.util import digits, errors, files

PNAG = "pnag"
BEST_RECORD = "best_record"  # no search: the best of the records that were measured before any round
PEERS = {
    "evo": baselines.evo,
    "kt_bayesian": tuning.kt_bayesian,
    "kt_random": tuning.kt_random,
    "nas_mo": baselines.nas_mo,
    "ofa_mo": baselines.ofa_mo,
    "random": baselines.random,
    "random_subnet": baselines.random_subnet,
}
METHODS = (PNAG, *PEERS, BEST_RECORD)
SAMPLES = ("method", "budget_ms", "latency_ms", "top1")  # columns of the samples
DRAWN = 1000  # of them for each budget

Tables = list[tuple[str, list[dict]]]
"""(title, rows) of each table, for the user to read."""


def evaluate(context: context_lib.Context) -> Tables:
    """Writes the table of the method's networks, one a budget, and deploys them where there is a supernet.

    Returns:
      The networks; and their kinds where several were asked for.
    """
    method, table, predictors = context.config.method, measure.read_records(context), learn.read_predictors(context)
    made, limits = learn.read_generator(context) if method == PNAG else None, limiting.limits(context)
    within = limits_lib.Limited(predictors, limits) if limits else predictors
    # What was measured before competes with PNAG's proposals; its peers show what they find themselves.
    competes = method == PNAG and (context.has_supernet or context.layout.rounds.exists())
    measured = table[limits.keeps(table.choices)] if competes else None
    with context.timed(f"eval/{method}"):
        found = _propose(context, table, within, made, limits, measured)
    _write_samples(context, found, predictors, made)
    if measured is not None:
        found = rounds.confirm(found, measured)
    rows, kinds = [row(context, proposal.budget_ms, proposal, 0) for proposal in found], []
    if context.has_supernet:
        rows, kinds = _deploy(context, found, _prediction(table, predictors))
    drawn = learn.drawn(context, table)
    rows = [each | {"found_by": _finder(context, each["arch"], measured, drawn)} for each in rows]
    files.write_csv(context.layout.table(method), rows, rows[0])
    files.write_json(context.layout.limits(method), dataclasses.asdict(context.config.limits))
    tables = [(f"{method}: a network for each budget", rows)]
    return [*tables, ("kinds of .tflite", kinds)] if kinds else tables


def found_by(context: context_lib.Context) -> list[dict[str, str]] | None:
    """The networks of the run's method for what is asked for; None where it has not been run for that.

    Before limits were kept beside a table, they were not known: none count.
    """
    layout, config = context.layout, context.config
    rows = files.rows_left(layout.table(config.method), ("budget_ms", "arch"))
    kept, none = layout.limits(config.method), dataclasses.asdict(type(config.limits)())
    if (none | files.read_json(kept) if kept.exists() else none) != dataclasses.asdict(config.limits):
        return None
    asked = list(config.eval.budgets)
    return rows if rows and (not asked or asked == [float(each["budget_ms"]) for each in rows]) else None


ROW = ("method", "budget_ms", "arch", "predicted_top1", "predicted_latency_ms")


def row(context: context_lib.Context, budget_ms: float, found: candidates_lib.Candidates, place: int) -> dict:
    """What is known of a proposal before it is deployed, as columns."""
    (arch,) = context.config.space.decode(found.choices[place])
    return {
        "method": context.config.method,
        "budget_ms": digits.shortest(budget_ms),
        "arch": str(arch),
        **deploy.resolution(arch),
        "predicted_top1": f"{found.top1[place]:.4f}",
        "predicted_latency_ms": f"{found.latency_ms[place]:.4g}",
    }


def reference_of(context: context_lib.Context) -> reference.Reference | None:
    """What tells how fast the device is now against when its latency table was made; None without a table.

    None on a phone as well: it waits until it is cool, and what it then takes is what counts. None where nothing is
    timed.
    """
    if context.config.latency.source != "table" or context.config.device in ("mobile", *counted.UNITS):
        return None
    return reference.of_table(context.config, measure.read_latency_table(context), context.resources.device)


def _prediction(table: records.Records, predictors: predictor.Predictors) -> finalists_lib.Prediction:
    """What the predictors expect of networks, and how far they are off, less the noise of the records that tell."""
    error = noise.model_error(predictors.report["top1_rmse"], table.top1, table.top1_se)
    return finalists_lib.Prediction(predictors.top1, error)


def notes(rows: list[dict]) -> list[str]:
    """What to say under a table of networks: which budgets are missed, which are served by a smaller one's network."""
    said, smallest = [], {}
    asked = [row for row in rows if row.get("budget_ms") and "arch" in row]
    for each in sorted(asked, key=lambda row: float(row["budget_ms"])):
        budget_ms = each["budget_ms"]
        other = smallest.setdefault(each["arch"], budget_ms)
        if devices.missed(each):
            said.append(f"note: {budget_ms} ms: missed, the network takes {devices.held_ms(each)} ms")
        elif other != budget_ms and "found_by" in each and float(_known_ms(each)) <= float(budget_ms):
            trained = ", fine-tuned," if "validation_top1_before" in each else ""
            why = f"no network within the budget has a higher expected accuracy{trained} than the {other} ms one"
            said.append(f"note: {budget_ms} ms: {why}")
    return said + _splits(asked)


def _splits(rows: list[dict]) -> list[str]:
    """What to say of networks that XNNPACK does not take whole."""
    split = [row for row in rows if row.get("outside_xnnpack", "none") != "none"]
    if not split:
        return []
    worst = max(split, key=lambda row: int(row["xnnpack_pieces"]))
    left = ", ".join(sorted({each.split(":")[0] for row in split for each in row["outside_xnnpack"].split()}))
    pieces = f"XNNPACK runs networks in up to {worst['xnnpack_pieces']} pieces on this machine"
    return [f"note: {pieces}; {left} between them are left to LiteRT's own kernels"]


def _known_ms(row: dict) -> str | float:
    """The measured latency of a network, or else the predicted one; 0 where neither is known."""
    return devices.held_ms(row) or row.get("predicted_latency_ms") or 0


def _deploy(
    context: context_lib.Context, found: list[candidates_lib.Candidates], prediction: finalists_lib.Prediction
) -> tuple[list[dict], list[dict]]:
    """Chooses, trains, measures and writes; returns what is known of the networks, and of their kinds."""
    config, open_, known = context.config, context.resources, reference_of(context)
    deployed = None if config.kind == deployable.FLOAT32 else open_.exporter.validated
    validation = finalists_lib.Validation(open_.image_weights(config.measure.finalist_images), deployed)
    with context.timed(f"eval/{config.method}/choose"):
        chosen = finalists_lib.choose(
            config, open_.subnets, open_.splits, open_.exporter.device, found, known, prediction, validation
        )
    if config.finetune.epochs:
        budgets_ms = [asked.budget_ms for asked in found]
        train_all, rounded = functools.partial(train.alone, context), None
        if config.kind == "int8" and config.finetune.int8_epochs:
            rounded = functools.partial(train.with_rounding, context)
        chosen = finalists_lib.train_alone(
            chosen, budgets_ms, open_.subnets, open_.exporter.device, known, train_all, validation, rounded
        )
    with context.timed(f"eval/{config.method}/deploy"):
        return _written(context, found, chosen, known)


def _written(
    context: context_lib.Context,
    found: list[candidates_lib.Candidates],
    chosen: list[finalists_lib.Finalist],
    known: reference.Reference | None,
) -> tuple[list[dict], list[dict]]:
    """Reads the test images and writes the networks; returns what is known of them, and of their kinds."""
    config, open_ = context.config, context.resources
    rows = [
        row(context, asked.budget_ms, finalist.found, finalist.place)
        | deploy.facts(config, open_.subnets, open_.exporter, finalist)
        for asked, finalist in zip(found, chosen, strict=True)
    ]
    made = deploy.variants(config, open_.subnets, open_.exporter, chosen, known)
    kinds = []
    for facts, finalist, variants in zip(rows, chosen, made, strict=True):
        path = context.layout.network(config.method, config.device, facts["budget_ms"])
        written = deploy.write(
            path,
            facts,
            finalist.exported,
            finalist.test,
            finalist.latency.device,
            config,
            open_.splits,
            open_.device.suffix,
            variants,
        )
        kinds += [{"budget_ms": facts["budget_ms"]} | each for each in written]
    _keep_kinds(context, kinds, {facts["budget_ms"] for facts in rows})
    return rows, kinds


def _keep_kinds(context: context_lib.Context, kinds: list[dict], budgets: set[str]) -> None:
    """Writes the table of the kinds of every deployed network that has several.

    Args:
      budgets: of the networks just written; what the file holds of earlier ones for them goes.
    """
    path = context.layout.quantized(context.config.method, context.config.device)
    rows = [each for each in files.rows_left(path) if each["budget_ms"] not in budgets] + kinds
    if rows:
        files.write_csv(path, rows, rows[0])
    else:
        path.unlink(missing_ok=True)


def _propose(
    context: context_lib.Context,
    table: records.Records,
    predictors: predictor.Predictors | limits_lib.Limited,
    made: generator.Generator | None,
    limits: limits_lib.Limits,
    measured: records.Records | None,
) -> list[candidates_lib.Candidates]:
    """What the method proposes for each budget, the best predicted first.

    Args:
      made: PNAG's generator.
      measured: what PNAG refines with its samples.
    """
    config, how, budgets_ms = context.config, context.config.eval, learn.budgets_ms(context, table)
    if config.method == BEST_RECORD:
        drawn = learn.drawn(context, table)
        drawn = drawn[limits.keeps(drawn.choices)]
        if not len(drawn):
            raise errors.UserError("no record keeps the limits; expected one at least for method best_record")
        return rounds.from_records(drawn, budgets_ms, finalists_lib.FINALISTS)
    if made is not None:
        asked = how.samples, config.seed, how.pessimism, how.refinement
        return proposals.propose(made, predictors, budgets_ms, *asked, measured)
    rng = np.random.default_rng([config.seed, 3])
    return PEERS[config.method](config.space, predictors, budgets_ms, rng, config)


def _finder(context: context_lib.Context, arch: str, measured: records.Records | None, drawn: records.Records) -> str:
    """Who found a network first: 'records' or 'rounds' where these were asked and had it, else the method."""
    choices = context.config.space.encode([arch])
    if measured is None or measured.lacks(choices)[0]:
        return context.config.method
    return "rounds" if drawn.lacks(choices)[0] else "records"


def _write_samples(
    context: context_lib.Context,
    found: list[candidates_lib.Candidates],
    predictors: predictor.Predictors,
    made: generator.Generator | None,
) -> None:
    """Writes what a method draws for each budget before any is dropped (Fig. C).

    That is samples of PNAG's policy, and OFA-MO's last population; the other methods have nothing of the kind.
    """
    config, path = context.config, context.layout.samples
    if config.method not in (PNAG, "ofa_mo"):
        return
    rows = [each for each in files.rows_left(path, SAMPLES) if each["method"] != config.method]
    for proposal in found:
        choices, budget = proposal.choices, digits.shortest(proposal.budget_ms)
        if made is not None:
            choices = made.sample([proposal.budget_ms], DRAWN, config.seed + 1)[0]
        top1, _, latency_ms = predictors.predict(choices)
        rows += [
            dict(zip(SAMPLES, (config.method, budget, f"{ms:.6g}", f"{accuracy:.4f}"), strict=True))
            for ms, accuracy in zip(latency_ms, top1, strict=True)
        ]
    files.write_csv(path, rows, SAMPLES)
