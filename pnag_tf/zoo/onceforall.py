"""Published networks of the search space: PNAG's fifteen, and once-for-all's for the Galaxy Note10."""

from __future__ import annotations

import functools

import keras

from pnag_tf.space import network
from pnag_tf.zoo import published
from pnag_tf.zoo.entry import Entry


def build(known: published.Published, classes: int, resolution: int) -> keras.Model:
    """The network, freshly initialised: images float32 [n, r, r, 3] -> logits [n, classes]."""
    return network.build(known.backbone(resolution, classes), known.architecture)


def _note(name: str) -> str:
    if name == "ofa-note10-64":
        return "The published 743M multiply-adds are for 260 pixels; 512M at 224."
    return "The published multiply-adds leave out the classifier." + (
        " 5.7M parameters are printed where the architecture has 7.7M." if name == "pnag-gpu-90" else ""
    )


ENTRIES = {
    name: Entry(functools.partial(build, known), known.source, known.resolution, _note(name))
    for name, known in published.ARCHITECTURES.items()
}
