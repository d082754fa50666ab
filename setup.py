"""Packaging; `make venv` is the short way."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "pnag_tf/__init__.py").read_text())[1]

setuptools.setup(
    name="pnag_tf",
    version=VERSION,
    description="Pareto-aware Neural Architecture Generator: image classifiers for any latency budget",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["pnag_tf", "pnag_tf.*"]),
    package_data={
        "pnag_tf": ["py.typed", "templates/*"],
        "pnag_tf.latency.android": ["profiles.json"],
    },
    entry_points={
        "console_scripts": ["pnag=pnag_tf.cli:run", "pnag-bench-android=pnag_tf.latency.android.cli:run"],
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "tensorflow>=2.20",
        "tensorflow-datasets>=4.9",
        "Jinja2",
        "importlib_resources",  # TFDS 4.9 imports it without asking for it
        "keras>=3.10",
        "keras-tuner>=1.4",
        "scikit-learn",
        "scipy",
        "threadpoolctl",
        "ai-edge-litert>=2.0",
        "absl-py",
        "numpy",
        "tensorboard",  # tf.summary writes through it
        "matplotlib",
        "pillow>=10.1",
        "tqdm",
    ],
    extras_require={
        "test": ["pytest>=8", "pytest-timeout", "pytest-xdist", "ruff>=0.12", "nbclient", "nbformat", "ipykernel"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27"],
        "heic": ["pillow-heif"],
        "mediapipe": ["mediapipe>=0.10.30"],  # opens deployed networks in a test
        "ray": ["ray>=2.40"],
        "peers": ["pymoo>=0.6", "optuna>=5", "botorch>=0.13"],  # of benchmarks/peers.py
        "ofa": ["torch>=2"],  # reads once-for-all's checkpoints, nothing else
    },
)
