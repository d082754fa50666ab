"""The command line: flags to settings, settings to a stage of a run."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys

from absl import app, flags, logging

from pnag_tf.util import errors, terminal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with terminal.quiet():  # TensorFlow greets in a dozen lines when it is imported and when it looks for devices
    import tensorflow as tf

    if "TF_CONFIG" not in os.environ:  # several workers have to find each other first
        tf.config.list_logical_devices()

from pnag_tf import config as config_lib
from pnag_tf import data, presets, tuning
from pnag_tf.latency import export
from pnag_tf.run import stages
from pnag_tf.supernet import distribution, ofa

DEVICES = ("cpu", "gpu", "mobile")
TABLES = ("eval", "finetune", "ablation", "compare", "report")  # stages that answer tables for the user to read

FLAGS = flags.FLAGS
flags.DEFINE_string("stage", "eval", f"one of {', '.join(stages.NAMES)}, or all")
flags.DEFINE_string("workdir", "", "folder of the run; runs/<preset> by default")
flags.DEFINE_string("preset", "demo", f"one of {', '.join(presets.NAMES)}")
flags.DEFINE_string("dataset", "", "fashion_mnist, folder, or a TFDS name; the preset's where empty")
flags.DEFINE_string("data_dir", "", "the image folder, or TFDS's data directory")
flags.DEFINE_string("device", "cpu", f"whose latency counts: {', '.join(DEVICES)} (a phone, over adb)")
flags.DEFINE_integer("threads", 0, "for --device=cpu|mobile: of the interpreter; the preset's where 0")
flags.DEFINE_bool("allow_cpu", False, "for --device=gpu without a GPU: take the CPU, to try the road")
flags.DEFINE_string("serial", "", "for --device=mobile: the phone, as `adb devices` names it; needed with several")
flags.DEFINE_string("benchmark_tool", "", "... benchmark_model for it; by default what android_benchmark/fetch.sh got")
flags.DEFINE_string("cpu_mask", "", "... cores in hexadecimal such as f0; by default the fastest ones")
flags.DEFINE_string("remote_dir", config_lib.Phone().remote_dir, "... folder on the phone to work in")
flags.DEFINE_string("latency", "", "table (sum over blocks) or measured (each network)")
flags.DEFINE_list("budgets", [], "latency budgets in ms, such as 30,35,40")
flags.DEFINE_list("quantize", [], f"kinds of .tflite beside float32: {', '.join(export.QUANTIZATIONS[1:])}")
flags.DEFINE_string("supernet", "", "a saved supernet (.keras) to use instead of training one; see tools/import_ofa.py")
flags.DEFINE_string("records", "", "measured records (CSV, or the authors' JSON) to search on instead of a supernet")
flags.DEFINE_string("method", "pnag", f"pnag, {', '.join(stages.METHODS)}, {stages.BEST_RECORD}")
flags.DEFINE_string("tuned", "", "settings of evaluator and generator that --stage=tune found: its best.json")
flags.DEFINE_integer("rounds", None, "active rounds: propose, measure, correct; the preset's by default", lower_bound=0)
flags.DEFINE_string("measure_command", "", "for --rounds: architectures on stdin -> CSV arch,top1,latency_ms on stdout")
flags.DEFINE_string("ray_address", "", "measure records on Ray: local, auto (this machine's cluster) or host:port")
flags.DEFINE_integer("ray_workers", 0, "... processes; by default one for each GPU, or four cores", lower_bound=0)
flags.DEFINE_float(
    "images_gib", config_lib.Memory().images_gib, "decoded images that may be held in memory; more are streamed", 0.0
)
flags.DEFINE_integer("epochs", 0, "of --stage=finetune; the preset's where 0", lower_bound=0)
flags.DEFINE_string("archs", "", "... of these instead of the run's own: a CSV budget_ms,arch such as eval/pnag.csv")
flags.DEFINE_enum("shrinking", "progressive", presets.SHRINKING, "how the supernet is trained")
flags.DEFINE_enum(
    "strategy", "none", distribution.STRATEGIES, "what trains: this process, all GPUs here, or those of TF_CONFIG"
)
flags.DEFINE_bool("mixed_precision", False, "train with bfloat16 activations, for GPUs that are made for it")
flags.DEFINE_integer("seed", 0, "of everything random")
flags.DEFINE_bool("force", False, "start anew: remove what an earlier run left in the workdir")


def main(argv: list[str]) -> int:
    try:
        if len(argv) > 1:
            raise errors.UserError(f"expected flags only, found '{argv[1]}'")
        _choose("stage", FLAGS.stage, (*stages.NAMES, "all"))
        _choose("preset", FLAGS.preset, presets.NAMES)
        workdir = pathlib.Path(FLAGS.workdir or f"runs/{FLAGS.preset}")
        if FLAGS.stage == "status":  # of whatever run lies there
            _print_table(stages.look(workdir))
            return 0
        if FLAGS.strategy == "multi_worker" and (FLAGS.stage not in ("supernet", "finetune") or FLAGS.force):
            found = "--force" if FLAGS.force else FLAGS.stage
            raise errors.UserError(f"--strategy=multi_worker: expected --stage=supernet or finetune, found {found}")
        spread = distribution.make(FLAGS.strategy)
        config = _config()
        run = stages.Run(config, workdir, FLAGS.records, FLAGS.supernet, spread)
        run.open(FLAGS.force)
        stage = "eval" if FLAGS.stage == "all" else FLAGS.stage
        made = run.make(stage)
        for title, rows in made if stage in TABLES else ():
            print(f"\n{title}")
            _print_table(rows)
        print(f"{stage}: done, see {run.workdir}")
        return 0
    except errors.UserError as error:
        return terminal.fail(error)
    except (FloatingPointError, export.ExportError) as error:  # a loss became NaN: nothing the user typed is wrong
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        why = terminal.first_line(error)
        print(f"error: a worker was lost; started again, all go on from here ({why})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _choose(flag: str, value: str, options: tuple[str, ...]) -> str:
    if value not in options:
        raise errors.UserError(f"--{flag}={value}; choose from {', '.join(options)}")
    return value


def _config():
    """The preset with what the flags change.

    Raises:
      UserError: a flag's value cannot be used.
    """
    config = presets.preset(FLAGS.preset, FLAGS.shrinking)
    _choose("method", FLAGS.method, ("pnag", *stages.METHODS, stages.BEST_RECORD))
    device = _choose("device", FLAGS.device, DEVICES)
    images = dataclasses.replace(
        config.data, dataset=FLAGS.dataset or config.data.dataset, data_dir=FLAGS.data_dir or config.data.data_dir
    )
    latency = config.latency
    if FLAGS.latency:
        latency = dataclasses.replace(latency, source=_choose("latency", FLAGS.latency, ("table", "measured")))
    if FLAGS["threads"].present:
        if FLAGS.threads < 1:
            raise errors.UserError(f"--threads: expected 1 or more, found {FLAGS.threads}")
        latency = dataclasses.replace(latency, threads=FLAGS.threads)
    latency = dataclasses.replace(latency, allow_cpu=FLAGS.allow_cpu)
    space, backbone = config.space, config.backbone
    if FLAGS.supernet:
        if FLAGS.records:
            raise errors.UserError("expected either --supernet or --records, found both")
        space, backbone = ofa.describe(FLAGS.supernet)
        if backbone.classes != images.class_subset:  # the preset's subset is not what this supernet tells apart
            images = dataclasses.replace(images, class_subset=0)
    if FLAGS.archs and FLAGS.stage != "finetune":
        raise errors.UserError(f"--archs: expected --stage=finetune, found {FLAGS.stage}")
    if not FLAGS.records:
        classes = data.describe(images, FLAGS.seed).classes
        if FLAGS.supernet and classes != backbone.classes:
            raise errors.UserError(
                f"--supernet={FLAGS.supernet}: tells {backbone.classes} classes apart; the images have {classes}"
            )
        backbone = dataclasses.replace(backbone, classes=classes)
    if FLAGS.tuned:
        config = tuning.tuned(config, FLAGS.tuned)
    epochs = FLAGS.epochs or config.finetune.epochs
    finetune = dataclasses.replace(config.finetune, epochs=epochs, archs=FLAGS.archs)
    return dataclasses.replace(
        config,
        data=images,
        latency=latency,
        phone=config_lib.Phone(FLAGS.serial, FLAGS.benchmark_tool, FLAGS.cpu_mask, FLAGS.remote_dir),
        space=space,
        backbone=backbone,
        eval=dataclasses.replace(
            config.eval,
            budgets=tuple(dict.fromkeys(_budget(text) for text in FLAGS.budgets)),  # 5,5.0 is one
            quantize=_kinds(),
            rounds=_rounds(config.eval),
            measure_command=FLAGS.measure_command,
        ),
        finetune=finetune,
        memory=config_lib.Memory(FLAGS.images_gib),
        ray=config_lib.Ray(FLAGS.ray_address, FLAGS.ray_workers),
        device=device,
        method=FLAGS.method,
        mixed_precision=FLAGS.mixed_precision,
        seed=FLAGS.seed,
    )


def _budget(text: str) -> float:
    try:
        budget_ms = float(text)
    except ValueError:
        budget_ms = float("nan")
    if not 0 < budget_ms < float("inf"):
        raise errors.UserError(f"--budgets: expected milliseconds such as 30,35,40, found '{text}'")
    return budget_ms


def _rounds(settings: config_lib.Eval) -> int:
    """Those asked for; else the preset's, where there is something to measure with."""
    if FLAGS.rounds is not None:
        return FLAGS.rounds
    return settings.rounds if FLAGS.measure_command or not FLAGS.records else 0


def _kinds() -> tuple[str, ...]:
    """The kinds of .tflite to make beside float32, which always is."""
    asked = [_choose("quantize", kind, export.QUANTIZATIONS) for kind in FLAGS.quantize]
    kinds = tuple(kind for kind in dict.fromkeys(asked) if kind != "float32")
    if kinds and (FLAGS.records or FLAGS.device == "gpu"):
        why = "--records: there is no network to export" if FLAGS.records else "--device=gpu: it runs no .tflite"
        raise errors.UserError(f"--quantize={','.join(FLAGS.quantize)} with {why}")
    return kinds


def _print_table(rows: list[dict]) -> None:
    columns = [column for column in rows[0] if column not in ("method", "predicted_top1", "arch")]
    widths = [max(len(column), *(len(str(row[column])) for row in rows)) for column in columns]
    for cells in (columns, *([row[column] for column in columns] for row in rows)):
        print("  ".join(str(cell).rjust(width) for cell, width in zip(cells, widths, strict=True)))


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    app.run(main, flags_parser=terminal.flags_parser())
