"""Writes chosen networks as an application needs them, and says what is known of each."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.latency import export
from pnag_tf.run import answers as answers_lib
from pnag_tf.run import deployable, provenance, quantization, reference
from pnag_tf.run import finalists as finalists_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import subnet
from pnag_tf.util import files, pages

ANSWERS = ".answers.npz"
RARE = 20  # test images of a class, fewer than which say little


def variants(
    config: config_lib.Config,
    subnets: subnet.Subnets,
    exporter: deployable.Exporter,
    chosen: list[finalists_lib.Finalist],
    known: reference.Reference | None,
) -> list[list[quantization.Variant]]:
    """Each chosen network as a .tflite of the run's kind and of each in `config.eval.quantize`; reads the test images.

    All are measured in one call, the run's kind anew, so that the kinds of all networks compare. Nothing is made where
    no other kind is asked for.

    Args:
      known: measured beside the others; None where latencies count as measured.
    """
    if not set(config.eval.quantize) - {config.kind}:
        return [[] for _ in chosen]
    distinct = list({id(finalist): finalist for finalist in chosen}.values())
    made = quantization.make(
        [(finalists_lib.model(subnets, each), each.exported) for each in distinct],
        config.kind,
        [kind for kind in config.eval.quantize if kind != config.kind],
        exporter.quantized,
        exporter.test,
        lambda tflites: reference.latencies_at(tflites, exporter.device, known),
    )
    of = {id(finalist): kinds for finalist, kinds in zip(distinct, made, strict=True)}
    return [of[id(finalist)] for finalist in chosen]


def resolution(arch: space_lib.Architecture) -> dict[str, int]:
    """The column of the pixels that a network takes, where they are searched."""
    return {"resolution": arch.resolution} if arch.resolution else {}


def objective(config: config_lib.Config, answers: answers_lib.Answers) -> dict[str, str]:
    """The column of what validation judges by, where that is not top-1."""
    if config.measure.objective == "top1":
        return {}
    return {"test_balanced_top1": f"{answers.balanced_top1:.4f}"}


def facts(
    config: config_lib.Config, subnets: subnet.Subnets, exporter: deployable.Exporter, finalist: finalists_lib.Finalist
) -> dict:
    """What is known of a chosen network, as columns."""
    arch = config.space.decode(finalist.choices)[0]
    if finalist.test is None:
        finalist.test = exporter.tested(finalists_lib.model(subnets, finalist), finalist.exported)
    before = {} if finalist.network is None else {"validation_top1_before": f"{finalist.top1_before:.4f}"}
    return {
        "expected_top1": f"{finalist.expected_top1:.4f}",
        **before,
        "validation_top1": f"{finalist.top1:.4f}",
        "test_top1": f"{finalist.test.top1:.4f}",
        "test_top5": f"{finalist.test.top5:.4f}",
        **objective(config, finalist.test),
        **finalist.latency.columns(),
        **exporter.anatomy(finalist.exported),
        "params": cost.params(config.backbone, arch),
        "madds": cost.madds(config.backbone, arch),
    }


def write(
    path: pathlib.Path,
    row: dict,
    exported: bytes,
    answers: answers_lib.Answers,
    measured_on: str,
    config: config_lib.Config,
    splits: data.Splits,
    suffix: str,
    kinds: Sequence[quantization.Variant] = (),
) -> list[dict]:
    """Writes a network, all that an application needs to use it, and what people want to know of it.

    | file | what |
    |---|---|
    | `<path><suffix>` | the network |
    | `<path>.json` | classes, resolution, what it takes and gives, figures |
    | `<path>.md` | the model card |
    | `<path>.answers.npz` | what it answers on the test images |
    | `<path>_<kind>.tflite` | other kinds; those that an earlier network left there go |

    Args:
      path: without a suffix.
      row: what is known of the network, as columns.
      exported: the content of its file, whose name gets `suffix`.
      answers: on the test images.
      measured_on: the device.
      kinds: see `variants`.

    Returns:
      What is known of each kind, as columns, the file's name among them; `variants` of the JSON.
    """
    file = path.with_name(path.name + suffix)
    files.write_bytes(file, exported)
    for kind in export.QUANTIZATIONS:
        path.with_name(f"{path.name}_{kind}.tflite").unlink(missing_ok=True)
    facts_of = []
    for variant in kinds:
        name = file.name
        if variant.quantization != config.kind:
            name = f"{path.name}_{variant.quantization}.tflite"
            files.write_bytes(path.with_name(name), variant.tflite)
        facts_of.append(variant.facts() | {"file": name})
    info = splits.info
    description = row | {
        "file": file.name,
        "device": measured_on,
        "kind": config.kind,
        "resolution": row.get("resolution", config.backbone.resolution),
        "input": "normalised" if config.eval.raw_logits else "pixels",
        "output": "logits" if config.eval.raw_logits else "probabilities",
        "class_names": info.class_names,
        "mean": info.mean,
        "std": info.std,
        "variants": facts_of,
    }
    answers_lib.write(path.with_name(path.name + ANSWERS), answers)
    files.write_text(path.with_name(path.name + ".md"), _card(description, answers, config, splits, path.name))
    files.write_json(path.with_name(path.name + ".json"), description)
    return facts_of


def _card(
    description: dict, answers: answers_lib.Answers, config: config_lib.Config, splits: data.Splits, stem: str
) -> str:
    """The model card, in Markdown."""
    by_class = answers.by_class(splits.info.class_names)
    return (
        pages.environment()
        .get_template("card.md.j2")
        .render(
            row=description,
            stem=stem,
            device=description["device"],
            resolution=description["resolution"],
            class_names=splits.info.class_names,
            data=splits.info,
            data_dir=config.data.data_dir,
            balanced_top1=answers.balanced_top1,
            by_class=by_class,
            rare=[each["class"] for each in by_class if each["images"] < RARE],
            origin=provenance.of_call(),
            seed=config.seed,
        )
    )
