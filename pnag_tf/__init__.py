"""PNAG: a Pareto-aware Neural Architecture Generator in TensorFlow / Keras 3.

```python
import pnag_tf as pnag

records = pnag.read_records("records.csv")
search = pnag.Search(preset="search").fit(records)
found = search.propose(budgets_ms=[25, 30])
```

The names are imported when they are first used: `import pnag_tf` alone does not import TensorFlow.
"""

import importlib
import os

# TensorFlow leaves its oneDNN kernels off on many AMD processors, where they are faster as well: a supernet training
# step takes two thirds of the time. It reads the variable once, when it is imported; what the user sets is kept.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"

_HOME = {  # public name -> the module that has it, or that it is
    "Architecture": "pnag_tf.space.space",
    "Classifier": "pnag_tf.api.classifier",
    "Found": "pnag_tf.api.proposing",
    "Run": "pnag_tf.api.running",
    "Search": "pnag_tf.api.searching",
    "SearchSpace": "pnag_tf.space.space",
    "TrainedSupernet": "pnag_tf.api.networks",
    "errors": "pnag_tf.util.errors",
    "export": "pnag_tf.api.networks",
    "load_supernet": "pnag_tf.api.networks",
    "read_records": "pnag_tf.api.searching",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'pnag_tf' has no attribute '{name}'")
    home = importlib.import_module(_HOME[name])
    value = home if _HOME[name].endswith(f".{name}") else getattr(home, name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
