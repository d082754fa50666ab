"""The command line: flags to settings, settings to a stage of a run."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys

from absl import flags, logging

from pnag_tf.util import errors, terminal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with terminal.quiet():  # TensorFlow greets in a dozen lines when it is imported and when it looks for devices
    import tensorflow as tf

    if "TF_CONFIG" not in os.environ:  # several workers have to find each other first
        tf.config.list_logical_devices()

from pnag_tf import config as config_lib
from pnag_tf import overrides, presets, tuning
from pnag_tf.api import entering
from pnag_tf.latency import export
from pnag_tf.run import context, estimate, evaluate, folder, layout, learn, stages, status, targets
from pnag_tf.supernet import distribution, ofa
from pnag_tf.zoo import shelf

FOR_COMMAND = 1000  # networks that --measure_command is asked for, where no number is given
IN_TIME = 10_000  # ... at most, where --minutes are
NO_ROUNDS = (
    "data",
    "supernet",
    "latency_table",
    "records",
    "finetune",
    "figures",
)  # stages that make none on their way
STAGES = (*stages.STAGES, "status")
CPU = targets.Target("cpu")
# Columns that are for files.
HIDDEN = ("method", "predicted_top1", "arch", "latency_p5_ms", "latency_p95_ms", "xnnpack_pieces", "outside_xnnpack")
HIDDEN += ("arena_mb",)

FLAGS = flags.FLAGS
flags.DEFINE_string("stage", "eval", f"one of {', '.join(STAGES)}, or all")
flags.DEFINE_string("workdir", "", "folder of the run; runs/<preset> by default")
flags.DEFINE_string("preset", "demo", f"one of {', '.join(presets.NAMES)}")
flags.DEFINE_string("dataset", "", "fashion_mnist, folder, or a TFDS name; the preset's where empty")
flags.DEFINE_string("data_dir", "", "the image folder, or TFDS's data directory")
flags.DEFINE_integer("classes", 0, "... as many of its classes, a seeded choice; all where 0", 0)
flags.DEFINE_enum("class_weights", None, ("none", "balanced"), "of the loss; balanced counts each class the same")
flags.DEFINE_enum("objective", None, ("top1", "balanced_top1"), "what validation judges by; balanced: mean of classes")
flags.DEFINE_bool("strict", False, "... end at an image file that cannot be used, instead of leaving it out")
flags.DEFINE_list(
    "device", ["cpu"], "whose latency counts: cpu, gpu, mobile (a phone, over adb), mobile:SERIAL; madds or bytes count"
)
flags.DEFINE_list("kind", ["float32"], f"of .tflite whose latency and top-1 count: {', '.join(export.QUANTIZATIONS)}")
flags.DEFINE_integer("threads", 0, "for --device=cpu|mobile: of the interpreter; the preset's where 0")
flags.DEFINE_bool("allow_cpu", False, "for --device=gpu without a GPU: take the CPU, to try the road")
flags.DEFINE_string("serial", "", "for --device=mobile: the phone, as `adb devices` names it; needed with several")
flags.DEFINE_string("benchmark_tool", "", "... benchmark_model for it; by default what android_benchmark/fetch.sh got")
flags.DEFINE_string("cpu_mask", "", "... cores in hexadecimal such as f0; by default the fastest ones")
flags.DEFINE_string("remote_dir", config_lib.Phone().remote_dir, "... folder on the phone to work in")
flags.DEFINE_string("latency", "", "table (sum over blocks) or measured (each network)")
flags.DEFINE_list("budgets", [], "latency budgets in ms, such as 30,35,40")
flags.DEFINE_integer("max_madds", 0, "multiply-adds that a deployed network may have; any number where 0", 0)
flags.DEFINE_integer("max_params", 0, "... parameters", 0)
flags.DEFINE_integer("max_bytes", 0, "... bytes of its file", 0)
flags.DEFINE_float("max_memory_mb", 0.0, "... megabytes that the interpreter holds beside the weights", 0.0)
flags.DEFINE_list("quantize", [], "kinds of .tflite beside that of --kind")
flags.DEFINE_bool("raw_logits", False, "... that give logits for normalised images, not probabilities for pixels")
flags.DEFINE_string("supernet", "", "a saved supernet (.keras) to use instead of training one; see tools/import_ofa.py")
flags.DEFINE_float(
    "adapt_epochs", None, "... adapt it to the images for so long; by default where their classes or size differ", 0.0
)
flags.DEFINE_string("records", "", "measured records (CSV, or the authors' JSON) to search on instead of a supernet")
flags.DEFINE_string("method", "pnag", ", ".join(evaluate.METHODS))
flags.DEFINE_string("tuned", "", "settings of evaluator and generator that --stage=tune found: its best.json")
flags.DEFINE_string("rounds", "auto", "that --measurements come in: auto (small ones) or a number; 0 for none")
flags.DEFINE_string("measure_command", "", "measures in rounds: architectures on stdin -> CSV arch,top1,latency_ms")
flags.DEFINE_string("ray_address", "", "measure records on Ray: local, auto (this machine's cluster) or host:port")
flags.DEFINE_integer("ray_workers", 0, "... processes; by default one for each GPU, or four cores", lower_bound=0)
flags.DEFINE_float(
    "images_gib", config_lib.Memory().images_gib, "decoded images that may be held in memory; more are streamed", 0.0
)
flags.DEFINE_integer(
    "finetune_epochs", None, "each deployed network is fine-tuned for; 0 leaves it out; the preset's by default", 0
)
flags.DEFINE_string(
    "archs", "", "what --stage=finetune trains: a CSV budget_ms,arch such as another run's eval/pnag.csv"
)
flags.DEFINE_list(
    "baselines", [], f"of --stage=baselines: {', '.join(shelf.NETWORKS)}; those for the images where empty"
)
flags.DEFINE_enum("baseline_time", "each", ("each", "shared"), "... each as long as the run took, or all together")
flags.DEFINE_float("baseline_minutes", 0.0, "... so long instead; as long as the run took where 0", 0.0)
flags.DEFINE_enum("weights", "none", ("none", "imagenet"), "... what those of keras.applications start from")
flags.DEFINE_enum("shrinking", None, presets.SHRINKING, "how the supernet is trained; the preset's way by default")
flags.DEFINE_enum(
    "strategy", "none", distribution.STRATEGIES, "what trains: this process, all GPUs here, or those of TF_CONFIG"
)
flags.DEFINE_bool("mixed_precision", False, "train with bfloat16 activations, for GPUs that are made for it")
flags.DEFINE_integer("seed", 0, "of everything random")
flags.DEFINE_list(
    "resolution", None, "side of the images in pixels, a preset's own by default; several, as 96,128,160, are searched"
)
flags.DEFINE_float("width", None, "width multiplier of the supernet, such as 1.2; the preset's by default")
flags.DEFINE_integer("architectures", None, "records to measure on the supernet; the preset's by default")
flags.DEFINE_integer(
    "measurements",
    None,
    "networks to measure in all, most of them in rounds where it counts; the preset's by default",
    0,
)
flags.DEFINE_float("minutes", None, "that rounds may take; as many networks as fit, --measurements at most", 0.0)
flags.DEFINE_float(
    "least_gain", 0.0, "rounds end once less top-1 than this, as 0.001, is expected of more of them", 0.0
)
flags.DEFINE_multi_string("set", [], "any other setting by its name in config.py: data.batch_size=128; repeatable")
flags.DEFINE_bool("estimate", False, "say what the run will take, after a probe of about a minute, and stop there")
flags.DEFINE_float(
    "hours", None, "for as many records as fit into so many hours, by such a probe; instead of --architectures", 0.0
)
flags.DEFINE_bool("force", False, "start anew: remove what an earlier run left in the workdir")

SETTINGS = {  # as errors name them -> the flag
    "backbone.resolution": "resolution",
    "backbone.width_multiplier": "width",
    "baselines.minutes": "baseline_minutes",
    "baselines.networks": "baselines",
    "baselines.time": "baseline_time",
    "baselines.weights": "weights",
    "data.class_subset": "classes",
    "data.class_weights": "class_weights",
    "data.data_dir": "data_dir",
    "data.dataset": "dataset",
    "data.strict": "strict",
    "device": "device",
    "eval.budgets": "budgets",
    "eval.least_gain": "least_gain",
    "eval.measure_command": "measure_command",
    "eval.measurements": "measurements",
    "eval.minutes": "minutes",
    "eval.quantize": "quantize",
    "eval.raw_logits": "raw_logits",
    "eval.rounds": "rounds",
    "finetune.archs": "archs",
    "kind": "kind",
    "finetune.epochs": "finetune_epochs",
    "latency.allow_cpu": "allow_cpu",
    "limits.bytes": "max_bytes",
    "limits.madds": "max_madds",
    "limits.memory_mb": "max_memory_mb",
    "limits.params": "max_params",
    "latency.source": "latency",
    "latency.threads": "threads",
    "measure.architectures": "architectures",
    "measure.objective": "objective",
    "memory.images_gib": "images_gib",
    "method": "method",
    "mixed_precision": "mixed_precision",
    "phone.cpu_mask": "cpu_mask",
    "phone.remote_dir": "remote_dir",
    "phone.serial": "serial",
    "phone.tool": "benchmark_tool",
    "ray.address": "ray_address",
    "ray.workers": "ray_workers",
    "records_file": "records",
    "seed": "seed",
    "space.resolutions": "resolution",
    "strategy": "strategy",
    "supernet.adapt_epochs": "adapt_epochs",
    "supernet_file": "supernet",
    "workdir": "workdir",
}


def main(argv: list[str]) -> int:
    try:
        if len(argv) > 1:
            raise errors.UserError(f"expected flags only, found '{argv[1]}'")
        _choose("stage", FLAGS.stage, (*STAGES, "all"))
        _choose("preset", FLAGS.preset, presets.NAMES)
        workdir = pathlib.Path(FLAGS.workdir or f"runs/{FLAGS.preset}")
        if FLAGS.stage == "status":  # of whatever run lies there
            _print_status(workdir)
            return 0
        if FLAGS.strategy == "multi_worker" and (FLAGS.stage not in ("supernet", "finetune") or FLAGS.force):
            found = "--force" if FLAGS.force else FLAGS.stage
            raise errors.UserError(f"--strategy=multi_worker: expected --stage=supernet or finetune, found {found}")
        stage = "eval" if FLAGS.stage == "all" else FLAGS.stage
        stages.check_run(layout.Layout(workdir), stage)
        spread = distribution.make(FLAGS.strategy)
        first, *others = _targets(stage, layout.Layout(workdir))
        config = _config(first) if FLAGS.force else entering.within(_config(first), workdir, FLAGS.hours)
        run = entering.enter(config, workdir, FLAGS.records, FLAGS.supernet, FLAGS.force, spread)
        if _is_estimated(run, stage):
            run = entering.estimated(run, FLAGS.hours)
            print("what the run will take, roughly:")
            terminal.print_table(estimate.table(estimate.read(run.layout.estimate)))
            if FLAGS.estimate:
                return 0
        _announce_rounds(run)
        _make(run, stage)
        for target in others:
            print(f"\n{target.name}:", flush=True)
            _make(entering.beside(run, target), stage)
        if others and stage == "report":  # once more, with what was found for the others
            stages.run(run, stage)
        print(f"{stage}: done, see {workdir}")
        return 0
    except folder.OtherSettings as error:
        return terminal.fail(f"{errors.with_flags(str(error), SETTINGS)}; --force starts anew")
    except errors.UserError as error:
        return terminal.fail(errors.with_flags(str(error), SETTINGS))
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


def _make(run: context.Context, stage: str) -> None:
    """Makes a stage and prints its tables."""
    for title, rows in stages.run(run, stage):
        print(f"\n{title}")
        terminal.print_table(rows, evaluate.notes(rows), HIDDEN)


def _print_status(workdir: pathlib.Path) -> None:
    """How far a run is, and what was made for other devices."""
    run = layout.Layout(workdir)
    for each in (run, *targets.beside(run)):
        if each != run:
            print(f"\n{each.root.name}:")
        terminal.print_table(status.look(each.root), status.notes(each.root))


def _targets(stage: str, run: layout.Layout) -> list[targets.Target]:
    """The devices and kinds asked for, the one of the run's own folder first; of some stages there is one alone."""
    found = targets.own_first(targets.parse(FLAGS.device, FLAGS.kind), run)
    if stage in targets.OF_ONE and len(found) > 1:
        raise errors.SettingError("device", f"expected one, in one kind, for stage {stage}, found {len(found)}")
    return found[:1] if stage in targets.SHARED else found


