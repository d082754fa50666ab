"""Multiply-adds and parameters."""

import csv

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib


def test_block_by_hand():
    block = backbone_lib.Block("mbconv", "b", 0, 0, 4, 2, 8, 24, 16, 3, 2, 8, "relu")
    assert cost.block_madds(block) == 16 * 8 * 24 + 4 * 24 * 9 + 2 * 24 * 8 + 4 * 24 * 16
    assert cost.block_params(block) == 8 * 24 + 48 + 9 * 24 + 48 + (24 * 8 + 8 + 8 * 24 + 24) + 24 * 16 + 32


def test_make_divisible():
    assert [backbone_lib.make_divisible(v) for v in (3, 12, 19.2, 28.8, 96)] == [8, 16, 24, 32, 96]


def test_width_1_2_of_the_paper():
    backbone = backbone_lib.Backbone(width_multiplier=1.2)
    assert (backbone.stem, backbone.widths) == (24, (32, 48, 96, 136, 192))
    assert (backbone.final_expand, backbone.feature_mix) == (1152, 1536)


def test_counts_are_those_of_once_for_alls_modules(facts):
    with open(facts / "counts.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert {width: sum(row["width"] == width for row in rows) for width in ("1.0", "1.2")} == {"1.0": 40, "1.2": 56}
    for row in rows:
        backbone = backbone_lib.Backbone(width_multiplier=float(row["width"]), resolution=int(row["resolution"]))
        arch = space_lib.Architecture.parse(row["arch"])
        counted = cost.madds(backbone, arch), cost.params(backbone, arch)
        assert counted == (int(row["madds"]), int(row["params"])), row


def test_measured_networks_are_met_exactly(material):
    with open(material / "ofa/imagenet_w1.0_224_measured.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2162
    backbone = backbone_lib.Backbone()
    for row in rows:
        arch = space_lib.Architecture.parse(row["arch"])
        assert (cost.madds(backbone, arch), cost.params(backbone, arch)) == (int(row["madds"]), int(row["params"]))
