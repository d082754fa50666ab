"""KerasTuner: any of its tuners on the search space, two searches to compare with, and the search's own settings.

`SearchSpaceHyperModel` hands the space to a tuner that trains networks. `kt_random` and `kt_bayesian` search on the
predictors, with the signature of `baselines`. `tune` searches for settings of the evaluator and the generator;
`tuned` reads them back.
"""

from pnag_tf.tuning.architectures import SearchSpaceHyperModel, choices, kt_bayesian, kt_random
from pnag_tf.tuning.settings import EVALUATOR, GENERATOR, tune, tuned

__all__ = ["EVALUATOR", "GENERATOR", "SearchSpaceHyperModel", "choices", "kt_bayesian", "kt_random", "tune", "tuned"]