def _choose(flag: str, value: str, options: tuple[str, ...]) -> str:
    if value not in options:
        raise errors.UserError(f"--{flag}={value}; choose from {', '.join(options)}")
    return value


def _config(target: targets.Target = CPU) -> config_lib.Config:
    """The preset for a device, changed by the flags, and then by what `--set` names.

    Raises:
      UserError: a value cannot be used.
    """
    if FLAGS.supernet and FLAGS.records:
        raise errors.UserError("expected either --supernet or --records, found both")
    if (FLAGS.estimate or FLAGS.hours) and FLAGS.records:
        raise errors.UserError("--estimate and --hours are of runs on images; found --records")
    for name in ("architectures", "minutes"):
        if FLAGS.hours and FLAGS[name].value is not None:
            raise errors.UserError(f"expected either --hours or --{name}, found both")
    supernet = ofa.describe(FLAGS.supernet) if FLAGS.supernet else None
    asked = (FLAGS.shrinking or "", max(_resolutions(), default=0), FLAGS.dataset)
    images = entering.images_of(FLAGS.preset, FLAGS.dataset, FLAGS.data_dir)
    config = _flagged(presets.preset(FLAGS.preset, *asked, images), supernet, target)
    try:
        config = overrides.apply(config, FLAGS.set)
    except errors.SettingError as error:
        raise errors.UserError(f"--set {error.name}: {error.why}") from None
    overrides.check(config)
    _choose("method", config.method, evaluate.METHODS)
    if config.finetune.archs and FLAGS.stage != "finetune":
        raise errors.UserError(f"--archs: expected --stage=finetune, found {FLAGS.stage}")
    if config.eval.quantize and (FLAGS.records or config.device == "gpu"):
        why = "--records: there is no network to export" if FLAGS.records else "--device=gpu: it runs no .tflite"
        raise errors.UserError(f"--quantize={','.join(config.eval.quantize)} with {why}")
    if config.kind != "float32" and FLAGS.records:
        raise errors.UserError(f"--kind={config.kind} with --records: there is no network to export")
    if supernet:
        entering.check_supernet(config, FLAGS.supernet, supernet)
    return config


