"""The user's own images: one folder a class, JPEG or PNG of any size and mode."""

from __future__ import annotations

import concurrent.futures
import pathlib

import numpy as np
import tensorflow as tf

from pnag_tf.data import augment, examples
from pnag_tf.util import errors

SUFFIXES = (".jpg", ".jpeg", ".png")
TEST_FOLDERS = ("test", "val", "validation")
TEST_FRACTION = 0.2  # set aside where the folder names no test images
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
LAYOUT = "one folder a class with JPEG or PNG images, or train/ and test/ (or val/) with such folders in each"


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def is_whole(path: pathlib.Path) -> bool:
    """Whether a file is a JPEG or PNG with head and tail; one without the usual tail is decoded to find out.

    Damage in the middle does not show here.
    """
    with open(path, "rb") as stream:
        head = stream.read(8)
        if not head.startswith((JPEG, PNG)):
            return False
        stream.seek(-min(12, stream.seek(0, 2)), 2)
        tail = stream.read()
    if head.startswith(JPEG) and tail.endswith(b"\xff\xd9") or tail[4:8] == b"IEND":
        return True
    return decodes(path)


def decodes(path: pathlib.Path | str) -> bool:
    """Whether the whole image can be read."""
    try:
        tf.io.decode_image(tf.io.read_file(str(path)), channels=3, expand_animations=False)
    except tf.errors.OpError:
        return False
    return True


def read_part(folder: pathlib.Path, class_names: tuple[str, ...]) -> examples.Examples:
    """The images below folder/<class>, sorted by class and path, so that the file system's order does not matter.

    Raises:
      UserError: a class has no image, or a file is no whole JPEG or PNG.
    """
    paths, labels = [], []
    for label, name in enumerate(class_names):
        found = sorted(
            path
            for path in (folder / name).rglob("[!.]*")  # macOS leaves ._name beside images
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not found:
            raise errors.UserError(f"{folder / name} has no JPEG or PNG images; expected {LAYOUT}")
        paths += found
        labels += [label] * len(found)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for path, whole in zip(paths, pool.map(is_whole, paths), strict=True):
            if not whole:
                raise errors.UserError(f"{path} is broken: expected a whole JPEG or PNG image; repair or remove it")
    return examples.Examples(np.array([str(path) for path in paths]), np.array(labels, np.int32))


def class_folders(folder: pathlib.Path) -> tuple[str, ...]:
    names = tuple(entry.name for entry in subfolders(folder))
    if len(names) < 2:
        found = f"one, '{names[0]}'" if names else "none"
        raise errors.UserError(f"{folder}: expected at least two class folders, found {found}; expected {LAYOUT}")
    return names


def load(folder: pathlib.Path, class_subset: int, seed: int) -> examples.Source:
    """The images below `folder`; without test images of its own, a seeded 20 % of each class is set aside as test.

    Raises:
      UserError: no such folder, fewer than two classes, a class without images, a broken image, or classes that
        differ between the training and the test folder.
    """
    if not folder.is_dir():
        raise errors.SettingError("data.data_dir", f"{folder} is not a folder; expected {LAYOUT}")
    tests = [folder / name for name in TEST_FOLDERS if (folder / name).is_dir()]
    parted = (folder / "train").is_dir() and bool(tests)
    every = class_folders(folder / "train" if parted else folder)
    if parted and (other := class_folders(tests[0])) != every:
        odd = ", ".join(sorted(set(every) ^ set(other))[:5])
        raise errors.UserError(f"{folder / 'train'} and {tests[0]} have different classes: {odd} only in one of them")
    names = tuple(every[index] for index in examples.choose_classes(len(every), class_subset, seed))
    if parted:
        return examples.Source(names, read_part(folder / "train", names), read_part(tests[0], names))
    whole = read_part(folder, names)
    train, test = examples.stratified(whole.labels, TEST_FRACTION, examples.generator(seed, "test"))
    return examples.Source(names, whole.take(train), whole.take(test))


def decoded(part: examples.Examples, resolution: int) -> examples.Examples:
    """The same images as pixels, uint8 [n, r, r, 3]: the central square of each."""
    paths = tf.data.Dataset.from_tensor_slices(part.images)
    pixels = paths.map(lambda path: augment.whole(augment.decode(path, resolution)), tf.data.AUTOTUNE).batch(1000)
    return examples.Examples(np.concatenate(list(pixels.as_numpy_iterator())), part.labels)
