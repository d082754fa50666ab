"""Numbers keep the digits that tell them apart."""

import numpy as np
import pytest

from pnag_tf.util import digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (30, "30"),
        (30.0, "30"),
        (0.162, "0.162"),
        (np.float64(2.5), "2.5"),
        (1e-7, "0.0000001"),
        (5.0000001, "5.0000001"),
        (5.0000002, "5.0000002"),
    ],
)
def test_as_few_digits_as_needed(value, text):
    assert digits.shortest(value) == text
    assert float(text) == value