def _flagged(config: config_lib.Config, supernet: ofa.Description | None, target: targets.Target) -> config_lib.Config:
    """The settings with those of a given supernet, and with what the flags change. Raises UserError."""
    change = dataclasses.replace
    if supernet:
        config = entering.with_supernet(config, supernet)
    if resolutions := _resolutions():
        config = presets.searching(config, resolutions)
    config = presets.of_kind(config, target.kind, supernet is None)
    source = _choose("latency", FLAGS.latency or config.latency.source, ("table", "measured"))
    threads = FLAGS.threads if FLAGS["threads"].present else config.latency.threads
    if FLAGS.tuned:
        config = tuning.tuned(config, FLAGS.tuned)
    return change(
        config,
        data=change(
            config.data,
            dataset=FLAGS.dataset or config.data.dataset,
            data_dir=FLAGS.data_dir or config.data.data_dir,
            class_subset=FLAGS.classes or config.data.class_subset,
            strict=FLAGS.strict or config.data.strict,
            class_weights=_given("class_weights", config.data.class_weights),
        ),
        latency=change(config.latency, source=source, threads=threads, allow_cpu=FLAGS.allow_cpu),
        phone=change(
            config.phone,
            serial=target.serial or FLAGS.serial,
            tool=FLAGS.benchmark_tool,
            cpu_mask=FLAGS.cpu_mask,
            remote_dir=FLAGS.remote_dir,
        ),
        backbone=change(config.backbone, width_multiplier=_given("width", config.backbone.width_multiplier)),
        supernet=change(config.supernet, adapt_epochs=_given("adapt_epochs", config.supernet.adapt_epochs)),
        measure=change(
            config.measure,
            architectures=_given("architectures", config.measure.architectures),
            objective=_given("objective", config.measure.objective),
        ),
        eval=change(
            config.eval,
            budgets=tuple(dict.fromkeys(_budget(text) for text in FLAGS.budgets)),  # 5,5.0 is one
            quantize=_kinds(target.kind),
            raw_logits=FLAGS.raw_logits,
            rounds=_rounds(),
            measurements=_measurements(config.eval),
            minutes=_given("minutes", config.eval.minutes),
            least_gain=FLAGS.least_gain,
            measure_command=FLAGS.measure_command,
        ),
        limits=config_lib.Limits(FLAGS.max_madds, FLAGS.max_params, FLAGS.max_bytes, FLAGS.max_memory_mb),
        finetune=change(config.finetune, epochs=_given("finetune_epochs", config.finetune.epochs), archs=FLAGS.archs),
        baselines=config_lib.Baselines(
            tuple(FLAGS.baselines), FLAGS.baseline_time, FLAGS.baseline_minutes, FLAGS.weights
        ),
        memory=config_lib.Memory(FLAGS.images_gib),
        ray=config_lib.Ray(FLAGS.ray_address, FLAGS.ray_workers),
        device=target.device,
        method=FLAGS.method,
        mixed_precision=FLAGS.mixed_precision,
        seed=FLAGS.seed,
    )


