"""Photos as people have them, each kind in a file that the test makes."""

import io
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from pnag_tf import config, data
from pnag_tf.data import augment, photos
from pnag_tf.util import errors, files


def picture(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """Smooth, so that no way of storing or scaling it changes it much; dark on its left, and red at its top."""
    rng = np.random.default_rng(seed)
    across, down = np.linspace(0, 160, width), np.linspace(120, 0, height)
    pixels = np.stack(np.broadcast_arrays(across + down[:, None] / 2, across, across), axis=-1) + rng.uniform(0, 35, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def saved(path: pathlib.Path, image: Image.Image, **how) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return str(path)


def look(folder: pathlib.Path, *paths: str, resolution: int = 64) -> list[photos.Photo]:
    return photos.look(paths, folder / "copies", resolution)


def shown(folder: pathlib.Path, photo: photos.Photo) -> np.ndarray:
    """The pixels that are read, as TensorFlow reads them."""
    path = folder / "copies" / photo.copy if photo.copy else photo.path
    with Image.open(path) as image:
        assert image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L")
        return np.asarray(image.convert("RGB"), int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_photos_are_turned_as_exif_says(tmp_path, orientation, suffix):
    stored = picture()
    exif = Image.Exif()
    exif[photos.ORIENTATION] = orientation
    path = saved(tmp_path / f"a{suffix}", stored, exif=exif)
    (photo,) = look(tmp_path, path)
    pixels = np.asarray(stored, int)
    upright = {  # EXIF 2.32, tag 274: what lies in row 0 and column 0 of the stored pixels
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert (photo.height, photo.width) == upright.shape[:2] and bool(photo.copy) == (orientation > 1)
    np.testing.assert_allclose(shown(tmp_path, photo), upright, atol=6)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_other_formats_are_copied(tmp_path, kind):
    stored = picture()
    (photo,) = look(tmp_path, saved(tmp_path / "a", stored, format=kind))
    assert photo.copy and not photo.why
    np.testing.assert_allclose(shown(tmp_path, photo), np.asarray(stored, int), atol=12)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("CMYK", ".jpg"), ("I;16", ".png"), ("I;16", ".tif"), ("LA", ".png"), ("P", ".png"), ("1", ".png")],
)
def test_every_mode_becomes_eight_bits_of_rgb(tmp_path, mode, suffix):
    stored = picture()
    if mode == "I;16":
        stored = Image.fromarray(np.asarray(stored.convert("L")).astype(np.uint16) * 257)
        expected = np.asarray(stored) // 257
    else:
        stored = stored.convert("L").convert(mode) if mode in ("LA", "1") else stored.convert(mode)
        expected = np.asarray(stored.convert("RGB"))
    (photo,) = look(tmp_path, saved(tmp_path / f"a{suffix}", stored))
    assert not photo.why
    path = tmp_path / "copies" / photo.copy if photo.copy else photo.path
    read = augment._decode_window(path_bytes(path), 40, lambda shape: (0, 0, 40, 40)).numpy()
    expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
    np.testing.assert_allclose(read, expected[:40, :40], atol=12)


def path_bytes(path) -> bytes:
    return pathlib.Path(path).read_bytes()


def test_sixteen_bits_of_three_channels(tmp_path):
    """Pillow cannot write such a PNG: it is written by hand here."""
    import struct
    import zlib

    pixels = np.asarray(picture(), np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    (photo,) = look(tmp_path, str(path))
    np.testing.assert_allclose(shown(tmp_path, photo), np.asarray(picture(), int), atol=1)


def test_what_is_transparent_is_white(tmp_path):
    stored = picture().convert("RGBA")
    stored.putalpha(0)
    (photo,) = look(tmp_path, saved(tmp_path / "a.webp", stored))
    assert (shown(tmp_path, photo) == 255).all()


def test_the_first_picture_of_an_animation(tmp_path):
    first, second = picture(), Image.new("RGB", (60, 40), "white")
    (photo,) = look(tmp_path, saved(tmp_path / "a.gif", first, save_all=True, append_images=[second]))
    np.testing.assert_allclose(shown(tmp_path, photo), np.asarray(first, int), atol=12)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (900, 600)])
def test_large_photos_are_copied_small_once(tmp_path, size, monkeypatch):
    path = saved(tmp_path / "a.jpg", picture(*size))
    (photo,) = look(tmp_path, path, resolution=112)
    assert (photo.width, photo.height) == size and photo.copy.endswith(".jpg")
    pixels = shown(tmp_path, photo)
    assert min(pixels.shape[:2]) == 128
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(size[0] / size[1], abs=0.02)
    np.testing.assert_allclose(pixels, np.asarray(picture(*pixels.shape[1::-1]), int), atol=6)

    monkeypatch.setattr(photos, "_opened", None)  # nothing is opened again
    assert look(tmp_path, path, resolution=112) == [photo]


def test_a_little_larger_is_no_reason_for_a_copy(tmp_path):
    (photo,) = look(tmp_path, saved(tmp_path / "a.jpg", picture(140, 140)))
    assert not photo.copy
    assert photos.look([photo.path], None, 64) == [photo]
    with pytest.raises(ValueError, match="expected a folder for copies"):
        photos.look([saved(tmp_path / "b.bmp", picture())], None, 64)


def test_a_changed_file_and_a_lost_copy_are_looked_at_again(tmp_path):
    path = saved(tmp_path / "a.bmp", picture())
    (photo,) = look(tmp_path, path)
    (tmp_path / "copies" / photo.copy).unlink()
    assert look(tmp_path, path) == [photo] and (tmp_path / "copies" / photo.copy).exists()
    saved(tmp_path / "a.bmp", picture(80, 50))
    (changed,) = look(tmp_path, path)
    assert (changed.width, changed.height) == (80, 50) and changed.copy != photo.copy


def jpeg() -> bytes:
    stream = io.BytesIO()
    picture().save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"hello", "no image"),
        (jpeg()[:200], "broken"),
        (jpeg()[:-200], "broken"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 99, "no image"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "HEIC: `pip install pillow-heif`"),
    ],
    ids=["empty", "text", "head", "cut", "video", "heic"],
)
def test_what_cannot_be_used_says_why(tmp_path, content, why):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    (photo,) = look(tmp_path, str(path))
    assert photo.why.startswith(why) and not photo.copy


