"""The road to a phone and back: Debian's adb against a daemon of our own, in a server and a home of their own."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import adb_daemon
import pytest

from pnag_tf.latency import device as devices
from pnag_tf.latency import export
from pnag_tf.latency.android import adb
from pnag_tf.latency.android import measure as android
from pnag_tf.latency.android import runs as android_runs
from pnag_tf.latency.android import settings as android_settings
from pnag_tf.space import network
from pnag_tf.util import errors, files

ROOT = pathlib.Path(__file__).parents[3]
pytestmark = [
    pytest.mark.skipif(not shutil.which("adb"), reason="needs adb: apt-get install adb"),
    pytest.mark.skipif(not pathlib.Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
]
heavy = pytest.mark.heavy
QUICK = """#!/bin/sh
for flag; do case $flag in --graph=*) echo "$flag" >>"$PHONE/runs";; esac; done
set -- $(cat "$PHONE/runs")
echo "INFO: count=1 curr=3000 p5=3000 median=3000 p95=3000"
median=1000
{then}
echo "INFO: count=50 first=1010 curr=990 min=980 max=1100 avg=1000.5 std=20 p5=985 median=$median p95=1050"
"""


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    """An adb server that no phone and no key of the user's is known to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.delenv("ANDROID_SERIAL", raising=False)
        run_adb("start-server")
        yield
        run_adb("kill-server")


@pytest.fixture
def make_phone(tmp_path):
    made = []

    def make(**settings):
        phone = adb_daemon.Phone(tmp_path / f"phone{len(made)}", **settings)
        made.append(phone)
        run_adb("connect", phone.address)
        return phone

    yield make
    for phone in made:
        phone.vanish()
        run_adb("disconnect", phone.address)
    for phone in made:
        deadline = time.monotonic() + 5
        while (running := phone.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running


@pytest.fixture
def phone(make_phone):
    return make_phone()


@pytest.fixture(scope="module")
def tflites(tmp_path_factory):
    """Two blocks, the second with about 30 times the work of the first."""
    import dataclasses

    from pnag_tf.space import backbone as backbone_lib

    small = dataclasses.replace(backbone_lib.Backbone(resolution=64).block(0, 0, 3, 3))
    folder = tmp_path_factory.mktemp("models")
    paths = []
    for name, block in (("small", small), ("large", dataclasses.replace(small, hidden=10 * small.hidden))):
        paths.append(folder / f"{name}.tflite")
        paths[-1].write_bytes(export.convert(network.randomise(network.build_blocks([block]))))
    return paths


@pytest.fixture
def models(tmp_path):
    """Files that look like models to us; the quick tool does not look."""
    return [tflite(tmp_path / f"{number}.tflite", number) for number in range(5)]


def tflite(path, number):
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes([number]) * 3000)
    return path


def quick_tool(tmp_path, then=""):
    """A benchmark_model that prints at once, whatever it is given, but for what `then` does in its $#th run."""
    path = tmp_path / "quick_tool"
    path.write_text(QUICK.replace("{then}", then))
    return str(path)


def settings(tmp_path, phone=None, **changes):
    chosen = {"serial": phone.address if phone else "", "reconnect_s": 20.0} | changes
    return android_settings.Settings(**{"tool": chosen.get("tool") or quick_tool(tmp_path), **chosen})


