"""Fashion-MNIST from its four gzipped IDX files: Debian's package, or a folder that holds them."""

from __future__ import annotations

import gzip
import pathlib
import zlib

import numpy as np

from pnag_tf.data import examples
from pnag_tf.util import errors

DEBIAN_FOLDER = pathlib.Path("/usr/share/datasets/fashion-mnist")
NAMES = {
    (part, kind): f"{prefix}-{kind}-{suffix}-ubyte.gz"
    for part, prefix in (("train", "train"), ("test", "t10k"))
    for kind, suffix in (("images", "idx3"), ("labels", "idx1"))
}
CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MEAN, STD = (0.2860,), (0.3530,)  # of the 60,000 training images


def holds_files(folder: pathlib.Path) -> bool:
    """Whether any of the four files is in `folder`."""
    return any((folder / name).is_file() for name in NAMES.values())


def read(path: pathlib.Path, dimensions: int) -> np.ndarray:
    """The uint8 array of one gzipped IDX file with so many dimensions.

    Raises:
      UserError: the file is missing, cut short, not gzip, or not an IDX file of this kind.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise errors.UserError(f"{path} is missing; expected {', '.join(NAMES.values())} beside each other") from None
    except (OSError, EOFError, zlib.error) as error:
        raise errors.UserError(f"{path}: expected a gzipped IDX file, found {error}") from None
    head = 4 + 4 * dimensions
    # The magic number: two zero bytes, 8 for uint8, the number of dimensions; then big-endian sizes.
    if len(content) < head or content[:4] != bytes([0, 0, 8, dimensions]):
        raise errors.UserError(
            f"{path}: expected an IDX file of uint8 in {dimensions} dimensions, found the bytes {content[:4].hex(' ')}"
        )
    shape = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).tolist())
    expected = head + int(np.prod(shape))
    if len(content) != expected:
        raise errors.UserError(f"{path}: expected {expected} bytes for shape {shape}, found {len(content)}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def load(folder: pathlib.Path) -> examples.Source:
    """Fashion-MNIST from the four files in `folder`, images uint8 [n, 28, 28, 1].

    Raises:
      UserError: a file is missing or broken, or images and labels do not go together.
    """

    def part(name: str) -> examples.Examples:
        image_path, label_path = folder / NAMES[name, "images"], folder / NAMES[name, "labels"]
        images, labels = read(image_path, 3), read(label_path, 1)
        if len(images) != len(labels):
            raise errors.UserError(f"{image_path} has {len(images)} images, {label_path} has {len(labels)} labels")
        if labels.size == 0 or labels.max() >= len(CLASS_NAMES):
            raise errors.UserError(f"{label_path}: expected labels from 0 to {len(CLASS_NAMES) - 1}")
        return examples.Examples(images[..., np.newaxis], labels.astype(np.int32))

    return examples.Source(CLASS_NAMES, part("train"), part("test"), MEAN, STD)
