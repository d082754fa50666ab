"""PNAG: a Pareto-aware Neural Architecture Generator in TensorFlow / Keras 3."""

import os

# TensorFlow leaves its oneDNN kernels off on many AMD processors, where they are faster as well: a supernet training
# step takes two thirds of the time. It reads the variable once, when it is imported; what the user sets is kept.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