def run_adb(*arguments):
    return subprocess.run(
        ["adb", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30
    )


def runs(phone):
    """How often the quick tool ran."""
    path = phone.folder / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def left(phone):
    """What is in /data/local/tmp or still runs, a moment later."""
    deadline = time.monotonic() + 5
    while (found := [*phone.tmp.rglob("*"), *phone.processes()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


# ---- measuring -----------------------------------------------------------------------------------------------------


def test_real_models_are_run_and_timed(phone, tflites, tmp_path):
    tool = adb_daemon.write_tool(tmp_path / "benchmark_model")
    # The serial is left out: there is one phone.
    chosen = android_settings.Settings(tool=str(tool), runs=5, run_secs=0.05, warm_up_secs=0.05, agreement=1.0)
    seen = []
    small, large = android.measure(
        [tflites[0], tflites[1].read_bytes()],
        settings=chosen,
        progress=lambda done, total: seen.append((done, total)),
    )
    for latency in (small, large):
        assert isinstance(latency, devices.MeasuredLatency)
        assert 0 < latency.p5_ms <= latency.median_ms <= latency.p95_ms
        assert latency.runs >= 3 * 5
        assert latency.device == android.describe(chosen)
    for part in ("Google Pixel 4, Android 13 (TP1A.221005.002)", "benchmark_model ", "CPU", "mask 80", "1 thread"):
        assert part in small.device
    assert seen[0] == (0, 6) and seen[-1] == (6, 6) and sorted(seen) == seen
    assert set((phone.folder / "masks").read_text().split()) == {"80"}
    assert not left(phone)


@heavy
def test_many_models_take_few_calls_of_adb(phone, tmp_path):
    many = [tflite(tmp_path / f"{number}.tflite", number) for number in range(30)]
    records = android.records([*many, many[0]], settings=settings(tmp_path, phone))
    assert len(records) == 31 and runs(phone) == 90
    assert records[30] == records[0]
    assert len(phone.services) < 10
    record = records[7]
    assert (record.median_ms, record.p5_ms, record.p95_ms, record.runs) == (1.0, 0.985, 1.05, 150)
    assert record.agreed and record.spread == 0 and len(record.samples) == 3
    for conditions in (record.samples[0].before, record.samples[0].after):
        assert (conditions.thermal_status, conditions.cpu_c, conditions.battery_c) == (0, 41.25, 27.4)
    assert record.setup.facts.fingerprint.startswith("google/flame") and len(record.setup.tool_sha256) == 64


@heavy
def test_runs_go_on_until_three_in_a_row_agree(phone, models, tmp_path):
    tool = quick_tool(tmp_path, "case $# in 1) median=2000;; 2) median=1500;; *) median=$((1000 + $#));; esac")
    (record,) = android.records(models[:1], settings=settings(tmp_path, phone, tool=tool))
    assert [sample.timing.median_ms for sample in record.samples] == [2.0, 1.5, 1.003, 1.004, 1.005]
    assert record.median_ms == 1.004 and record.agreed and record.spread == pytest.approx(0.002, abs=1e-4)


@heavy
def test_runs_that_never_agree_report_their_spread(phone, models, tmp_path):
    chosen = settings(tmp_path, phone, tool=quick_tool(tmp_path, "median=$((1000 * $#))"), max_repetitions=5)
    (record,) = android.records(models[:1], settings=chosen)
    assert not record.agreed and len(record.samples) == 5
    assert record.median_ms == 3.0 and record.spread == pytest.approx(4 / 3)


@heavy
def test_names_and_folders_with_spaces_and_quotes(phone, tmp_path):
    folder = tmp_path / "my models"
    folder.mkdir()
    model = tflite(folder / "it's a net (1).tflite", 1)
    chosen = settings(tmp_path, phone, remote_dir="/data/local/tmp/a b'c")
    (record,) = android.records([str(model)], settings=chosen)
    assert record.model == str(model) and record.median_ms == 1.0
    assert [*phone.tmp.rglob("*")] == [phone.tmp / "a b'c"]


@heavy
def test_two_phones_need_a_serial_and_measure_at_the_same_time(make_phone, models, tmp_path):
    phones = [make_phone(), make_phone(khz=[10, 10, 20, 20], properties={"ro.product.model": "Pixel"})]
    with pytest.raises(errors.UserError, match="2 phones found: choose one with `phone.serial`"):
        android.measure(models, settings=settings(tmp_path))
    found = {}
    tool = quick_tool(tmp_path, "sleep 0.2")

    def measure(phone):
        found[phone] = android.measure(models, settings=settings(tmp_path, phone, tool=tool))

    threads = [threading.Thread(target=measure, args=[phone]) for phone in phones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "Pixel 4" in found[phones[0]][0].device and "mask 80" in found[phones[0]][0].device
    assert "Pixel," in found[phones[1]][0].device and "mask c" in found[phones[1]][0].device
    assert runs(phones[0]) == runs(phones[1]) == 15
    assert not left(phones[0]) and not left(phones[1])


@heavy
def test_a_phone_without_frequencies_is_looked_up_or_asked_for(make_phone, models, tmp_path):
    known = make_phone(khz=[], properties={"ro.product.model": "Pixel 2"})
    assert "mask f0" in android.describe(settings(tmp_path, known))
    other = make_phone(khz=[], properties={"ro.product.model": "Fone"})
    with pytest.raises(errors.UserError, match="Fone.*does not tell how fast its cores are.*`phone.cpu_mask`"):
        android.describe(settings(tmp_path, other))
    android.measure(models[:1], settings=settings(tmp_path, other, cpu_mask="0x30"))
    assert set((other.folder / "masks").read_text().split()) == {"30"}
    android.measure(models[:1], settings=settings(tmp_path, other, cpu_mask="none"))
    assert runs(other) == 6 and len((other.folder / "masks").read_text().split()) == 3


# ---- a phone that goes away ----------------------------------------------------------------------------------------


def come_back_after(phone, seconds):
    """Puts the cable in again some time after it was pulled."""

    def wait():
        while phone.is_there:
            time.sleep(0.05)
        time.sleep(seconds)
        phone.come_back()

    threading.Thread(target=wait, daemon=True).start()


@heavy
def test_cable_pulled_while_files_are_pushed(phone, tmp_path):
    model = tmp_path / "big.tflite"
    model.write_bytes(b"\x1c\0\0\0TFL3" + bytes(3_000_000))
    phone.drop_after_bytes = 1_000_000
    come_back_after(phone, 1)
    assert android.measure([model], settings=settings(tmp_path, phone))[0].median_ms == 1.0
    assert runs(phone) == 3 and not left(phone)


@heavy
def test_cable_pulled_during_a_run_and_put_in_again(phone, models, tmp_path):
    tool = quick_tool(tmp_path, "[ $# != 8 ] || { echo PULL-THE-CABLE; exec sleep 60; }")
    phone.drop_after_text = b"PULL-THE-CABLE"
    come_back_after(phone, 1)
    latencies = android.measure(models, settings=settings(tmp_path, phone, tool=tool))
    assert [latency.median_ms for latency in latencies] == [1.0] * 5
    assert runs(phone) == 16  # one of them did not end
    assert not left(phone)


@heavy
def test_cable_pulled_for_good_and_the_same_call_later(phone, models, tmp_path):
    chosen = settings(
        tmp_path, phone, tool=quick_tool(tmp_path, "[ $# != 8 ] || { echo PULL-THE-CABLE; exec sleep 60; }")
    )
    phone.drop_after_text = b"PULL-THE-CABLE"
    journal = tmp_path / "journal"
    impatient = android_settings.Settings(**vars(chosen) | {"reconnect_s": 0.5})
    with pytest.raises(errors.UserError, match="went away.*did not come back.*the same call goes on from there"):
        android.measure(models, settings=impatient, journal=journal)
    assert not left(phone)
    phone.come_back()
    seen = []
    android.measure(models, settings=chosen, journal=journal, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (7, 15) and runs(phone) == 16
    # What is finished is measured anew when it is asked for anew.
    android.measure(models[:1], settings=chosen, journal=journal)
    assert runs(phone) == 19
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(lines) == 15 + 1 + 3 + 1
    assert lines[0]["model"] == str(models[0]) and lines[0]["sample"]["after"]["battery_c"] == 27.4


@heavy
def test_a_phone_that_is_lost_again_and_again_is_given_up(phone, models, tmp_path):
    tool = quick_tool(tmp_path, "echo PULL-THE-CABLE; exec sleep 60")

    phone.drop_after_text = b"PULL-THE-CABLE"

    def put_in():
        for _ in range(android.LOSSES - 1):
            while phone.is_there:
                time.sleep(0.05)
            time.sleep(0.2)
            phone.drop_after_text = b"PULL-THE-CABLE"
            phone.come_back()

    threading.Thread(target=put_in, daemon=True).start()
    with pytest.raises(adb.Lost, match="went away"):
        android.measure(models, settings=settings(tmp_path, phone, tool=tool))
    assert runs(phone) == android.LOSSES


# ---- a phone that throttles ----------------------------------------------------------------------------------------


@heavy
def test_a_throttled_phone_is_waited_for(phone, models, tmp_path, monkeypatch):
    monkeypatch.setattr(android_runs, "POLL_S", 0.1)
    phone.set_thermal(3)
    threading.Timer(1, phone.set_thermal, [0]).start()
    (record,) = android.records(models[:1], settings=settings(tmp_path, phone))
    assert record.samples[0].before.thermal_status == 0 and runs(phone) == 3


@heavy
def test_a_phone_that_stays_throttled_is_refused_or_accepted(phone, models, tmp_path):
    phone.set_thermal(2)
    message = "throttles .thermal status 2, moderate. after 0.2 s of waiting.*`phone.max_thermal_status=2`"
    with pytest.raises(errors.UserError, match=message):
        android.measure(models, settings=settings(tmp_path, phone, cool_down_s=0.2))
    assert runs(phone) == 0 and not left(phone)
    chosen = settings(tmp_path, phone, max_thermal_status=2)
    assert android.records(models[:1], settings=chosen)[0].samples[0].after.thermal_status == 2


@heavy
def test_runs_in_which_the_phone_throttles_do_not_count(phone, models, tmp_path, monkeypatch):
    monkeypatch.setattr(android_runs, "POLL_S", 0.1)
    hot = 'set_status() { echo "Thermal Status: $1" >"$PHONE/dumpsys/thermalservice"; }\n'
    tool = quick_tool(tmp_path, hot + "[ $# != 2 ] || { median=9000; set_status 1; }")
    threading.Timer(1.5, phone.set_thermal, [0]).start()
    (record,) = android.records(models[:1], settings=settings(tmp_path, phone, tool=tool))
    assert runs(phone) == 4 and [sample.timing.median_ms for sample in record.samples] == [1.0] * 3


# ---- what goes wrong on the phone ----------------------------------------------------------------------------------


@heavy
def test_a_run_that_hangs_is_stopped(phone, models, tmp_path):
    chosen = settings(tmp_path, phone, tool=quick_tool(tmp_path, "exec sleep 60"), timeout_s=0.5)
    with pytest.raises(
        errors.UserError, match=r"0.tflite: the run on the phone has not ended after 0.5 s.*`phone.timeout_s`"
    ):
        android.measure(models, settings=chosen)
    assert not left(phone)


@heavy
def test_a_broken_model_is_named_with_the_words_of_the_tool(phone, tflites, tmp_path):
    broken = tmp_path / "broken net.tflite"
    broken.write_bytes(tflites[0].read_bytes()[:200])
    chosen = settings(tmp_path, phone, tool=str(adb_daemon.write_tool(tmp_path / "benchmark_model")))
    with pytest.raises(
        errors.UserError, match="broken net.tflite: benchmark_model failed: .*Failed to load model .*net"
    ):
        android.measure([broken], settings=chosen)
    assert not left(phone)


@heavy
def test_a_tool_that_is_missing_or_for_other_processors(phone, models, tmp_path):
    with pytest.raises(errors.UserError, match="nothing: cannot read benchmark_model.*fetch.sh"):
        android.measure(models, settings=settings(tmp_path, phone, tool=str(tmp_path / "nothing")))
    elf = tmp_path / "elf"
    elf.write_bytes(b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little") + bytes(40))
    with pytest.raises(errors.UserError, match="expected a program for arm64-v8a .ELF machine 183., found 62"):
        android.measure(models, settings=settings(tmp_path, phone, tool=str(elf)))
    text = tmp_path / "text"
    text.write_bytes(b"\x01\x02 no program")
    with pytest.raises(errors.UserError, match="0.tflite: benchmark_model failed: "):
        android.measure(models, settings=settings(tmp_path, phone, tool=str(text)))
    assert not left(phone)


@heavy
def test_flags_that_the_tool_ignores_are_an_error(phone, tflites, tmp_path):
    tool = str(adb_daemon.write_tool(tmp_path / "benchmark_model"))
    with pytest.raises(errors.UserError, match="benchmark_model ignored --use_gpu=true"):
        android.measure(tflites, settings=settings(tmp_path, phone, tool=tool, delegate="gpu"))


@heavy
@pytest.mark.parametrize("remote_dir", ["/proc/no/such", "/system/bin"])
def test_a_folder_that_cannot_be_written(phone, models, tmp_path, remote_dir):
    with pytest.raises(errors.UserError, match=f"(cannot write to `phone.remote_dir=|refuses files in ){remote_dir}"):
        android.measure(models, settings=settings(tmp_path, phone, remote_dir=remote_dir))


@heavy
def test_another_measurement_is_not_disturbed_and_dead_ones_are_cleared(phone, models, tmp_path):
    busy, dead, young = (phone.tmp / f"pnag_tf.{name}" for name in ("busy", "dead", "young"))
    for folder in (busy, dead, young):
        folder.mkdir()
    (dead / "pid").write_text("999999999")
    (busy / "pid").write_text(str(os.getpid()))
    with pytest.raises(errors.UserError, match="measuring for somebody else.*pnag_tf.busy"):
        android.measure(models, settings=settings(tmp_path, phone))
    assert not dead.exists() and young.exists()
    shutil.rmtree(busy)
    os.utime(young, (0, 0))
    android.measure(models[:1], settings=settings(tmp_path, phone))
    assert not left(phone)


@heavy
def test_a_phone_that_saves_its_battery_is_refused(phone, models, tmp_path):
    adb_daemon.write(phone.folder / "settings/low_power", "1\n")
    with pytest.raises(errors.UserError, match="saves its battery.*switch Battery Saver off"):
        android.measure(models, settings=settings(tmp_path, phone))


def test_a_phone_that_does_not_trust_this_computer(make_phone, models, tmp_path):
    phone = make_phone(authorized=False)
    with pytest.raises(errors.UserError, match="is unauthorized: unlock the phone"):
        android.measure(models, settings=settings(tmp_path, phone))


def test_an_address_where_nobody_listens(tmp_path, models):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(errors.UserError, match=f"cannot reach {address}: adb says '.*[Cc]onnection refused'"):
        android.measure(models, settings=settings(tmp_path, serial=address))


# ---- the command line ----------------------------------------------------------------------------------------------


def bench(*arguments, **settings):
    command = [ROOT / "tools/bench_android.sh", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Tests started in the background have Ctrl-C ignored, and so would what they start.
    return subprocess.Popen(
        command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes, **settings
    )


def test_the_command_line_from_end_to_end(phone, tflites, tmp_path):
    tool = adb_daemon.write_tool(tmp_path / "benchmark_model")
    flags = ["--runs=7", "--run_secs=0", "--warmup=2", "--warmup_secs=0", "--agreement=1", "--threads=2"]
    process = bench(*tflites, f"--tool={tool}", f"--serial={phone.address}", f"--json={tmp_path}/all.json", *flags)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    title, head, small, large = out.splitlines()
    assert title.startswith("Google Pixel 4, Android 13 (TP1A.221005.002), benchmark_model ")
    assert title.endswith("CPU, mask f0, 2 threads")
    assert head.split()[:5] == ["model", "median_ms", "p5_ms", "p95_ms", "runs"]
    assert small.startswith(str(tflites[0])) and large.startswith(str(tflites[1]))
    assert small.split()[4] == "21" and float(large.split()[1]) > float(small.split()[1]) > 0
    records = json.loads((tmp_path / "all.json").read_text())
    assert [record["model"] for record in records] == [str(path) for path in tflites]
    assert records[0]["samples"][0]["timing"]["warm_up_runs"] == 2
    assert "--num_threads=2" in records[0]["setup"]["flags"]
    assert not left(phone)


@heavy
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_whatever_ends_the_command_line_ends_the_run_on_the_phone(phone, models, tmp_path, how):
    tool = quick_tool(tmp_path, "exec sleep 60")
    process = bench(models[0], f"--tool={tool}", f"--serial={phone.address}", start_new_session=True)
    while not runs(phone):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if how == "Ctrl-C":  # the terminal sends it to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how))
    out, err = process.communicate(timeout=30)
    if how != "SIGKILL":
        assert (process.returncode, out, err) == (130, "", "stopped; nothing is left on the phone\n")
    assert not left(phone)


@heavy
@pytest.mark.timeout(1500)
def test_the_whole_road_ends_in_networks_for_the_phone(phone, image_folder, tmp_path):
    """The blocks are timed on it for the latency table, and the finalists at the end."""
    tool = adb_daemon.write_tool(tmp_path / "benchmark_model")
    command = [sys.executable, "-m", "pnag_tf.main", "--preset=tiny", "--stage=eval", "--device=mobile"]
    command += ["--dataset=folder", f"--data_dir={image_folder}", f"--workdir={tmp_path}/run"]
    done = subprocess.run(
        [*command, f"--serial={phone.address}", f"--benchmark_tool={tool}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name = "Google Pixel 4, Android 13 (TP1A.221005.002), benchmark_model "
    assert files.read_json(tmp_path / "run/latency_table.json")["device"].startswith(name)
    rows = files.read_csv(tmp_path / "run/eval/pnag.csv", ("budget_ms", "latency_ms", "test_top1"))
    assert len(rows) == 5 and all(float(row["latency_ms"]) > 0 for row in rows)
    for row in rows:
        described = files.read_json(tmp_path / f"run/deploy/pnag_mobile_{row['budget_ms']}.json")
        assert described["device"].startswith(name)
        assert (tmp_path / "run/deploy" / described["file"]).read_bytes()[4:8] == b"TFL3"
    assert not left(phone)
