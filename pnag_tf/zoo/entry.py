"""What the zoo knows of one network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network that can be built.

    Attributes:
      make: (classes, resolution) -> the network.
      definition: where its layers are published.
      resolution: of the images that its published multiply-adds are for, in pixels.
      note: how the network or its count differs from what is published, '' where it does not.
    """

    make: Callable[[int, int], keras.Model]
    definition: str
    resolution: int = 224
    note: str = ""
