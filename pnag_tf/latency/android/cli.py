"""Times .tflite files on a phone, from the command line; in a checkout tools/bench_android.sh starts it.

    pnag-bench-android MODEL.tflite [MODEL.tflite ...] [--threads=4] [--use_gpu] [--json=FILE] ...

Prints a table; --json writes all that is known of every run of the benchmark tool.
"""

from __future__ import annotations

import dataclasses
import logging as std_logging
import signal
import sys
from collections.abc import Sequence

from absl import flags, logging
from tqdm import tqdm

from pnag_tf.latency.android import journal, settings, setup
from pnag_tf.latency.android import measure as android
from pnag_tf.util import errors, files, terminal

DEFAULTS = settings.Settings()

FLAGS = flags.FLAGS
SETTINGS = {  # as errors name them -> the flag
    "latency.threads": "threads",
    "phone.agreement": "agreement",
    "phone.cool_down_s": "cool_down",
    "phone.cpu_mask": "cpu_mask",
    "phone.max_repetitions": "max_repetitions",
    "phone.max_thermal_status": "max_thermal_status",
    "phone.reconnect_s": "reconnect",
    "phone.remote_dir": "remote_dir",
    "phone.run_secs": "run_secs",
    "phone.runs": "runs",
    "phone.serial": "serial",
    "phone.timeout_s": "timeout",
    "phone.tool": "tool",
    "phone.warm_up_runs": "warmup",
    "phone.warm_up_secs": "warmup_secs",
}
flags.DEFINE_string("serial", "", "the phone, as `adb devices` names it, or HOST:PORT; needed with several")
flags.DEFINE_string("tool", "", "benchmark_model for the phone; by default what android_benchmark/fetch.sh fetched")
flags.DEFINE_integer("threads", 0, "threads of the interpreter; 1, or the profile's")
flags.DEFINE_integer("runs", DEFAULTS.runs, "timed inferences of one run of the tool, at least")
flags.DEFINE_float("run_secs", DEFAULTS.run_secs, "... and for at least this long; 0 makes --runs exact")
flags.DEFINE_integer("warmup", DEFAULTS.warm_up_runs, "inferences before the timed ones, at least")
flags.DEFINE_float("warmup_secs", DEFAULTS.warm_up_secs, "... and for at least this long; 0 makes --warmup exact")
flags.DEFINE_string("cpu_mask", "", "cores in hexadecimal such as f0, or none; by default the fastest ones")
flags.DEFINE_string(
    "profile", "", "take mask and threads of a known phone: " + ", ".join(known["name"] for known in setup.profiles())
)
flags.DEFINE_bool("use_gpu", False, "run on the GPU; an error where the tool or the phone cannot")
flags.DEFINE_bool("use_nnapi", False, "run on NNAPI's accelerators; an error where the tool or the phone cannot")
flags.DEFINE_multi_string("tool_flag", [], "one more flag of benchmark_model, such as --use_xnnpack=false; repeatable")
flags.DEFINE_string("remote_dir", DEFAULTS.remote_dir, "folder on the phone to work in")
flags.DEFINE_float("timeout", DEFAULTS.timeout_s, "seconds for one run of the tool")
flags.DEFINE_float("agreement", DEFAULTS.agreement, "how far three medians in a row may differ, as a fraction")
flags.DEFINE_integer("max_repetitions", DEFAULTS.max_repetitions, "runs of the tool until the spread is reported")
flags.DEFINE_integer("max_thermal_status", DEFAULTS.max_thermal_status, "throttling to accept, 0 (none) to 6")
flags.DEFINE_float("cool_down", DEFAULTS.cool_down_s, "seconds to wait for a phone that throttles")
flags.DEFINE_float("reconnect", DEFAULTS.reconnect_s, "seconds to wait for a phone that went away")
flags.DEFINE_string("journal", "", "file that keeps every run; the same command goes on from there")
flags.DEFINE_string("json", "", "file for the full record")


def main(argv: list[str]) -> int:
    logging.get_absl_handler().setFormatter(std_logging.Formatter("%(message)s"))
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: what is on the phone is cleared first
        signal.signal(number, signal.default_int_handler)
    try:
        if len(argv) < 2:
            raise errors.UserError("expected the .tflite files to time, found none")
        with tqdm(desc="measure", unit="run", disable=None) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            records = android.records(argv[1:], settings=_settings(), journal=FLAGS.journal or None, progress=progress)
        print_table(records)
        if FLAGS.json:
            _write(records)
        return 0
    except (errors.UserError, OSError) as error:
        return terminal.fail(errors.with_flags(str(error), SETTINGS))
    except KeyboardInterrupt:
        print("stopped; nothing is left on the phone", file=sys.stderr)
        return 130


def print_table(records: Sequence[journal.Record]) -> None:
    """The setup in a line, then a line for each record."""
    rows = [("model", "median_ms", "p5_ms", "p95_ms", "runs", "repetitions", "spread", "cpu_c", "skin_c", "battery_c")]
    for record in records:
        after = record.samples[-1].after
        rows.append(
            (
                record.model,
                *(f"{value:.4g}" for value in (record.median_ms, record.p5_ms, record.p95_ms)),
                str(record.runs),
                str(len(record.samples)),
                f"{record.spread:.1%}" + ("" if record.agreed else "!"),
                *("-" if value is None else f"{value:.1f}" for value in (after.cpu_c, after.skin_c, after.battery_c)),
            )
        )
    print(records[0].setup.description)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]))


def _write(records: Sequence[journal.Record]) -> None:
    """Writes --json. Raises UserError."""
    try:
        files.write_json(FLAGS.json, [dataclasses.asdict(record) for record in records])
    except OSError as error:
        raise errors.UserError(f"cannot write --json={FLAGS.json}: {error.strerror}") from None


def _settings() -> settings.Settings:
    """What the flags ask for. Raises UserError."""
    if FLAGS.use_gpu and FLAGS.use_nnapi:
        raise errors.UserError("expected --use_gpu or --use_nnapi, found both")
    threads, mask = FLAGS.threads, FLAGS.cpu_mask
    if FLAGS["threads"].present and threads < 1:
        raise errors.UserError(f"--threads: expected 1 or more, found {threads}")
    if FLAGS.profile:
        known = {profile["name"]: profile for profile in setup.profiles()}
        if FLAGS.profile not in known:
            raise errors.UserError(f"--profile={FLAGS.profile}; choose from {', '.join(known)}")
        threads, mask = threads or known[FLAGS.profile]["threads"], mask or known[FLAGS.profile]["cpu_mask"]
    return settings.Settings(
        serial=FLAGS.serial,
        tool=FLAGS.tool,
        threads=threads or DEFAULTS.threads,
        runs=FLAGS.runs,
        run_secs=FLAGS.run_secs,
        warm_up_runs=FLAGS.warmup,
        warm_up_secs=FLAGS.warmup_secs,
        cpu_mask=mask,
        delegate="gpu" if FLAGS.use_gpu else "nnapi" if FLAGS.use_nnapi else "",
        tool_flags=tuple(FLAGS.tool_flag),
        remote_dir=FLAGS.remote_dir,
        timeout_s=FLAGS.timeout,
        agreement=FLAGS.agreement,
        max_repetitions=FLAGS.max_repetitions,
        max_thermal_status=FLAGS.max_thermal_status,
        cool_down_s=FLAGS.cool_down,
        reconnect_s=FLAGS.reconnect,
    )


def run() -> None:
    """The console script ``pnag-bench-android``, and tools/bench_android.sh."""
    terminal.run(main, __name__)


if __name__ == "__main__":
    run()
