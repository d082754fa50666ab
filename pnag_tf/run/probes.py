"""How long each kind of a run's work takes, found by doing it a few times on its images and its machine."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf.latency import host, turns
from pnag_tf.run import context as context_lib
from pnag_tf.run import measure
from pnag_tf.space import cost, network
from pnag_tf.supernet import finetune, ofa, pace, shrinking, subnet, transfer
from pnag_tf.supernet import model as supernet_lib

BUDGETS = 5  # networks that are deployed, where budgets are not given
PROBE_S = 3.0  # for each kind of step, once it is compiled
LEAST_PROBES = 2


class Training:
    """Steps of the supernet's phases, and of a network alone.

    Attributes:
      net: the supernet as its training begins, or the given one; its weights move as it is probed.
    """

    def __init__(self, context: context_lib.Context):
        self._context, self.net = context, _begun(context)

    def weights_mb(self) -> float:
        return sum(int(np.prod(weight.shape)) for weight in self.net.weights) * 4 / 1e6

    def phase_s(self, number: int) -> tuple[float, float, float]:
        """Seconds before the second step of a phase, of a step with its images, and of what a chunk of them keeps."""
        config, splits = self._context.config, self._context.resources.splits
        teacher = shrinking.largest(self.net) if config.supernet.phases[number].teacher else None
        trainer = shrinking.trainer_of(config, splits, self.net, number, teacher, self._context.distribution)
        step = tf.function(lambda images, labels: trainer.train_step((images, labels)), autograph=False)
        batches = iter(splits.train(config.data.batch_size))
        first_s = pace.timed(lambda: step(*next(batches)))
        step_s = mean_s(lambda: step(*next(batches)))
        with tempfile.TemporaryDirectory() as folder:
            return first_s, step_s, pace.timed(lambda: trainer.save_weights(pathlib.Path(folder, "of.weights.h5")))

    def alone_s(self) -> tuple[float, float]:
        """Seconds of a step of the largest network, trained alone, and of what an epoch keeps."""
        config, splits, space = self._context.config, self._context.resources.splits, self.net.space
        (largest,) = space.decode(space.largest())
        trained = finetune.prepared(subnet.extract(self.net, largest), config, 1)
        images = splits.train(config.data.batch_size)
        batches = iter(
            finetune.fed(images, splits.info.classes, self._context.distribution, weights=splits.class_weights)
        )
        step_s = mean_s(lambda: trained.train_on_batch(*next(batches)))
        with tempfile.TemporaryDirectory() as folder:
            keep_s = pace.timed(lambda: finetune.keep(trained, pathlib.Path(folder, finetune.BEST)))
            keep_s += pace.timed(lambda: finetune.keep_state(trained, pathlib.Path(folder, finetune.STATE)))
        return step_s, keep_s


def _begun(context: context_lib.Context) -> supernet_lib.Supernet:
    """The supernet as training begins with it, or the given one."""
    config = context.config
    if not context.supernet_file:
        return shrinking.fresh(config)
    if not config.supernet.adapt_epochs:
        return context.resources.supernet
    given = ofa.load(context.supernet_file)
    return transfer.adapted(given, config.space, config.backbone, config.supernet.dropout, config.seed)


class Judging:
    """Architectures on images, with the supernet's weights.

    Args:
      net: the supernet.
    """

    def __init__(self, context: context_lib.Context, net: supernet_lib.Supernet):
        config, self._splits = context.config, context.resources.splits
        self._config, self._space = config, config.space
        self._calibration = next(iter(shrinking.calibration_batches(config, self._splits)))
        self._validation = next(iter(shrinking.validation_batches(config, self._splits, 0)))
        self._subnets = subnet.Subnets(net, [self._calibration])
        self._archs = measure.draw(config)
        self._madds = np.array([cost.madds(config.backbone, arch) for arch in self._space.decode(self._archs)])
        self._known: dict[bytes, tuple[float, float]] = {}

    def _near(self, madds: float) -> np.ndarray:
        """An architecture of about as many multiply-adds."""
        return self._archs[np.argmin(np.abs(np.log(self._madds / madds)))]

    def pass_s(self, choices: np.ndarray) -> tuple[float, float]:
        """Seconds of an image in calibration and in validation."""
        if (key := choices.tobytes()) not in self._known:
            statistics = self._subnets.statistics(choices)
            calibrate_s = mean_s(lambda: self._subnets.statistics(choices))
            judge_s = mean_s(lambda: next(self._subnets.hits([choices], [self._validation], [statistics])))
            self._known[key] = calibrate_s / len(self._calibration), judge_s / len(self._validation[1])
        return self._known[key]

    def record_s(self, images: int) -> float:
        """Seconds of an average architecture, recalibrated and judged on `images` validation images, 0 for all."""
        info = self._splits.info
        calibrate_s, judge_s = self.pass_s(self._near(self._madds.mean()))
        calibration = min(self._config.measure.calibration_images, info.train_images)
        return calibrate_s * calibration + judge_s * min(images or info.validation_images, info.validation_images)

    def deployed(self) -> Iterator[np.ndarray]:
        """Architectures such as a run deploys: in equal ratios over the multiply-adds of the space."""
        count = len(self._config.eval.budgets) or BUDGETS
        for madds in np.geomspace(self._madds.min(), self._madds.max(), count + 1)[1:]:
            yield self._near(madds)


class Timing:
    """Networks and blocks, exported and timed on this machine."""

    def __init__(self, config: config_lib.Config):
        self._config, space = config, config.space
        (self._largest,) = space.decode(space.largest())
        model = network.classifier(network.randomise(network.build(config.backbone, self._largest)))
        exported: list[bytes] = []
        self._export_s = pace.timed(lambda: exported.append(host.device().export(model)))
        run_s = host.measure(exported, config.latency.threads)[0].median_ms / 1000
        self._slice_s = max(host.SLICE_MS / 1000, turns.MIN_SAMPLES_PER_SLICE * run_s) + turns.WARM_UP_SAMPLES * run_s

    def measured_s(self, networks: int, beside: int, calls: int) -> float:
        """Seconds in which networks are exported, and timed in several calls beside others."""
        return networks * self._export_s + calls * (networks + beside) * turns.MAX_ROUNDS * self._slice_s

    def table_s(self) -> float:
        """Seconds of the latency table."""
        space, settings = self._config.space, self._config.latency
        block_s = self._export_s / max(1, sum(self._largest.depths)) + 0.1 + turns.MAX_ROUNDS * host.SLICE_MS / 1000
        networks = (settings.calibration_networks + settings.check_networks) * max(1, len(space.resolutions))
        return space.layers * space.layer_settings * block_s + self.measured_s(networks, 0, 1)


def mean_s(run: Callable[[], object]) -> float:
    """Seconds of a run, the median of as many as fit `PROBE_S`; the first is not counted."""
    run()
    seconds: list[float] = []
    while len(seconds) < LEAST_PROBES or sum(seconds) < PROBE_S / 2:
        seconds.append(pace.timed(run))
    return float(np.median(seconds))
