"""A whole run in Python: the stages of the command line, in the same folder."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable

from matplotlib import figure as figure_lib

from pnag_tf import overrides, presets
from pnag_tf.api import entering, networks, searching
from pnag_tf.run import context as context_lib
from pnag_tf.run import evaluate, measure, pictures, stages, status, targets
from pnag_tf.run import layout as layout_lib
from pnag_tf.search import records as records_lib
from pnag_tf.supernet import ofa
from pnag_tf.util import errors


class Run:
    """From images, or from measured records, to networks for each budget: a folder that the command line opens too.

    Making a `Run` reads no images and writes nothing. What a stage has made stays in the folder: a notebook that was
    closed, or a process that was killed, goes on from there.

    Args:
      preset: `"demo"`, `"photos"`, `"search"`, `"paper"` or `"tiny"`.
      workdir: folder of the run; `runs/<preset>` by default.
      images: an image folder with a folder for each class; by default the images of the preset.
      records: a file of measured records to search on instead of images and a supernet.
      supernet: a saved supernet to use instead of training one; adapted where the images have other classes or
        another resolution.
      budgets_ms: latency budgets; by default five, spread over what was measured.
      seed: of everything random.
      settings: any other setting as `"name=value"`, such as `"measure.architectures=500"` or `"device=mobile"`.
      resolution: side of the images in pixels, by default the preset's; several of them, such as `(96, 128, 160)`, are
        searched. The space of presets `"demo"` and `"photos"` fits the largest.
      kind: of the .tflite whose latency and accuracy count: `"float32"`, `"float16"`, `"dynamic_int8"` or `"int8"`.
      force: start anew: what an earlier run left in the folder is removed when the first stage is made.

    Raises:
      UserError: a setting cannot be used.

    Examples:
      >>> import pnag_tf as pnag
      >>> run = pnag.Run(preset="tiny", workdir="run", settings=["measure.architectures=100"])
      >>> run.config.measure.architectures
      100
      >>> tables = run.make("eval")  # doctest: +SKIP
      >>> figure = run.plot_frontier()  # doctest: +SKIP
    """

    def __init__(
        self,
        preset: str = "demo",
        workdir: str | os.PathLike = "",
        images: str | os.PathLike = "",
        records: str | os.PathLike = "",
        supernet: str | os.PathLike = "",
        budgets_ms: Iterable[float] = (),
        seed: int = 0,
        settings: Iterable[str] = (),
        resolution: int | Iterable[int] = 0,
        kind: str = "float32",
        force: bool = False,
    ):
        self._records, self._supernet, self._force = os.fspath(records), os.fspath(supernet), force
        if self._records and self._supernet:
            raise errors.UserError("expected either records or a supernet, found both")
        count = entering.images_of(preset, "folder", os.fspath(images)) if images else 0
        dataset = "folder" if images else ""
        resolutions = tuple(sorted({resolution} if isinstance(resolution, int) else set(resolution)))
        config = dataclasses.replace(searching.starting(preset, max(resolutions, default=0), dataset, count), seed=seed)
        how = dataclasses.replace(config.eval, budgets=tuple(map(float, budgets_ms)))
        if self._records:  # a preset's rounds measure on its supernet
            how = dataclasses.replace(how, measurements=0)
        config = dataclasses.replace(config, eval=how)
        if images:
            folder = dataclasses.replace(config.data, dataset="folder", data_dir=os.fspath(images))
            config = dataclasses.replace(config, data=folder)
        given = ofa.describe(self._supernet) if self._supernet else None
        if given:
            config = entering.with_supernet(config, given)
        if any(resolutions):
            config = presets.searching(config, resolutions)
        config = presets.of_kind(config, kind, given is None)
        self.config = overrides.apply(config, settings)
        overrides.check(self.config)
        if self.config.method not in evaluate.METHODS:
            expected = f"expected one of {', '.join(evaluate.METHODS)}"
            raise errors.SettingError("method", f"{expected}, found '{self.config.method}'")
        if given:
            entering.check_supernet(self.config, self._supernet, given)
        self.layout = layout_lib.Layout(pathlib.Path(workdir or f"runs/{preset}"))

    @functools.cached_property
    def _context(self) -> context_lib.Context:
        """Entered at the first use, and then with what is open."""
        return entering.enter(self.config, self.layout.root, self._records, self._supernet, self._force)

    def on(self, device: str, kind: str = "float32") -> Run:
        """The same run for another device, or for networks of another kind, in a folder inside of the run's.

        It shares the images, the supernet and the accuracies of the records; what it takes is a latency table and
        about a minute for predictors and generator, and fine-tuning of the chosen networks.

        Args:
          device: `"cpu"`, `"gpu"`, `"mobile"` or `"mobile:SERIAL"`.
          kind: as for `Run`; the backbone stays that of this run.

        Raises:
          UserError: there is no such device or kind, or the run is one on given records.

        Examples:
          >>> import pnag_tf as pnag
          >>> run = pnag.Run(preset="tiny", workdir="run")
          >>> phone = run.on("mobile:R5CT", kind="int8")  # doctest: +SKIP
          >>> tables = phone.make("eval")  # doctest: +SKIP
        """
        (target,) = targets.parse([device], [kind])
        self.make("records")
        other = copy.copy(self)
        other.__dict__["_context"] = entering.beside(self._context, target)
        other.config, other.layout = other._context.config, other._context.layout
        return other

    def make(self, stage: str = "eval") -> evaluate.Tables:
        """Makes a stage, and before it what it needs and is missing.

        Args:
          stage: `"supernet"`, `"latency_table"`, `"records"`, `"predictors"`, `"evaluator"`, `"generator"`,
            `"rounds"`, `"eval"`, `"finetune"`, `"baselines"`, `"tune"`, `"ablation"`, `"compare"`, `"figures"` or
            `"report"`.

        Returns:
          Tables to read, `(title, rows)` each, a row being a dictionary; none for stages that only write files.

        Raises:
          UserError: something that can be mended, such as images that are missing, or a folder that belongs to a run
            with other settings.
        """
        if stage not in stages.STAGES:
            raise errors.UserError(f"expected a stage, one of {', '.join(stages.STAGES)}, found '{stage}'")
        stages.check_run(self.layout, stage)
        return stages.run(self._context, stage)

    def status(self) -> list[dict[str, str]]:
        """How far the run is: one dictionary a stage, with `stage`, `state`, `changed`, `size`, `took` and `share`.

        Raises:
          UserError: nothing was made yet.
        """
        return status.look(self.layout.root)

    def records(self) -> records_lib.Records:
        """The measured architectures, for `Search.fit`; measures them first where they are missing.

        Raises:
          UserError: as `make`.
        """
        self.make("records")
        return measure.read_records(self._context)

    def supernet(self) -> networks.TrainedSupernet:
        """The supernet that was given, or the run's own, trained or adapted first where it is missing.

        Raises:
          UserError: as `make`; a run on given records has none.
        """
        self.make("supernet")
        return networks.TrainedSupernet(self._context.resources.supernet)

    @property
    def calibration(self) -> Iterable:
        """Batches of training images for `TrainedSupernet.extract`, float32 `(n, height, width, 3)`, normalised."""
        return self._context.resources.subnets.calibration

    def plot_frontier(self) -> figure_lib.Figure:
        """Accuracy over latency of the networks that were found, and of the records they were learnt from.

        Returns:
          A matplotlib `Figure`, which a notebook shows.

        Raises:
          UserError: nothing was found or measured yet.
        """
        for _, figure in pictures.of_run(self.layout, ["frontier"]):
            return figure
        raise errors.UserError(f"{self.layout.root}: nothing to draw yet; expected eval/<method>.csv, found none")
