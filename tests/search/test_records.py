"""The records file: both formats, and what is wrong with a bad one."""

import json

import numpy as np
import pytest

from pnag_tf.search import records
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

ARCH = "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0"


def test_csv_round_trip(tmp_path, space):
    rng = np.random.default_rng(0)
    table = records.Records(space, space.sample(rng, 20), rng.random(20), 1 + rng.random(20))
    records.write(tmp_path / "records.csv", table)
    again = records.read(tmp_path / "records.csv", space)
    assert (again.choices == table.choices).all()
    np.testing.assert_allclose(again.top1, table.top1, atol=1e-6)
    np.testing.assert_allclose(again.latency_ms, table.latency_ms, rtol=1e-5)


def test_standard_errors_come_back_where_they_are_known(tmp_path, space):
    choices, path = np.unique(space.sample(np.random.default_rng(0), 5), axis=0)[:4], tmp_path / "records.csv"
    plain = records.Records(space, choices[:2], np.full(2, 0.5), np.ones(2))
    records.write(path, plain)
    assert path.read_text().startswith("arch,top1,latency_ms\n")
    assert np.isnan(records.read(path, space).top1_se).all()
    grown = plain.append(records.Records(space, choices[2:], np.full(2, 0.5), np.ones(2), np.array([0.01, 0.0])))
    records.write(path, grown)
    np.testing.assert_array_equal(records.read(path, space).top1_se, [np.nan, np.nan, 0.01, 0.0])
    np.testing.assert_array_equal(grown[[2, 0]].top1_se, [0.01, np.nan])


def test_authors_json_takes_the_devices_latency_in_ms(tmp_path):
    entry = {"arch": ARCH, "w1.2": {"top1_acc": 0.8, "mobile_latency": 0.08, "cpu_latency": 0.03}}
    (tmp_path / "r.json").write_text(json.dumps([entry]))
    assert records.read(tmp_path / "r.json", space_lib.SearchSpace(), "mobile").latency_ms.tolist() == [80.0]
    assert records.read(tmp_path / "r.json", space_lib.SearchSpace(), "cpu").latency_ms.tolist() == [30.0]
    with pytest.raises(errors.UserError, match="record 1: expected arch, top1_acc and gpu_latency"):
        records.read(tmp_path / "r.json", space_lib.SearchSpace(), "gpu")


def test_append_skips_architectures_already_there(space):
    choices = space.sample(np.random.default_rng(0), 10)
    table = records.Records(space, choices, np.full(10, 0.5), np.ones(10))
    assert len(table[:6].append(table[4:])) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a CSV with columns arch,top1,latency_ms"),
        ("arch,top1,latency_ms\n", "expected records, found none"),
        (f'arch,top1,latency_ms\n"{ARCH}",80,30\n', "expected top1 as a fraction"),
        (f'arch,top1,latency_ms\n"{ARCH}",x,30\n', "record 1"),
        (f'arch,top1,latency_ms,top1_se\n"{ARCH}",.8,30,-1\n', "expected top1_se as a fraction, found -1"),
        ('arch,top1,latency_ms\n"2,2:3,3,0,3,3,0:3,3,0,3,3,0",.8,30\n', "has 2 units; this space has 5"),
    ],
)
def test_bad_files_are_one_line_errors(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(errors.UserError, match=message) as error:
        records.read(tmp_path / "bad.csv", space_lib.SearchSpace())
    assert "\n" not in str(error.value)
