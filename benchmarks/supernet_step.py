"""Milliseconds of a supernet training step and of a forward evaluation, largest network against random ones.

    python benchmarks/supernet_step.py [--shapes 64x32,8x224] [--repeats 3]

Width 1.0, the paper's space, 1000 classes. Largest and random networks take turns, so that their ratio holds on a
machine whose speed drifts; medians.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from pnag_tf import config
from pnag_tf.latency import host
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import shrinking


def timed(function, choices) -> float:
    """Milliseconds of one call."""
    choices = tf.constant(choices)
    start = time.perf_counter()
    np.asarray(function(choices))
    return 1e3 * (time.perf_counter() - start)


def functions(net: supernet_lib.Supernet, batch: int):
    """A training step and a forward evaluation as functions of the choices, on random images."""
    resolution = net.backbone.resolution
    images = tf.random.stateless_normal([batch, resolution, resolution, 3], [0, 0])
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, net.backbone.classes, tf.int32)
    trainer = shrinking.Trainer(net, config.Phase("step", 1, 0.0), config.Supernet(), seed=0)
    weights = net.trainable_variables
    optimizer = shrinking.Momentum(1e-3, momentum=0.9, nesterov=True)
    optimizer.build(weights)
    spec = [tf.TensorSpec([net.space.tokens], tf.int32)]

    @tf.function(input_signature=spec, autograph=False)
    def step(choices):
        with tf.GradientTape() as tape:
            loss = trainer.loss_of(net({"images": images, "choices": choices}, training=True), labels, None)
        optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    @tf.function(input_signature=spec, autograph=False)
    def forward(choices):
        return tf.reduce_sum(net({"images": images, "choices": choices}))

    return {"training step": step, "forward": forward}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="64x32,8x224", help="batch x pixels, comma-separated")
    parser.add_argument("--repeats", type=int, default=3, help="passes over 16 random networks")
    arguments = parser.parse_args()
    space = space_lib.SearchSpace()
    random = space.sample(np.random.default_rng(0), 16)
    print(f"{host.describe()}; TensorFlow {tf.__version__}, oneDNN {os.environ.get('TF_ENABLE_ONEDNN_OPTS')}")
    for shape in arguments.shapes.split(","):
        batch, resolution = map(int, shape.split("x"))
        net = supernet_lib.Supernet(space, backbone_lib.Backbone(resolution=resolution))
        for name, function in functions(net, batch).items():
            for choices in (space.largest(), *random[:4]):
                timed(function, choices)
            largest, drawn = [], []
            for choices in np.tile(random, (arguments.repeats, 1)):
                largest.append(timed(function, space.largest()))
                drawn.append(timed(function, choices))
            whole, part = np.median(largest), np.median(drawn)
            print(
                f"{name}, {batch} x {resolution} x {resolution} px: largest {whole:.0f} ms, random {part:.0f} ms, "
                f"ratio {part / whole:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
