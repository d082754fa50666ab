"""Measurements by a user's own program."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import numpy as np

from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

# choices int32 [n, tokens] -> their records
Measure = Callable[[np.ndarray], records_lib.Records]


def by_command(text: str, space: space_lib.SearchSpace, timeout_s: float) -> Measure:
    """A measuring function out of a shell command: architectures on its stdin, one a line; CSV on its stdout.

    The CSV has columns ``arch,top1,latency_ms`` and a row for each architecture asked for, in any order.

    The function raises UserError when the command fails, takes longer than `timeout_s`, or answers anything else.
    """

    def measure(choices: np.ndarray) -> records_lib.Records:
        asked = [str(arch) for arch in space.decode(choices)]
        answer = _run(text, "".join(f"{arch}\n" for arch in asked), timeout_s)
        source = f"answer of '{text}'"
        rows = records_lib.csv_rows(answer, source)
        measured = records_lib.from_rows(rows, space, source)
        place = {row.tobytes(): number for number, row in enumerate(measured.choices)}
        order = [place.get(row.tobytes()) for row in space.canonical(choices)]
        if None in order:
            absent = asked[order.index(None)]
            raise errors.UserError(f"{source}: expected {len(asked)} architectures; {absent} is not among {len(rows)}")
        return measured[order]

    return measure


def _run(text: str, stdin: str, timeout_s: float) -> str:
    """Output of a shell command, which gets its own process group so that nothing it started outlives it."""
    child = subprocess.Popen(
        text, shell=True, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        answer, complaints = child.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise errors.UserError(f"'{text}': no answer within {timeout_s:g} s; stopped") from None
    except UnicodeDecodeError:
        raise errors.UserError(f"'{text}': expected text, found bytes that are none") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    if child.returncode:
        last = (complaints.strip().splitlines() or ["no message"])[-1]
        raise errors.UserError(f"'{text}': exit code {child.returncode}, {last[:200]}")
    return answer
