"""Trains the generator by policy gradient with the evaluator as its reward (section A), resumable at any moment."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tqdm

from pnag_tf import config as config_lib
from pnag_tf.search import budgets as interpolation
from pnag_tf.search import evaluator as evaluator_lib
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, scalars

CHECKPOINT = "checkpoint.npz"
CHUNK = 50  # iterations in one call of the graph, and in one row of the history
BASELINE_DECAY = 0.95

# (choices int32 [n, tokens], mix float32 [n, K]) -> reward float32 [n]
Reward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def reward(
    settings: config_lib.Generator,
    budgets_ms: np.ndarray,
    evaluator: evaluator_lib.Evaluator | None = None,
    predictors: predictor_lib.Predictors | None = None,
) -> Reward:
    """The reward that `settings.reward` names.

    'pareto' is the evaluator's R(α|B). The two others come from the predictors: 'multi_objective' is MnasNet's
    acc · (lat / T)^w, 'absolute' TuNAS's acc + w |lat / T − 1|, with w = `settings.reward_exponent`.
    """
    if settings.reward == "pareto":
        return evaluator.graph
    if settings.reward not in ("multi_objective", "absolute"):
        raise ValueError(f"generator reward '{settings.reward}'; choose from pareto, multi_objective, absolute")
    trained_ms, exponent = tf.constant(budgets_ms, tf.float32), settings.reward_exponent

    def from_predictors(choices, mix):
        top1, _, latency_ms = predictors.graph(choices)
        relative = latency_ms / tf.linalg.matvec(mix, trained_ms)
        if settings.reward == "multi_objective":
            return top1 * relative**exponent
        return top1 + exponent * tf.abs(relative - 1.0)

    return from_predictors


def surrogate(log_prob: tf.Tensor, entropy: tf.Tensor, advantage: tf.Tensor, entropy_weight: tf.Tensor) -> tf.Tensor:
    """Per sample, a value whose gradient is an unbiased estimate of that of J(θ), Eqn. (A) and (B).

    The policy's entropy is the expectation of the entropy along the sampled tokens, so its gradient has two parts:
    that of the tokens' entropies, and the score function weighted with their sum. `advantage` holds the reward and
    that sum times the weight, less any baseline.

    Args:
      log_prob, entropy: of the samples, differentiable, ``[n]``.
      advantage: ``[n]``, taken as constant.
      entropy_weight: λ.
    """
    return log_prob * tf.stop_gradient(advantage) + entropy_weight * entropy


def advantages(
    kind: str, rewards: tf.Tensor, entropy: tf.Tensor, entropy_weight: tf.Tensor, baseline: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """What the log-probabilities are weighted with.

    Args:
      kind: 'moving_average' subtracts a moving average per budget; 'normalised' gives the rewards of each budget
        mean 0 and deviation 1, so that no budget's scale drowns another's.
      rewards, entropy: ``[K, N]``.
      baseline: the moving averages ``[K]``; NaN at the start.

    Returns:
      (advantages ``[K, N]``, next baseline ``[K]``).
    """
    if kind == "normalised":
        mean, variance = tf.nn.moments(rewards, 1, keepdims=True)
        centered = entropy - tf.reduce_mean(entropy, 1, keepdims=True)
        return (rewards - mean) / tf.sqrt(variance + 1e-8) + entropy_weight * centered, baseline
    total = rewards + entropy_weight * entropy
    mean = tf.reduce_mean(total, 1)
    known = tf.where(tf.math.is_nan(baseline), mean, baseline)
    return total - known[:, None], BASELINE_DECAY * known + (1 - BASELINE_DECAY) * mean


class PolicyGradient:
    """One run of the policy gradient; `iteration` says how far it is.

    Everything random depends on the seed and the iteration alone, so a run that goes on from a checkpoint repeats one
    that was never interrupted.
    """

    def __init__(self, generator: generator_lib.Generator, rewards: Reward, seed: int):
        settings = generator.settings
        if settings.advantage not in ("moving_average", "normalised"):
            raise ValueError(f"generator advantage '{settings.advantage}'; choose from moving_average, normalised")
        if settings.advantage == "normalised" and settings.samples < 2:
            raise ValueError("generator advantage 'normalised' needs 2 samples a budget or more")
        self.generator, self.seed = generator, seed
        self._reward = rewards
        self.budgets = len(generator.budgets_ms)
        self.iteration = 0
        self.history: list[dict[str, float]] = []
        self._baseline = tf.Variable(tf.fill([self.budgets], np.float32("nan")), trainable=False)
        decay = keras.optimizers.schedules.CosineDecay(
            settings.learning_rate,
            max(settings.iterations, 1),
            alpha=settings.final_learning_rate / settings.learning_rate,
        )
        self._optimizer = keras.optimizers.Adam(decay)
        self._optimizer.build([generator.theta])
        self._chunk = tf.function(
            self._chunk_graph, input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)]
        )

    def entropy_weight(self, iteration: tf.Tensor) -> tf.Tensor:
        """λ, geometric from the first to the last iteration."""
        settings = self.generator.settings
        done = tf.cast(iteration, tf.float32) / max(settings.iterations, 1)
        ratio = settings.final_entropy_weight / settings.entropy_weight if settings.entropy_weight else 1.0
        return settings.entropy_weight * ratio**done

    def step(self, iteration: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """One gradient step; (rewards ``[K, N]``, entropy ``[K, N]``, mix ``[K, K]``, choices ``[K * N, tokens]``)."""
        generator, samples = self.generator, self.generator.settings.samples
        mix = tf.eye(self.budgets)  # one row a budget
        if generator.settings.between:
            mix = interpolation.between(self.budgets, tf.stack([self.seed + 1, iteration]))
        drawn, mix = mix, tf.repeat(mix, samples, axis=0)
        weight = self.entropy_weight(iteration)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(generator.theta)
            choices, log_prob, entropy = generator.draw_and_score(mix, tf.stack([self.seed, iteration]))
            with tape.stop_recording():
                aimed = interpolation.inside(mix, generator.settings.aim) if generator.settings.aim else mix
                rewards = tf.reshape(self._reward(choices, aimed), [self.budgets, samples])
            path = tf.reshape(tf.stop_gradient(entropy), [self.budgets, samples])
            advantage, baseline = advantages(generator.settings.advantage, rewards, path, weight, self._baseline)
            loss = -tf.reduce_mean(surrogate(log_prob, entropy, tf.reshape(advantage, [-1]), weight))
        gradient = tape.gradient(loss, generator.theta)
        self._baseline.assign(baseline)
        self._optimizer.apply([gradient], [generator.theta])
        return rewards, path, drawn, choices

    def _chunk_graph(self, start: tf.Tensor, count: tf.Tensor):
        """`count` steps in one graph call; mean reward and entropy, the first broken iteration or −1, last samples."""
        reward_sum = entropy_sum = 0.0
        broken = -1
        mix = tf.eye(self.budgets)
        choices = tf.zeros([self.budgets * self.generator.settings.samples, self.generator.space.tokens], tf.int32)
        for offset in tf.range(count):
            rewards, entropy, mix, choices = self.step(start + offset)
            mean = tf.reduce_mean(rewards)
            reward_sum, entropy_sum = reward_sum + mean, entropy_sum + tf.reduce_mean(entropy)
            if broken < 0 and not tf.math.is_finite(mean + tf.reduce_sum(self.generator.theta)):
                broken = start + offset
        scale = tf.cast(count, tf.float32)
        return reward_sum / scale, entropy_sum / scale, broken, mix, choices

    def advance(self) -> tuple[np.ndarray, np.ndarray]:
        """Up to `CHUNK` iterations and one row of history; the last iteration's budgets ``[K]`` and samples.

        The samples are choices ``[K, N, tokens]``.

        Raises:
          FloatingPointError: a reward or a parameter became NaN or infinite; names the iteration.
        """
        count = min(CHUNK, self.generator.settings.iterations - self.iteration)
        rewards, entropy, broken, mix, choices = self._chunk(tf.constant(self.iteration), tf.constant(count))
        if broken >= 0:
            raise FloatingPointError(f"generator: reward or parameters no longer finite at iteration {int(broken)}")
        self.iteration += count
        self.history.append({"iteration": self.iteration, "reward": float(rewards), "entropy": float(entropy)})
        choices = choices.numpy().reshape(self.budgets, -1, self.generator.space.tokens)
        return mix.numpy() @ self.generator.budgets_ms, choices

    def save(self, path: pathlib.Path) -> None:
        arrays = {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(self._optimizer.variables)}
        with files.replacing(path) as beside:
            np.savez(
                beside,
                theta=self.generator.theta.numpy(),
                baseline=self._baseline.numpy(),
                iteration=self.iteration,
                history=json.dumps(self.history),
                identity=self._identity(),
                **arrays,
            )

    def restore(self, path: pathlib.Path) -> None:
        """Goes on from a checkpoint. Raises UserError when it is of another run."""
        arrays = files.read_npz(path)
        found = str(arrays["identity"])
        if found != self._identity():
            raise errors.UserError(f"{path}: checkpoint of another run, {found}; this run is {self._identity()}")
        self.generator.theta.assign(arrays["theta"])
        self._baseline.assign(arrays["baseline"])
        self.iteration, self.history = int(arrays["iteration"]), json.loads(str(arrays["history"]))
        for number, variable in enumerate(self._optimizer.variables):
            variable.assign(arrays[f"optimizer_{number}"])

    def _identity(self) -> str:
        budgets_ms = np.round(self.generator.budgets_ms, 6).tolist()
        return json.dumps(dataclasses.asdict(self.generator.settings) | {"seed": self.seed, "budgets_ms": budgets_ms})


def train_generator(
    settings: config_lib.Generator,
    predictors: predictor_lib.Predictors,
    evaluator: evaluator_lib.Evaluator | None,
    budgets_ms: np.ndarray,
    seed: int = 0,
    checkpoint_folder: str | os.PathLike | None = None,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
) -> tuple[generator_lib.Generator, list[dict[str, float]]]:
    """`train` under the reward that the settings name; its history tells how many samples keep their budget.

    Args:
      evaluator: for the reward 'pareto', trained for the same budgets.
    """
    rewards = reward(settings, budgets_ms, evaluator, predictors)
    return train(predictors.space, rewards, settings, budgets_ms, seed, checkpoint_folder, predictors, progress, log)


def train(
    space: space_lib.SearchSpace,
    rewards: Reward,
    settings: config_lib.Generator,
    budgets_ms: np.ndarray,
    seed: int = 0,
    checkpoint_folder: str | os.PathLike | None = None,
    predictors: predictor_lib.Predictors | None = None,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
) -> tuple[generator_lib.Generator, list[dict[str, float]]]:
    """Trains a generator for the K budgets; called again after a crash, it goes on from the last checkpoint.

    Args:
      rewards: see `reward`.
      budgets_ms: the K budgets, increasing.
      checkpoint_folder: where a checkpoint is kept while training; None keeps none.
      predictors: if given, the history tells how many samples keep their budget.

    Returns:
      (generator, history): every `CHUNK` iterations ``iteration``, mean ``reward`` and ``entropy`` (nats), and
      ``within_budget``, the fraction of the last samples predicted within their budgets (NaN without predictors).

    Raises:
      FloatingPointError: reward or parameters became NaN; names the iteration.
      UserError: the folder holds a checkpoint of another run.
    """
    trainer = PolicyGradient(generator_lib.Generator(space, settings, budgets_ms, seed=seed), rewards, seed)
    path = None if checkpoint_folder is None else pathlib.Path(checkpoint_folder) / CHECKPOINT
    if path is not None and path.exists():
        trainer.restore(path)
    with tqdm.tqdm(
        total=settings.iterations, initial=trainer.iteration, desc="generator", unit="it", disable=not progress
    ) as bar:
        while (before := trainer.iteration) < settings.iterations:
            drawn_ms, choices = trainer.advance()
            trainer.history[-1]["within_budget"] = _within(choices, drawn_ms, predictors)
            log(trainer.iteration, trainer.history[-1])
            due = trainer.iteration // settings.checkpoint_every > before // settings.checkpoint_every
            if path is not None and (due or trainer.iteration == settings.iterations):
                trainer.save(path)
            bar.set_postfix(entropy=f"{trainer.history[-1]['entropy']:.2f}", refresh=False)
            bar.update(trainer.iteration - before)
    return trainer.generator, trainer.history


def _within(choices: np.ndarray, budgets_ms: np.ndarray, predictors: predictor_lib.Predictors | None) -> float:
    if predictors is None:
        return float("nan")
    latency_ms = predictors.latency_ms(choices.reshape(-1, choices.shape[-1])).reshape(choices.shape[:2])
    return float(np.mean(latency_ms <= budgets_ms[:, None]))
