"""The pictures of a run, from its files."""

import pytest

from pnag_tf.run import layout, pictures
from pnag_tf.util import errors, files

ARCH = "2,3:3,5,0,7,3,5:6,3,0,4,4,6"  # two units, three slots each
HISTORY = [{"epoch": n, "loss": 1 / n, "tau": 0.1 * n} for n in range(1, 6)]


def row(method, budget_ms, predicted_top1, predicted_latency_ms, **measured):
    predicted = {"predicted_top1": predicted_top1, "predicted_latency_ms": predicted_latency_ms}
    return {"method": method, "budget_ms": budget_ms, "arch": ARCH, **predicted, **measured}


def write(path, rows):
    files.write_csv(path, rows, rows[0])


def test_a_run_is_drawn_from_its_files(tmp_path):
    write(tmp_path / "evaluator/history.csv", HISTORY)
    samples = [{"method": "pnag", "budget_ms": 25, "latency_ms": ms, "top1": 0.5} for ms in (24.0, 26.0)]
    write(tmp_path / "eval/samples.csv", samples)
    write(tmp_path / "eval/pnag.csv", [row("pnag", 25, 0.8, 24, validation_top1=0.7, test_top1=0.7, latency_ms=24.5)])
    write(tmp_path / "eval/evo.csv", [row("evo", 25, 0.8, 24)])
    write(tmp_path / "eval/notes.csv", [{"what": "of no method"}])
    write(tmp_path / "records.csv", [{"arch": ARCH, "top1": top1, "latency_ms": 22} for top1 in (0.6, 0.7)])
    files.write_json(tmp_path / "rounds.json", {"records": 1, "budgets": [25.0]})
    networks = [{"arch": ARCH, "predicted_ms": 20.0, "measured_ms": 21.0}]
    files.write_json(tmp_path / "latency_table.json", {"device": "a phone", "calibration": networks, "check": networks})
    names = [
        "convergence",
        "latency_histograms",
        "rounds",
        "frontier",
        "architectures_pnag",
        "architectures_evo",
        "latency_agreement",
    ]
    written = pictures.draw(layout.Layout(tmp_path))
    assert [path.name for path in written] == [name + suffix for name in names for suffix in (".png", ".svg")]
    assert sorted(written) == sorted((tmp_path / "figures").iterdir())


def test_a_run_without_anything_names_what_is_missing(tmp_path):
    write(tmp_path / "generator/history.csv", [{"iteration": 1, "reward": "nan", "entropy": ""}])
    with pytest.raises(errors.UserError, match=r"evaluator/history.csv.*eval/samples.csv.*latency_table.json"):
        pictures.draw(layout.Layout(tmp_path))
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("evaluator/history.csv", "epoch\n1\n", "column loss, found epoch"),
        (
            "generator/history.csv",
            "iteration,reward,entropy\n1,high,2\n",
            "row 1: expected a number in reward, found 'high'",
        ),
        ("eval/samples.csv", "", "column method, found nothing"),
        ("eval/pnag.csv", "method,budget_ms,arch,predicted_top1,predicted_latency_ms\npnag,25,1:3,0.5,24\n", "2 parts"),
        ("eval/pnag.csv", "method,budget_ms,arch,predicted_top1,predicted_latency_ms\npnag,25,2:3:6,0.5,24\n", "slots"),
        ("latency_table.json", '{"device": "a phone"}', "expected a latency table"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, text, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.UserError, match=message) as error:
        pictures.draw(layout.Layout(tmp_path))
    assert str(tmp_path / name) in str(error.value)


def test_methods_of_different_spaces_are_told(tmp_path):
    write(tmp_path / "eval/evo.csv", [row("evo", 25, 0.8, 24)])
    write(tmp_path / "eval/pnag.csv", [row("pnag", 25, 0.8, 24) | {"arch": "1:3:6"}])
    with pytest.raises(errors.UserError, match="one space"):
        pictures.draw(layout.Layout(tmp_path))
