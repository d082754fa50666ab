"""Published numbers: the three tables of PNAG's papers as printed, the architectures behind them, and their oddities.

Nothing here was measured or counted by this package; what it counts itself stands in columns of its own, beside these.

Sources: Guo et al., "Pareto-aware Neural Architecture Generation for Diverse Computational Budgets", CVPR Workshops
2023 (arXiv 2210.07634), its supplement, and the authors' repository github.com/guoyongcs/PNAG.
"""

from __future__ import annotations

import dataclasses
import fnmatch

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

WIDTH_MULTIPLIER = 1.2  # of every architecture below
DEVICES = {
    "cpu": "Intel Core i5-7400, batch 1",
    "gpu": "NVIDIA TITAN X, batch 64",
    "mobile": "Snapdragon 821 (Google Pixel 1), batch 1",
}
SOURCES = {"cpu": "supplement, Table 1", "gpu": "supplement, Table 2", "mobile": "main paper, Table 1"}


# ---- the three tables ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table. None stands for a number that the table does not give.

    Attributes:
      device: 'cpu', 'gpu' or 'mobile', see `DEVICES`.
      name: of the architecture, as printed.
      network: by which name `zoo.build` makes it, None where there are published numbers only.
      latency_ms: printed latency.
      top1: printed ImageNet accuracy, a fraction.
      top5: the same for the five best guesses.
      params_m: printed parameters, in millions, with the digits of the table.
      madds_m: printed multiply-adds, likewise.
      search_gpu_days: printed search cost.
      source: the paper and the table.
    """

    device: str
    name: str
    network: str | None
    latency_ms: float | None
    top1: float
    top5: float | None
    params_m: float | None
    madds_m: int | None
    search_gpu_days: float | None
    source: str

    @property
    def numbers_only(self) -> bool:
        """The zoo has no such network: nothing can be built, counted or measured."""
        return self.network is None

    @property
    def oddities(self) -> tuple[str, ...]:
        """What is odd about the line, a sentence or two each."""
        place = f"{self.device}/{self.name}"
        return tuple(o.text for o in ODDITIES if any(fnmatch.fnmatchcase(place, pattern) for pattern in o.places))


# Printed name -> name in the zoo; the lines of PNAG, which mean another network on each device, are not among them.
_NETWORKS = {
    "MobileNetV2 1.0x": "mobilenetv2-1.0",
    "MobileNetV2 1.4x": "mobilenetv2-1.4",
    "MobileNetV3-Large 0.75x": "mobilenetv3-large-0.75",
    "MobileNetV3-Large 1.0x": "mobilenetv3-large-1.0",
    "EfficientNet-B0": "efficientnet-b0",
    "EfficientNet-B1": "efficientnet-b1",
    "ResNet-18": "resnet-18",
    "ResNet-50": "resnet-50",
    "NASNet-A": "nasnet-a-mobile",
    "MnasNet-A1 1.0x": "mnasnet-a1-1.0",
    "MnasNet-A1 1.4x": "mnasnet-a1-1.4",
    "FBNet-A": "fbnet-a",
    "FBNet-C": "fbnet-c",
    "ProxylessNAS-CPU": "proxylessnas-cpu",
    "ProxylessNAS-GPU": "proxylessnas-gpu",
    "ProxylessNAS-Mobile": "proxylessnas-mobile",
    "OFA*": "ofa-note10-64",
}

# name, latency in ms, top-1 in %, top-5 in %, parameters in M, multiply-adds in M, search cost in GPU days
_TABLES = {
    "cpu": (
        ("MobileNetV2 1.0x", 28.6, 72.0, None, 3.4, 300, None),
        ("MobileNetV3-Large 1.0x", 22.6, 75.2, None, 5.4, 219, None),
        ("FBNet-C", 25.7, 74.9, None, 5.5, 375, 9.0),
        ("SGNAS-B", None, 76.8, None, None, 326, 0.3),
        ("EVO-30", 29.1, 77.9, 93.8, 7.9, 385, 0.7),
        ("NAS-MO-30", 29.7, 77.5, 93.7, 6.6, 353, 0.7),
        ("PNAG-30", 29.7, 78.3, 94.1, 7.6, 335, 0.7),
        ("ProxylessNAS-CPU", 34.6, 75.3, None, 4.4, 438, 8.3),
        ("MnasNet-A1 1.4x", 34.6, 77.2, 93.5, 6.1, 592, 3792.0),
        ("EVO-35", 34.5, 78.5, 94.3, 8.2, 354, 0.7),
        ("NAS-MO-35", 34.7, 78.3, 94.0, 7.9, 478, 0.7),
        ("PNAG-35", 34.5, 79.4, 94.5, 8.4, 431, 0.7),
        ("ResNet-18", 38.6, 69.8, 90.1, 11.7, 1814, None),
        ("EfficientNet-B0", 39.1, 77.3, 93.5, 5.3, 390, None),
        ("EVO-40", 36.3, 78.8, 94.6, 8.4, 388, 0.7),
        ("NAS-MO-40", 39.3, 78.6, 94.3, 8.3, 491, 0.7),
        ("PNAG-40", 39.6, 79.8, 94.9, 9.4, 502, 0.7),
        ("MobileNetV2 1.4x", 42.6, 74.7, None, 6.9, 585, None),
        ("EVO-45", 43.2, 79.1, 94.6, 9.1, 481, 51.7),
        ("NAS-MO-45", 43.7, 78.8, 94.4, 9.3, 626, 0.7),
        ("PNAG-45", 44.7, 80.2, 95.0, 10.4, 620, 0.7),
        ("PONAS-C", 52.2, 75.2, None, 5.6, 376, 8.8),
        ("OFA*", 53.7, 80.2, 95.1, 9.1, 743, 51.7),
        ("EVO-50", 47.4, 79.3, 94.7, 9.1, 511, 0.7),
        ("NAS-MO-50", 46.7, 78.9, 94.4, 9.1, 632, 0.7),
        ("PNAG-50", 48.9, 80.5, 95.1, 10.5, 682, 0.7),
    ),
    "gpu": (
        ("ProxylessNAS-GPU", 84.7, 75.1, None, 7.1, 463, 8.3),
        ("MobileNetV2 1.0x", 71.6, 72.0, None, 3.4, 300, None),
        ("NAGO", None, 76.8, 93.4, 5.7, None, 20.0),
        ("EVO-90", 88.9, 77.3, 93.1, 5.9, 332, 0.7),
        ("NAS-MO-90", 89.8, 75.4, 92.4, 4.9, 266, 0.7),
        ("PNAG-90", 86.9, 78.3, 94.0, 5.7, 310, 0.7),
        ("MnasNet-A1 1.4x", 112.9, 77.2, 93.5, 6.1, 592, 3792.0),
        ("EfficientNet-B0", 115.5, 77.3, 93.5, 5.3, 390, None),
        ("ENAS", 110.8, 73.8, 91.7, 5.6, 607, 0.5),
        ("EVO-115", 105.4, 78.4, 94.1, 8.4, 388, 51.7),
        ("NAS-MO-115", 111.2, 78.1, 94.0, 8.8, 431, 0.7),
        ("PNAG-115", 111.2, 79.3, 94.6, 8.9, 411, 0.7),
        ("EVO-140", 135.7, 78.9, 94.4, 9.1, 481, 0.7),
        ("NAS-MO-140", 137.2, 78.4, 94.1, 8.8, 470, 0.7),
        ("PNAG-140", 138.9, 79.7, 94.9, 9.7, 510, 0.7),
        ("ResNet-50", 159.8, 76.2, 92.9, 25.6, 4087, None),
        ("EVO-165", 164.1, 79.1, 94.5, 10.7, 597, 51.7),
        ("NAS-MO-165", 162.6, 78.8, 94.4, 10.5, 583, 0.7),
        ("PNAG-165", 162.7, 80.3, 95.0, 10.5, 582, 0.7),
        ("NASNet-A", 162.3, 74.0, 91.6, 5.3, 564, None),
        ("PONAS", 182.4, 75.2, None, 5.6, 376, 8.8),
        ("EfficientNet-B1", 192.7, 79.2, 94.5, 7.8, 700, None),
        ("OFA*", 204.3, 80.2, 95.1, 9.1, 743, 51.7),
        ("EVO-190", 188.1, 79.5, 94.8, 11.3, 687, 0.7),
        ("NAS-MO-190", 183.2, 78.8, 94.5, 10.7, 652, 0.7),
        ("PNAG-190", 185.5, 80.4, 95.0, 10.4, 640, 0.7),
    ),
    "mobile": (
        ("MobileNetV3-Large 0.75x", 93.0, 73.3, None, 4.0, 155, None),
        ("MobileNetV2 1.0x", 90.3, 72.0, None, 3.4, 300, None),
        ("EVO-80", 76.8, 77.1, 93.3, 6.1, 350, 0.7),
        ("NAS-MO-80", 77.6, 76.6, 93.2, 7.9, 340, 0.7),
        ("PNAG-80", 79.9, 78.3, 94.0, 7.3, 349, 0.7),
        ("FBNet-A", 91.7, 73.0, None, 4.3, 249, 9.0),
        ("ProxylessNAS-Mobile", 97.3, 74.6, None, 4.1, 319, 8.3),
        ("MobileNetV3-Large 1.0x", 107.7, 75.2, None, 5.4, 219, None),
        ("EVO-110", 109.3, 78.4, 94.0, 10.2, 482, 0.7),
        ("NAS-MO-110", 106.3, 78.0, 93.8, 8.4, 478, 0.7),
        ("PNAG-110", 106.8, 79.4, 94.5, 9.9, 451, 0.7),
        ("ProxylessNAS-GPU", 123.3, 75.1, None, 7.1, 463, 8.3),
        ("MnasNet-A1 1.0x", 120.7, 75.2, 92.5, 3.4, 300, 3792.0),
        ("FBNet-C", 135.2, 74.9, None, 5.5, 375, 9.0),
        ("EVO-140", 133.7, 78.7, 94.1, 9.1, 488, 0.7),
        ("NAS-MO-140", 139.0, 78.6, 94.0, 9.5, 486, 0.7),
        ("PNAG-140", 127.8, 79.8, 94.7, 9.2, 492, 0.7),
        ("PONAS-C", 145.1, 75.2, None, 5.6, 376, 8.8),
        ("EVO-170", 168.3, 79.2, 94.4, 10.7, 661, 0.7),
        ("NAS-MO-170", 165.0, 78.7, 94.4, 8.5, 584, 0.7),
        ("PNAG-170", 167.1, 80.3, 95.0, 10.0, 606, 0.7),
        ("EfficientNet-B0", 237.7, 77.3, 93.5, 5.3, 390, None),
        ("OFA*", 201.9, 80.2, 95.1, 9.1, 743, 51.7),
        ("EVO-200", 195.9, 79.8, 94.5, 11.0, 783, 0.7),
        ("NAS-MO-200", 187.4, 79.2, 94.4, 9.1, 630, 0.7),
        ("PNAG-200", 193.9, 80.5, 95.2, 10.4, 724, 0.7),
    ),
}


def _row(device: str, name: str, latency_ms, top1_percent, top5_percent, params_m, madds_m, search_gpu_days) -> Row:
    pnag = name.startswith("PNAG-")
    return Row(
        device=device,
        name=name,
        network=f"pnag-{device}-{name.removeprefix('PNAG-')}" if pnag else _NETWORKS.get(name),
        latency_ms=latency_ms,
        top1=round(top1_percent / 100, 3),
        top5=None if top5_percent is None else round(top5_percent / 100, 3),
        params_m=params_m,
        madds_m=madds_m,
        search_gpu_days=search_gpu_days,
        source=SOURCES[device],
    )


ROWS: tuple[Row, ...] = tuple(_row(device, *line) for device, table in _TABLES.items() for line in table)


def rows(device: str) -> tuple[Row, ...]:
    """The table of one device, in the order of the paper."""
    if device not in DEVICES:
        raise errors.UserError(f"no published table for device '{device}'; choose from {', '.join(DEVICES)}")
    return tuple(row for row in ROWS if row.device == device)


def rows_of(network: str) -> tuple[Row, ...]:
    """The lines that are about one network of the zoo; parameters and multiply-adds are the same in all of them."""
    return tuple(row for row in ROWS if row.network == network)


# ---- architectures of the search space -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Published:
    """A published architecture of the search space, at width 1.2.

    Attributes:
      name: what `architecture` knows it by.
      arch: its string.
      resolution: of the images that the published multiply-adds are for, in pixels.
      source: of the architecture.
    """

    name: str
    arch: str
    resolution: int
    source: str

    @property
    def architecture(self) -> space_lib.Architecture:
        return space_lib.Architecture.parse(self.arch)

    def backbone(self, resolution: int = 224, classes: int = 1000) -> backbone_lib.Backbone:
        return backbone_lib.Backbone(width_multiplier=WIDTH_MULTIPLIER, resolution=resolution, classes=classes)


_PNAG_SOURCE = "github.com/guoyongcs/PNAG, core/pnag.py"
_OFA_SOURCE = "github.com/han-cai/files, ofa/ofa_specialized/note10_lat-64ms_top1-80.2_finetune-75"

# Name -> depths:kernels:ratios. The numbers published for them stand in the tables.
_PNAG = {
    "pnag-cpu-30": "2,2,3,3,3:5,5,0,0,5,5,0,0,7,5,7,0,3,5,5,0,7,5,5,0:3,3,0,0,4,3,0,0,4,3,3,0,6,4,4,0,6,6,6,0",
    "pnag-cpu-35": "2,3,3,3,3:5,3,0,0,5,5,7,0,5,7,7,0,5,5,7,0,7,5,7,0:3,4,0,0,4,6,3,0,6,4,6,0,6,6,6,0,6,6,6,0",
    "pnag-cpu-40": "2,3,4,4,4:5,3,0,0,7,5,7,0,5,5,3,3,5,7,7,7,3,3,3,7:4,4,0,0,4,4,4,0,4,6,6,4,6,4,6,6,6,6,6,4",
    "pnag-cpu-45": "2,3,4,4,4:7,5,0,0,7,7,7,0,7,5,3,7,7,7,7,7,7,3,3,7:4,6,0,0,6,6,6,0,6,6,6,6,6,6,6,6,6,6,6,6",
    "pnag-cpu-50": "3,4,4,4,4:5,3,7,0,5,7,7,7,7,7,3,7,7,7,7,7,5,7,3,7:4,4,6,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6",
    "pnag-gpu-90": "2,2,3,3,4:3,3,0,0,5,3,0,0,5,5,3,0,3,7,3,0,5,3,3,7:3,3,0,0,3,4,0,0,3,3,3,0,4,3,4,0,6,6,6,3",
    "pnag-gpu-115": "2,3,3,4,4:3,3,0,0,5,3,3,0,5,5,3,0,3,5,5,5,7,7,7,5:3,3,0,0,4,4,4,0,4,3,4,0,6,4,6,4,6,6,6,4",
    "pnag-gpu-140": "2,3,4,4,4:3,3,0,0,7,5,5,0,5,7,5,5,3,5,5,5,7,7,5,5:4,3,0,0,6,4,4,0,4,4,6,6,6,6,6,6,6,6,6,4",
    "pnag-gpu-165": "2,4,4,4,4:3,3,0,0,7,5,5,5,7,5,7,5,7,7,7,5,7,7,7,5:3,4,0,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6",
    "pnag-gpu-190": "3,4,4,4,4:3,3,5,0,7,3,5,7,7,7,5,3,7,5,7,5,7,3,7,3:4,4,6,0,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6",
    "pnag-mobile-80": "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0",
    "pnag-mobile-110": "2,3,3,4,4:5,3,0,0,5,3,3,0,3,5,5,0,5,5,5,3,7,5,7,5:3,4,0,0,3,4,4,0,3,3,6,0,4,6,6,6,6,6,6,6",
    "pnag-mobile-140": "2,4,4,4,4:5,3,0,0,5,5,5,3,5,5,5,5,3,5,5,5,7,5,5,5:4,3,0,0,4,4,4,6,6,3,6,3,6,6,4,6,6,6,6,3",
    "pnag-mobile-170": "3,4,4,4,4:5,3,7,0,5,5,5,5,5,5,5,5,3,5,5,3,7,5,5,5:4,4,6,0,4,4,6,6,6,4,6,6,6,6,4,6,6,6,6,6",
    "pnag-mobile-200": "4,4,4,4,4:5,5,5,5,5,7,3,5,7,5,5,3,3,5,5,3,5,3,3,5:6,6,6,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6",
}
_OFA = "3,4,4,4,4:3,3,3,0,5,3,3,5,5,5,3,7,5,3,3,3,3,3,5,3:3,6,3,0,4,6,3,3,6,6,4,4,6,6,6,4,6,6,6,3"

ARCHITECTURES: dict[str, Published] = {
    **{name: Published(name, arch, 224, _PNAG_SOURCE) for name, arch in _PNAG.items()},
    # The OFA* of the tables: once-for-all's network for 64 ms on a Galaxy Note10.
    "ofa-note10-64": Published("ofa-note10-64", _OFA, 260, _OFA_SOURCE),
}


def architecture(text: str) -> space_lib.Architecture:
    """The architecture of a name: a published one by its name, any other by its string.

    Raises:
      UserError: it is neither a published name nor `depths:kernels:ratios`.
    """
    if text in ARCHITECTURES:
        return ARCHITECTURES[text].architecture
    if ":" not in text:
        expected = f"depths:kernels:ratios or one of {', '.join(ARCHITECTURES)}"
        raise errors.UserError(f"unknown architecture '{text}'; expected {expected}")
    try:
        return space_lib.Architecture.parse(text)
    except ValueError as error:
        raise errors.UserError(str(error)) from None


# ---- oddities ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Oddity:
    """Something in the tables that a reader should know before comparing.

    Attributes:
      places: 'device/name' of the lines; * stands for any text, ? for any letter.
      text: what is odd.
    """

    places: tuple[str, ...]
    text: str


ODDITIES = (
    Oddity(
        ("gpu/PNAG-90",),
        "Prints 5.7M parameters; the published architecture has 7.7M.",
    ),
    Oddity(
        ("cpu/EVO-45", "gpu/EVO-115", "gpu/EVO-165"),
        "Prints OFA's 51.7 GPU days as search cost; all other EVO lines print 0.7.",
    ),
    Oddity(
        ("*/PNAG-*", "*/ProxylessNAS-*", "gpu/ResNet-50"),
        "The multiply-adds leave out the classifier: the authors' counter (utils/common.py of their repository) adds "
        "up convolutions only. With the classifier it is 1.3 to 2.0M more.",
    ),
    Oddity(
        ("mobile/PNAG-170",),
        "605.497M multiply-adds without the classifier are printed as 606: rounded twice, by way of 605.5.",
    ),
    Oddity(
        ("gpu/ProxylessNAS-GPU", "mobile/ProxylessNAS-GPU"),
        "463.5M multiply-adds without the classifier are printed as 463: cut off, where other lines are rounded.",
    ),
    Oddity(
        ("mobile/PNAG-80", "mobile/PNAG-110"),
        "The main paper's other tables print a top-1 that is 0.1 higher: 78.4 and 79.5.",
    ),
    Oddity(
        ("*/OFA?",),
        "743M multiply-adds are those at 260 pixels, for which the network was published; the caption says 224, where "
        "it has 512M.",
    ),
    Oddity(
        ("gpu/EfficientNet-B1",),
        "700M multiply-adds are those at 240 pixels, the network's own size; the caption says 224, where it has 570M.",
    ),
    Oddity(
        ("mobile/MnasNet-A1 1.0x",),
        "Prints 3.4M parameters and 300M multiply-adds, which are MobileNetV2's; MnasNet's paper gives 3.9M and 312M.",
    ),
    Oddity(
        ("*/MobileNetV2 1.4x",),
        "6.9M parameters, as in MobileNetV2's paper; the network that its authors released has 6.1M.",
    ),
    Oddity(
        ("*/MobileNetV2 1.0x",),
        "3.4M parameters, as in MobileNetV2's paper: 3.47M, cut off, without batch norm's scales and offsets; 3.5M "
        "with them.",
    ),
    Oddity(
        ("gpu/EVO-190", "mobile/EVO-200"),
        "Prints more parameters (11.3M, 11.0M) than the largest network of the space at width 1.2 has (10.7M).",
    ),
    Oddity(
        ("cpu/EVO-40", "gpu/EVO-115"),
        "Two lines with one size, 8.4M parameters and 388M multiply-adds, and two accuracies, 78.8 and 78.4.",
    ),
    Oddity(
        ("cpu/EVO-45", "gpu/EVO-140"),
        "Two lines with one size, 9.1M parameters and 481M multiply-adds, and two accuracies, 79.1 and 78.9.",
    ),
    Oddity(
        ("gpu/NASNet-A",),
        "The search cost is not legible in the copy that these numbers were read from, and is left empty.",
    ),
)
