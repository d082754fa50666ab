"""The report of a run: one HTML page that needs nothing from a network, made from the files of the run."""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import json
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence

import pnag_tf
from pnag_tf import figures
from pnag_tf.latency import device as devices
from pnag_tf.latency import table as latency_table
from pnag_tf.run import answers as answers_lib
from pnag_tf.run import deploy, dominance, folder, mistakes, pictures, signal, targets, timing
from pnag_tf.run import layout as layout_lib
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, frozen, pages

SLOW = 1.25  # a machine that lost this factor since the latency table was made is told of
FEW_HELD_OUT = 10  # records that the predictors' errors rest on
TABLE_ERROR = 0.05  # median error of the latency table that is still taken for good

# Columns of a network; those that nothing measured are empty.
SHOWN = (
    "predicted_latency_ms",
    "latency_ms",
    "latency_at_table_ms",
    "predicted_top1",
    "validation_top1",
    "test_top1",
    "test_top5",
    "xnnpack_pieces",
    "params",
    "madds",
)

# What a figure shows, for those who cannot see it and as its heading.
FIGURES = {
    "frontier": ("Accuracy against latency", "What each method found for the budgets, over the records."),
    "latency_histograms": ("Latency of the samples", "What is drawn for each budget before any is dropped."),
    "rounds": ("Rounds", "The best measured network within each budget, as more were measured."),
    "convergence": ("Training", "Loss and ranking of the evaluator, reward and entropy of the generator."),
    "latency_agreement": ("Latency, predicted and measured", "Networks of the latency table and deployed ones."),
}


@dataclasses.dataclass(frozen=True)
class Proposed:
    """One proposed network.

    Attributes:
      facts: the columns of its row in eval/<method>.csv, and the device that it was measured on, if it was.
      drawing: the architecture as the data URI of an SVG.
      downloads: (name, path relative to the page, size in bytes) of each of its files.
      judged: what it answers on test images; empty where that is not known. See `mistakes.judged`.
    """

    facts: Mapping[str, str]
    drawing: str
    downloads: Sequence[tuple[str, str, int]]
    judged: Mapping[str, object]

    @property
    def held_ms(self) -> str:
        """The measured latency that its budget is held to: at the latency table's speed where that is known."""
        return devices.held_ms(self.facts)

    @property
    def missed(self) -> bool:
        """It takes longer than its budget allows."""
        return devices.missed(self.facts)


def write(layout: layout_lib.Layout) -> pathlib.Path:
    """Writes the report's page from what the run has made so far.

    Raises:
      UserError: the run has no networks yet, or a file cannot be used.
    """
    settings = folder.read_settings(layout)
    methods = _methods(layout, settings)
    if not methods:
        raise errors.UserError(f"{layout.root}: expected eval/<method>.csv, found none: stage eval makes it")
    names = ("baselines", *FIGURES)
    drawn = {name: _data_uri(figures.svg(figure)) for name, figure in pictures.of_run(layout, names)}
    template = pages.environment(autoescape=True).get_template("report.html.j2")
    page = template.render(
        name=layout.root.resolve().name,
        data_page=layout.data_page.name if layout.data_page.exists() else "",
        version=pnag_tf.__version__,
        date=datetime.date.today().isoformat(),
        facts=_facts(layout, settings),
        warnings=list(_warnings(layout, methods)),
        baselines=_baselines(layout, drawn),
        methods=methods,
        figures=[(title, text, drawn[name]) for name, (title, text) in FIGURES.items() if name in drawn],
        targets=targets.compared(layout),
        comparisons=_comparisons(layout),
        seconds=_seconds(layout),
        settings=json.dumps(settings, indent=1),
    )
    files.write_text(layout.report, page)
    return layout.report


def _methods(layout: layout_lib.Layout, settings: dict) -> dict[str, list[Proposed]]:
    """Method -> its networks, by budget; PNAG first."""
    found: dict[str, list[Proposed]] = collections.defaultdict(list)
    for path in sorted(layout.tables.glob("*.csv"), key=lambda path: (path.stem != "pnag", path.stem)):
        rows = files.read_csv(path, ("method", "budget_ms"))
        for row in sorted(rows, key=lambda row: float(row["budget_ms"])) if rows and "arch" in rows[0] else ():
            found[row["method"]].append(_network(layout, settings, row))
    return dict(found)


