"""The stages of a run: which files each needs, and which it makes.

Files in, files out: a stage reads what earlier stages wrote into the run's folder, and first makes what is missing.
What is there is not made again, so the same command goes on after a crash. The modules stand on each other: `workdir`,
`measuring`, `searching`, `deploying`, `finetuning`, `studying`; `status` looks at the folder alone.
"""

from __future__ import annotations

import tensorflow as tf

from pnag_tf.run import deploying, status, studying

NAMES = ("supernet", "latency_table", "records", "predictors", "evaluator", "generator", "eval")  # the road ...
NAMES += ("finetune", "tune", "ablation", "compare", "figures", "report", "status")  # ... and what stands beside it
METHODS, BEST_RECORD = deploying.METHODS, deploying.BEST_RECORD
look = status.look


class Run(studying.Studying):
    """One run: its settings, its folder, and its stages, each of which returns what it made or found."""

    def make(self, stage: str):
        """Runs a stage by name and returns what it made.

        Raises:
          UserError: something that the user can mend, a broken image file among it.
        """
        try:
            return getattr(self, stage)()
        except tf.errors.InvalidArgumentError:
            if self.has_supernet:
                self.splits.check_files()
            raise
