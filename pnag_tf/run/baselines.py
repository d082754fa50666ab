"""The stage `baselines`: off-the-shelf networks, trained in the time that the run took, against the run's own.

They are trained on the same images, at the same resolution and with the same augmentation, from random weights unless
`baselines.weights` says otherwise; the best epoch by validation is kept, and test images are read once. All are timed
beside the run's deployed networks in one call of the device.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import shutil

import keras
from absl import logging

from pnag_tf import config as config_lib
from pnag_tf.run import answers as answers_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import deploy, dominance, evaluate, reference, timing
from pnag_tf.supernet import finetune, pace
from pnag_tf.util import errors, files
from pnag_tf.zoo import counting, shelf

BATCH = 64  # that the learning rates of `shelf` are for; SGD's grows with the batch
PRETRAINED = 0.2  # of the learning rate, where training starts from ImageNet's weights
GROWN = 0.1  # a run that has taken this share more or less since asks for no new training
SHOWN = ("network", "budget_ms", "minutes", "epochs", "validation_top1", "test_top1", "latency_ms", "params", "madds")


def check(context: context_lib.Context) -> None:
    """Raises UserError where a network is unknown, does not fit the images, or its weights cannot be had."""
    settings, backbone = context.config.baselines, context.config.backbone
    wanted = {name: shelf.taking(name, backbone.resolution) for name in names(context.config)}
    if settings.weights == "none":
        return
    pretrained = [name for name, network in wanted.items() if network.pretrained]
    if not pretrained:
        raise errors.UserError(
            f"`baselines.weights=imagenet`: expected a network of keras.applications, found {', '.join(wanted)}"
        )
    for name in pretrained:  # downloads
        shelf.build(name, backbone.classes, backbone.resolution, ((0.0,), (1.0,)))


def names(config: config_lib.Config) -> tuple[str, ...]:
    """The networks that were asked for; all that are for the resolution where none were."""
    return tuple(dict.fromkeys(config.baselines.networks)) or shelf.fitting(config.backbone.resolution)


def baselines(context: context_lib.Context) -> evaluate.Tables:
    """Trains, exports and tests the networks, goes on where a killed call was, then times them beside the run's."""
    own, path = _own(context), context.layout.baselines_table(context.config.device)
    wanted, run_s = names(context.config), timing.of_run(context.seconds(), context.config.method)
    seconds = _seconds(context.config.baselines, run_s, len(wanted))
    each, whole = _minutes(seconds), timing.duration(seconds * len(wanted))
    print(f"baselines: {len(wanted)} networks, {each} minutes of training each, {whole} in all", flush=True)
    if context.supernet_file and not context.config.baselines.minutes:
        logging.warning("the training of the given supernet is not in the run's minutes; `baselines.minutes` sets them")
    rows: list[dict] = []
    for name in wanted:
        rows.append(dict.fromkeys(dominance.COLUMNS, "") | _made(context, name, seconds))
        files.write_csv(path, rows, dominance.COLUMNS)
    own = [row | {"minutes": _minutes(run_s)} for row in own]
    rows = _timed(context, [*own, *rows])
    files.write_csv(path, rows, dominance.COLUMNS)
    shown = [{column: row[column] for column in SHOWN} for row in rows]
    return [(f"{context.config.method} against off-the-shelf networks: {dominance.verdict(rows)}", shown)]


def _own(context: context_lib.Context) -> list[dict]:
    """The run's deployed networks, each once. Raises UserError for a missing file."""
    method, path = context.config.method, context.layout.table(context.config.method)
    found = files.read_csv(path, ("budget_ms", "arch", "test_top1"))
    kept = ("arch", "budget_ms", "validation_top1", "test_top1", "test_top5", "params", "madds")
    rows = []
    for row in {row["arch"]: row for row in found}.values():
        facts = {column: row[column] for column in kept} | {"network": f"{method}-{row['budget_ms']}", "method": method}
        rows.append(dict.fromkeys(dominance.COLUMNS, "") | facts)
    for row in rows:
        if not _file(context, row).exists():
            raise errors.UserError(f"expected {_file(context, row)}, found none: stage eval deploys it")
    return rows


def _file(context: context_lib.Context, row: dict) -> pathlib.Path:
    """The exported network of a row."""
    layout, device = context.layout, context.config.device
    if row["method"]:
        path = layout.network(row["method"], device, row["budget_ms"])
    else:
        path = layout.baseline(row["network"], device)
    return path.with_name(path.name + context.resources.device.suffix)


def _seconds(settings: config_lib.Baselines, run_s: float, count: int) -> float:
    """How long each network is trained.

    Raises:
      UserError: as long as the run took, of which nothing is known.
    """
    seconds = 60 * settings.minutes or run_s
    if not seconds:
        raise errors.UserError("the seconds of the run are not known: expected `baselines.minutes`, found 0")
    return seconds / count if settings.time == "shared" else seconds