def test_tiny_pictures_and_floating_points(tmp_path):
    floats = Image.fromarray(np.zeros((20, 20), np.float32))
    tiny, odd = look(tmp_path, saved(tmp_path / "a.png", picture(7, 90)), saved(tmp_path / "b.tif", floats))
    assert tiny.why == "tiny: 7 x 90 pixels, expected 8 or more a side" and odd.why.startswith("floating-point")


def test_bytes_behind_the_end_and_torn_exif_do_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg() + b"SEFT maker's notes")
    torn = tmp_path / "b.jpg"
    torn.write_bytes(jpeg()[:2] + b"\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff\xff\xff" + jpeg()[2:])
    assert not any(photo.why or photo.copy for photo in look(tmp_path, str(path), str(torn)))


def settings(folder, **changes) -> config.Data:
    return config.Data(dataset="folder", data_dir=str(folder), augmentation="none", **changes)


def test_duplicates_are_left_out_of_a_folder(tmp_path):
    """One of each stays in its class; what is in two classes stays in neither."""
    for place, label in enumerate("ab"):
        for number in range(5):
            saved(tmp_path / "photos" / label / f"{number}.png", picture(seed=10 * place + number))
    for number, name in enumerate(("a/copy.png", "a/again.png", "b/both.png")):
        saved(tmp_path / "photos" / name, picture(seed=(0, 0, 1)[number]))
    splits = data.load(settings(tmp_path / "photos"), 32, 0, tmp_path / "copies")
    skipped = {pathlib.Path(path).relative_to(tmp_path / "photos").as_posix(): why for path, why in splits.info.skipped}
    assert set(skipped) == {"a/again.png", "a/copy.png", "a/1.png", "b/both.png"}
    assert "of another class" in skipped["a/1.png"] and skipped["a/copy.png"].endswith("a/0.png")
    assert splits.info.train_images + splits.info.validation_images + splits.info.test_images == 9
    with pytest.raises(errors.UserError, match="4 of 13 files cannot be used, the first is"):
        data.load(settings(tmp_path / "photos", strict=True), 32, 0, tmp_path / "copies")


def test_parts_are_respected_and_what_is_in_two_stays_in_the_test(tmp_path):
    for part, count in (("train", 4), ("validation", 3), ("test", 2)):
        for label in "ab":
            for number in range(count):
                seed = 100 * len(part) + 10 * ord(label) + number
                saved(tmp_path / part / label / f"{number}.png", picture(seed=seed))
    saved(tmp_path / "train" / "a" / "leak.png", picture(seed=400 + 970))
    splits = data.load(settings(tmp_path), 32, 0)
    assert [len(part) for part in splits._given.values()] == [8, 6, 4]
    for part, held in splits._given.items():
        assert all(f"/{part}/" in path for path in held.images)
    ((path, why),) = splits.info.skipped
    assert path.endswith("train/a/leak.png") and "test/a/0.png" in why


def test_a_class_of_three_images_is_in_every_part(tmp_path):
    for label, count in (("common", 20), ("rare", 3)):
        for number in range(count):
            saved(tmp_path / label / f"{number}.png", picture(seed=100 * len(label) + number))
    splits = data.load(settings(tmp_path), 32, 0)
    assert all((part.labels == 1).sum() == 1 for part in splits._given.values())


def test_rubbish_beside_the_images(tmp_path):
    for label in "ab":
        for number in range(4):
            saved(tmp_path / label / "deeper" / f"{number}.jpg", picture(seed=10 * ord(label) + number))
        (tmp_path / label / "._0.jpg").write_bytes(b"macOS")
        (tmp_path / label / "Thumbs.db").write_bytes(b"Windows")
    splits = data.load(settings(tmp_path), 32, 0)
    assert [why for _, why in splits.info.skipped] == ["no image", "no image"]
    assert not any(os.path.basename(path).startswith(".") for path, _ in splits.info.skipped)


def test_a_class_without_images_is_named(tmp_path):
    saved(tmp_path / "a" / "1.jpg", picture())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("none yet")
    with pytest.raises(errors.UserError, match="b has no images that can be used"):
        data.load(settings(tmp_path), 32, 0)


def test_training_on_copies(tmp_path):
    """A folder of large and rotated photos gives the batches of the same photos made small and upright by hand."""
    for label in range(2):
        for number in range(6):
            image = picture(900, 600, seed=10 * label + number)
            exif = Image.Exif()
            exif[photos.ORIENTATION] = 6
            saved(tmp_path / "phone" / str(label) / f"{number}.jpg", image, exif=exif, quality=95)
            upright = image.transpose(Image.Transpose.ROTATE_270).resize((73, 110), Image.Resampling.BICUBIC)
            saved(tmp_path / "byhand" / str(label) / f"{number}.png", upright)
    phone, by_hand = (data.load(settings(tmp_path / name), 64, 0, tmp_path / "copies") for name in ("phone", "byhand"))
    for (images, labels), (expected, same) in zip(phone.train(4, steps=2), by_hand.train(4, steps=2), strict=True):
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_allclose(images, expected, atol=0.1)
    assert files.rows_left(tmp_path / "copies" / photos.JOURNAL)