def _given(flag: str, otherwise):
    """A flag's value where it was given."""
    return otherwise if FLAGS[flag].value is None else FLAGS[flag].value


def _resolutions() -> tuple[int, ...]:
    """Those of the flag, increasing; none where it was not given."""
    try:
        return tuple(sorted({int(text) for text in FLAGS.resolution or ()}))
    except ValueError:
        found = ",".join(FLAGS.resolution)
        raise errors.UserError(f"--resolution: expected pixels such as 160 or 96,128,160, found '{found}'") from None


def _budget(text: str) -> float:
    try:
        budget_ms = float(text)
    except ValueError:
        budget_ms = float("nan")
    if not 0 < budget_ms < float("inf"):
        raise errors.UserError(f"--budgets: expected milliseconds such as 30,35,40, found '{text}'")
    return budget_ms


def _rounds() -> int:
    """How many rounds the measurements come in; 0 for as many as suit them."""
    if FLAGS.rounds == "auto":
        return 0
    if not FLAGS.rounds.isdecimal():
        raise errors.UserError(f"--rounds: expected auto or a number, found '{FLAGS.rounds}'")
    return int(FLAGS.rounds)


def _measurements(settings: config_lib.Eval) -> int:
    """Networks to measure in all; 0 for none in rounds, as where there is nothing to measure with."""
    if FLAGS.rounds == "0":
        return 0
    if FLAGS.measurements is not None:
        return FLAGS.measurements
    if FLAGS.minutes:
        return IN_TIME
    if FLAGS.records:
        return settings.measurements or FOR_COMMAND if FLAGS.measure_command else 0
    return settings.measurements


