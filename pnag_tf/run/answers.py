"""What a network answers on test images: how good it is for each class, what it takes for what, its worst mistakes."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from pnag_tf import data
from pnag_tf.supernet import subnet
from pnag_tf.util import files

MISTAKES = 24  # that are kept with their pictures


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers to n images, in their order.

    Attributes:
      labels: int32 [n].
      named: the class that the network names, int32 [n].
      confidence: the probability that it gives that class, float32 [n].
      in_top5: whether the label is among its first five, bool [n].
      mistakes: images that it is most sure of and wrong, the worst first, int64 [k].
      pictures: of the mistakes, uint8 [k, r, r, 3].
    """

    labels: np.ndarray
    named: np.ndarray
    confidence: np.ndarray
    in_top5: np.ndarray
    mistakes: np.ndarray
    pictures: np.ndarray

    @property
    def top1(self) -> float:
        return float(np.mean(self.labels == self.named))

    @property
    def top5(self) -> float:
        return float(np.mean(self.in_top5))

    @property
    def balanced_top1(self) -> float:
        """The mean of the classes' top-1, however many images each has."""
        return float(np.mean([np.mean(self.named[self.labels == label] == label) for label in np.unique(self.labels)]))

    def confusion(self, classes: int) -> np.ndarray:
        """How many images of class i are taken for class j: int64 [classes, classes]."""
        return np.bincount(self.labels * classes + self.named, minlength=classes**2).reshape(classes, classes)

    def by_class(self, class_names: Sequence[str]) -> list[dict]:
        """A row a class: its images, the share of them that are named right, and the share of its namings that are."""
        confusion = self.confusion(len(class_names))
        rows = zip(class_names, confusion.diagonal(), confusion.sum(1), confusion.sum(0), strict=True)
        return [
            {
                "class": name,
                "images": int(images),
                "top1": round(float(right / images), 4) if images else None,
                "precision": round(float(right / namings), 4) if namings else None,
            }
            for name, right, images, namings in rows
        ]


def of(
    network: keras.Model, batches: Iterable, mean: Sequence[float], std: Sequence[float], most: int = MISTAKES
) -> Answers:
    """The answers of a network of logits; the other arguments are those of `by`."""
    # Called as it is, a Keras model keeps what every layer puts out until the last one has: gigabytes at 224 pixels.
    answer = tf.function(lambda images: tf.nn.softmax(network(images, training=False)), reduce_retracing=True)
    return by(answer, batches, mean, std, most)


def by(
    answer: Callable[[tf.Tensor], tf.Tensor | np.ndarray],
    batches: Iterable,
    mean: Sequence[float],
    std: Sequence[float],
    most: int = MISTAKES,
) -> Answers:
    """The answers to (images float32 [b, r, r, 3], labels int32 [b]) pairs, which are read once.

    Args:
      answer: images -> probabilities float32 [b, classes].
      mean, std: what the images are normalised by, one a colour channel.
      most: mistakes that are kept.
    """
    parts, worst, start = [], [], 0
    for images, labels in batches:
        labels = tf.cast(labels, tf.int32)
        likely = np.asarray(answer(images))
        named = likely.argmax(1).astype(np.int32)
        sure = likely.max(1).astype(np.float32)
        parts.append((labels.numpy(), named, sure, subnet.right(likely, labels)[1].numpy()))
        wrong = np.flatnonzero(named != labels.numpy())
        wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
        worst += [(-sure[place], start + place, images[place].numpy()) for place in wrong]
        worst = sorted(worst, key=lambda each: each[:2])[:most]
        start += len(named)
    labels, named, sure, in_top5 = (np.concatenate(each) for each in zip(*parts, strict=True))
    places = np.array([place for _, place, _ in worst], np.int64)
    pictures = np.array([image for *_, image in worst], np.float32).reshape(len(worst), *images.shape[1:])
    return Answers(labels, named, sure, in_top5, places, data.pixels(pictures, mean, std))


def write(path: pathlib.Path, answers: Answers) -> None:
    with files.replacing(path) as beside:
        np.savez_compressed(beside, **vars(answers))


def read(path: pathlib.Path) -> Answers:
    """Raises UserError when the file is missing, or is another one."""
    return Answers(**files.read_npz(path))
