"""The command line of tools/convert.py."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert

TOOL = pathlib.Path(__file__).parents[2] / "tools/convert.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model and images of two classes."""
    folder = tmp_path_factory.mktemp("convert")
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(32, 3)(inputs)))
    keras.Model(inputs, outputs).save(folder / "net.keras")
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
            tf.io.write_file(str(folder / "images" / name / f"{number}.png"), tf.io.encode_png(pixels))
    return folder


def _convert(folder, *flags):
    command = [sys.executable, TOOL, f"--model={folder}/net.keras", f"--out={folder}/net.tflite", *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_int8_takes_its_ranges_from_a_folder_of_images(folder):
    done = _convert(folder, "--quantize=int8", f"--images={folder}/images")
    assert done.returncode == 0, done.stderr
    assert "input [1, 16, 16, 3]" in done.stdout and "1 QUANTIZE" in done.stdout
    content = (folder / "net.tflite").read_bytes()
    inputs = litert.Interpreter(model_content=content).get_input_details()
    assert content[4:8] == b"TFL3" and inputs[0]["dtype"] == np.float32


def test_int8_without_images_is_one_line_and_writes_nothing(folder):
    (folder / "net.tflite").unlink(missing_ok=True)
    done = _convert(folder, "--quantize=int8")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "expected --images with int8" in done.stderr
    assert not (folder / "net.tflite").exists()


def test_a_published_architecture_has_its_own_width(folder):
    flags = ["--arch=pnag-gpu-90", "--resolution=32", f"--out={folder}/net.tflite"]
    done = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    megabytes = float(done.stdout.split(": ")[1].split()[0])
    assert 30 < megabytes < 32  # 7.7M parameters of four bytes
    done = subprocess.run([sys.executable, TOOL, "--arch=pnag-gpu-91", "--out=x"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown architecture 'pnag-gpu-91'" in done.stderr
