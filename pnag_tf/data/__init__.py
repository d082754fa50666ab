"""Images by name, as tf.data pipelines; train, validation and test are named and never mixed.

from pnag_tf import data
names = data.class_names(config.data, seed)         # how many classes a network needs
splits = data.load(config.data, resolution, seed)
for images, labels in splits.train(64, steps=100):  # float32 [64, r, r, 3], int32 [64]
    ...
"""

from pnag_tf.data.augment import one_hot, pixels
from pnag_tf.data.pipeline import DatasetInfo, Splits, class_names, count, load

__all__ = ["DatasetInfo", "Splits", "class_names", "count", "load", "one_hot", "pixels"]
