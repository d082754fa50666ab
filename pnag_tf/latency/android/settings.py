"""How a phone measures."""

from __future__ import annotations

import dataclasses

from pnag_tf import config as config_lib
from pnag_tf.util import errors

IN_A_ROW = 3  # runs of the tool that have to agree


@dataclasses.dataclass(frozen=True)
class Settings(config_lib.Phone):
    """How a phone measures: what a run of the pipeline sets, and what the command line of its own sets beside that."""

    threads: int = 1
    runs: int = 50  # timed inferences of one run of the tool, at least, ...
    run_secs: float = 0.5  # ... and for at least this long
    warm_up_runs: int = 5
    warm_up_secs: float = 0.5  # the clock of an idle core takes a while to rise
    delegate: str = ""  # '' (the CPU), 'gpu' or 'nnapi'
    tool_flags: tuple[str, ...] = ()  # more flags of the tool
    agreement: float = 0.05  # (largest - smallest) / median of the medians of three runs
    max_repetitions: int = 9  # runs of one model, after which the spread is reported
    cool_down_s: float = 600.0  # for how long to wait for that
    reconnect_s: float = 120.0  # for how long to wait for a phone that went away

    def check(self) -> None:
        """Raises UserError when a value cannot be used."""
        for name in ("threads", "runs", "timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise self._error(name, "more than 0")
        if self.max_repetitions < IN_A_ROW:
            raise self._error("max_repetitions", f"{IN_A_ROW} or more")
        for name in ("run_secs", "warm_up_runs", "warm_up_secs", "agreement", "cool_down_s", "reconnect_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise self._error(name, "0 or more")
        if self.delegate not in ("", "gpu", "nnapi"):
            raise self._error("delegate", "gpu, nnapi or nothing")
        if not self.remote_dir.startswith("/"):
            raise self._error("remote_dir", "a path from /")

    def _error(self, name: str, expected: str) -> errors.SettingError:
        setting = "latency.threads" if name == "threads" else f"phone.{name}"
        return errors.SettingError(setting, f"expected {expected}, found {getattr(self, name)!r}")