def _made(context: context_lib.Context, name: str, seconds: float) -> dict:
    """What is known of a trained, exported and tested network, as columns; made where it is missing."""
    layout = context.layout
    folder, what = layout.baselines / name, f"baselines/{name}"
    path = _file(context, {"method": "", "network": name})
    plan = _plan(context, folder, seconds)
    result = folder / "result.json"
    if result.exists() and path.exists() and _answers(context, name).exists():
        return files.read_json(result)
    with context.timed(what):
        network, history = _train(context, name, folder, plan)
    took_s = context.seconds().get(what, 0.0) - plan["before_s"]
    exported = context.resources.exporter.export(network)
    files.write_bytes(path, exported)
    answers = context.resources.exporter.tested(network, exported)
    answers_lib.write(_answers(context, name), answers)
    facts = {
        "network": name,
        "weights": plan["weights"] if shelf.entry(name).pretrained else "none",
        "minutes": _minutes(took_s),
        "epochs": history[-1]["epoch"],
        "validation_top1": f"{finetune.before_and_best(history)[1]:.4f}",
        "test_top1": f"{answers.top1:.4f}",
        "test_top5": f"{answers.top5:.4f}",
        "params": counting.params(network),
        "madds": counting.madds(network),
    }
    files.write_json(result, facts)
    return facts


def _plan(context: context_lib.Context, folder: pathlib.Path, seconds: float) -> dict:
    """What a network is trained for: that of an earlier call where it is for as long and from the same weights.

    Otherwise what the earlier call left is removed, and the plan is a new one, whose epochs are not known yet.
    """
    settings, path = context.config.baselines, folder / "plan.json"
    if path.exists():
        plan = files.read_json(path)
        tolerance = 0.0 if settings.minutes else GROWN
        if plan["weights"] == settings.weights and abs(plan["seconds"] / seconds - 1) <= tolerance:
            return plan
    shutil.rmtree(folder, ignore_errors=True)
    before_s = context.seconds().get(f"baselines/{folder.name}", 0.0)
    plan = {"seconds": seconds, "weights": settings.weights, "before_s": before_s}
    files.write_json(path, plan)
    return plan


def _train(context: context_lib.Context, name: str, folder: pathlib.Path, plan: dict) -> tuple[keras.Model, list[dict]]:
    """(network, history), as of `finetune.train`, after the epochs that fit the time of the plan."""
    config, splits = _recipe(context.config, name, plan["weights"]), context.resources.splits
    start = functools.partial(_start, context, name, plan["weights"])
    if "epochs" not in plan:
        with context.timed(f"baselines/{name}/pace"):  # no part of the training
            found = pace.measure(start, config, splits, folder, plan["seconds"], context.distribution)
        fitting = pace.plan(found, plan["seconds"], splits.steps_per_epoch(config.data.batch_size))
        plan |= dataclasses.asdict(found) | dataclasses.asdict(fitting)
        files.write_json(folder / "plan.json", plan)
    config = dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, epochs=plan["epochs"]))
    log, spread = context.log(f"baselines/{name}"), context.distribution
    try:
        return finetune.train(start, config, splits, folder, log=log, distribution=spread, steps=plan["steps"])
    except FloatingPointError as error:
        raise FloatingPointError(f"{name}: {error}") from None


def _recipe(config: config_lib.Config, name: str, weights: str) -> config_lib.Config:
    """The run's settings with optimiser and learning rate of a network; its epochs are not known yet."""
    network = shelf.entry(name)
    rate = network.learning_rate
    if network.optimizer == "sgd":
        rate *= config.data.batch_size / BATCH
    if network.pretrained and weights == "imagenet":
        rate *= PRETRAINED
    settings = config_lib.Finetune(1, optimizer=network.optimizer, learning_rate=rate, ema=config.finetune.ema)
    return dataclasses.replace(config, finetune=settings)


def _start(context: context_lib.Context, name: str, weights: str) -> keras.Model:
    """A network as training begins with it."""
    backbone, info = context.config.backbone, context.resources.splits.info
    keras.utils.set_random_seed(context.config.seed)
    pixels = (info.mean, info.std) if weights == "imagenet" else None
    return shelf.build(name, backbone.classes, backbone.resolution, pixels)


def _timed(context: context_lib.Context, rows: list[dict]) -> list[dict]:
    """The rows with their latencies, measured in one call; off-the-shelf networks get the JSON beside their file."""
    open_, paths = context.resources, [_file(context, row) for row in rows]
    latencies = reference.latencies_at(paths, open_.device, evaluate.reference_of(context))
    rows = [row | latency.columns() for row, latency in zip(rows, latencies, strict=True)]
    for row, path, latency in zip(rows, paths, latencies, strict=True):
        if not row["method"]:
            target, known = context.layout.baseline(row["network"], context.config.device), _known(row)
            made = (path.read_bytes(), answers_lib.read(_answers(context, row["network"])), latency.device)
            deploy.write(target, known, *made, context.config, open_.splits, open_.device.suffix)
    return rows


def _answers(context: context_lib.Context, name: str) -> pathlib.Path:
    """What an off-the-shelf network answers on the test images, beside its file."""
    target = context.layout.baseline(name, context.config.device)
    return target.with_name(target.name + deploy.ANSWERS)


def _known(row: dict) -> dict:
    return {name: value for name, value in row.items() if value != ""}


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.3g}"
