"""The comparison: networks of the literature and those that the methods found, timed on one device in one run.

What was measured or counted here, and what is printed in the papers, stand in columns of their own and never mix.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras

from pnag_tf import zoo
from pnag_tf.latency import device as devices
from pnag_tf.latency import jobs
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost, network
from pnag_tf.space import space as space_lib
from pnag_tf.util import files, pages
from pnag_tf.zoo import counting, published

MEASURED = ("latency_ms", "latency_p5_ms", "latency_p95_ms", "test_top1", "test_top5", "params", "madds", "search_s")
PUBLISHED = ("latency_ms", "top1", "top5", "params_m", "madds_m", "search_gpu_days", "source")
COLUMNS = ("network", "method", "found_by", "budget_ms", *MEASURED, *(f"published_{name}" for name in PUBLISHED))
PRINTED = ("network", "latency_ms", "test_top1", "params", "madds", "search_s")  # what fits a terminal, and ...
PRINTED += ("published_latency_ms", "published_top1")


@dataclasses.dataclass(frozen=True)
class Contender:
    """A network to be timed in the comparison.

    Attributes:
      name: as the table shows it.
      build: makes it, freshly initialised.
      params, madds: counted, see `cost`.
      known: what is known of it beside, by names of COLUMNS.
    """

    name: str
    build: Callable[[], keras.Model]
    params: int
    madds: int
    known: Mapping[str, object] = dataclasses.field(default_factory=dict)


def of_zoo(names: Iterable[str], device: str, backbone: backbone_lib.Backbone) -> list[Contender]:
    """Networks of the zoo for the images and classes of a backbone, with what is published about them.

    Args:
      device: 'cpu', 'gpu' or 'mobile': whose published latencies stand beside.
    """
    found = []
    for name in names:
        build = functools.partial(zoo.build, name, backbone.classes, backbone.resolution)
        model = build()
        known = _published(name, device)
        found.append(Contender(name, build, counting.params(model), counting.madds(model), known))
    return found


def of_method(
    rows: Iterable[Mapping[str, str]], backbone: backbone_lib.Backbone, search_s: float | None
) -> list[Contender]:
    """The networks of `eval/<method>.csv`; a name says so where one was among the records before the search began.

    Args:
      search_s: seconds from the records to these architectures, where they are known.
    """
    found = []
    for row in rows:
        arch = space_lib.Architecture.parse(row["arch"])
        kept = ("method", "found_by", "budget_ms", "test_top1", "test_top5")
        known = {name: row[name] for name in kept if row.get(name)}
        if search_s is not None:
            known["search_s"] = f"{search_s:.0f}"
        build = functools.partial(network.build, backbone, arch)
        name = f"{row['method']}-{row['budget_ms']}"
        if row.get("found_by") == "records":
            name += " (of the records)"
        found.append(Contender(name, build, cost.params(backbone, arch), cost.madds(backbone, arch), known))
    return found


def measure(
    networks: Sequence[Contender], device: devices.Device, folder: pathlib.Path, progress: jobs.Progress
) -> list[dict[str, object]]:
    """Times all networks in one call of the device, by turns: rows by COLUMNS, the fastest first.

    Args:
      folder: keeps what is converted and measured; the same call after a crash goes on from there.
    """
    work = [jobs.Job((each.name, each.params, each.madds), each.build) for each in networks]
    latencies = jobs.measure(folder, "networks", work, device, progress)
    rows = []
    for each, latency in sorted(zip(networks, latencies, strict=True), key=lambda pair: pair[1].median_ms):
        measured = latency.columns() | {"params": each.params, "madds": each.madds}
        rows.append(dict.fromkeys(COLUMNS, "") | {"network": each.name} | dict(each.known) | measured)
    return rows


def numbers_only(device: str) -> list[dict[str, object]]:
    """Rows of the paper's table for a device whose networks cannot be built: published numbers alone."""
    rows = []
    for row in published.rows(device):
        if row.numbers_only:
            rows.append(dict.fromkeys(COLUMNS, "") | {"network": row.name} | _columns(row, same_device=True))
    return rows


def write(folder: pathlib.Path, device: str, description: str, rows: Sequence[Mapping[str, object]]) -> list[dict]:
    """Writes `<device>.csv`, `.md` and `.tex`; returns the columns of the rows that fit a terminal."""
    files.write_csv(folder / f"{device}.csv", rows, COLUMNS)
    environment = pages.environment()
    environment.filters |= {"share": _share, "millions": _millions, "tex": _tex}
    facts = {
        "rows": rows,
        "device": description,
        "published_device": published.DEVICES[device],
        "oddities": _oddities(rows, device),
    }
    for suffix in ("md", "tex"):
        text = environment.get_template(f"compare.{suffix}.j2").render(facts)
        files.write_text(folder / f"{device}.{suffix}", text)
    return [{column: row[column] for column in PRINTED} for row in rows]


def _published(name: str, device: str) -> dict[str, object]:
    """What the tables print of a network of the zoo; its latency only where they have it for this kind of device."""
    rows = published.rows_of(name)
    here = [row for row in rows if row.device == device]
    return _columns((here or rows)[0], same_device=bool(here)) if rows else {}


def _columns(row: published.Row, same_device: bool) -> dict[str, object]:
    values = {name: getattr(row, name) for name in PUBLISHED}
    if not same_device:
        values["latency_ms"] = None
    return {f"published_{name}": "" if value is None else value for name, value in values.items()}


def _oddities(rows: Sequence[Mapping[str, object]], device: str) -> list[tuple[str, str]]:
    """(network, what is odd about its published line) of the rows in a table."""
    shown = {row["network"] for row in rows}
    lines = [row for row in published.rows(device) if (row.network or row.name) in shown]
    return [(row.network or row.name, text) for row in lines for text in row.oddities]


def _share(value: object) -> str:
    """A fraction as percent."""
    return "" if value == "" else f"{100 * float(value):.1f}"


def _millions(value: object) -> str:
    return "" if value == "" else f"{float(value) / 1e6:.4g}"


def _tex(value: object) -> str:
    for letter in "&%$#_{}":
        value = str(value).replace(letter, f"\\{letter}")
    return str(value)
