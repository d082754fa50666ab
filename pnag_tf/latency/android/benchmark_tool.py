"""What `benchmark_model`, the benchmark tool of TensorFlow Lite and of LiteRT, prints, and what it means.

The tool is forgiving where a measurement must not be: a flag that it does not know, or was built without, earns a
warning and exit code 0, and a delegate that takes no part of the graph leaves it to the CPU. Both are errors here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from pnag_tf.util import errors

# `count=50 first=.. curr=.. min=.. max=.. avg=.. std=.. p5=.. median=.. p95=..`; builds of 2018 begin with `curr=..`,
# several equal samples end in `curr=9(all same)`, and a single one has neither first nor avg nor std.
_COUNT = re.compile(r"\bcount=\d+")
_PROFILE = re.compile(r"\((microseconds|bytes)\):")  # of --enable_op_profiling
_FIELD = re.compile(r"\b(\w+)=([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))", re.IGNORECASE)
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags:\s*(.*)")
_INIT = re.compile(r"\bInit: ([\d.e+]+)")
# `Applied` in builds of 2020, `Explicitly applied` since.
_APPLIED = re.compile(r"[Aa]pplied (\w+) delegate, and the model graph will be (completely|partially)")
_NOT_APPLIED = re.compile(r"Though (\w+) delegate is .*applied")
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((.*?)\)")
_ACCELERATORS = re.compile(r"NNAPI accelerators available: \[(.*?)\]")


@dataclasses.dataclass(frozen=True)
class Timing:
    """One run of the tool.

    Attributes:
      median_ms, p5_ms, p95_ms, mean_ms: over the timed inferences.
      runs, warm_up_runs: inferences, timed and before.
      init_ms: loading the model, once; None where the tool does not say.
      delegate: what took the graph: '' (the CPU), 'completely' or 'partially' a delegate that was asked for.
    """

    median_ms: float
    p5_ms: float
    p95_ms: float
    mean_ms: float
    runs: int
    warm_up_runs: int
    init_ms: float | None
    delegate: str


def flags(
    threads: int,
    runs: int,
    run_secs: float,
    warm_up_runs: int,
    warm_up_secs: float,
    delegate: str = "",
    extra: Sequence[str] = (),
) -> tuple[str, ...]:
    """The tool's command line without the model.

    Args:
      runs, warm_up_runs: at least this many inferences ...
      run_secs, warm_up_secs: ... and for at least this long.
      delegate: '', 'gpu' or 'nnapi'.
      extra: more flags, handed on as they are.
    """
    made = [
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        f"--min_secs={run_secs:g}",
        f"--warmup_runs={warm_up_runs}",
        f"--warmup_min_secs={warm_up_secs:g}",
    ]
    return (*made, *([f"--use_{delegate}=true"] if delegate else []), *extra)


def parse(output: str, exit_code: int, delegate: str = "") -> Timing:
    """The figures in what the tool printed, standard error included.

    Args:
      exit_code: of the tool; above 128 a signal ended it, as a shell tells.
      delegate: what it was asked to use: '', 'gpu' or 'nnapi'.

    Raises:
      UserError: it failed, ignored a flag, ran on something else than it was asked to, or is too old to print a median.
    """
    if found := _UNCONSUMED.search(output):
        raise errors.UserError(f"benchmark_model ignored {found[1].strip()}: expected a build that knows these flags")
    if exit_code:
        raise errors.UserError(f"benchmark_model failed: {_why(output, exit_code)}")
    counts = [_fields(line) for line in output.splitlines() if _COUNT.search(line) and not _PROFILE.search(line)]
    if len(counts) != 2:  # the warm-up, then the inferences that count
        last = (output.strip().splitlines() or ["nothing"])[-1].strip()
        raise errors.UserError(
            f"benchmark_model: expected 2 lines count=, found {len(counts)}; the output ends in '{last}'"
        )
    warm_up, timed = counts
    runs = int(timed["count"])
    if runs < 1:
        raise errors.UserError("benchmark_model timed no inference: expected `phone.runs` of 1 or more")
    if "median" not in timed:
        raise errors.UserError("benchmark_model prints no median, as old builds do: expected a newer build")
    init = _INIT.search(output)
    return Timing(
        median_ms=timed["median"] / 1e3,
        p5_ms=timed["p5"] / 1e3,
        p95_ms=timed["p95"] / 1e3,
        mean_ms=timed.get("avg", timed["median"]) / 1e3,  # absent where all samples are equal
        runs=runs,
        warm_up_runs=int(warm_up["count"]),
        init_ms=float(init[1]) / 1e3 if init else None,
        delegate=_delegate(output, delegate) if delegate else "",
    )


def _fields(line: str) -> dict[str, float]:
    """The numbers of a line with count=, in microseconds."""
    return {name: float(value) for name, value in _FIELD.findall(line)}


def _why(output: str, exit_code: int) -> str:
    """Why the tool failed, in its own words where it has any."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line.split("ERROR: ", 1)[1] for line in lines if "ERROR: " in line]
    told = [line for line in named if line != "Benchmarking failed."][:2] or named or lines[-1:]
    if exit_code > 128:
        told = [f"it was ended by signal {exit_code - 128}", *told]
    return "; ".join(told) or f"exit code {exit_code}, without a word"


def _delegate(output: str, delegate: str) -> str:
    """How much of the graph the delegate took: 'completely' or 'partially'. Raises UserError when nothing."""
    name = delegate.upper()
    if name in _NOT_APPLIED.findall(output):
        raise errors.UserError(f"benchmark_model ran on the CPU: {name} took no part of the model")
    accelerators = _ACCELERATORS.search(output)
    if delegate == "nnapi" and accelerators and accelerators[1].strip() in ("", "nnapi-reference"):
        raise errors.UserError("benchmark_model ran on the CPU: the phone has no NNAPI accelerator")
    for applied, how in _APPLIED.findall(output):
        if applied == name:
            return how
    # LiteRT's own tool does not tell; its runtime does, for each part that a delegate takes.
    replaced = [(int(part), int(whole)) for part, whole, who in _REPLACED.findall(output) if "xnn" not in who.lower()]
    if not replaced:
        raise errors.UserError(f"benchmark_model does not say that {name} took the model: it may have run on the CPU")
    return "completely" if sum(part for part, _ in replaced) == max(whole for _, whole in replaced) else "partially"