def _kinds(own: str) -> tuple[str, ...]:
    """The kinds of .tflite to make beside the run's own, which always is."""
    asked = [_choose("quantize", kind, export.QUANTIZATIONS) for kind in FLAGS.quantize]
    return tuple(kind for kind in dict.fromkeys(asked) if kind != own)


def _is_estimated(run: context.Context, stage: str) -> bool:
    """Whether to say what a run will take before it begins: where that is asked for, and of photos."""
    if FLAGS.estimate or FLAGS.hours:
        return True
    photos = run.config.preset == "photos" and run.config.device == "cpu" and run.trains_supernet
    return photos and stage not in ("data", "figures") and not run.layout.supernet.exists()


def _announce_rounds(run: context.Context) -> None:
    """Says what rounds will cost, where the number of their measurements was not given."""
    chosen = FLAGS.measurements is not None or any(each.startswith("eval.measurements") for each in FLAGS.set)
    if FLAGS.stage in NO_ROUNDS or chosen or run.config.eval.minutes:
        return
    count = sum(learn.rounds_left(run))
    if count:
        seconds = run.seconds().get("records")  # none for records that were given
        known = seconds and run.layout.records.exists()
        about = f", about {_duration(count * seconds / run.config.measure.architectures)}" if known else ""
        print(f"rounds: up to {count} networks to measure{about}; --measurements changes that", flush=True)


def _duration(seconds: float) -> str:
    """Two figures are enough for an estimate."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"


def run() -> None:
    """The console script ``pnag``, and ``python -m pnag_tf.main``."""
    logging.set_verbosity(logging.WARNING)
    terminal.run(main, __name__)


if __name__ == "__main__":
    run()
