"""Images by name, as tf.data pipelines; train, validation and test are named and never mixed.

from pnag_tf import data
info = data.describe(config.data, seed)             # classes, counts: what a network needs to know
splits = data.load(config.data, resolution, seed)
for images, labels in splits.train(64, steps=100):  # float32 [64, r, r, 3], int32 [64]
    ...
"""

from pnag_tf.data.pipeline import DatasetInfo, Splits, describe, load

__all__ = ["DatasetInfo", "Splits", "describe", "load"]
