"""PNAG: a Pareto-aware Neural Architecture Generator in TensorFlow / Keras 3."""

__version__ = "0.1.0"
