"""Fixed networks that PNAG is compared with, by name, as Keras models without weights.

    from pnag_tf import zoo
    from pnag_tf.zoo import counting
    model = zoo.build("proxylessnas-cpu")    # images [n, 224, 224, 3] -> logits [n, 1000]
    counting.madds(model), counting.params(model)

What is published about each of them stands in `pnag_tf.zoo.published`.
"""

from __future__ import annotations

import keras

from pnag_tf.util import errors
from pnag_tf.zoo import applications, fbnet, mnasnet, onceforall, proxylessnas, resnet
from pnag_tf.zoo.entry import Entry

ENTRIES: dict[str, Entry] = {
    **applications.ENTRIES,
    **resnet.ENTRIES,
    **mnasnet.ENTRIES,
    **fbnet.ENTRIES,
    **proxylessnas.ENTRIES,
    **onceforall.ENTRIES,
}


def names() -> tuple[str, ...]:
    """All networks that can be built."""
    return tuple(ENTRIES)


def entry(name: str) -> Entry:
    """What the zoo knows of a network. Raises UserError when it knows none of that name."""
    if name not in ENTRIES:
        raise errors.UserError(f"unknown network '{name}'; choose from {', '.join(ENTRIES)}")
    return ENTRIES[name]


def build(name: str, classes: int = 1000, resolution: int = 224) -> keras.Model:
    """A network by name, freshly initialised: images float32 [n, r, r, 3] -> logits [n, classes].

    Args:
      resolution: height and width of the images, in pixels; `entry(name).resolution` is what published
        multiply-adds are for.

    Raises:
      UserError: there is no network of that name.
    """
    return entry(name).make(classes, resolution)
