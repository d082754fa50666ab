"""Two workers on this machine learn what one learns, and go on from the checkpoint when one of them dies."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from pnag_tf import distribution, files, presets


def _ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(image_folder, workdir, workers=0, flags=("--stage=supernet",)):
    """One process without TF_CONFIG where `workers` is 0, else as many with it."""
    command = [sys.executable, "-m", "pnag_tf.main", "--preset=tiny", "--dataset=folder"]
    command += [f"--data_dir={image_folder}", f"--workdir={workdir}", *flags]
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


def _history(workdir, trained="supernet"):
    with open(workdir / trained / "history.csv") as stream:
        return list(csv.DictReader(stream))


def _losses(rows):
    return np.array([float(row["loss"]) for row in rows])


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_two_workers_learn_what_one_learns_and_go_on_when_one_was_killed(image_folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    _finish(_start(image_folder, one))
    processes = _start(image_folder, two, workers=2)
    while not (two / "supernet/training.weights.h5").exists():  # the end of the first 50 steps
        assert all(process.poll() is None for process in processes), processes[0].stdout.read()
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    output = processes[0].communicate(timeout=300)[0]
    assert processes[0].returncode == 1 and "started again, all go on from here" in output, output
    kept = _history(two)
    _finish(_start(image_folder, two, workers=2))
    alone, together = _history(one), _history(two)
    assert together[: len(kept)] == kept
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    # Each worker normalises its half of a batch by itself, so that the curves are near each other, not the same.
    np.testing.assert_allclose(_losses(together), _losses(alone), atol=0.05)
    assert len(list((two / "supernet").glob("*.keras"))) == 2
    _fine_tuned_by_two_as_by_one(image_folder, one, two)


def _fine_tuned_by_two_as_by_one(image_folder, one, two):
    """Both begin with the same supernet and the network that a stage `eval` would have chosen."""
    config = presets.preset("tiny")
    arch = str(config.space.decode(config.space.smallest())[0])
    row = {"budget_ms": "1", "arch": arch, "test_top1": "0.5", "predicted_top1": "0.5", "predicted_latency_ms": "1"}
    shutil.copytree(one / "supernet", two / "supernet", dirs_exist_ok=True)
    for run, workers in ((one, 0), (two, 2)):
        files.write_csv(run / "eval/pnag.csv", [row], row)
        _finish(_start(image_folder, run, workers, ("--stage=finetune", "--epochs=3")))
    trained = [f"finetune/{path.name}" for path in (one / "finetune").iterdir()]
    alone, together = _history(one, trained[0]), _history(two, trained[0])
    assert [row["epoch"] for row in together] == ["0", "1", "2", "3"]
    np.testing.assert_allclose(_losses(together)[1:], _losses(alone)[1:], atol=0.05)
    assert files.read_csv(two / "eval/pnag_finetuned.csv", ("test_top1",))


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
    with pytest.raises(files.UserError, match="expected TF_CONFIG=.*found"):
        distribution.make("multi_worker")
