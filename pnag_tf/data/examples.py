"""Labelled images in memory or as files, and seeded ways to take some of them."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib

import numpy as np

from pnag_tf.util import errors

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images with labels.

    Attributes:
      images: uint8 [n, height, width, 1 or 3], or the paths of JPEG and PNG files: str [n].
      labels: int32 [n], from 0.
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def in_memory(self) -> bool:
        return self.images.dtype == np.uint8

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Examples:
        return Examples(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset as it was published: its training images and its test images.

    Attributes:
      class_names: one a label.
      train, test: the published parts.
      mean, std: of the pixels, in 0–1, one a colour channel.
      validation: a published part as well; None where there is none.
      skipped: (path, why) of files that are in no part.
      digest: of the images with their classes and parts; see `digest`. Empty where they are in memory.
      sizes: width and height of image files, in pixels, int [n, 2].
    """

    class_names: tuple[str, ...]
    train: Examples
    test: Examples
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    validation: Examples | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    sizes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), int))

    def take_classes(self, chosen: np.ndarray) -> Source:
        """The source with the chosen classes alone, whose labels are counted from 0 in the order of `chosen`."""

        def part(examples: Examples) -> Examples:
            relabelled = np.full(len(self.class_names), -1, np.int32)
            relabelled[chosen] = np.arange(len(chosen))
            kept = examples.take(np.flatnonzero(relabelled[examples.labels] >= 0))
            return Examples(kept.images, relabelled[kept.labels])

        names = tuple(self.class_names[index] for index in chosen)
        validation = part(self.validation) if self.validation else None
        return dataclasses.replace(
            self, class_names=names, train=part(self.train), test=part(self.test), validation=validation
        )


def digest(*parts: Examples) -> str:
    """SHA-256 of images in memory and their labels."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part.images).data)
        found.update(np.ascontiguousarray(part.labels).data)
    return found.hexdigest()


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A stream of chance of its own for each purpose, so that one choice does not move another."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def choose_classes(classes: int, subset: int, seed: int) -> np.ndarray:
    """The labels of a seeded choice of `subset` classes, ascending; all of them for 0.

    Raises:
      UserError: the subset has fewer than 2 classes or more than there are.
    """
    if subset == 0:
        return np.arange(classes)
    if not 2 <= subset <= classes:
        raise errors.SettingError("data.class_subset", f"expected 0 (all) or 2 to {classes}, found {subset}")
    return np.sort(generator(seed, "classes").choice(classes, subset, replace=False))


def stratified(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two disjoint parts that hold everything; `fraction` of each class is in the second.

    Each part gets at least one image of a class that has two. Both are ascending.
    """
    second = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(members))
        second.append(members[: min(max(count, 1), len(members) - 1)])
    second = np.sort(np.concatenate(second))
    return np.setdiff1d(np.arange(len(labels)), second), second
