"""Several small networks trained at once on the same targets: the mean predicts, the spread says where not to trust."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
import tqdm

from pnag_tf import config as config_lib
from pnag_tf.util import scalars


@keras.saving.register_keras_serializable("pnag_tf")
class EnsembleDense(keras.layers.Layer):
    """One dense layer of several independent networks at once: ``[members or 1, n, in] -> [members, n, units]``."""

    def __init__(self, members: int, units: int, activation: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.members, self.units = members, units
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        scale = (2.0 / input_shape[-1]) ** 0.5  # He initialisation; Keras would count the members into the fan-in
        self.kernel = self.add_weight(
            shape=(self.members, input_shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=scale),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.members, 1, self.units), initializer="zeros", name="bias")

    def call(self, inputs):
        return self.activation(keras.ops.matmul(inputs, self.kernel) + self.bias)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return super().get_config() | {"members": self.members, "units": self.units, "activation": activation}


def build(inputs: int, settings: config_lib.Predictors) -> keras.Model:
    """The networks: features ``[n, inputs]`` -> ``[n, members]``."""
    entry = keras.Input((inputs,))
    hidden = keras.ops.expand_dims(entry, 0)
    for _ in range(settings.layers):
        hidden = EnsembleDense(settings.members, settings.hidden, settings.activation)(hidden)
    output = EnsembleDense(settings.members, 1)(hidden)
    return keras.Model(entry, keras.ops.transpose(output[:, :, 0]), name="accuracy_ensemble")


def train(
    inputs: np.ndarray,
    targets: np.ndarray,
    settings: config_lib.Predictors,
    seed: int,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
    title: str = "predictors",
) -> keras.Model:
    """Networks fitted to features ``[n, f]`` and targets ``[n]`` of unit variance.

    Raises:
      FloatingPointError: the loss became NaN.
    """
    network = build(inputs.shape[1], settings)
    for number, weight in enumerate(network.weights):  # seeded by place, whatever was built before in this process
        if weight.path.endswith("kernel"):
            noise = np.random.default_rng([seed, number]).normal(size=weight.shape)
            weight.assign(noise * (2.0 / weight.shape[1]) ** 0.5)
    batch = min(settings.batch_size, len(inputs))
    data = tf.data.Dataset.from_tensor_slices((inputs.astype(np.float32), targets.astype(np.float32)[:, None]))
    data = data.cache().shuffle(len(inputs), seed=seed).batch(batch, drop_remainder=True).prefetch(2)
    steps = settings.epochs * (len(inputs) // batch)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    network.compile(optimizer, loss=_square)  # one target, broadcast to all members
    bar = EpochBar(title, settings.epochs, progress, log)
    network.fit(data, epochs=settings.epochs, verbose=0, shuffle=False, callbacks=[bar])
    return network


def _square(targets, outputs):
    return keras.ops.mean(keras.ops.square(targets - outputs), -1)


class EpochBar(keras.callbacks.Callback):
    """A progress bar over epochs that stops the run at a loss that is no number, and names the step."""

    def __init__(self, title: str, epochs: int, progress: bool, log: scalars.Log = scalars.nowhere):
        super().__init__()
        self._log = log
        self._bar = tqdm.tqdm(total=epochs, desc=title, unit="epoch", disable=not progress)

    def on_epoch_end(self, epoch, logs=None):
        loss = logs["loss"]
        if not np.isfinite(loss):
            raise FloatingPointError(f"{self._bar.desc}: loss {loss} in epoch {epoch + 1}")
        self._log(epoch + 1, logs)
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update()

    def on_train_end(self, logs=None):
        self._bar.close()
