"""Several devices in one run, and kinds of networks on them: what depends on the device has a folder for each.

The first one's is the run's own. Another one's lies in `devices/`: it shares the images, the supernet, the accuracies
of the records and the fine-tuned networks, and has a latency table, predictors, a generator and networks of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
import typing
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pnag_tf import config as config_lib
from pnag_tf.latency import device as devices
from pnag_tf.latency import export
from pnag_tf.run import folder
from pnag_tf.run import layout as layout_lib
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, frozen

DEVICES = typing.get_args(config_lib.Device)
SHARED = ("data", "supernet")  # stages that all devices have in common
OF_ONE = ("baselines", "tune", "ablation", "compare")  # stages that are made for one device at a time


@dataclasses.dataclass(frozen=True)
class Target:
    """What networks are made for.

    Attributes:
      device: one of `DEVICES`.
      serial: of the phone; empty for the only one.
      kind: one of `export.QUANTIZATIONS`.
    """

    device: str
    serial: str = ""
    kind: str = export.QUANTIZATIONS[0]

    @property
    def name(self) -> str:
        """Of its folder."""
        kind = "" if self.kind == export.QUANTIZATIONS[0] else self.kind
        return "_".join(part for part in (self.device, re.sub(r"[^\w.-]", "-", self.serial), kind) if part)

    def of(self, config: config_lib.Config) -> config_lib.Config:
        """The settings for it; the backbone stays."""
        phone = dataclasses.replace(config.phone, serial=self.serial or config.phone.serial)
        return dataclasses.replace(config, device=self.device, kind=self.kind, phone=phone)


def parse(asked: Sequence[str], kinds: Sequence[str]) -> tuple[Target, ...]:
    """The targets of devices such as 'cpu' and 'mobile:SERIAL' in kinds such as 'int8', each once.

    Raises:
      SettingError: there is no such device, or no such kind.
    """
    for kind in kinds:
        if kind not in export.QUANTIZATIONS:
            raise errors.SettingError("kind", f"expected one of {', '.join(export.QUANTIZATIONS)}, found '{kind}'")
    found = []
    for text, kind in itertools.product(asked, kinds):
        device, _, serial = text.partition(":")
        if device not in DEVICES or (serial and device != "mobile"):
            raise errors.SettingError("device", f"expected {', '.join(DEVICES)} or mobile:SERIAL, found '{text}'")
        found.append(Target(device, serial, kind))
    if not found:
        raise errors.SettingError("device", "expected one device and one kind at least, found none")
    return tuple(dict.fromkeys(found))


def own_first(targets: Sequence[Target], layout: layout_lib.Layout) -> list[Target]:
    """The one whose the run's folder is, where it is among them, before the others."""
    if not layout.config.exists():
        return list(targets)
    settings = folder.read_settings(layout)
    own = (settings["device"], settings.get("kind", export.QUANTIZATIONS[0]))
    return sorted(targets, key=lambda target: (target.device, target.kind) != own)


def beside(layout: layout_lib.Layout) -> list[layout_lib.Layout]:
    """The folders of a run's other devices, by name."""
    return [layout_lib.Layout(path.parent) for path in sorted(layout.devices.glob("*/config.json"))]


def compared(layout: layout_lib.Layout) -> list[dict[str, str]]:
    """The networks of all devices of a run, as rows; none where there is one device.

    `agreement` is Kendall's tau between the latencies of the run's records on the run's own device and on this one: 1
    where what is faster here is faster there.
    """
    others, rows = beside(layout), []
    for each in [layout, *others] if others else []:
        settings, agreement = folder.read_settings(each), _agreement(layout, each)
        page = each.report.relative_to(layout.root) if each.root != layout.root and each.report.exists() else ""
        for row in files.rows_left(each.table("pnag")):
            known = {name: row.get(name, "") for name in ("budget_ms", "arch", "test_top1")}
            target = {"device": settings["device"], "kind": settings.get("kind", export.QUANTIZATIONS[0])}
            folder_name = each.root.name if each.root != layout.root else ""
            latency = {"latency_ms": devices.held_ms(row), "agreement": agreement}
            rows.append({"folder": folder_name, "page": str(page), **target, **known, **latency})
    return rows


def _agreement(layout: layout_lib.Layout, other: layout_lib.Layout) -> str:
    """Kendall's tau of the records' latencies on two devices; empty before both have any."""
    if not (layout.records.exists() and other.records.exists()):
        return ""
    space = frozen.restore(space_lib.SearchSpace, folder.read_settings(layout)["space"])
    tables = [records_lib.read(each.records, space) for each in (layout, other)]
    known = {row.tobytes(): ms for row, ms in zip(tables[1].choices, tables[1].latency_ms, strict=True)}
    pairs = [
        (ms, known[row.tobytes()])
        for row, ms in zip(tables[0].choices, tables[0].latency_ms, strict=True)
        if row.tobytes() in known
    ]
    return f"{stats.kendalltau(*np.array(pairs).T).statistic:.3f}" if len(pairs) > 1 else ""


def folder_of(target: Target, root: pathlib.Path) -> pathlib.Path:
    """Where what is made for another device than the run's own lies."""
    return layout_lib.Layout(root).devices / target.name
