"""Milliseconds of a supernet training step and of a forward evaluation, largest network against random ones.

    python benchmarks/supernet_step.py [--shapes 64x32,8x224] [--repeats 3]
    python benchmarks/supernet_step.py --fit --shapes 128x28,128x32,32x128

Width 1.0, the paper's space, 1000 classes; with `--fit` the space that fits the resolution. A plain Keras model of the
largest network, with the same optimizer, is trained beside them. All take turns, so that their ratios hold on a machine
whose speed drifts; medians.
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
from pnag_tf.space import fitting, network
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import optimizers, shrinking


def timed(function, choices) -> float:
    """Milliseconds of one call."""
    choices = tf.constant(choices)
    start = time.perf_counter()
    np.asarray(function(choices))
    return 1e3 * (time.perf_counter() - start)


def functions(net: supernet_lib.Supernet, batch: int):
    """Training step and forward evaluation as functions of the choices, on random images: name -> (supernet's, plain).

    The plain ones are those of the largest network, whatever the choices.
    """
    plain = network.build(net.backbone, net.space.decode(net.space.largest())[0])
    resolution = net.backbone.resolution
    images = tf.random.stateless_normal([batch, resolution, resolution, 3], [0, 0])
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, net.backbone.classes, tf.int32)
    loss_of = shrinking.Trainer(net, config.Phase("step", 1, 0.0), config.Supernet(), seed=0).loss_of
    spec = [tf.TensorSpec([net.space.tokens], tf.int32)]

    def step(model, answer):
        optimizer = optimizers.Momentum(1e-3, momentum=0.9, nesterov=True)
        optimizer.build(model.trainable_variables)

        @tf.function(input_signature=spec, autograph=False)
        def trained(choices):
            with tf.GradientTape() as tape:
                loss = loss_of(answer(choices, training=True), labels, None)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            return loss

        return trained

    def forward(answer):
        return tf.function(lambda choices: tf.reduce_sum(answer(choices)), input_signature=spec, autograph=False)

    def elastic(choices, training=False):
        return net({"images": images, "choices": choices}, training=training)

    def fixed(choices, training=False):
        return plain(images, training=training)

    return {
        "training step": (step(net, elastic), step(plain, fixed)),
        "forward": (forward(elastic), forward(fixed)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="64x32,8x224", help="batch x pixels, comma-separated")
    parser.add_argument("--repeats", type=int, default=3, help="passes over 16 random networks")
    parser.add_argument("--fit", action="store_true", help="the space that fits the resolution, not the paper's")
    arguments = parser.parse_args()
    print(f"{host.describe()}; TensorFlow {tf.__version__}, oneDNN {os.environ.get('TF_ENABLE_ONEDNN_OPTS')}")
    for shape in arguments.shapes.split(","):
        batch, resolution = map(int, shape.split("x"))
        space, backbone = space_lib.SearchSpace(), backbone_lib.Backbone(resolution=resolution)
        if arguments.fit:
            space, backbone = fitting.fit(resolution)
        random, net = space.sample(np.random.default_rng(0), 16), supernet_lib.Supernet(space, backbone)
        for name, (elastic, plain) in functions(net, batch).items():
            for choices in (space.largest(), *random[:4]):
                timed(elastic, choices), timed(plain, choices)
            taken = np.array(
                [
                    (timed(elastic, space.largest()), timed(elastic, choices), timed(plain, choices))
                    for choices in np.tile(random, (arguments.repeats, 1))
                ]
            )
            whole, part, kept = np.median(taken, 0)
            print(
                f"{name}, {batch} x {resolution} x {resolution} px: largest {whole:.0f} ms, random {part:.0f} ms, "
                f"ratio {part / whole:.2f}; plain Keras {kept:.0f} ms, images per second of the supernet to its "
                f"{kept / whole:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
