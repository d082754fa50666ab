"""`pnag classify` and `pnag.Classifier`: photos to names, and what cannot be read in one line."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import pnag_tf as pnag
from pnag_tf import classify
from pnag_tf import config as config_lib
from pnag_tf import data as data_lib
from pnag_tf.latency import export, metadata
from pnag_tf.space import network

NAMES = ["dark", "light", *"cdefghij"]


@pytest.fixture(scope="module")
def path(space, backbone, tmp_path_factory):
    """A deployed network of ten classes for 16 pixels."""
    model = network.randomise(network.build(backbone, space.decode(space.smallest())[0]))
    tflite = export.convert(network.classifier(model, (0.5,), (0.3,)))
    path = tmp_path_factory.mktemp("net") / "net.tflite"
    path.write_bytes(metadata.with_metadata(tflite, NAMES, "for a test"))
    return path


@pytest.fixture(scope="module")
def net(path):
    return pnag.Classifier(path)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def _run(*given):
    return classify.main([*map(str, given)])


def test_a_photo_is_named_as_its_pixels_are(net, photo):
    (pixels,), (why,) = net.read([photo])
    assert (net.resolution, net.class_names, pixels.shape, why) == (16, NAMES, (16, 16, 3), "")
    probabilities = net.probabilities(pixels[None])[0]
    named = net.predict(photo, top=3)
    assert [name for name, _ in named] == [NAMES[place] for place in np.argsort(-probabilities)[:3]]
    assert named == net.predict(pixels, top=3) and len(net.predict(photo)) == 1


def test_photos_are_read_as_the_test_images_of_a_folder(image_folder, net):
    splits = data_lib.load(config_lib.Data("folder", str(image_folder)), 16, 0)
    images, labels = next(iter(splits.test(250)))
    expected = data_lib.pixels(images.numpy(), splits.info.mean, splits.info.std)
    found, _ = net.read(sorted(image_folder.glob("*/*.png")))
    found = {pixels.tobytes() for pixels in found}
    assert len(labels) == len(expected) and all(pixels.tobytes() in found for pixels in expected)


def test_an_upright_photo_and_the_same_one_turned_get_the_same_answer(net, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(photo)
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    (turned,), (upright,) = net.predict(tmp_path / "turned.png"), net.predict(photo)
    assert turned[0] == upright[0] and turned[1] == pytest.approx(upright[1], abs=1e-4)


def test_the_command_prints_a_row_a_photo_and_names_what_is_none(path, photo, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no photo")
    assert _run(path, photo, photo, "--top=2") == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["photo", "class_1", "probability_1", "class_2", "probability_2"]
    assert first == second and str(photo) in first
    assert _run(path, tmp_path / "notes.txt", photo) == 2
    said = capsys.readouterr()
    assert said.err == f"error: {tmp_path}/notes.txt: no image\n" and str(photo) in said.out
    assert _run(path, tmp_path / "notes.txt") == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda tflite: b"no network", "names no classes: expected a .tflite that a run has deployed"),
        (lambda tflite: tflite, "names no classes"),  # without metadata
        (lambda tflite: metadata.with_metadata(tflite, NAMES, "")[:-40], "names no classes"),
    ],
)
def test_a_file_that_is_no_classifier(made, message, path, photo, tmp_path, capsys):
    broken = tmp_path / "broken.tflite"
    whole = path.read_bytes()
    broken.write_bytes(made(whole[: whole.rindex(b"PK\x03\x04")]))
    assert _run(broken, photo) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "the following arguments are required: network, photos"),
        (("nowhere.tflite", "a.jpg"), "cannot read nowhere.tflite: No such file"),
        (("nowhere.tflite", "a.jpg", "--top=0"), "--top: expected 1 or more, found 0"),
        (("nowhere.tflite", "a.jpg", "--to=many"), "argument --top: invalid int value: 'many'"),
    ],
)
def test_what_cannot_be_done(given, message, capsys):
    try:
        code = _run(*given)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2 and message in capsys.readouterr().err


def test_pixels_of_another_shape(net):
    with pytest.raises(pnag.errors.UserError, match=r"expected pixels of shape \(16, 16, 3\), found \(8, 8, 3\)"):
        net.predict(np.zeros((8, 8, 3)))


def test_a_photo_that_is_not_there(path, tmp_path, capsys):
    assert _run(path, tmp_path / "none.jpg") == 2
    assert capsys.readouterr().err == f"error: cannot read {tmp_path}/none.jpg: No such file or directory\n"


def test_the_console_script(path, photo):
    code = "import sys; from pnag_tf import cli; sys.argv[0] = 'pnag'; sys.exit(cli.run())"
    command = [sys.executable, "-c", code, "classify", str(path), str(photo), "--top=1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "class_1" in done.stdout
