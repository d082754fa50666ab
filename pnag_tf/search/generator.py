"""The generator f(B; θ): an LSTM that writes an architecture token by token for any latency budget (section D).

Per unit it decides the depth, then for each layer the expand ratio and the kernel. `draw_and_score` is one pass of few
operations a token; its gradient goes back through the very cells that sampled, and gathers those of the weights in one
product at the end. `log_prob` scores given choices. All parameters live in one flat variable, so that an optimiser's
step is a few operations too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf.search import budgets as interpolation
from pnag_tf.space import features
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files

FILE = "generator.npz"


class Generator:
    """A policy over the architectures of a space, conditioned on a budget.

    Attributes:
      space: the search space.
      budgets_ms: the K budgets with a learned embedding, increasing.
      theta: one flat float32 variable with every parameter.
    """

    def __init__(
        self,
        space: space_lib.SearchSpace,
        settings: config_lib.Generator,
        budgets_ms: np.ndarray,
        theta: np.ndarray | None = None,
        seed: int = 0,
    ):
        if settings.heads not in ("kind", "token"):
            raise ValueError(f"generator heads '{settings.heads}'; choose from kind, token")
        self.space, self.settings = space, settings
        self.budgets_ms = np.asarray(budgets_ms, float)
        self._encoder = features.Encoder(space)
        self._options = {kind: len(options) for kind, options in space.options.items()}
        starts = np.cumsum([1, *self._options.values()])  # row 0 of the embeddings opens the sequence
        self._first_row = dict(zip(self._options, starts.tolist(), strict=False))
        self._rows = int(starts[-1])
        self._tokens = {k: [t for t, kind in enumerate(space.token_kinds) if kind == k] for k in self._options}
        self._shapes = self._parameter_shapes()
        if theta is None:
            theta = self._initial(np.random.default_rng(seed))
        if len(theta) != (expected := sum(int(np.prod(shape)) for shape in self._shapes.values())):
            raise ValueError(f"generator: {len(theta)} parameters; this space needs {expected}")
        self.theta = tf.Variable(theta, dtype=tf.float32, name="theta")
        matrix = tf.TensorSpec([None, len(self.budgets_ms)], tf.float32)
        choices = tf.TensorSpec([None, space.tokens], tf.int32)
        self._sample = tf.function(self.draw, input_signature=[matrix, tf.TensorSpec([2], tf.int32)])
        self._score = tf.function(self.log_prob, input_signature=[matrix, choices])

    # ---- parameters ---------------------------------------------------------------------------------------------

    def _parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        width, hidden = self.settings.budget_embedding, self.settings.hidden
        shapes = {
            "budgets": (len(self.budgets_ms), width),
            "embeddings": (self._rows, width),
            "lstm": (width + hidden, 4 * hidden),
            "lstm_bias": (4 * hidden,),
        }
        for kind, size in self._options.items():
            heads = 1 if self.settings.heads == "kind" else len(self._tokens[kind])
            shapes |= {f"head_{kind}": (heads, hidden, size), f"head_bias_{kind}": (heads, 1, size)}
        return shapes

    def _initial(self, rng: np.random.Generator) -> np.ndarray:
        parts = []
        for name, shape in self._shapes.items():
            if "bias" in name:
                part = np.zeros(shape)
            elif name == "lstm":
                part = rng.normal(size=shape) / np.sqrt(shape[0])
            elif name.startswith("head"):
                part = rng.normal(size=shape) * 0.01  # a nearly uniform policy to begin with
            else:
                part = rng.normal(size=shape) * 0.5
            parts.append(part.ravel())
        return np.concatenate(parts).astype(np.float32)

    def _parameters(self) -> dict[str, tf.Tensor]:
        sizes = [int(np.prod(shape)) for shape in self._shapes.values()]
        parts = tf.split(self.theta, sizes)
        return {name: tf.reshape(p, shape) for p, (name, shape) in zip(parts, self._shapes.items(), strict=True)}

    # ---- graphs -------------------------------------------------------------------------------------------------

    def draw(self, mix: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Samples one architecture per row, without gradients.

        Args:
          mix: float32 ``[n, K]``, the interpolation weights of each row's budget.
          seed: int32 ``[2]``; the same seed gives the same architectures.

        Returns:
          Canonical choices int32 ``[n, tokens]``.
        """
        return self._draw(self._parameters(), mix, seed)[0]

    def draw_and_score(self, mix: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(choices, log-probability, entropy) of new samples: `draw` and `log_prob` of its result, in one pass."""
        weights = self._parameters()
        choices, cells = self._draw(weights, mix, seed)
        choices = tf.stop_gradient(choices)
        budgets = tf.matmul(mix, weights["budgets"])
        rows = self._input_rows(choices)
        output = _replay(weights["embeddings"], budgets, weights["lstm"], weights["lstm_bias"], rows, cells)
        return choices, *self._score_outputs(weights, output, choices)

    def _draw(self, weights: dict[str, tf.Tensor], mix: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, list]:
        """Choices, and (input, cell) of the LSTM for every token."""
        weights = {name: tf.stop_gradient(value) for name, value in weights.items()}
        count, space, sizes = tf.shape(mix)[0], self.space, self.space.token_sizes
        inputs = tf.matmul(mix, weights["budgets"])[:, None] + weights["embeddings"]  # every input a row may meet
        inputs = tf.reshape(inputs, [-1, self.settings.budget_embedding])
        base = tf.range(count) * self._rows
        uniform = tf.random.stateless_uniform([space.tokens, count, int(sizes.max())], seed, minval=1e-20)
        noise = tf.unstack(-tf.math.log(-tf.math.log(uniform)))  # Gumbel: the largest noisy logit is a softmax draw
        heads = {k: (tf.unstack(weights[f"head_{k}"]), tf.unstack(weights[f"head_bias_{k}"])) for k in self._options}
        state = output = tf.zeros([count, self.settings.hidden])
        row, drawn, cells, limits = base, [], [], None
        for token, (kind, size) in enumerate(zip(space.token_kinds, sizes, strict=True)):
            entry = tf.gather(inputs, row)
            cell = tf.raw_ops.LSTMBlockCell(
                x=entry, cs_prev=state, h_prev=output, w=weights["lstm"], b=weights["lstm_bias"],
                **_no_peephole(self.settings.hidden), forget_bias=1.0, cell_clip=-1.0,
            )  # fmt: skip
            cells.append((entry, cell))
            state, output = cell.cs, cell.h
            head = self._tokens[kind].index(token) if self.settings.heads == "token" else 0
            logits = tf.matmul(output, heads[kind][0][head]) + heads[kind][1][head]
            choice = tf.argmax(logits + noise[token][:, :size], 1, output_type=tf.int32)
            layer = space.token_layers[token]
            if kind == "depth":
                limits = tf.gather(tf.constant(space.depths), choice)
            elif layer >= space.depths[0]:
                choice = tf.where(layer < limits, choice, 0)  # beyond the depth: the canonical 0, and no chance in it
            drawn.append(choice)
            row = base + (choice + self._first_row[kind])
        return tf.stack(drawn, 1), cells

    def _input_rows(self, choices: tf.Tensor) -> tf.Tensor:
        """Which embedding the LSTM sees before each token: int32 ``[tokens, n]``."""
        rows = choices[:, :-1] + tf.constant([self._first_row[kind] for kind in self.space.token_kinds[:-1]])
        return tf.concat([tf.zeros([1, tf.shape(choices)[0]], tf.int32), tf.transpose(rows)], 0)

    def log_prob(self, mix: tf.Tensor, choices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probability of architectures and the policy's entropy along them, both differentiable, ``[n]``.

        Tokens beyond the chosen depth count for neither. The entropy is that of each token's distribution given the
        tokens before it; its mean over samples is the entropy of the policy.

        Args:
          mix: float32 ``[n, K]``.
          choices: canonical choices int32 ``[n, tokens]``.
        """
        weights = self._parameters()
        zeros = tf.zeros([tf.shape(choices)[0], self.settings.hidden])
        inputs = tf.gather(weights["embeddings"], self._input_rows(choices)) + tf.matmul(mix, weights["budgets"])
        output = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.constant(self.space.tokens, tf.int64), x=inputs,
            cs_prev=zeros, h_prev=zeros, w=weights["lstm"], b=weights["lstm_bias"],
            **_no_peephole(self.settings.hidden), forget_bias=1.0, cell_clip=-1.0,
        ).h  # fmt: skip
        return self._score_outputs(weights, output, choices)

    def _score_outputs(self, weights, output: tf.Tensor, choices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probability and entropy ``[n]`` from the LSTM's outputs ``[tokens, n, hidden]``."""
        active = tf.cast(tf.transpose(self._encoder.active(choices)), tf.float32)
        log_prob = entropy = 0.0
        for kind, size in self._options.items():
            tokens = self._tokens[kind]
            logits = tf.matmul(tf.gather(output, tokens), weights[f"head_{kind}"]) + weights[f"head_bias_{kind}"]
            log_probs = tf.nn.log_softmax(logits)
            chosen = tf.one_hot(tf.transpose(tf.gather(choices, tokens, axis=1)), size)
            mask = tf.gather(active, tokens)
            log_prob += tf.reduce_sum(mask * tf.reduce_sum(chosen * log_probs, 2), 0)
            entropy -= tf.reduce_sum(mask * tf.reduce_sum(tf.exp(log_probs) * log_probs, 2), 0)
        return log_prob, entropy

    # ---- numpy in, numpy out ------------------------------------------------------------------------------------

    def sample(self, budgets_ms: np.ndarray, count: int, seed: int) -> np.ndarray:
        """Draws `count` architectures for each budget: choices int32 ``[budgets, count, tokens]``."""
        mix = interpolation.weights(budgets_ms, self.budgets_ms)
        rows = tf.constant(np.repeat(mix, count, 0))
        return self._sample(rows, tf.constant([seed, 0], tf.int32)).numpy().reshape(len(mix), count, -1)

    def score(self, budgets_ms: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probability and entropy, ``[n]``, of choices ``[n, tokens]`` under one budget each (``[n]`` or one)."""
        mix = np.broadcast_to(interpolation.weights(budgets_ms, self.budgets_ms), (len(choices), len(self.budgets_ms)))
        return tuple(value.numpy() for value in self._score(tf.constant(mix), tf.constant(choices, tf.int32)))

    def save(self, folder: str | os.PathLike) -> None:
        """Writes one file into `folder`, atomically."""
        with files.replacing(pathlib.Path(folder) / FILE) as beside:
            settings = json.dumps(dataclasses.asdict(self.settings))
            np.savez(beside, theta=self.theta.numpy(), budgets_ms=self.budgets_ms, settings=settings)


def _no_peephole(hidden: int) -> dict:
    unused = tf.zeros([hidden])
    return {"wci": unused, "wcf": unused, "wco": unused, "use_peephole": False}


def _replay(embeddings, budgets, kernel, bias, rows: tf.Tensor, cells: list) -> tf.Tensor:
    """Outputs ``[tokens, n, hidden]`` of cells that ran already, differentiable in the first four arguments.

    TensorFlow has no gradient of the fused cell, and its own of the fused sequence adds to the kernel's at every
    token. Here the gates' gradients are gathered first: every input is the sum of one of a few embeddings
    ``[rows, width]`` and its row's budget ``[n, width]``, so products with the inputs shrink to products with those.
    """
    width, hidden = budgets.shape[-1], kernel.shape[1] // 4

    @tf.custom_gradient
    def replay(embeddings, budgets, kernel, bias):
        zeros = tf.zeros_like(cells[0][1].h)
        outputs = [cell.h for _, cell in cells]

        def gradient(upstream):
            from_inputs, from_outputs = kernel[:width], kernel[width:]
            befores, states = [zeros, *outputs[:-1]], [zeros, *(cell.cs for _, cell in cells[:-1])]
            later, state_gradient, gates = zeros, zeros, []
            upstream = tf.unstack(upstream, len(cells))
            for (entry, cell), before, state, up in reversed(list(zip(cells, befores, states, upstream, strict=True))):
                step = tf.raw_ops.LSTMBlockCellGrad(
                    x=entry, cs_prev=state, h_prev=before, w=kernel, b=bias, i=cell.i, cs=cell.cs, f=cell.f,
                    o=cell.o, ci=cell.ci, co=cell.co, cs_grad=state_gradient, h_grad=up + later,
                    **_no_peephole(hidden),
                )  # fmt: skip
                state_gradient = step.cs_prev_grad
                gates.append(step.dicfo)
                later = tf.matmul(step.dicfo, from_outputs, transpose_b=True)
            gates = tf.stack(gates[::-1])
            flat = tf.reshape(gates, [-1, 4 * hidden])
            # A product with one-hot rows: ten times as fast as a segment sum, which adds row by row.
            of_row = tf.one_hot(tf.reshape(rows, [-1]), embeddings.shape[0])
            by_embedding = tf.matmul(of_row, flat, transpose_a=True)
            by_budget = tf.reduce_sum(gates, 0)
            kernel_gradient = tf.concat(
                [
                    tf.matmul(embeddings, by_embedding, transpose_a=True)
                    + tf.matmul(budgets, by_budget, transpose_a=True),
                    tf.matmul(tf.reshape(tf.stack(befores), [-1, hidden]), flat, transpose_a=True),
                ],
                0,
            )
            return (
                tf.matmul(by_embedding, from_inputs, transpose_b=True),
                tf.matmul(by_budget, from_inputs, transpose_b=True),
                kernel_gradient,
                tf.reduce_sum(by_budget, 0),
            )

        return tf.stack(outputs), gradient

    return replay(embeddings, budgets, kernel, bias)


def load(folder: str | os.PathLike, space: space_lib.SearchSpace) -> Generator:
    """Reads what `Generator.save` wrote.

    Raises:
      UserError: the file is missing, or belongs to another space.
    """
    path = pathlib.Path(folder) / FILE
    arrays = files.read_npz(path)
    settings = config_lib.Generator(**json.loads(str(arrays["settings"])))
    try:
        return Generator(space, settings, arrays["budgets_ms"], arrays["theta"])
    except ValueError as error:
        raise errors.UserError(f"{path}: a generator of another space ({error})") from None
