"""Several GPUs or machines that train one network: which of TensorFlow's strategies, and who writes the files."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from pnag_tf.util import errors

STRATEGIES = ("none", "mirrored", "multi_worker")
WAIT_S = 600.0  # for a file of the first worker's


@dataclasses.dataclass(frozen=True, eq=False)
class Distribution:
    """How a training is spread.

    Attributes:
      strategy: creates variables and runs steps; each step's batch is parted among the replicas.
      first: whether this process is the one whose files count. The others take part in every save, since reading a
        metric may need all of them, but into a folder that is thrown away.
    """

    strategy: tf.distribute.Strategy
    first: bool = True
    _elsewhere: tempfile.TemporaryDirectory | None = None

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    def scope(self):
        """Variables and optimizers are made in here."""
        return self.strategy.scope()

    def written(self, path: pathlib.Path) -> pathlib.Path:
        """Where this process writes what belongs to `path`."""
        return path if self.first else pathlib.Path(self._elsewhere.name) / path.name

    def shared(self, path: pathlib.Path) -> pathlib.Path:
        """`path`, once the first worker has written it.

        Raises:
          UserError: it does not come, as where the workers have no folder in common.
        """
        deadline = time.monotonic() + WAIT_S
        while not self.first and not path.exists():
            if time.monotonic() > deadline:
                raise errors.UserError(
                    f"{path}: expected from the first worker, found nothing: `workdir` must be shared"
                )
            time.sleep(0.2)
        return path

    def fitted(self, model: keras.Model) -> keras.Model:
        """Makes a model's `fit` and `evaluate` work on several workers.

        There Keras 3.15 asks MultiWorkerMirroredStrategy for two means that it cannot give: that of a tuple, by which
        it builds what is not yet built, and that along the first axis of what a step returns, which are numbers.
        """
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return model

        def with_axis(step: Callable) -> Callable:
            return lambda data: {name: tf.reshape(value, [1]) for name, value in step(data).items()}

        model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None
        model.train_step, model.test_step = with_axis(model.train_step), with_axis(model.test_step)
        return model

    @staticmethod
    def parted(dataset: tf.data.Dataset) -> tf.data.Dataset:
        """A dataset of whole batches, of which each worker takes its part: all see the same batches."""
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return dataset.with_options(options)


def make(name: str = "none") -> Distribution:
    """The distribution of a name; 'multi_worker' has to come before anything else of TensorFlow.

    Args:
      name: 'none'; 'mirrored', all GPUs of this machine; or 'multi_worker', the processes that TF_CONFIG names.

    Raises:
      UserError: TF_CONFIG is missing or cannot be used.
    """
    if name == "none":
        return Distribution(tf.distribute.get_strategy())
    if name == "mirrored":
        return Distribution(tf.distribute.MirroredStrategy())
    expected = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        settings = json.loads(os.environ["TF_CONFIG"])
        workers, index = settings["cluster"]["worker"], settings["task"]["index"]
        if settings["task"]["type"] != "worker" or not 0 <= index < len(workers):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        found = os.environ.get("TF_CONFIG", "nothing")[:200]
        raise errors.UserError(f"`strategy=multi_worker`: expected TF_CONFIG={expected}, found {found}") from None
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return Distribution(strategy, index == 0, None if index == 0 else tempfile.TemporaryDirectory())
