"""The published tables and architectures."""

import csv

import pytest

from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors
from pnag_tf.zoo import published

PNAG = [name for name in published.ARCHITECTURES if name.startswith("pnag-")]
CLASSIFIER = 1536 * 1000  # multiply-adds of the classifier at width 1.2


def cell(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def test_tables_are_those_of_the_papers(material):
    devices = {"cpu": "cpu i5-7400", "gpu": "gpu TITAN X", "mobile": "mobile Snapdragon 821"}
    with open(material / "published/tables.csv") as stream:
        printed = list(csv.DictReader(stream))
    assert len(published.ROWS) == len(printed) == 78
    for row, line in zip(published.ROWS, printed, strict=True):
        assert line["device"].startswith(devices[row.device])
        assert (row.name, row.source.replace(",", "")) == (line["architecture"], line["source"])
        assert cell(row.latency_ms, 1) == line["latency_ms"]
        assert cell(row.top1 * 100, 1) == line["top1_pct"]
        assert cell(row.top5 and row.top5 * 100, 1) == line["top5_pct"]
        assert (cell(row.params_m, 1), cell(row.madds_m, 0)) == (line["params_m"], line["madds_m"])
        assert row.search_gpu_days == (float(line["search_gpu_days"]) if line["search_gpu_days"] else None)


def test_columns_add_up_to_those_of_the_papers(facts):
    """Number, sum and sum weighted by the row, of numbers typed off independently of `published`."""
    columns = {
        "latency_ms": lambda row: row.latency_ms,
        "top1_pct": lambda row: row.top1 * 100,
        "top5_pct": lambda row: row.top5 and row.top5 * 100,
        "params_m": lambda row: row.params_m,
        "madds_m": lambda row: row.madds_m,
        "search_gpu_days": lambda row: row.search_gpu_days,
    }
    with open(facts / "table_sums.csv") as stream:
        sums = list(csv.DictReader(stream))
    assert [(s["device"], s["column"]) for s in sums] == [(d, c) for d in published.DEVICES for c in columns]
    for known in sums:
        values = [columns[known["column"]](row) for row in published.rows(known["device"])]
        filled = [(number, value) for number, value in enumerate(values, 1) if value is not None]
        assert len(filled) == int(known["cells"]), known
        assert sum(value for _, value in filled) == pytest.approx(float(known["total"]), abs=0.02), known
        weighted = sum(number * value for number, value in filled)
        assert weighted == pytest.approx(float(known["weighted"]), abs=0.02), known


def test_architectures_are_those_that_were_counted(facts):
    with open(facts / "counts.csv") as stream:
        counted = {row["name"]: row for row in csv.DictReader(stream) if row["name"]}
    assert counted.keys() == published.ARCHITECTURES.keys()
    for name, known in published.ARCHITECTURES.items():
        assert (counted[name]["arch"], int(counted[name]["resolution"])) == (known.arch, known.resolution)


def test_architectures_are_those_of_the_authors(material):
    with open(material / "published/pnag_architectures.csv") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["name"] for line in lines] == PNAG
    for line in lines:
        assert published.ARCHITECTURES[line["name"]].arch == line["arch"]
        (row,) = published.rows_of(line["name"])
        assert (row.params_m, row.madds_m) == (float(line["published_params_m"]), int(line["published_madds_m"]))


def test_each_device_has_its_table():
    assert [len(published.rows(device)) for device in published.DEVICES] == [26, 26, 26]
    assert published.rows("mobile")[-1].network == "pnag-mobile-200"
    with pytest.raises(errors.UserError, match="no published table for device 'tpu'; choose from cpu, gpu, mobile"):
        published.rows("tpu")


def test_rows_without_a_network_are_marked():
    numbers_only = {row.name for row in published.ROWS if row.numbers_only}
    assert {name for name in numbers_only if not name.startswith(("EVO-", "NAS-MO-"))} == {
        "ENAS",
        "NAGO",
        "PONAS",
        "PONAS-C",
        "SGNAS-B",
    }


@pytest.mark.parametrize("name", [*PNAG, "ofa-note10-64"])
def test_architecture_counts_what_is_published(name):
    known = published.ARCHITECTURES[name]
    space_lib.SearchSpace().check(known.architecture)
    assert str(known.architecture) == known.arch
    backbone = known.backbone(known.resolution)
    madds, params = cost.madds(backbone, known.architecture), cost.params(backbone, known.architecture)
    row = published.rows_of(name)[0]
    if name == "pnag-gpu-90":
        assert (row.params_m, round(params / 1e6, 1)) == (5.7, 7.7)
    else:
        assert round(params / 1e6, 1) == row.params_m
    if name == "ofa-note10-64":
        assert round(madds / 1e6) == row.madds_m
    else:  # without the classifier, rounded to tenths on the way: 605.497, 605.5, 606
        assert int(round((madds - CLASSIFIER) / 1e6, 1) + 0.5) == row.madds_m
        assert 1.0 < madds / 1e6 - row.madds_m < 2.0


def test_names_and_strings_name_architectures():
    assert len(PNAG) == 15
    known = published.ARCHITECTURES["pnag-cpu-30"]
    assert published.architecture("pnag-cpu-30") == published.architecture(known.arch) == known.architecture
    with pytest.raises(errors.UserError, match="unknown architecture 'pnag-cpu-31'; expected depths:kernels:ratios or"):
        published.architecture("pnag-cpu-31")
    with pytest.raises(errors.UserError, match="no whole number"):
        published.architecture("2,2:3,x:3,3")


def test_oddities_are_about_lines_that_exist():
    odd = {(row.device, row.name): row.oddities for row in published.ROWS}
    assert sorted(set().union(*odd.values())) == sorted(oddity.text for oddity in published.ODDITIES)
    assert len(odd["cpu", "EVO-45"]) == 2 and not odd["cpu", "EVO-30"]
    assert "7.7M" in odd["gpu", "PNAG-90"][0]
    assert {place for place, texts in odd.items() if any("51.7 GPU days" in text for text in texts)} == {
        (row.device, row.name) for row in published.ROWS if row.search_gpu_days == 51.7 and "EVO" in row.name
    }


def test_the_largest_network_of_the_space_is_smaller_than_two_rows_print():
    space, known = space_lib.SearchSpace(), published.ARCHITECTURES["pnag-cpu-30"]
    largest = cost.params(known.backbone(), space.decode(space.largest())[0]) / 1e6
    too_large = [row.name for row in published.ROWS if row.name[:3] in ("EVO", "NAS") and row.params_m > largest + 0.05]
    assert too_large == ["EVO-190", "EVO-200"]
