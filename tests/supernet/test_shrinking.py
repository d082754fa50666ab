"""Progressive shrinking: what a step draws and learns, and that a killed run goes on as if nothing had happened."""

import dataclasses
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import optimizers, shrinking
from pnag_tf.util import errors

SETTINGS = config_lib.Supernet(weight_decay=0.0, label_smoothing=0.0)


def _trainer(net, phase, **settings):
    return shrinking.Trainer(net, phase, dataclasses.replace(SETTINGS, **settings), seed=7)


def test_a_phase_without_options_draws_the_largest(supernet, space):
    trainer = _trainer(supernet, config_lib.Phase("full", 1, 0.1))
    assert (space.canonical(trainer.draw(3, 0)) == space.largest()).all()


def test_a_phase_draws_all_its_options_and_no_others(supernet, space):
    trainer = _trainer(supernet, config_lib.Phase("kernel", 1, 0.1, kernels=(3, 7)))
    draws = np.stack([trainer.draw(step, 0) for step in range(40)])
    assert set(np.unique(draws[:, space.kernel_columns])) == {0, 2}
    assert (draws[:, space.depth_columns] == 1).all() and (draws[:, space.ratio_columns] == 2).all()
    assert (draws[5] == trainer.draw(5, 0).numpy()).all()


def test_a_sandwich_is_the_largest_the_smallest_and_random_ones(supernet, space):
    every = {"depths": space.depths, "kernels": space.kernels, "ratios": space.ratios}
    trainer = _trainer(supernet, config_lib.Phase("all", 1, 0.1, **every, subnets_per_step=4, sandwich=True))
    draws = [[trainer.draw(step, index).numpy() for index in range(4)] for step in range(5)]
    for largest, smallest, first, second in draws:
        assert (largest == space.largest()).all() and (smallest == space.smallest()).all()
        assert (first != second).any()
    assert (draws[0][2] != draws[1][2]).any()


def test_an_unknown_option_is_named(space):
    with pytest.raises(errors.UserError, match=r"phase 'x': kernel 9; choose from \(3, 5, 7\)"):
        shrinking.phase_options(space, config_lib.Phase("x", 1, 0.1, kernels=(3, 9)))


def test_loss_by_hand(supernet):
    logits, labels = tf.constant([[2.0, 0.0] + [-99.0] * 8]), tf.constant([0])
    plain = np.log(1 + np.exp(-2.0))
    trainer = _trainer(supernet, config_lib.Phase("full", 1, 0.1))
    np.testing.assert_allclose(trainer.loss_of(logits, labels, None), plain, rtol=1e-5)
    taught = tf.constant([[0.5, 0.5] + [0.0] * 8])
    np.testing.assert_allclose(trainer.loss_of(logits, labels, taught), (plain + plain + 1.0) / 2, rtol=1e-5)


def test_mixed_precision_has_the_gradient_of_float32_but_for_rounding(supernet, space):
    images = tf.random.stateless_normal([16, 16, 16, 3], [0, 1])
    labels = tf.random.stateless_uniform([16], [0, 2], maxval=10, dtype=tf.int32)
    gradients = []
    for precision in (tf.float32, tf.bfloat16):
        with tf.GradientTape() as tape:
            logits, measured = supernet.forward(tf.cast(images, precision), tf.constant(space.largest()))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        parts = tape.gradient(loss, supernet.trainable_variables)
        assert {tensor.dtype for tensor in (logits, measured, *parts)} == {tf.float32}
        gradients.append(np.concatenate([np.ravel(part) for part in parts]))
    exact, rounded = gradients
    cosine = exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded)
    assert 0.98 < cosine < 0.99999  # 1 would mean that nothing was rounded


def test_a_mixed_step_gives_network_and_teacher_bfloat16_images(space, backbone):
    net, seen = supernet_lib.Supernet(space, backbone), []
    before = [weight.numpy() for weight in net.trainable_variables]

    def teacher(images):
        seen.append(images.dtype)
        return tf.zeros([len(images), 10])

    phase = config_lib.Phase("full", 1, 0.1)
    trainer = shrinking.Trainer(net, phase, SETTINGS, seed=7, teacher=teacher, mixed_precision=True)
    trainer.compile(optimizer=optimizers.Momentum(0.1, momentum=0.9), run_eagerly=True)
    result = trainer.train_step((tf.random.stateless_normal([8, 16, 16, 3], [0, 1]), tf.zeros([8], tf.int32)))
    assert seen == [tf.bfloat16] and np.isfinite(float(result["loss"]))
    assert {weight.dtype for weight in net.weights} == {"float32"}
    assert any((weight.numpy() != old).any() for weight, old in zip(net.trainable_variables, before, strict=True))


COMMAND = [sys.executable, "-m", "pnag_tf.main", "--preset=tiny", "--dataset=folder"]


def _run(image_folder, workdir, stage):
    return subprocess.Popen(
        [*COMMAND, f"--data_dir={image_folder}", f"--workdir={workdir}", f"--stage={stage}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _kill_when(process, path: pathlib.Path):
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_killed_runs_go_on_and_the_whole_road_ends_in_deployed_networks(image_folder, tmp_path):
    """kill -9 in the supernet and in the generator stage; what was finished is not made again."""
    workdir = tmp_path / "run"
    _kill_when(_run(image_folder, workdir, "eval"), workdir / "supernet/training.weights.h5")
    _kill_when(_run(image_folder, workdir, "eval"), workdir / "generator/checkpoint.npz")
    made = {path: path.stat().st_mtime_ns for path in [workdir / "records.csv", *workdir.glob("supernet/*.keras")]}
    assert len(made) == 3
    last = _run(image_folder, workdir, "eval")
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert made == {path: path.stat().st_mtime_ns for path in made}
    rows = (workdir / "eval/pnag.csv").read_text().splitlines()
    assert len(rows) == 6 and rows[0].startswith("method,budget_ms,arch,predicted_top1,predicted_latency_ms")
    assert len(list(workdir.glob("deploy/pnag_cpu_*.tflite"))) == len(list(workdir.glob("deploy/pnag_cpu_*.json"))) == 5
    history = (workdir / "supernet/history.csv").read_text().splitlines()
    assert len(history) == len(set(history)) == 3
