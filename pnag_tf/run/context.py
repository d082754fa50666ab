"""What the stages of a run share: settings, folder, and what is opened once: images, device, supernet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pnag_tf import config as config_lib
from pnag_tf import data as data_lib
from pnag_tf.latency import counted, gpu, host, jobs, kinds
from pnag_tf.latency import device as device_lib
from pnag_tf.latency.android import measure as android
from pnag_tf.latency.android import settings as android_settings
from pnag_tf.run import deployable, folder, timing
from pnag_tf.run import layout as layout_lib
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import shrinking, subnet, transfer
from pnag_tf.util import errors, files, scalars

OF_ALL_DEVICES = ("splits", "supernet", "subnets", "validation")


class Resources:
    """Images, device and supernet of a run, each opened when it is first asked for.

    They depend on settings that a folder keeps from call to call, not on the budgets or the method.
    """

    def __init__(self, config: config_lib.Config, layout: layout_lib.Layout, supernet_file: str):
        self._config, self._layout, self._supernet_file = config, layout, supernet_file

    def elsewhere(self, config: config_lib.Config, layout: layout_lib.Layout) -> Resources:
        """Those of another device of the same run, with the images and the supernet that are open here."""
        other = Resources(config, layout, self._supernet_file)
        other.__dict__ |= {name: self.__dict__[name] for name in OF_ALL_DEVICES if name in self.__dict__}
        return other

    @functools.cached_property
    def splits(self) -> data_lib.Splits:
        backbone = self._config.backbone
        splits = data_lib.load(self._config.data, backbone.resolution, self._config.seed, self._layout.images)
        if splits.info.classes != backbone.classes:
            raise errors.UserError(f"expected images of {backbone.classes} classes, found {splits.info.classes}")
        self._list_skipped(splits.info.skipped)
        folder.note_images(self._layout, splits.info.digest)
        return splits

    def _list_skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        """Writes which files are left out, and says so once."""
        path, rows = self._layout.skipped, [{"path": path, "why": why} for path, why in skipped]
        if rows == files.rows_left(path):
            return
        files.write_csv(path, rows, ("path", "why"))
        if rows:
            print(f"note: {len(rows)} files are left out, such as {rows[0]['path']} ({rows[0]['why']}); see {path}")

    @functools.cached_property
    def device(self) -> device_lib.Device:
        """What networks of the run's kind are timed on."""
        latency = self._config.latency
        if self._config.device == "gpu":
            return gpu.device(latency.gpu_batch, latency.allow_cpu)
        if self._config.device in counted.UNITS:
            return kinds.of(counted.device(self._config.device), self._config.kind)
        if self._config.device == "mobile":
            settings = android_settings.Settings(threads=latency.threads, **dataclasses.asdict(self._config.phone))
            return kinds.of(android.device(settings, self._layout.phone_journal), self._config.kind)
        return kinds.of(host.device(latency.threads), self._config.kind)

    @functools.cached_property
    def exporter(self) -> deployable.Exporter:
        """What makes networks into files for the device."""
        return deployable.Exporter(self._config, self.splits, self.device)

    @property
    def supernet_path(self) -> pathlib.Path:
        """The file of the supernet, trained here or given."""
        if self._supernet_file and not self._config.supernet.adapt_epochs:
            return pathlib.Path(self._supernet_file)
        return shrinking.finished(self._config, self._layout.supernet)[-1]

    @functools.cached_property
    def supernet(self) -> supernet_lib.Supernet:
        """The supernet, trained here or given, with its weights."""
        return transfer.load(self.supernet_path, self._config.space, self._config.backbone)

    @functools.cached_property
    def subnets(self) -> subnet.Subnets:
        """The supernet with its calibration images."""
        return subnet.Subnets(self.supernet, shrinking.calibration_batches(self._config, self.splits))

    def image_weights(self, images: int) -> np.ndarray | None:
        """How much each of `images` validation images counts, float64 [n] with mean 1; None where all do the same."""
        if self._config.measure.objective == "top1":
            return None
        return self.splits.validation_weights(images)

    @functools.cached_property
    def validation(self) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
        """Batches of the validation images that records are measured on."""
        return shrinking.validation_batches(self._config, self.splits, self._config.measure.validation_images)


@dataclasses.dataclass(frozen=True)
class Context:
    """One run, as its stages see it.

    Attributes:
      config: the settings.
      layout: its paths.
      records_file: measured records that stand for a supernet; empty for none.
      supernet_file: a saved supernet that is used, or adapted, instead of training one; empty for none.
      distribution: what supernet and fine-tuning are trained on.
      resources: images, device and supernet.
    """

    config: config_lib.Config
    layout: layout_lib.Layout
    records_file: str
    supernet_file: str
    distribution: distribution_lib.Distribution
    resources: Resources

    @property
    def has_supernet(self) -> bool:
        return not self.records_file

    @property
    def trains_supernet(self) -> bool:
        """Whether a supernet is trained or adapted here."""
        return self.has_supernet and not (self.supernet_file and not self.config.supernet.adapt_epochs)

    def with_method(self, method: str) -> Context:
        """The same run under another method, with what is open."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, method=method))

    def timed(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Adds the seconds that its block takes to those in `seconds.json`; see `timing.timed`."""
        return timing.timed(self.layout.seconds, what) if self.distribution.first else contextlib.nullcontext()

    def seconds(self) -> dict[str, float]:
        """What has been made so far -> the seconds spent on it."""
        return timing.read(self.layout.seconds)

    def log(self, stage: str) -> scalars.Log:
        """Where the curves of a training go: `tensorboard --logdir=<workdir>/logs` shows them."""
        return scalars.into(self.layout.log(stage)) if self.distribution.first else scalars.nowhere


def make(
    config: config_lib.Config,
    root: pathlib.Path,
    records_file: str = "",
    supernet_file: str = "",
    distribution: distribution_lib.Distribution | None = None,
) -> Context:
    """The context of a run in the folder `root`; nothing is opened or written yet."""
    layout = layout_lib.Layout(root)
    resources = Resources(config, layout, supernet_file)
    return Context(config, layout, records_file, supernet_file, distribution or distribution_lib.make(), resources)


@contextlib.contextmanager
def bars() -> Iterator[jobs.Progress]:
    """A progress bar for each thing that is reported on."""
    shown: dict[str, tqdm] = {}

    def progress(what: str, done: int, total: int) -> None:
        bar = shown.setdefault(what, tqdm(total=total, desc=what))
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    try:
        yield progress
    finally:
        for bar in shown.values():
            bar.close()


def write_history(path: pathlib.Path, rows: list[dict]) -> None:
    """A CSV with every column that any row has."""
    files.write_csv(path, rows, dict.fromkeys(key for row in rows for key in row))
