"""The folder of a run: whose it is, who writes its settings, and what `--force` may remove."""

import dataclasses
import json
import threading

import pytest

from pnag_tf import presets
from pnag_tf.run import context, stages, status
from pnag_tf.supernet import distribution
from pnag_tf.util import errors, files

CONFIG = presets.preset("tiny")
FOREIGN = ("[1]", "3", "null", "{broken", "{}", '{"preset": "tiny", "space": 3}', '{"made_by": "x 1"}')


def _open(folder, force=False, spread=None):
    stages.enter(context.make(CONFIG, folder, distribution=spread), force)


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize("force", [False, True])
def test_a_foreign_folder_is_refused_and_nothing_in_it_is_touched(text, force, tmp_path):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "letter.txt").write_text("keep")
    for call in (lambda: _open(tmp_path, force), lambda: status.look(tmp_path)):
        with pytest.raises(errors.UserError, match="config.json: expected"):
            call()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"config.json": text, "letter.txt": "keep"}


@pytest.mark.parametrize("marked", [True, False])
def test_a_run_is_started_anew_by_force_also_where_an_earlier_version_left_no_mark(marked, tmp_path):
    _open(tmp_path)
    settings = files.read_json(tmp_path / "config.json")
    assert settings["made_by"].startswith("pnag_tf ")
    if not marked:
        del settings["made_by"]
        files.write_json(tmp_path / "config.json", settings)
    (tmp_path / "records.csv").touch()
    _open(tmp_path)
    assert (tmp_path / "records.csv").exists()
    _open(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_first_worker_writes_and_the_others_wait_and_check(tmp_path):
    alone = distribution.make()
    other, folder = dataclasses.replace(alone, first=False), tmp_path / "run"
    folder.mkdir()
    (folder / f".{'0' * 32}.config.json").touch()  # the first worker is just writing
    waiting = threading.Thread(target=_open, args=(folder, False, other), daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive() and not (folder / "config.json").exists()
    _open(folder, spread=alone)
    waiting.join(30)
    assert not waiting.is_alive()
    written = (folder / "config.json").stat().st_mtime_ns
    _open(folder, spread=other)
    assert (folder / "config.json").stat().st_mtime_ns == written
    settings = json.loads((folder / "config.json").read_text()) | {"seed": 5}
    files.write_json(folder / "config.json", settings)
    (folder / "records.csv").touch()
    with pytest.raises(errors.UserError, match="seed is 5 there and 0 here"):
        _open(folder, spread=other)


def test_temporary_names_differ_within_one_process(tmp_path):
    with files.replacing(tmp_path / "a.json") as one, files.replacing(tmp_path / "a.json") as two:
        one.touch()
        two.touch()
        assert one != two and files.is_temporary(one) and not files.is_temporary(tmp_path / "a.json")


@pytest.mark.parametrize(("epochs", "refused"), [(0.0, False), (2.0, True)])
def test_the_rate_of_adapting_is_no_matter_where_nothing_is_adapted(epochs, refused, tmp_path):
    def asked(rate):
        settings = dataclasses.replace(CONFIG.supernet, adapt_epochs=epochs, adapt_learning_rate=rate)
        return context.make(dataclasses.replace(CONFIG, supernet=settings), tmp_path / "run")

    stages.enter(asked(0.02))
    (tmp_path / "run/supernet").mkdir()
    if refused:
        with pytest.raises(errors.UserError, match="adapt_learning_rate is 0.02 there and 0.05 here"):
            stages.enter(asked(0.05))
    else:
        stages.enter(asked(0.05))
        assert files.read_json(tmp_path / "run/config.json")["supernet"]["adapt_learning_rate"] == 0.05
