"""Good and broken measuring commands."""

import shlex
import sys
import time

import numpy as np
import pytest

from pnag_tf.search import measuring
from pnag_tf.util import errors

ECHO = (
    "import sys; print('arch,top1,latency_ms');"
    "[print('\"%s\",%.2f,%d' % (a.strip(), 0.5 + i / 100, i + 1)) for i, a in reversed(list(enumerate(sys.stdin)))]"
)


def measured(space, code, count=3, timeout_s=30.0):
    choices = np.unique(space.sample(np.random.default_rng(0), count), axis=0)
    return choices, measuring.by_command(f"{sys.executable} -c {shlex.quote(code)}", space, timeout_s)(choices)


def test_command_answers_in_any_order(space):
    choices, found = measured(space, ECHO)
    np.testing.assert_array_equal(found.choices, choices)
    np.testing.assert_allclose(found.top1, [0.5, 0.51, 0.52])
    np.testing.assert_allclose(found.latency_ms, [1, 2, 3])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no device')", "exit code 1, no device"),
        ("print('hello')", "expected a CSV with columns arch,top1,latency_ms, found hello"),
        ("pass", "found nothing"),
        ("print('arch,top1,latency_ms')", "expected 3 architectures; .* is not among 0"),
        (ECHO.replace("0.5 +", "80 +"), "expected top1 as a fraction"),
        (ECHO.replace("i + 1)", "-1)"), "latency_ms > 0"),
        (ECHO.replace("a.strip()", "'1:1:1'"), "record 1"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254, 0]))", "expected text"),
    ],
)
def test_broken_commands_are_one_line_errors(space, code, message):
    with pytest.raises(errors.UserError, match=message) as error:
        measured(space, code)
    assert "\n" not in str(error.value)


def test_a_hanging_command_is_stopped_with_all_it_started(space, tmp_path):
    mark = tmp_path / "alive"
    code = f"import time; time.sleep(2); open({str(mark)!r}, 'w')"
    with pytest.raises(errors.UserError, match="no answer within 0.5 s"):
        measured(space, code, timeout_s=0.5)
    time.sleep(2.5)
    assert not mark.exists()
