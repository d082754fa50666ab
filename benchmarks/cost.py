"""What the stages of preset paper cost: images that pass through networks, and multiply-adds.

    python benchmarks/cost.py [--classes 100] [--architectures 16000 --validation_images 0 --rounds 0]

Backward passes count as two forward ones. A teacher is the full network, forward. Subnets count as the mean of 1,000
uniform architectures among the options of their phase.
"""

import argparse
import dataclasses
import sys

import numpy as np

from pnag_tf import presets
from pnag_tf.run import finalists
from pnag_tf.space import cost

PHOTOS = 1300  # training images of a class of ImageNet, at most; validation takes a fifth of them
BUDGETS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=100)
    for name in ("architectures", "validation_images", "measurements"):
        parser.add_argument(f"--{name}", type=int, default=None, help="instead of the preset's")
    args = parser.parse_args()
    config = presets.preset("paper")
    config = dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, classes=args.classes),
        measure=_changed(config.measure, args, "architectures", "validation_images"),
        eval=_changed(config.eval, args, "measurements"),
    )
    print(f"{'stage':<24}{'images':>10}{'multiply-adds':>16}")
    for stage, images, madds in stages(config, args.classes):
        print(f"{stage:<24}{images:>10.2e}{madds:>16.2e}")
    return 0


def _changed(settings, args, *names):
    return dataclasses.replace(settings, **{n: getattr(args, n) for n in names if getattr(args, n) is not None})


def stages(config, classes):
    """(stage, images through a network, multiply-adds)."""
    training = round(PHOTOS * classes * (1 - config.data.validation_fraction))
    validation = PHOTOS * classes - training
    judged = min(config.measure.validation_images or validation, validation) + config.measure.calibration_images
    mean = _mean(config, config.space)
    full = cost.madds(config.backbone, config.space.decode(config.space.largest())[0])
    rows = [_supernet(config, training, full)]
    rows.append(("records", config.measure.architectures * judged, None))
    rows.append(("rounds", (config.measured - config.measure.architectures) * judged, None))
    each = (config.measure.finalist_images or validation) + config.measure.calibration_images
    rows.append(("finalists", BUDGETS * finalists.FINALISTS * each, None))
    rows = [(stage, images, images * mean if madds is None else madds) for stage, images, madds in rows]
    epochs = BUDGETS * config.finetune.epochs
    rows.append(
        ("fine-tuning 5 networks", epochs * (training + validation), epochs * (3 * training + validation) * mean)
    )
    return rows


def _supernet(config, training, full):
    images, madds = 0, 0.0
    for phase in config.supernet.phases:
        options = {
            name: getattr(phase, name) or (max(getattr(config.space, name)),)
            for name in ("depths", "kernels", "ratios")
        }
        passes = phase.epochs * training
        images += passes * (phase.subnets_per_step + phase.teacher)
        madds += passes * (3 * phase.subnets_per_step * _mean(config, config.space, **options) + phase.teacher * full)
    return "supernet", images, madds


def _mean(config, space, **options):
    """Mean multiply-adds of uniform architectures of the space whose options are among `options`."""
    rng = np.random.default_rng(0)
    narrowed = dataclasses.replace(space, **options) if options else space
    return np.mean([cost.madds(config.backbone, arch) for arch in narrowed.decode(narrowed.sample(rng, 1000))])


if __name__ == "__main__":
    sys.exit(main())
