"""Several workers or devices learn what one learns, and go on from the checkpoint when a worker dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from pnag_tf import presets
from pnag_tf.supernet import distribution
from pnag_tf.util import errors, files

# Of both optimizers Muon has more to go wrong: what is no matrix is updated by momentum.
MUON = ("--set=supernet.optimizer=muon", "--set=finetune.optimizer=muon")


def _ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(image_folder, workdir, workers=0, flags=("--stage=supernet",), program=("-m", "pnag_tf.main")):
    """One process without TF_CONFIG where `workers` is 0, else as many with it."""
    command = [sys.executable, *program, "--preset=tiny", "--dataset=folder"]
    command += [f"--data_dir={image_folder}", f"--workdir={workdir}", *MUON, *flags]
    environments = [os.environ]
    if workers:
        command.append("--strategy=multi_worker")
        cluster = {"worker": [f"127.0.0.1:{port}" for port in _ports(workers)]}
        tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(workers)]
        environments = [os.environ | {"TF_CONFIG": json.dumps(task)} for task in tasks]
    return [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for env in environments
    ]


def _finish(processes):
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs


def _fine_tuning(workdir):
    return ("--stage=finetune", "--finetune_epochs=3", f"--archs={workdir}/eval/pnag.csv")


def _chosen(workdir):
    """Writes down the network that a stage `eval` would have chosen."""
    space = presets.preset("tiny").space
    arch = str(space.decode(space.smallest())[0])
    row = {"budget_ms": "1", "arch": arch, "test_top1": "0.5", "predicted_top1": "0.5", "predicted_latency_ms": "1"}
    files.write_csv(workdir / "eval/pnag.csv", [row], row)


@pytest.fixture(scope="module")
def one(image_folder, tmp_path_factory):
    """The run of one process: supernet and a fine-tuned network."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    _finish(_start(image_folder, workdir))
    _chosen(workdir)
    _finish(_start(image_folder, workdir, flags=_fine_tuning(workdir)))
    return workdir


def _histories(workdir):
    """Rows of the supernet's training and of the fine-tuning."""
    [fine_tuning] = (workdir / "finetune").iterdir()
    return [files.read_csv(folder / "history.csv", ("loss",)) for folder in (workdir / "supernet", fine_tuning)]


def _learnt_the_same(workdir, one):
    """Each replica normalises its part of a batch by itself, so that the curves are near each other, not the same."""
    for together, alone in zip(_histories(workdir), _histories(one), strict=True):
        step = "step" if "step" in alone[0] else "epoch"
        assert [row[step] for row in together] == [row[step] for row in alone]
        losses = [[float(row["loss"]) for row in rows] for rows in (together, alone)]
        np.testing.assert_allclose(*losses, atol=0.05)
    assert len(list((workdir / "supernet").glob("*.keras"))) == 2
    assert files.read_csv(workdir / "eval/pnag_finetuned.csv", ("test_top1",))


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_two_workers_learn_what_one_learns_and_go_on_when_one_was_killed(image_folder, one, tmp_path):
    two = tmp_path / "two"
    processes = _start(image_folder, two, workers=2)
    while not (two / "supernet/training.weights.h5").exists():  # the end of the first 50 steps
        assert all(process.poll() is None for process in processes), processes[0].stdout.read()
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    output = processes[0].communicate(timeout=300)[0]
    assert processes[0].returncode == 1 and "started again, all go on from here" in output, output
    kept = files.read_csv(two / "supernet/history.csv", ("loss",))
    _finish(_start(image_folder, two, workers=2))
    _chosen(two)
    _finish(_start(image_folder, two, workers=2, flags=_fine_tuning(two)))
    assert _histories(two)[0][: len(kept)] == kept
    _learnt_the_same(two, one)


# Two halves of the CPU stand for two GPUs.
MIRRORED = """
import functools, pnag_tf, tensorflow as tf
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.distribute.MirroredStrategy = functools.partial(tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"])
from absl import app
from pnag_tf import main
from pnag_tf.util import terminal
app.run(main.main, flags_parser=terminal.flags_parser())
"""


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_two_mirrored_devices_learn_what_one_learns(image_folder, one, tmp_path):
    """With mixed precision as well, which GPUs use."""
    mirrored = ("--strategy=mirrored", "--mixed_precision")
    for flags in (("--stage=supernet",), _fine_tuning(tmp_path / "run")):
        _finish(_start(image_folder, tmp_path / "run", flags=(*flags, *mirrored), program=("-c", MIRRORED)))
        _chosen(tmp_path / "run")
    _learnt_the_same(tmp_path / "run", one)


def test_one_process_writes_where_it_is_told(tmp_path):
    alone = distribution.make()
    assert alone.first and alone.replicas == 1
    assert alone.written(tmp_path / "x") == alone.shared(tmp_path / "x") == tmp_path / "x"


@pytest.mark.parametrize(
    "setting", [None, "", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_a_tf_config_that_cannot_be_used_is_named(setting, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if setting is not None:
        monkeypatch.setenv("TF_CONFIG", setting)
    with pytest.raises(errors.UserError, match="expected TF_CONFIG=.*found"):
        distribution.make("multi_worker")