def _network(layout: layout_lib.Layout, settings: dict, row: Mapping[str, str]) -> Proposed:
    arch = space_lib.Architecture.parse(row["arch"])
    drawing = _data_uri(
        figures.svg(figures.architecture(arch, backbone=frozen.restore(backbone_lib.Backbone, settings["backbone"])))
    )
    downloads, judged, facts = [], {}, dict.fromkeys(SHOWN, "") | dict(row)
    path = layout.network(row["method"], settings["device"], row["budget_ms"])
    described = path.with_name(f"{path.name}.json")
    deployed = files.read_json(described) if described.exists() else {}
    if deployed.get("arch") == row["arch"]:  # else left by an earlier call, for a network since replaced
        facts["device"] = deployed["device"]
        for name in dict.fromkeys([deployed["file"], *(kind["file"] for kind in deployed["variants"])]):
            downloads.append((name, f"../deploy/{name}", (path.parent / name).stat().st_size))
        card, answers = (path.with_name(path.name + suffix) for suffix in (".md", deploy.ANSWERS))
        if card.exists():
            downloads.append((card.name, f"../deploy/{card.name}", card.stat().st_size))
        if answers.exists():
            judged = mistakes.judged(answers_lib.read(answers), deployed["class_names"])
    return Proposed(facts, drawing, downloads, judged)


def _facts(layout: layout_lib.Layout, settings: dict) -> list[tuple[str, str]]:
    """What the run is about, as (name, value) pairs."""
    space = frozen.restore(space_lib.SearchSpace, settings["space"])
    backbone, data = settings["backbone"], settings["data"]
    facts = [("preset", settings["preset"]), ("device", settings["device"])]
    facts.append(("networks of kind", settings.get("kind", "float32")))
    table = layout.latency_table
    if table.exists():
        facts.append(("latency table of", files.read_json(table)["device"]))
    if settings["records_file"]:
        facts.append(("records", settings["records_file"]))
    else:
        facts.append(("images", f"{data['dataset']} {data['data_dir']}".strip()))
        pixels = ", ".join(map(str, space.resolutions or (backbone["resolution"],)))
        facts.append(("resolution", f"{pixels} px, {backbone['classes']} classes"))
    facts.append(("width multiplier", f"{backbone['width_multiplier']:g}"))
    facts.append(("architectures in the space", f"{space.size:,}" if space.size < 10**9 else f"{space.size:.3g}"))
    if (found := signal.of_run(layout)) is not None:
        facts.append(("signal in the records' top-1", f"{100 * found.share:.0f} % of the variance"))
    paces = [row.get("images_per_s") for row in files.rows_left(layout.history(layout.supernet))]
    if any(paces):
        pace = statistics.median(float(each) for each in paces if each)
        facts.append(("training of the supernet", f"{pace:.3g} images per second"))
    facts.append(("seed", str(settings["seed"])))
    return facts


def _warnings(layout: layout_lib.Layout, methods: Mapping[str, Sequence[Proposed]]) -> Iterator[str]:
    """What one should know before trusting the figures, a sentence each."""
    for method, networks in methods.items():
        for each in networks:
            if each.missed:
                yield f"{method}: the budget of {each.facts['budget_ms']} ms is missed: {each.held_ms} ms."
        slowness = [float(each.facts["slowness"]) for each in networks if each.facts.get("slowness")]
        if slowness and max(slowness) > SLOW:
            yield (
                f"{method}: the device was up to {max(slowness):.2f} times slower than when its latency table was "
                "made, as when it throttles or is busy. Budgets are held to the latency at the table's speed."
            )
    found = signal.of_run(layout)
    if found is not None and (problem := signal.warning(found)):
        yield f"{problem[0].upper()}{problem[1:]}."
    table = layout.latency_table
    if table.exists():
        check = [latency_table.TimedNetwork(**net) for net in files.read_json(table)["check"]]
        if (error := latency_table.median_error(check)) > TABLE_ERROR:
            yield f"The latency table is off by {100 * error:.0f} % on the networks that check it."
    if layout.predictors_report.exists():
        report = files.read_json(layout.predictors_report)
        if (tau := report["top1_tau"]) < 0.3:
            yield f"Predicted and measured accuracy agree little on records held out: Kendall's tau is {tau:.2f}."
        if (count := report["held_out"]) < FEW_HELD_OUT:
            yield f"Only {count} records are held out: the predictors' errors say little. More records help."


def _baselines(layout: layout_lib.Layout, drawn: Mapping[str, str]) -> list[tuple[str, str, list[dict[str, str]]]]:
    """(picture, verdict, rows) of the table of the stage `baselines`; nothing before that stage."""
    found = dominance.tables(layout).values()
    return [(drawn["baselines"], dominance.verdict(rows), rows) for rows in found if "baselines" in drawn]


def _seconds(layout: layout_lib.Layout) -> list[tuple[str, str, str]]:
    """(stage, how long it took, its share) of all stages, the longest first."""
    seconds = timing.by_stage(timing.read(layout.seconds))
    longest = sorted(seconds.items(), key=lambda item: -item[1])
    return [(stage, timing.duration(took), timing.share(took, sum(seconds.values()))) for stage, took in longest]


def _comparisons(layout: layout_lib.Layout) -> list[tuple[str, list[dict[str, str]]]]:
    """(device, rows) of each table of the stage `compare`."""
    return [(path.stem, files.read_csv(path, ("network",))) for path in sorted(layout.compare.glob("*.csv"))]


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
