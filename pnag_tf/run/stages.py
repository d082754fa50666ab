"""The stages of a run in one table: what each needs, what it writes, and the function that makes it.

Files in, files out: a stage reads what earlier stages wrote into the run's folder, and what is missing is made first.
What is there is not made again, so the same command goes on after a crash.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable

import tensorflow as tf

from pnag_tf.run import baselines, dominance, evaluate, finetune, folder, images, learn, limiting, measure, study, train
from pnag_tf.run import context as context_lib
from pnag_tf.run import layout as layout_lib
from pnag_tf.search import evaluator, generator, predictor, reinforce
from pnag_tf.util import errors, terminal

Paths = Iterable[pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Attributes:
      name: as the command line takes it.
      needs: the stages whose files it reads; those that a run does not have are left out.
      writes: where its files lie in the run's folder, for a person to read.
      what: what happens, in a sentence.
      make: the function; what it answers is tables for the user to read, or nothing.
      made: (layout, settings as in config.json) -> files of which one is there when the stage is over.
      begun: files that are there earlier than that.
      once: what is made is not made again; other stages answer anew at each call.
      device: it asks for the device, which has to be there before hours of work are spent on what it needs.
      methods: whose networks it needs, beside those of the run's method.
      makes_run: False: it shows a run that is there, and begins none.
      check: raises UserError for what was given and cannot be used, before anything is made.
    """

    name: str
    needs: tuple[str, ...]
    writes: str
    what: str
    make: Callable[[context_lib.Context], evaluate.Tables | None]
    made: Callable[[layout_lib.Layout, dict], Paths]
    begun: Callable[[layout_lib.Layout], Paths] = lambda at: ()
    once: bool = False
    device: bool = False
    methods: tuple[str, ...] = ()
    makes_run: bool = True
    check: Callable[[context_lib.Context], None] = lambda context: None


def _last_phase(at: layout_lib.Layout, settings: dict) -> Paths:
    return at.supernet.glob(f"{len(settings['supernet']['phases']) - 1}_*.keras")


ROAD = (
    Stage(
        "supernet",
        ("data",),
        "supernet/",
        "a network with elastic depth, width and kernel, trained with its largest subnet as teacher",
        train.supernet,
        made=_last_phase,
        begun=lambda at: at.supernet.glob("*"),
        once=True,
    ),
    Stage(
        "latency_table",
        (),
        "latency_table.json",
        "the blocks of the space and some whole networks, timed on the device",
        measure.latency_table,
        made=lambda at, _: [at.latency_table],
        begun=lambda at: at.root.glob(f"{at.latency_table.name}.parts/*"),
        once=True,
        device=True,
    ),
    Stage(
        "records",
        ("data", "supernet", "latency_table"),
        "records.csv",
        "random architectures: validation top-1 with recalibrated batch norm and its standard error, latency by the "
        "table or measured",
        measure.records,
        made=lambda at, _: [at.records],
        begun=lambda at: [at.unfinished_records],
        once=True,
    ),
    Stage(
        "rounds",
        ("records",),
        "rounds.json, records.csv",
        "more records, up to `eval.measurements`, chosen round by round by a Gaussian process",
        learn.rounds,
        made=lambda at, _: [at.rounds],
        once=True,
    ),
    Stage(
        "predictors",
        ("records", "rounds"),
        "predictors/",
        "accuracy and latency of any architecture",
        learn.predictors,
        made=lambda at, _: [at.predictors / predictor.FILE],
        once=True,
    ),
    Stage(
        "evaluator",
        ("predictors",),
        "evaluator/",
        "R(α given B), learnt from pairs under Pareto dominance",
        learn.evaluator,
        made=lambda at, _: [at.evaluator / evaluator.FILE],
        once=True,
    ),
    Stage(
        "generator",
        ("evaluator",),
        "generator/",
        "the LSTM f(B), by policy gradient",
        learn.generator,
        made=lambda at, _: [at.generator / generator.FILE],
        begun=lambda at: [at.generator / reinforce.CHECKPOINT],
        once=True,
    ),
    Stage(
        "eval",
        ("records", "rounds", "predictors", "generator"),
        "finetune/, eval/, deploy/",
        "proposals for each budget; the best few are exported and timed; those within budget are ranked by validation "
        "accuracy and prediction, weighted by their errors; the chosen networks are fine-tuned (`finetune.epochs`), "
        "tested once and deployed",
        evaluate.evaluate,
        made=lambda at, _: at.tables.glob("*.csv"),
        begun=lambda at: at.deployed.glob("*"),
        device=True,
        check=limiting.check,
    ),
)
BESIDE = (
    Stage(
        "data",
        (),
        "report/data.html",
        "what the images are: counts, sizes, what is left out, samples after augmentation",
        images.page,
        made=lambda at, _: [at.data_page],
    ),
    Stage(
        "finetune",
        ("supernet",),
        "finetune/, eval/, deploy/",
        "given architectures, such as another run's, fine-tuned from the supernet's weights and deployed",
        finetune.finetune,
        made=lambda at, _: at.tables.glob(f"*{layout_lib.FINETUNED}.csv"),
        begun=lambda at: () if any(at.tables.glob("*.csv")) else at.finetune.glob("*/*"),  # those are `eval`'s
        device=True,
        check=finetune.check,
    ),
    Stage(
        "baselines",
        ("eval",),
        "baselines/",
        "off-the-shelf networks trained as long as the run took, exported, tested and timed beside the run's",
        baselines.baselines,
        made=lambda at, _: map(at.baselines_table, dominance.tables(at)),
        begun=lambda at: at.baselines.glob("*/*"),
        device=True,
        check=baselines.check,
    ),
    Stage(
        "tune",
        ("predictors",),
        "tune/",
        "KerasTuner searches for settings of the evaluator and the generator",
        study.tune,
        made=lambda at, _: [at.tuned],
        begun=lambda at: at.tune.glob("*"),
    ),
    Stage(
        "ablation",
        ("predictors",),
        "ablation/",
        "the paper's ablation tables on the run's records",
        study.ablation,
        made=lambda at, _: [at.ablation / "table_3.csv"],
        begun=lambda at: at.ablation.glob("*.csv"),
    ),
    Stage(
        "compare",
        (),
        "compare/",
        "all methods and the networks of the literature, timed in one run",
        study.compare,
        made=lambda at, _: at.compare.glob("*.md"),
        begun=lambda at: at.compare.glob("*/*"),
        device=True,
        methods=study.COMPARED,
    ),
    Stage(
        "figures",
        (),
        "figures/",
        "pictures of what the run has made so far, PNG and SVG",
        study.figures,
        made=lambda at, _: at.figures.glob("*.png"),
        makes_run=False,
    ),
    Stage(
        "report",
        ("eval",),
        "report/index.html",
        "the run on one page",
        study.report,
        made=lambda at, _: [at.report],
    ),
)
STAGES = {stage.name: stage for stage in (*ROAD, *BESIDE)}


