"""Where everything of a run lies: each path is spelled here, and nowhere else.

| path | what |
|---|---|
| config.json | the settings that the folder belongs to |
| images/, skipped.csv, estimate.json | copies of photos, files that are left out, what the run will take |
| supernet/ | its training; the last phase's .keras is the supernet |
| latency_table.json, records.csv, record_images.npz, rounds.json | what was measured |
| predictors/, evaluator/, generator/ | what was learnt from the records |
| eval/<method>.csv, deploy/<method>_<device>_<budget>.* | the networks |
| baselines/<device>.csv, baselines/<network>_<device>.* | off-the-shelf networks |
| finetune/, compare/, ablation/, tune/, figures/, report/, logs/ | what the other stages make |
| devices/<name>/ | the same for another device, see `targets` |
"""

from __future__ import annotations

import dataclasses
import pathlib

FINETUNED = "_finetuned"  # behind the name of a method
DEVICES = "devices"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of a run in the folder `root`."""

    root: pathlib.Path

    # ---- the run itself -----------------------------------------------------------------------------------------

    @property
    def home(self) -> pathlib.Path:
        """Where images, supernet and fine-tuned networks lie: of another device the run around it, else `root`."""
        around = self.root.parent.parent
        return around if self.root.parent.name == DEVICES and (around / self.config.name).exists() else self.root

    @property
    def devices(self) -> pathlib.Path:
        """Other devices of the run, a folder each."""
        return self.root / DEVICES

    @property
    def config(self) -> pathlib.Path:
        return self.root / "config.json"

    @property
    def seconds(self) -> pathlib.Path:
        return self.root / "seconds.json"

    @property
    def images(self) -> pathlib.Path:
        """Copies of photos that TensorFlow cannot read as they are; see `photos.look`."""
        return self.home / "images"

    @property
    def skipped(self) -> pathlib.Path:
        """The files of an image folder that are left out, and why."""
        return self.home / "skipped.csv"

    def log(self, stage: str) -> pathlib.Path:
        """Curves of a training, for TensorBoard."""
        return self.root / "logs" / stage

    # ---- what is trained on images, and measured ----------------------------------------------------------------

    @property
    def supernet(self) -> pathlib.Path:
        return self.home / "supernet"

    @property
    def latency_table(self) -> pathlib.Path:
        return self.root / "latency_table.json"

    @property
    def latencies(self) -> pathlib.Path:
        """Networks that were measured one by one, where no table is used."""
        return self.root / "latencies.csv"

    @property
    def phone_journal(self) -> pathlib.Path:
        return self.root / "phone.jsonl"

    @property
    def records(self) -> pathlib.Path:
        return self.root / "records.csv"

    @property
    def unfinished_records(self) -> pathlib.Path:
        return self.root / "records.unfinished.csv"

    @property
    def unfinished_hits(self) -> pathlib.Path:
        """The images that each of the unfinished records gets right; see `hits`."""
        return self.root / "records.unfinished.hits"

    @property
    def record_images(self) -> pathlib.Path:
        """The share of the records that are right on each validation image."""
        return self.home / "record_images.npz"

    @property
    def rounds(self) -> pathlib.Path:
        return self.root / "rounds.json"

    # ---- what is learnt from the records ------------------------------------------------------------------------

    @property
    def predictors(self) -> pathlib.Path:
        return self.root / "predictors"

    @property
    def predictors_report(self) -> pathlib.Path:
        return self.predictors / "report.json"

    @property
    def evaluator(self) -> pathlib.Path:
        return self.root / "evaluator"

    @property
    def ranking(self) -> pathlib.Path:
        return self.evaluator / "ranking.csv"

    @property
    def generator(self) -> pathlib.Path:
        return self.root / "generator"

    @staticmethod
    def history(folder: pathlib.Path) -> pathlib.Path:
        """The curves of what was trained in a folder."""
        return folder / "history.csv"

    # ---- networks -----------------------------------------------------------------------------------------------

    @property
    def tables(self) -> pathlib.Path:
        return self.root / "eval"

    def table(self, method: str) -> pathlib.Path:
        """The networks of a method, one a budget."""
        return self.tables / f"{method}.csv"

    def limits(self, method: str) -> pathlib.Path:
        """What its networks were limited to."""
        return self.tables / f"{method}.limits.json"

    @property
    def samples(self) -> pathlib.Path:
        """What methods draw before any is dropped (Fig. C)."""
        return self.tables / "samples.csv"

    @property
    def deployed(self) -> pathlib.Path:
        return self.root / "deploy"

    def network(self, method: str, device: str, budget: str) -> pathlib.Path:
        """The files of a deployed network, without their suffix."""
        return self.deployed / f"{method}_{device}_{budget}"

    def quantized(self, method: str, device: str) -> pathlib.Path:
        return self.deployed / f"quantized_{method}_{device}.csv"

    @property
    def finetune(self) -> pathlib.Path:
        return self.home / "finetune"

    @property
    def baselines(self) -> pathlib.Path:
        return self.root / "baselines"

    def baselines_table(self, device: str) -> pathlib.Path:
        """Off-the-shelf networks beside those of the run."""
        return self.baselines / f"{device}.csv"

    def baseline(self, name: str, device: str) -> pathlib.Path:
        """The files of an off-the-shelf network, without their suffix; what its training keeps lies in `name`."""
        return self.baselines / f"{name}_{device}"

    # ---- studies ------------------------------------------------------------------------------------------------

    @property
    def tune(self) -> pathlib.Path:
        return self.root / "tune"

    @property
    def tuned(self) -> pathlib.Path:
        return self.tune / "best.json"

    @property
    def ablation(self) -> pathlib.Path:
        return self.root / "ablation"

    @property
    def compare(self) -> pathlib.Path:
        return self.root / "compare"

    @property
    def figures(self) -> pathlib.Path:
        return self.root / "figures"

    @property
    def estimate(self) -> pathlib.Path:
        """What the run was expected to take."""
        return self.root / "estimate.json"

    @property
    def data_page(self) -> pathlib.Path:
        return self.root / "report" / "data.html"

    @property
    def report(self) -> pathlib.Path:
        return self.root / "report" / "index.html"
