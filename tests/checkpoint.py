"""Tensors and images that a seed and a name decide, the same here and where the expected logits were computed."""

import zlib

import numpy as np

COUNTERS = "num_batches_tracked"


def tensor(name, shape, seed):
    """A tensor of once-for-all's state dict, random such that its layer matters."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith(COUNTERS):
        return np.array(7, "int64")
    if name.endswith("running_var") or name.endswith("bn.weight"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("_matrix"):
        values = np.eye(shape[0]) + rng.normal(0, 0.1, shape)
    elif len(shape) == 1:
        values = rng.normal(0, 0.1, shape)
    else:
        values = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
    return values.astype("float32")


def state(shapes, seed=0):
    """Tensors by name, from shapes by name."""
    return {name: tensor(name, shape, seed) for name, shape in shapes.items()}


def pictures(size, seed):
    """Patches of 2 to 32 pixels, [5, size, size, 3]: after pooling all pictures of plain noise look alike."""
    rng = np.random.default_rng(seed)
    patches = (2, 4, 8, 16, 32)
    found = [np.kron(rng.normal(size=(size // patch,) * 2 + (3,)), np.ones((patch, patch, 1))) for patch in patches]
    return np.stack(found).astype("float32")