def lacking(settings: dict) -> set[str]:
    """The stages that a run with these settings does not have: what they make is given, or not used."""
    stages = set()
    if settings.get("records_file"):
        stages |= {"data", "supernet", "latency_table"}
    if settings.get("supernet_file") and not settings["supernet"].get("adapt_epochs"):
        stages.add("supernet")
    if settings["latency"]["source"] != "table":
        stages.add("latency_table")
    return stages


def make(context: context_lib.Context, name: str) -> evaluate.Tables:
    """Makes what a stage needs and is missing, then the stage; returns its tables.

    Raises:
      UserError: something that the user can mend.
    """
    stage, settings = STAGES[name], _settings(context)
    if not context.has_supernet and name in ("data", "supernet", "latency_table", "finetune", "baselines"):
        raise errors.UserError(f"stage {name}: with given records there is no network")
    stage.check(context)
    if context.has_supernet and stage.device:
        context.resources.device.describe()
    given = name == "supernet" and not context.trains_supernet
    if given or (stage.once and name != "rounds" and _any(stage.made(context.layout, settings))):
        return []
    for need in stage.needs:
        if need not in lacking(settings) and not _met(context, settings, stage, need):
            make(context, need)
    for method in stage.methods:
        peer = context.with_method(method)
        if evaluate.found_by(peer) is None:
            make(peer, "eval")
    with context.timed(f"eval/{context.config.method}/rest" if name == "eval" else name):
        return stage.make(context) or []


def _met(context: context_lib.Context, settings: dict, stage: Stage, need: str) -> bool:
    """Whether a stage has all that it needs of another one."""
    if need == "rounds":
        return not learn.rounds_left(context)
    if need == "eval":
        return evaluate.found_by(context) is not None
    if stage.name == "eval" and need == "generator" and context.config.method != evaluate.PNAG:
        return True
    return _any(STAGES[need].made(context.layout, settings))


def _any(paths: Paths) -> bool:
    return any(path.exists() for path in paths)


def _settings(context: context_lib.Context) -> dict:
    return folder.belonging(context.config, context.records_file, context.supernet_file)


def check_run(layout: layout_lib.Layout, name: str) -> None:
    """Before a run's folder is made: raises UserError where a stage needs one that is there, and it is not."""
    if not STAGES[name].makes_run:
        folder.read_settings(layout)


def enter(context: context_lib.Context, force: bool = False) -> None:
    """Makes the run's folder, or checks that it belongs to the same settings; see `folder.enter`."""
    folder.enter(context.layout, _settings(context), context.distribution, force)


def run(context: context_lib.Context, name: str) -> evaluate.Tables:
    """`make`, and where TensorFlow cannot decode an image, the name of its file.

    Raises:
      UserError: something that the user can mend, a broken image file among it.
    """
    try:
        return make(context, name)
    except tf.errors.InvalidArgumentError as error:
        said = re.sub('File ".*', "", str(error))  # a file of the program may lie in a folder of any name
        if context.has_supernet and re.search("(?i)decod|jpeg|png|gif|bmp", said):
            context.resources.splits.check_files()
        raise
    except tf.errors.NotFoundError as error:
        raise errors.UserError(f"an image has gone while it was needed: {terminal.first_line(error)}") from None
