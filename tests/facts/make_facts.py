"""Makes the facts beside it: what once-for-all's own PyTorch network and the papers' tables say, to test against.

    python -m pip install -e '.[ofa]' && python -m pip install --no-deps ofa
    python tests/facts/make_facts.py [--tables TABLES.csv]

Written are

* `counts.csv`: multiply-adds and parameters of architectures, random ones and the published, counted on its modules;
* `tensors.csv`: names and shapes of its state dict at width 1.0 and 1.2;
* `logits.npz`: what it answers with the tensors and pictures of `tests/checkpoint.py`, at three widths;
* `table_sums.csv`, with --tables alone: of each device's published table as somebody typed it, column by column, how
  many cells are filled, their sum, and their sum with the first row once, the second twice, and so on. TABLES.csv has
  the columns device, architecture, and those of `TABLE_COLUMNS`.

pnag_tf's own share is the drawing and reading of architecture strings.
"""

import argparse
import csv
import pathlib
import sys
import types

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import checkpoint  # noqa: E402

from pnag_tf.space import space as space_lib  # noqa: E402
from pnag_tf.zoo import published  # noqa: E402

SPACE = space_lib.SearchSpace()
COUNTED = 40  # architectures a width, the smallest and the largest among them
RESOLUTIONS = (224, 192, 160, 128)
SEED = 21  # of tensors; pictures have SEED + 1
RESOLUTION = 64  # of pictures
LOGITS = ((0.25, 10, 6), (1.0, 1000, 3), (1.2, 1000, 3))  # width multiplier, classes, architectures
TABLE_COLUMNS = ("latency_ms", "top1_pct", "top5_pct", "params_m", "madds_m", "search_gpu_days")


def once_for_all(width, classes=1000):
    """Its full network; its image pipeline, which asks for an old PyTorch, is left out."""
    sys.modules.setdefault("ofa.utils.my_dataloader", types.ModuleType("ofa.utils.my_dataloader"))
    from ofa.imagenet_classification.elastic_nn.networks.ofa_mbv3 import OFAMobileNetV3

    return OFAMobileNetV3(
        n_classes=classes,
        dropout_rate=0,
        width_mult=width,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    ).eval()


def choose(peer, arch):
    peer.set_active_subnet(ks=list(arch.kernels), e=list(arch.ratios), d=list(arch.depths))


def architectures(seed, count):
    drawn = SPACE.sample(np.random.default_rng(seed), count - 2)
    return SPACE.decode(np.stack([SPACE.smallest(), SPACE.largest(), *drawn]))


def counts():
    """Rows of counts.csv."""
    for seed, width in ((1, 1.0), (2, 1.2)):
        peer = once_for_all(width)
        wanted = [("", RESOLUTIONS[n % 4], arch) for n, arch in enumerate(architectures(seed, COUNTED))]
        if width == published.WIDTH_MULTIPLIER:
            wanted += [(known.name, known.resolution, known.architecture) for known in published.ARCHITECTURES.values()]
        for name, resolution, arch in wanted:
            choose(peer, arch)
            net = peer.get_active_subnet(preserve_weight=False)
            row = {"name": name, "width": width, "resolution": resolution, "arch": str(arch)}
            yield row | {"madds": madds(net, resolution), "params": sum(p.numel() for p in net.parameters())}


def madds(net, resolution):
    """Multiply-adds of convolutions and linear layers; once-for-all's own counter adds them up in float32."""
    import torch

    found = []

    def count(module, _, output):
        found.append(output.numel() * module.weight[0].numel())

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, resolution, resolution))
    return sum(found)


def tensors():
    """Rows of tensors.csv."""
    narrow, wide = (once_for_all(width).state_dict() for width in (1.0, 1.2))
    assert list(narrow) == list(wide)
    for name in narrow:
        shapes = ("x".join(map(str, state[name].shape)) for state in (narrow, wide))
        yield dict(zip(("name", "width_1.0", "width_1.2"), (name, *shapes), strict=True))


def logits():
    """Arrays of logits.npz."""
    import torch

    pictures = checkpoint.pictures(RESOLUTION, SEED + 1)
    found = {"seed": SEED, "resolution": RESOLUTION, "pictures": pictures[:, ::16, ::16]}
    for width, classes, count in LOGITS:
        peer = once_for_all(width, classes)
        shapes = {name: tuple(value.shape) for name, value in peer.state_dict().items()}
        state = checkpoint.state(shapes, SEED)
        peer.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
        images = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
        # Neither the smallest, which answers all pictures alike, nor the largest, where float32 itself is off by 1e-3.
        archs, answers = architectures(3, count + 2)[2:], []
        for arch in archs:
            choose(peer, arch)
            with torch.no_grad():
                exact, rounded = (peer.to(kind)(images.to(kind)).numpy() for kind in (torch.float64, torch.float32))
            spread = np.ptp(exact)
            assert np.abs(rounded - exact).max() < 2e-6 * spread, f"width {width}, {arch}: float32 cannot answer this"
            assert np.abs(np.diff(exact, axis=0)).max() > 0.05 * spread, f"width {width}, {arch}: pictures look alike"
            answers.append(exact.astype("float32"))
        found[f"archs_{width}"] = [str(arch) for arch in archs]
        found[f"tensor_{width}"] = state["first_conv.conv.weight"]
        found[f"logits_{width}"] = np.stack(answers)[:, :: 2 if classes > 100 else 1]
    return found


def table_sums(path):
    """Rows of table_sums.csv."""
    with open(path, newline="") as stream:
        lines = list(csv.DictReader(stream))
    for device in published.DEVICES:
        mine = [line for line in lines if line["device"].split()[0] == device]
        for column in TABLE_COLUMNS:
            filled = [(number, float(line[column])) for number, line in enumerate(mine, 1) if line[column]]
            yield {
                "device": device,
                "column": column,
                "cells": len(filled),
                "total": round(sum(value for _, value in filled), 1),
                "weighted": round(sum(number * value for number, value in filled), 1),
            }


def write(name, rows):
    rows = list(rows)
    with open(HERE / name, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{name}: {len(rows)} rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", help="the papers' tables, typed off")
    arguments = parser.parse_args()
    if arguments.tables:
        write("table_sums.csv", table_sums(arguments.tables))
    write("counts.csv", counts())
    write("tensors.csv", tensors())
    np.savez_compressed(HERE / "logits.npz", **logits())
    return 0


if __name__ == "__main__":
    sys.exit(main())
