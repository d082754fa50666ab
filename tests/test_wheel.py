"""The wheel: nothing of the package is missing in it, and it works without the sources."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools also packs what earlier builds have left in ``build/``."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "pnag_tf", folder / "sources/pnag_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, folder / "sources")
    _pip("wheel", "--no-deps", f"--wheel-dir={folder}", folder / "sources")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the package and its scripts; what it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    _pip("install", "--no-deps", f"--target={folder}", wheel)
    return folder


@pytest.fixture
def elsewhere(installed, tmp_path):
    """Runs a command in an empty folder with the installed package; returns its exit code and what it printed."""

    def run(*command):
        environment = os.environ | {"PYTHONPATH": str(installed)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        return done.returncode, done.stdout + done.stderr

    return run


def _pip(*arguments):
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = (path for path in (ROOT / "pnag_tf").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("pnag_tf/")}
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert {"pnag_tf/py.typed", "pnag_tf/latency/android/profiles.json"} <= packed


def test_the_road_from_images_to_the_report(installed, elsewhere, image_folder, tmp_path):
    code, printed = elsewhere(sys.executable, "-c", "import pnag_tf; print(pnag_tf.__file__)")
    assert (code, printed) == (0, f"{installed}/pnag_tf/__init__.py\n")
    flags = ["--preset=tiny", "--dataset=folder", f"--data_dir={image_folder}", "--workdir=run"]
    code, printed = elsewhere(installed / "bin/pnag", *flags, "--stage=eval")
    assert code == 0, printed
    assert "\neval: done, see run\n" in printed and (tmp_path / "run/eval/pnag.csv").exists()
    made = (tmp_path / "run/eval/pnag.csv").read_text()
    code, printed = elsewhere(sys.executable, "-m", "pnag_tf.main", *flags, "--stage=report")
    assert code == 0, printed
    assert "<html" in (tmp_path / "run/report/index.html").read_text()
    assert (tmp_path / "run/eval/pnag.csv").read_text() == made
    code, printed = elsewhere(installed / "bin/pnag", "--stage=status", "--workdir=run")
    assert code == 0 and re.search(r"^ *eval +done", printed, re.MULTILINE), printed


def test_the_script_has_the_flags_of_the_module(installed, elsewhere):
    shown = []
    for command in ([installed / "bin/pnag"], [sys.executable, "-m", "pnag_tf.main"]):
        _, printed = elsewhere(*command, "--help")
        assert printed.startswith("The command line: ")
        shown.append(re.findall(r"^  (--\S+):", printed, re.MULTILINE))
    assert shown[0] == shown[1] and "--preset" in shown[0]


def test_the_phones_command_line_knows_phones(installed, elsewhere):
    _, printed = elsewhere(installed / "bin/pnag-bench-android", "--help")
    assert re.search(r"--profile: .*pixel, pixel2", printed, re.DOTALL)
    code, printed = elsewhere(installed / "bin/pnag-bench-android", "net.tflite", "--profile=nokia")
    assert code == 2 and printed.startswith("error: --profile=nokia; choose from pixel, pixel2")
