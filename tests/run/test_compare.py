"""The comparison: what is measured and what is published stand apart, on a device that is not there."""

import re

import pytest

from pnag_tf import zoo
from pnag_tf.latency.device import Device, MeasuredLatency
from pnag_tf.run import compare
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.util import files
from pnag_tf.zoo import published

NAMES = ("fbnet-c", "ofa-note10-64", "pnag-gpu-90")


def _measure(models, progress=None):
    """Latency in ms is what stands in the file."""
    values = [float(path.read_bytes()) for path in models]
    return [MeasuredLatency(ms, 0.9 * ms, 1.1 * ms, 1, "fake") for ms in values]


@pytest.fixture(scope="module")
def device():
    return Device(".size", lambda model: str(model.count_params() / 1e5).encode(), _measure, lambda: "fake")


@pytest.fixture(scope="module")
def found(space):
    """`eval/evo.csv` of a run on records, and `eval/pnag.csv` of one with images."""
    small, large = (str(space.decode(choices)[0]) for choices in (space.smallest(), space.largest()))
    return [
        {"method": "evo", "budget_ms": "3", "arch": small},
        {"method": "pnag", "budget_ms": "5", "arch": large, "test_top1": "0.9112", "test_top5": "0.9987"},
    ]


@pytest.fixture(scope="module")
def rows(device, found, backbone, tmp_path_factory):
    backbone224 = published.ARCHITECTURES["pnag-cpu-30"].backbone(64)
    networks = compare.of_method(found[:1], backbone, None) + compare.of_method(found[1:], backbone, 61.4)
    networks += compare.of_zoo(NAMES, "gpu", backbone224)
    folder = tmp_path_factory.mktemp("parts")
    return compare.measure(networks, device, folder, lambda *_: None)


def test_rows_are_by_latency_and_counted(rows, space, backbone):
    latency_ms = [float(row["latency_ms"]) for row in rows]
    assert latency_ms == sorted(latency_ms) and len(rows) == 5
    by_name = {row["network"]: row for row in rows}
    largest = space.decode(space.largest())[0]
    assert by_name["pnag-5"]["madds"] == cost.madds(backbone, largest)
    assert by_name["pnag-5"]["params"] == cost.params(backbone, largest)
    arch = published.architecture("pnag-gpu-90")
    assert by_name["pnag-gpu-90"]["madds"] == cost.madds(published.ARCHITECTURES["pnag-gpu-90"].backbone(64), arch)


def test_measured_and_published_numbers_do_not_mix(rows):
    by_name = {row["network"]: row for row in rows}
    ours, peer, pnag = by_name["pnag-5"], by_name["evo-3"], by_name["pnag-gpu-90"]
    assert (ours["test_top1"], ours["search_s"], peer["test_top1"], peer["search_s"]) == ("0.9112", "61", "", "")
    assert not any(value for name, value in ours.items() if name.startswith("published_"))
    printed = next(row for row in published.rows("gpu") if row.network == "pnag-gpu-90")
    assert pnag["published_latency_ms"] == printed.latency_ms != float(pnag["latency_ms"])
    assert (pnag["published_top1"], pnag["test_top1"]) == (printed.top1, "")
    assert pnag["published_source"] == "supplement, Table 2"


def test_a_network_of_the_records_says_so(found, backbone):
    own, other = found[1] | {"found_by": "pnag"}, found[1] | {"found_by": "records"}
    networks = compare.of_method([own, other], backbone, None)
    assert [each.name for each in networks] == ["pnag-5", "pnag-5 (of the records)"]
    assert networks[1].known["found_by"] == "records"


def test_a_latency_printed_for_another_device_is_left_out(backbone, device):
    (known,) = compare.of_zoo(["fbnet-c"], "gpu", published.ARCHITECTURES["pnag-cpu-30"].backbone(64))
    printed = published.rows_of("fbnet-c")
    assert "gpu" not in {row.device for row in printed}
    assert known.known["published_latency_ms"] == "" and known.known["published_top1"] == printed[0].top1


def test_networks_that_cannot_be_built_have_published_numbers_alone():
    rows = compare.numbers_only("cpu")
    names = {row["network"] for row in rows}
    assert {"PONAS-C", "SGNAS-B", "EVO-30"} <= names and not names & set(zoo.names())
    assert all(row["published_source"] and row["latency_ms"] == "" for row in rows)


def test_files_hold_every_row_and_name_device_and_sources(rows, tmp_path):
    rows = rows + compare.numbers_only("gpu")
    shown = compare.write(tmp_path, "gpu", "a GPU, batch 64", rows)
    assert tuple(shown[0]) == compare.PRINTED and len(shown) == len(rows)
    assert files.read_csv(tmp_path / "gpu.csv", compare.COLUMNS) == [
        {k: str(v) for k, v in row.items()} for row in rows
    ]
    markdown, tex = ((tmp_path / f"gpu.{suffix}").read_text() for suffix in ("md", "tex"))
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(rows) and {line.count("|") for line in lines} == {17}
    assert "a GPU, batch 64" in markdown and published.DEVICES["gpu"] in markdown and "91.1" in markdown
    assert "pnag-gpu-90: Prints 5.7M parameters" in markdown
    body = re.search(r"\\midrule\n(.*)\\bottomrule", tex, re.DOTALL)[1].splitlines()
    assert len(body) == len(rows) and {line.count("&") for line in body} == {12}
    assert all(line.endswith(r" \\") for line in body)


def test_architectures_of_the_space_are_built_as_they_are_named(found, backbone):
    (network,) = compare.of_method(found[1:], backbone, None)
    assert network.build().count_params() >= network.params
    assert space_lib.Architecture.parse(found[1]["arch"])
