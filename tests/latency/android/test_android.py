"""What needs no phone: lists of phones, cores, conditions, settings, refusals and the journal."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest

from pnag_tf.latency.android import adb, benchmark_tool, journal, phone, settings, setup
from pnag_tf.latency.android import measure as android
from pnag_tf.util import errors

ROOT = pathlib.Path(__file__).parents[3]
LISTED = """\
* daemon started successfully
List of devices attached
A1\tdevice
B2\tunauthorized
C3\toffline
192.168.1.9:5555\tdevice
D4\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com/tools]

"""
THERMAL = """\
IsStatusOverride: false
Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=88.0, mType=0, mName=CPU0, mStatus=0}
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=43.5, mType=0, mName=CPU1, mStatus=0}
\tTemperature{mValue=0.0, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=31.0, mType=3, mName=skin, mStatus=2}
"""
BATTERY = "Current Battery Service state:\n  USB powered: true\n  level: 64\n  scale: 100\n  temperature: 305\n"
CONDITIONS = phone.Conditions(2, 43.5, None, 31.0, 30.5, 64.0)
FACTS = phone.Facts("Google", "Pixel 4", "13", "TP1A", "google/flame", "arm64-v8a", ((0, 10), (1, 20)))
SETUP = journal.Setup("Pixel 4", "A1", FACTS, "abc", "80", 1, ("--num_threads=1",))
SAMPLE = journal.Sample(
    benchmark_tool.Timing(2.0, 1.0, 3.0, 2.1, 50, 5, 9.0, ""), CONDITIONS, CONDITIONS, "2026-01-01T00:00:00+00:00"
)


# ---- which phone ---------------------------------------------------------------------------------------------------


def test_devices_of_all_states_are_read():
    assert adb.parse_devices(LISTED) == {
        "A1": "device",
        "B2": "unauthorized",
        "C3": "offline",
        "192.168.1.9:5555": "device",
        "D4": "no permissions",
    }


@pytest.mark.parametrize(
    ("found", "serial", "message"),
    [
        ({}, "", "no phone found: plug one in"),
        ({}, "A1", "no phone with serial A1; found none"),
        ({"A1": "device"}, "B2", r"no phone with serial B2; found A1 \(device\)"),
        ({"A1": "device", "B2": "offline"}, "", r"2 phones found: choose one with `phone.serial`.*A1.*B2 \(offline\)"),
        ({"B2": "unauthorized"}, "", "B2 is unauthorized: unlock the phone and allow"),
        ({"C3": "offline"}, "", "C3 is offline: unplug it"),
        ({"D4": "no permissions"}, "D4", "D4 is no permissions: this user may not open"),
        ({"E5": "rescue"}, "", "E5 is rescue: expected the state device"),
    ],
)
def test_a_phone_that_cannot_be_used_says_what_to_do(monkeypatch, found, serial, message):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setattr(adb, "devices", lambda: found)
    with pytest.raises(errors.UserError, match=message):
        adb.find(serial)


def test_the_serial_of_the_environment_chooses(monkeypatch):
    monkeypatch.setattr(adb, "devices", lambda: {"A1": "device", "B2": "device"})
    monkeypatch.setenv("ANDROID_SERIAL", "B2")
    assert adb.find().serial == "B2"
    assert adb.find("A1").serial == "A1"


def test_without_adb_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    with pytest.raises(errors.UserError, match="apt-get install adb"):
        adb.find()
    tools = tmp_path / "platform-tools"
    tools.mkdir()
    (tools / "adb").write_text("")
    (tools / "adb").chmod(0o755)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    assert pathlib.Path(adb.program()) == tools / "adb"


# ---- cores and conditions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("khz", "threads", "mask"),
    [
        ([16, 16, 21, 21], 1, 0xC),
        ([19, 19, 19, 19, 24, 24, 24, 24], 1, 0xF0),
        ([17, 17, 17, 17, 24, 24, 24, 28], 1, 0x80),  # a prime core of its own
        ([17, 17, 17, 17, 24, 24, 24, 28], 2, 0xF0),
        ([17, 17, 17, 17, 24, 24, 24, 28], 5, 0xFF),
        ([20, 20, 20, 20], 1, 0xF),
        ([24, 24, 17, 17], 1, 0x3),  # big cores may come first
        ([17, 24], 8, 0x3),
    ],
)
def test_big_cores_are_the_fastest_clusters_with_room_for_the_threads(khz, threads, mask):
    assert phone.big_cores(dict(enumerate(khz)), threads) == mask


def test_conditions_are_the_current_ones():
    assert phone.parse_conditions(THERMAL + BATTERY) == CONDITIONS
    old = phone.parse_conditions("Can't find service: thermalservice\n" + BATTERY)
    assert old == phone.Conditions(None, None, None, None, 30.5, 64.0)
    assert phone.parse_conditions("") == phone.Conditions(*[None] * 6)


def test_profiles_hold_what_is_needed():
    known = setup.profiles()
    assert "pixel" in {profile["name"] for profile in known}
    for profile in known:
        assert set(profile) == {"name", "models", "soc", "cpu_mask", "threads", "source"}
        assert int(profile["cpu_mask"], 16).bit_count() >= profile["threads"] >= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "`latency.threads`: expected more than 0, found 0"),
        ({"runs": -1}, "`phone.runs`: expected more than 0"),
        ({"max_repetitions": 2}, "`phone.max_repetitions`: expected 3 or more"),
        ({"run_secs": -1.0}, "`phone.run_secs`: expected 0 or more"),
        ({"delegate": "tpu"}, "`phone.delegate`: expected gpu, nnapi or nothing, found 'tpu'"),
        ({"remote_dir": "tmp"}, "`phone.remote_dir`: expected a path from /"),
    ],
)
def test_settings_that_cannot_be_used(changes, message):
    with pytest.raises(errors.UserError, match=message):
        dataclasses.replace(settings.Settings(), **changes).check()


@pytest.mark.parametrize(("name", "content"), [("empty", b""), ("notes", b"no model at all"), ("folder", None)])
def test_what_is_no_model_is_refused_before_a_phone_is_asked(tmp_path, name, content):
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.UserError, match=f"{name}: expected a .tflite"):
        android.measure([tmp_path / name], settings=settings.Settings(serial="nobody"))
    with pytest.raises(errors.UserError, match="missing.tflite: expected a .tflite"):
        android.measure([tmp_path / "missing.tflite"], settings=settings.Settings(serial="nobody"))
    assert android.measure([], settings=settings.Settings(serial="nobody")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected the .tflite files to time, found none"),
        (["m.tflite", "--nonsense=1"], "Unknown command line flag 'nonsense'"),
        (["m.tflite", "--threads=0"], "--threads: expected 1 or more, found 0"),
        (["m.tflite", "--runs=x"], "flag --runs=x"),
        (["m.tflite", "--profile=nokia"], "--profile=nokia; choose from pixel, pixel2"),
        (["m.tflite", "--use_gpu", "--use_nnapi"], "expected --use_gpu or --use_nnapi, found both"),
        (["no such.tflite"], "no such.tflite: expected a .tflite"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(arguments, message):
    script = ROOT / "tools/bench_android.sh"
    done = subprocess.run([script, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


def test_the_console_script_shows_the_flags():
    start = "import sys; from pnag_tf.latency.android import cli; sys.argv[0] = '/bin/pnag-bench-android'; cli.run()"
    done = subprocess.run([sys.executable, "-c", start, "--help"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Times .tflite files on a phone") and "\n  --profile: " in done.stdout


# ---- the benchmark tool --------------------------------------------------------------------------------------------


def _fetch(tmp_path, *arguments, machine=0xB7):
    """Runs fetch.sh on a file that begins as a program for the machine does."""
    program = b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(1 << 20)
    (tmp_path / "download").write_bytes(program)
    command = [ROOT / "android_benchmark/fetch.sh", f"--url=file://{tmp_path}/download", *arguments]
    return program, subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize(
    ("platform", "machine", "abi"), [("android_aarch64", 0xB7, "arm64-v8a"), ("android_arm", 0x28, "armeabi-v7a")]
)
def test_the_tool_that_fetch_gets_is_found(tmp_path, monkeypatch, variable, platform, machine, abi):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "a user's"))
    facts = dataclasses.replace(FACTS, abi=abi)
    with pytest.raises(errors.UserError, match="a user's.*benchmark_model: cannot read benchmark_model.*fetch.sh"):
        setup.read_tool("", facts)
    program, done = _fetch(tmp_path, platform, machine=machine)
    assert done.returncode == 0, done.stderr
    assert setup.read_tool("", facts) == program


def test_fetch_puts_the_tool_where_it_is_told_and_refuses_another_program(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program, done = _fetch(tmp_path, f"--folder={tmp_path}/mine")
    assert done.returncode == 0, done.stderr
    assert setup.read_tool(str(tmp_path / "mine/benchmark_model"), FACTS) == program
    _, done = _fetch(tmp_path, machine=0x3E)
    assert done.returncode == 1 and "expected a program for android_aarch64 (ELF machine b7), found 3e" in done.stderr
    assert not list(tmp_path.glob("cache/pnag_tf/*"))


# ---- the journal ---------------------------------------------------------------------------------------------------


def test_the_journal_gives_back_what_an_interrupted_call_left(tmp_path):
    path = tmp_path / "deep" / "journal"
    first = journal.Journal(path, SETUP)
    assert first.samples("m") == []
    first.add("m.tflite", "m", SAMPLE)
    first.add("n.tflite", "n", SAMPLE)
    first.add("m.tflite", "m", SAMPLE)
    with open(path, "a") as stream:
        stream.write('{"model": "torn')
    second = journal.Journal(path, dataclasses.replace(SETUP, serial="the same phone elsewhere"))
    assert second.samples("m") == [SAMPLE, SAMPLE]
    second.finish(["m"])
    third = journal.Journal(path, SETUP)
    assert third.samples("m") == [] and third.samples("n") == [SAMPLE]
    assert journal.Journal(path, dataclasses.replace(SETUP, cpu_mask="f0")).samples("n") == []


def test_another_file_is_not_taken_for_a_journal_and_not_touched(tmp_path):
    path = tmp_path / "notes"
    for text in ("buy milk\n", "buy milk", '{"arch": "1"}\n', "[1, 2]\n"):
        path.write_text(text)
        with pytest.raises(errors.UserError, match="notes:1: expected a journal"):
            journal.Journal(path, SETUP)
        assert path.read_text() == text
    with pytest.raises(errors.UserError, match="cannot read"):
        journal.Journal(tmp_path, SETUP)
