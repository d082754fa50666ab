"""The user's own images: one folder a class, photos of any size and kind."""

from __future__ import annotations

import collections
import hashlib
import pathlib
from collections.abc import Container, Iterator, Sequence

import numpy as np
import tensorflow as tf

from pnag_tf.data import augment, examples, photos
from pnag_tf.util import errors

TRAIN, VALIDATION, TEST = "train", ("validation", "val"), "test"
TEST_FRACTION = 0.2  # set aside where the folder names no test images
LAYOUT = "one folder a class with images, or train/ and test/ (and validation/) with such folders in each"
Parts = dict[str, pathlib.Path]
"""'train', 'test' and 'validation' -> the folder with the class folders; 'train' alone where the images are not parted.
"""


def parts(folder: pathlib.Path) -> Parts:
    """The folders of a dataset's parts. With train/ and validation/ (or val/) alone, the latter is the test.

    Raises:
      UserError: no such folder.
    """
    if not folder.is_dir():
        raise errors.SettingError("data.data_dir", f"{folder} is not a folder; expected {LAYOUT}")
    judging = [folder / name for name in VALIDATION if (folder / name).is_dir()][:1]
    tests = [folder / TEST] if (folder / TEST).is_dir() else []
    if not (folder / TRAIN).is_dir() or not (judging or tests):
        return {"train": folder}
    found = {"train": folder / TRAIN, "test": (tests or judging)[0]}
    return found | {"validation": judging[0]} if judging and tests else found


def class_names(folder: pathlib.Path) -> tuple[str, ...]:
    """The names of the class folders, sorted; the images are not looked at.

    Raises:
      UserError: no such folder, fewer than two classes, or other classes in another part.
    """
    found = parts(folder)
    names = _subfolders(found["train"])
    if len(names) < 2:
        number = f"one, '{names[0]}'" if names else "none"
        raise errors.UserError(
            f"{found['train']}: expected at least two class folders, found {number}; expected {LAYOUT}"
        )
    for part, place in found.items():
        if part != "train" and (other := _subfolders(place)) != names:
            odd = ", ".join(sorted(set(names) ^ set(other))[:5])
            raise errors.UserError(f"{found['train']} and {place} have different classes: {odd} only in one of them")
    return names


def count(folder: pathlib.Path) -> int:
    """How many files the class folders have, images or not. Raises UserError as `class_names`."""
    names = class_names(folder)
    return sum(len(_files(place / name)) for place in parts(folder).values() for name in names)


def load(
    folder: pathlib.Path,
    class_subset: int,
    seed: int,
    resolution: int = 0,
    copies: pathlib.Path | None = None,
    strict: bool = False,
    duplicates: bool = False,
) -> examples.Source:
    """The images below `folder`; without test images of its own, a seeded 20 % of each class is set aside as test.

    Files that are no images, broken, tiny or there twice are left out. What is in two parts stays in the test, or else
    the validation images; what is in two classes stays in neither.

    Args:
      resolution: side in pixels that the images are looked at with.
      copies: where photos that need another form are copied to; see `photos.look`.
      strict: whether a file that has to be left out is an error.
      duplicates: whether files that are there twice stay, as in a published dataset.

    Raises:
      UserError: see `class_names`; a class has no images, or with `strict` a file is left out.
    """
    every, found = class_names(folder), parts(folder)
    names = tuple(every[index] for index in examples.choose_classes(len(every), class_subset, seed))
    listed = [
        (part, label, path)
        for part in ("test", "validation", "train")  # of a file that is there twice the first stays
        if part in found
        for label, name in enumerate(names)
        for path in _files(found[part] / name)
    ]
    seen = photos.look([path for _, _, path in listed], copies, resolution)
    skipped = {photo.path: photo.why for photo in seen if photo.why}
    if not duplicates:
        skipped |= dict(_duplicates(listed, seen))
    if strict and skipped:
        path, why = next(iter(skipped.items()))
        raise errors.UserError(f"{len(skipped)} of {len(listed)} files cannot be used, the first is {path}: {why}")

    def part_of(part: str) -> examples.Examples:
        left = [
            (str(copies / photo.copy) if photo.copy else photo.path, label)
            for (its_part, label, path), photo in zip(listed, seen, strict=True)
            if its_part == part and path not in skipped
        ]
        counts = collections.Counter(label for _, label in left)
        for label, name in enumerate(names):
            if not counts[label]:
                raise errors.UserError(f"{found[part] / name} has no images that can be used; expected {LAYOUT}")
        paths, labels = zip(*left, strict=True)
        return examples.Examples(np.array(paths), np.array(labels, np.int32))

    whole = part_of("train")
    known = {
        "skipped": tuple(sorted(skipped.items())),
        "digest": _digest(listed, seen, skipped),
        "sizes": np.array([(photo.width, photo.height) for photo in seen if photo.path not in skipped]),
    }
    if "test" not in found:
        train, test = examples.stratified(whole.labels, TEST_FRACTION, examples.generator(seed, "test"))
        return examples.Source(names, whole.take(train), whole.take(test), **known)
    validation = part_of("validation") if "validation" in found else None
    return examples.Source(names, whole, part_of("test"), validation=validation, **known)


def _subfolders(folder: pathlib.Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _files(folder: pathlib.Path) -> list[str]:
    """All files below a folder, sorted, so that the file system's order does not matter; hidden ones are none."""
    return sorted(str(path) for path in folder.rglob("[!.]*") if path.is_file())  # macOS leaves ._name beside images


def _digest(listed: Sequence[tuple[str, int, str]], seen: Sequence[photos.Photo], skipped: Container[str]) -> str:
    """SHA-256 of the parts, labels and keys of all files that are used: of their sizes and ends, wherever they lie."""
    used = [
        f"{part} {label} {photo.key}"
        for (part, label, path), photo in zip(listed, seen, strict=True)
        if path not in skipped
    ]
    return hashlib.sha256("\n".join(sorted(used)).encode()).hexdigest()


def _duplicates(listed: Sequence[tuple[str, int, str]], seen: Sequence[photos.Photo]) -> Iterator[tuple[str, str]]:
    """(path, why) of files whose content is there more than once, less the one that stays."""
    for group in photos.same(seen):
        (_, label, first), *others = (listed[place] for place in group)
        if other := next((path for _, its_label, path in others if its_label != label), ""):
            yield first, f"the same as {other}, of another class"
            yield from ((path, f"the same as {first}; they are of different classes") for _, _, path in others)
        else:
            yield from ((path, f"the same as {first}") for _, _, path in others)


def decodes(path: pathlib.Path | str) -> bool:
    """Whether the whole image can be read."""
    try:
        tf.io.decode_image(tf.io.read_file(str(path)), channels=3, expand_animations=False)
    except tf.errors.OpError:
        return False
    return True


def decoded(part: examples.Examples, resolution: int) -> examples.Examples:
    """The same images as pixels, uint8 [n, r, r, 3]: the central square of each."""
    paths = tf.data.Dataset.from_tensor_slices(part.images)
    pixels = paths.map(lambda path: augment.whole(augment.decode(path, resolution)), tf.data.AUTOTUNE).batch(1000)
    return examples.Examples(np.concatenate(list(pixels.as_numpy_iterator())), part.labels)
