"""SGD with momentum, each update one TensorFlow operation, and Muon, which orthogonalises the updates of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

# Part of the learning rate by which Muon turns a matrix, so that one schedule serves matrices and all else.
TURN = 0.3
# Of x, x³ and x⁵ in each Newton-Schulz iteration: five of them bring singular values to about 1 (Jordan et al., 2024).
_QUINTIC, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5


@keras.saving.register_keras_serializable("pnag_tf")
class Momentum(keras.optimizers.SGD):
    """Keras's SGD with momentum, each weight updated by one operation instead of five."""

    def update_step(self, gradient, variable, learning_rate):
        if not self.momentum:
            return super().update_step(gradient, variable, learning_rate)
        slot = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=slot.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


@keras.saving.register_keras_serializable("pnag_tf")
class Muon(Momentum):
    """SGD with momentum whose updates of some matrices are orthogonalised (Jordan et al., 2024).

    An update of a matrix is its momentum with all singular values brought to about 1, so that rare directions count as
    much as frequent ones; a network gets further in the same few epochs. `keras.optimizers.Muon` leaves out
    convolutions, which are all that our networks have.

    The matrices must be weights in front of a batch norm: each keeps a Frobenius norm of sqrt(output channels), which
    changes nothing behind a batch norm, and an update turns it by `TURN` times the learning rate. All other weights are
    updated as by `Momentum`.

    Args:
      matrices: variables [..., output channels], seen as matrices with as many columns.
    """

    def __init__(self, learning_rate, matrices: Sequence[keras.Variable] = (), **settings):
        super().__init__(learning_rate, **settings)
        self._matrices, self._turned = tuple(matrices), frozenset()

    def build(self, variables):
        super().build(variables)
        self._turned = frozenset(self._get_variable_index(matrix) for matrix in self._matrices)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        if index not in self._turned:
            return super().update_step(gradient, variable, learning_rate)
        momentum, columns = self.momentums[index], variable.shape[-1]
        momentum.assign(self.momentum * momentum + gradient)
        update = gradient + self.momentum * momentum if self.nesterov else tf.convert_to_tensor(momentum)
        turned = tf.reshape(orthogonal(tf.reshape(update, [-1, columns])), variable.shape)
        kept = tf.sqrt(float(columns)) / tf.norm(variable)
        variable.assign(kept * variable - TURN * learning_rate * turned)


def make(kind: str, learning_rate, matrices: Sequence[keras.Variable], **settings) -> Momentum:
    """'sgd' or 'muon', both with Nesterov's momentum; of the matrices Muon alone makes use."""
    if kind == "muon":
        return Muon(learning_rate, matrices, nesterov=True, **settings)
    return Momentum(learning_rate, nesterov=True, **settings)


def orthogonal(matrix: tf.Tensor) -> tf.Tensor:
    """A matrix [n, m] with the same singular vectors, whose singular values are between about 0.7 and 1.2."""
    a, b, c = _QUINTIC
    rows, columns = matrix.shape
    x = tf.transpose(matrix) if rows > columns else matrix  # the product below is the smaller one then
    x /= tf.norm(x) + 1e-7
    for _ in range(_ITERATIONS):
        square = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
    return tf.transpose(x) if rows > columns else x
