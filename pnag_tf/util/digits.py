"""Numbers as they stand in names of files, in tables and in figures."""

from __future__ import annotations

import numpy as np


def shortest(value: float) -> str:
    """A number with as few digits as tell it from every other one, without an exponent: 30, 0.162."""
    return np.format_float_positional(value, trim="-")
