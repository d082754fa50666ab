"""What benchmark_model prints, in the formats of its builds, and what is made of it."""

import pytest

from pnag_tf.latency.android import benchmark_tool
from pnag_tf.util import errors

WHOLE = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [30]
INFO: Num threads: [2]
INFO: Graph: [net.tflite]
INFO: Signature to run: []
INFO: #threads used for CPU inference: [2]
INFO: Loaded model net.tflite
INFO: The input model file size (MB): 9.1234
INFO: Initialized session in 12.5ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=7 first=99000 curr=71000 min=70500 max=99000 avg=75142.9 std=9700 p5=70500 median=71200 p95=99000

INFO: Running benchmark for at least 30 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=30 first=70900 curr=71300 min=70100 max=80200 avg=71650.5 std=1800 p5=70250 median=71150 p95=74800

INFO: Inference timings in us: Init: 12500, First inference: 99000, Warmup (avg): 75142.9, Inference (avg): 71650.5
INFO: Memory footprint delta from the start of the tool (MB): init=5.1 overall=29.2
"""
COUNT = [line for line in WHOLE.splitlines() if "count=" in line]


def with_counts(warm_up, timed, text=WHOLE):
    return text.replace(COUNT[0], f"INFO: {warm_up}").replace(COUNT[1], f"INFO: {timed}")


def test_the_second_count_is_the_measurement():
    timing = benchmark_tool.parse(WHOLE, 0)
    assert timing == benchmark_tool.Timing(71.15, 70.25, 74.8, 71.6505, 30, 7, 12.5, "")


@pytest.mark.parametrize(
    ("timed", "expected"),
    [
        ("count=1 curr=16843 p5=16843 median=16843 p95=16843", (16.843, 16.843, 16.843, 16.843, 1)),
        ("count=3 curr=9(all same) p5=9 median=9 p95=9", (0.009, 0.009, 0.009, 0.009, 3)),
        (
            "count=2 first=1.5e+06 curr=1.25e+06 min=1.25e+06 max=1.5e+06 avg=1.375e+06 std=125000 "
            "p5=1.25e+06 median=1.5e+06 p95=1.5e+06",
            (1500, 1250, 1500, 1375, 2),
        ),
    ],
)
def test_counts_short_of_fields_and_in_scientific_notation(timed, expected):
    timing = benchmark_tool.parse(with_counts("count=0 p5=0 median=0 p95=0", timed), 0)
    assert (timing.median_ms, timing.p5_ms, timing.p95_ms, timing.mean_ms, timing.runs) == expected
    assert timing.warm_up_runs == 0


@pytest.mark.parametrize(
    ("output", "exit_code", "message"),
    [
        # The flags are ignored, the exit code is 0, and the figures are the CPU's.
        (WHOLE + "WARN: Unconsumed cmdline flags: --use_gpu=true --foo=1\n", 0, "ignored --use_gpu=true --foo=1"),
        ("", 0, "expected 2 lines count=, found 0; the output ends in 'nothing'"),
        ("\n".join(WHOLE.splitlines()[:12]), 0, "found 1; the output ends in 'INFO: count=7"),
        ("", 3, "exit code 3, without a word"),
        ("INFO: STARTING!\nAborted\n", 134, "ended by signal 6; Aborted"),
        ("sh: ./benchmark_model: not executable: 64-bit ELF file\n", 126, "not executable: 64-bit ELF file"),
        (
            "INFO: Graph: [a.tflite]\nERROR: The model is not a valid Flatbuffer buffer\n"
            "ERROR: Failed to load model a.tflite\nERROR: Benchmarking failed.\n",
            1,
            "The model is not a valid Flatbuffer buffer; Failed to load model a.tflite$",
        ),
        ("ERROR: Benchmarking failed.\n", 1, "failed: Benchmarking failed.$"),
        (with_counts("count=1 curr=7", "count=0 p5=0 median=0 p95=0"), 0, "timed no inference"),
        # A build of 2018, and one that still has no percentiles.
        (with_counts("curr=8 count=1", "curr=7 count=5 min=7 max=9 avg=8 std=1"), 0, "no median.*newer build"),
        (with_counts("count=1 curr=8", "count=5 first=7 curr=7 min=7 max=9 avg=8 std=1"), 0, "no median.*newer build"),
    ],
)
def test_what_is_no_measurement_is_an_error(output, exit_code, message):
    with pytest.raises(errors.UserError, match=message):
        benchmark_tool.parse(output, exit_code)


def test_counts_of_an_operator_profile_are_not_taken_for_the_measurement():
    profile = "Timings (microseconds): count=30 first=1 curr=1 min=1 max=1 avg=1 std=0\nMemory (bytes): count=0\n"
    assert benchmark_tool.parse(WHOLE + profile, 0).median_ms == 71.15


@pytest.mark.parametrize(
    ("delegate", "lines", "expected"),
    [
        (
            "gpu",
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
            "completely",
        ),
        (
            "gpu",
            "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate "
            "w/ 2 delegate kernels.",
            "partially",
        ),
        ("gpu", "Applied GPU delegate, and the model graph will be completely executed w/ the delegate.", "completely"),
        (
            "gpu",
            "VERBOSE: Replacing 58 out of 58 node(s) with delegate (LITERT_CL) node, yielding 1",
            "completely",
        ),
        ("gpu", "VERBOSE: Replacing 50 out of 58 node(s) with delegate (TfLiteGpuDelegateV2) node, yield", "partially"),
        (
            "nnapi",
            "INFO: NNAPI accelerators available: [some-dsp,nnapi-reference]\n"
            "INFO: Explicitly applied NNAPI delegate, and the model graph will be completely executed by the delegate.",
            "completely",
        ),
    ],
)
def test_a_delegate_that_takes_the_graph_is_noted(delegate, lines, expected):
    assert benchmark_tool.parse(f"{lines}\n{WHOLE}", 0, delegate).delegate == expected


@pytest.mark.parametrize(
    ("delegate", "lines", "message"),
    [
        (
            "gpu",
            "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
            "ran on the CPU: GPU took no part",
        ),
        ("gpu", "INFO: Use gpu: [1]", "does not say that GPU took"),
        ("gpu", "INFO: Replacing 58 out of 58 node(s) with delegate (TfLiteXNNPackDelegate) node", "does not say"),
        ("nnapi", "INFO: NNAPI accelerators available: [nnapi-reference]", "no NNAPI accelerator"),
        (
            "nnapi",
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
            "does not say that NNAPI took",
        ),
    ],
)
def test_cpu_time_is_never_taken_for_that_of_a_delegate(delegate, lines, message):
    with pytest.raises(errors.UserError, match=message):
        benchmark_tool.parse(f"{lines}\n{WHOLE}", 0, delegate)


def test_flags_of_the_tool():
    made = benchmark_tool.flags(2, 50, 0, 5, 0.5, "gpu", ["--gpu_backend=cl"])
    assert made == (
        "--num_threads=2",
        "--num_runs=50",
        "--min_secs=0",
        "--warmup_runs=5",
        "--warmup_min_secs=0.5",
        "--use_gpu=true",
        "--gpu_backend=cl",
    )
