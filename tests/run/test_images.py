"""The stage `data`: its page, its table, and that the images of a run are remembered."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pnag_tf import config as config_lib
from pnag_tf import presets
from pnag_tf.run import context, folder, images, provenance, stages
from pnag_tf.util import files


def make(root, photos, **changes):
    tiny = presets.preset("tiny")
    settings = dataclasses.replace(
        tiny,
        data=config_lib.Data("folder", str(photos), augmentation="flip", batch_size=16, **changes),
        backbone=dataclasses.replace(tiny.backbone, classes=2),
    )
    run = context.make(settings, root)
    stages.enter(run)
    return run


@pytest.fixture
def photos(tmp_path):
    """120 bright images, 10 dark ones, a text, and one image twice."""
    rng = np.random.default_rng(0)
    for name, count, level in (("bright", 120, 200), ("dark", 10, 50)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(rng.normal(level, 20, (16 + number, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos/dark/list.txt").write_text("mine")
    Image.fromarray(pixels).save(tmp_path / "photos/dark/again.png")
    return tmp_path / "photos"


def test_the_page_tells_what_the_images_are(photos, tmp_path, capsys):
    run = make(tmp_path / "run", photos)
    ((title, rows),) = stages.make(run, "data")
    assert [row["class"] for row in rows] == ["bright", "dark"]
    assert sum(sum(int(row[part]) for part in ("train", "validation", "test")) for row in rows) == 130
    page = (tmp_path / "run/report/data.html").read_text()
    assert "16 to 135 px, median" in page and "<dd>20 px</dd>" in page
    assert "&#39;bright&#39; has" in page and "data.class_weights" in page
    assert "Fewer than 20 training images: dark" in page
    assert page.count('src="data:image/png') == images.SAMPLES
    assert "no image" in page and "the same as another file" in page
    assert "note: 2 files are left out" in capsys.readouterr().out
    assert len(files.read_csv(tmp_path / "run/skipped.csv", ("path", "why"))) == 2


def test_the_page_comes_before_the_training_and_is_not_made_again(photos, tmp_path, monkeypatch):
    run = make(tmp_path / "run", photos)
    assert stages.STAGES["supernet"].needs == ("data",)
    stages.make(run, "data")
    monkeypatch.setattr(images, "page", None)
    assert stages._met(run, {}, stages.STAGES["supernet"], "data")


def test_a_run_keeps_its_images(photos, tmp_path):
    """Until something is made of them they may change; the names of files and folders may at any time."""
    digest = make(tmp_path / "run", photos).resources.splits.info.digest
    origin = files.read_json(tmp_path / "run/config.json")[folder.PROVENANCE]
    assert origin[folder.IMAGES] == digest and origin["versions"]["keras"] and origin["command"]
    (photos / "dark/0.png").unlink()
    other = make(tmp_path / "run", photos).resources.splits.info.digest
    assert other != digest
    (tmp_path / "run/records.csv").write_text("made")
    photos.rename(tmp_path / "moved")
    run = make(tmp_path / "other", tmp_path / "moved")
    assert run.resources.splits.info.digest == other
    (tmp_path / "moved/dark/1.png").unlink()
    settings = files.read_json(tmp_path / "run/config.json")
    settings["data"]["data_dir"] = str(tmp_path / "moved")
    files.write_json(tmp_path / "run/config.json", settings)
    with pytest.raises(folder.OtherSettings, match=f"was made of other images: expected SHA-256 {other}"):
        make(tmp_path / "run", tmp_path / "moved").resources.splits  # noqa: B018


def test_where_a_call_comes_from(monkeypatch):
    monkeypatch.setattr(provenance.sys, "argv", [provenance.pnag_tf.__file__.replace("__init__", "main"), "--a=b c"])
    found = provenance.of_call()
    assert found["command"] == "python -m pnag_tf.main '--a=b c'"
    assert found["versions"]["python"].count(".") == 2 and "unknown" not in found["versions"].values()
    monkeypatch.setattr(provenance.sys, "argv", ["/usr/bin/pnag", "--stage=eval"])
    assert provenance.of_call()["command"] == "pnag --stage=eval"
