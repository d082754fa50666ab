"""The presets, a function each.

tiny is for tests, demo is Fashion-MNIST in minutes, photos are the user's own, search has the paper's records, paper is
the paper.

The search's recipe of `paper` has every number of the supplement, sections A, C, D and E. The others share a recipe of
their own; docs/method/deviations.md lists each deviation.
"""

from __future__ import annotations

import dataclasses

from pnag_tf import config as config_lib
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import fitting
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

NAMES = ("tiny", "demo", "photos", "search", "paper")
SHRINKING = ("progressive", "sandwich")
ADAPT_EPOCHS = 2.0  # of a given supernet to images with other classes or of another size
ADAPT_STEPS = 0.3  # times the least steps of training from scratch (benchmarks/results.md)
OF_PHOTOS = (64, 160, 320)  # pixels: at least, usually, at most
FEW, MANY = 5000, 20_000  # photos
LEAST_OF_PAPER = 128  # pixels: once-for-all trains on images from there

_KERNELS, _DEPTHS, _RATIOS = {"kernels": (3, 5, 7)}, {"depths": (2, 3, 4)}, {"ratios": (3, 4, 6)}
_NATIVE = {"fashion_mnist": 28}  # pixels; other images of the demo are brought to ...
_USUAL = 32


# The recipe of tiny, demo and search: what their evaluators, generators and accuracy ensembles have in common.
_RANKING = {
    "hidden": 256,
    "encoding": "slack",
    "loss": "margin",
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "final_learning_rate": 1e-5,
    "weight_decay": 1e-3,
    "between": True,
}
_POLICY = {
    "heads": "token",
    "learning_rate": 5e-3,
    "final_learning_rate": 5e-4,
    "entropy_weight": 0.2,
    "final_entropy_weight": 0.03,
    "advantage": "normalised",
    "between": True,
    "aim": 0.1,
}
_ENSEMBLE = {"members": 6, "hidden": 96, "activation": "silu", "weight_decay": 1e-2}
# More samples or generations find hardly more (benchmarks/any_budget.py).
_ANSWER = {"samples": 300, "refinement": 15}
# The search of demo and photos, on a few hundred records.
_OF_FEW_RECORDS = {
    "predictors": config_lib.Predictors("process", **_ENSEMBLE, epochs=200, batch_size=64),
    "evaluator": config_lib.Evaluator(**_RANKING, epochs=8, batch_size=128, pseudo_labels=10_000),
    "generator": config_lib.Generator(**_POLICY, spacing="geometric", samples=8, iterations=1000, checkpoint_every=250),
}


def preset(
    name: str, shrinking: str = "", resolution: int = 0, dataset: str = "", images: int = 0
) -> config_lib.Config:
    """The settings of a preset; raises KeyError for an unknown name.

    Args:
      shrinking: 'progressive' (once-for-all) or 'sandwich' (BigNAS): how the supernet is trained; empty for the
        preset's own way.
      resolution: side of the images in pixels, 0 for the preset's own; the demo's space is fitted to it.
      dataset: whose images the demo takes at their own size where no resolution is given; empty for the preset's.
      images: how many there are, which settles how preset photos trains; 0 for a few thousand.

    Raises:
      SettingError: the preset has no space for this resolution.
    """
    if name == "photos":
        config = _photos(images, resolution or OF_PHOTOS[1])
    elif name == "demo":
        config = _demo(resolution or _NATIVE.get(dataset or "fashion_mnist", _USUAL))
    else:
        config = _at({"tiny": _tiny, "search": _search, "paper": _paper}[name](), resolution)
    if shrinking:
        phases = {"progressive": _progressive, "sandwich": _sandwich}[shrinking](config)
        config = dataclasses.replace(config, supernet=dataclasses.replace(config.supernet, phases=phases))
    return config


def searching(config: config_lib.Config, resolutions: tuple[int, ...]) -> config_lib.Config:
    """The settings with the resolution searched among several; with one, it is that and nothing is searched.

    Args:
      resolutions: different ones, in pixels; the backbone gets the largest.
    """
    space = dataclasses.replace(config.space, resolutions=resolutions if len(resolutions) > 1 else ())
    backbone = dataclasses.replace(config.backbone, resolution=resolutions[-1])
    return dataclasses.replace(config, space=space, backbone=backbone)


def of_kind(config: config_lib.Config, kind: str, own_backbone: bool = True) -> config_lib.Config:
    """The settings for .tflite of a kind; in int8 with a backbone that stays in one piece.

    Args:
      kind: one of `latency.export.QUANTIZATIONS`.
      own_backbone: the backbone is the preset's; False for that of a given supernet, which stays as it is.
    """
    backbone = fitting.minimal(config.backbone) if kind == "int8" and own_backbone else config.backbone
    return dataclasses.replace(config, kind=kind, backbone=backbone)


def _at(config: config_lib.Config, resolution: int) -> config_lib.Config:
    """A preset whose space is the same at all resolutions, at another one; 0 leaves it as it is."""
    if not resolution:
        return config
    if config.preset != "tiny" and resolution < LEAST_OF_PAPER:
        expected = f"expected {LEAST_OF_PAPER} or more, which the paper's space fits (preset demo: any from 16)"
        raise errors.SettingError("backbone.resolution", f"{expected}, found {resolution}")
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, resolution=resolution))


def _fitted(resolution: int) -> tuple[space_lib.SearchSpace, backbone_lib.Backbone]:
    """The space that fits images of this resolution. Raises SettingError where none does."""
    try:
        return fitting.fit(resolution)
    except ValueError as error:
        raise errors.SettingError("backbone.resolution", str(error)) from None


def _everything(space: space_lib.SearchSpace) -> dict[str, tuple[int, ...]]:
    """All options of a space, for a phase that draws any of them."""
    return {"depths": space.depths, "kernels": space.kernels, "ratios": space.ratios}


def _sandwich(config: config_lib.Config) -> tuple[config_lib.Phase, ...]:
    """One phase with all options from the first step.

    A step of four subnets costs about 2.3 of the largest, so that paper's 45 epochs are three quarters of its own.
    """
    epochs, learning_rate, subnets = {"tiny": (1, 0.05, 3), "demo": (5, 0.1, 3), "photos": (4, 0.1, 3)}.get(
        config.preset, (45, 0.1, 4)
    )
    return (_in_sandwiches(config.space, epochs, learning_rate, subnets),)


def _in_sandwiches(
    space: space_lib.SearchSpace, epochs: float, learning_rate: float, subnets: int, name: str = "sandwich"
) -> config_lib.Phase:
    return config_lib.Phase(
        name,
        epochs,
        learning_rate,
        **_everything(space),
        subnets_per_step=subnets,
        teacher=False,
        warmup_epochs=min(1.0, 0.1 * epochs),
        sandwich=True,
    )


def _progressive(config: config_lib.Config) -> tuple[config_lib.Phase, ...]:
    """The full network first, then ever smaller ones; the schedules of tiny and paper stand in the presets."""
    if config.preset not in ("demo", "photos"):
        return config.supernet.phases
    options = _everything(config.space)
    later = {"subnets_per_step": 1, "full_share": 0.3}
    return (
        config_lib.Phase("full", 5, 0.1, teacher=False, warmup_epochs=0.5),
        config_lib.Phase("depth", 2, 0.02, **options | {"ratios": ()}, **later),
        config_lib.Phase("width", 6, 0.05, **options, **later),
    )


def adapted(config: config_lib.Config) -> config_lib.Config:
    """The settings for adapting a given supernet: its phases take the place of those of training from scratch.

    In sandwiches where the preset trains so; else the full network first, which then teaches the others.
    """
    settings = config.supernet
    epochs = settings.adapt_epochs or ADAPT_EPOCHS
    if any(phase.sandwich for phase in settings.phases):
        phases = (_in_sandwiches(config.space, epochs, settings.adapt_learning_rate, 3, "adapt"),)
    else:
        options = _everything(config.space) | {"subnets_per_step": 2, "full_share": 0.3}
        phases = (
            config_lib.Phase("adapt_full", epochs / 2, settings.adapt_learning_rate, teacher=False),
            config_lib.Phase("adapt", epochs / 2, settings.adapt_learning_rate, **options),
        )
    least_steps = round(ADAPT_STEPS * settings.least_steps)
    settings = dataclasses.replace(settings, adapt_epochs=epochs, phases=phases, least_steps=least_steps)
    return dataclasses.replace(config, supernet=settings)


def _tiny() -> config_lib.Config:
    """Two units, 16 pixels: the whole road in a minute."""
    space = space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3, 5), ratios=(3, 4))
    backbone = backbone_lib.Backbone(
        base_widths=(16, 24),
        strides=(2, 2),
        squeeze_excite=(False, True),
        activations=("relu", "hard_swish"),
        base_stem=8,
        base_first=8,
        base_final_expand=64,
        base_feature_mix=64,
        resolution=16,
    )
    phases = (
        config_lib.Phase("full", 1, 0.05, teacher=False),
        config_lib.Phase("width", 1, 0.02, **_everything(space)),
    )
    return config_lib.Config(
        "tiny",
        space=space,
        backbone=backbone,
        data=config_lib.Data(augmentation="none", train_limit=6400),
        supernet=config_lib.Supernet(phases=phases, weight_decay=0.0, label_smoothing=0.0, dropout=0.0),
        measure=config_lib.Measure(architectures=60, calibration_images=250, validation_images=500),
        latency=config_lib.Latency(calibration_networks=4, check_networks=2),
        finetune=config_lib.Finetune(epochs=0),
        tune=config_lib.Tune(evaluator_trials=4, generator_trials=4, random_trials=50, bayesian_trials=4),
        predictors=config_lib.Predictors(members=2, hidden=16, layers=2, activation="silu", epochs=20, batch_size=16),
        evaluator=config_lib.Evaluator(**_RANKING | {"hidden": 32}, epochs=10, batch_size=32, pseudo_labels=200),
        generator=config_lib.Generator(
            **_POLICY, budgets=3, samples=4, iterations=100, hidden=16, budget_embedding=16, checkpoint_every=50
        ),
        eval=config_lib.Eval(samples=100, refinement=3),
    )


def _demo(resolution: int) -> config_lib.Config:
    """The space that fits the images: a quarter of an hour on two cores.

    The full network first, alone, then sandwiches: in the same time as with sandwiches from the first step it ends
    1.5 points higher, and the smallest network where it was (benchmarks/results.md).
    """
    space, backbone = _fitted(resolution)
    phases = (
        config_lib.Phase("full", 4.5, 0.1, teacher=False, warmup_epochs=0.2),
        _in_sandwiches(space, epochs=2, learning_rate=0.05, subnets=3),
    )
    return config_lib.Config(
        "demo",
        space=space,
        backbone=dataclasses.replace(backbone, classes=10),
        data=config_lib.Data(batch_size=128, validation_fraction=0.1, least_validation=5000),
        supernet=config_lib.Supernet(
            phases=phases, weight_decay=1e-4, label_smoothing=0.0, dropout=0.0, optimizer="muon", least_steps=1000
        ),
        measure=config_lib.Measure(architectures=40, draw="madds", calibration_images=1000, batch_size=500),
        finetune=config_lib.Finetune(
            epochs=2, equalise=0.5, optimizer="muon", learning_rate=0.04, least_steps=500, processes=0
        ),
        # Half of them in rounds: as good as twice as many at random (benchmarks/whole_space.py).
        eval=config_lib.Eval(**_ANSWER, measurements=80),
        **_OF_FEW_RECORDS,
    )


def _photos(images: int, resolution: int) -> config_lib.Config:
    """Photographs, few a class: what fits a laptop and an evening.

    The fewer images, the more often each is seen, and the more it is changed each time. Its recipe of training is the
    demo's, in steps instead of epochs.
    """
    if not OF_PHOTOS[0] <= resolution <= OF_PHOTOS[2]:
        expected = f"expected {OF_PHOTOS[0]} to {OF_PHOTOS[2]} pixels (preset demo: from 16)"
        raise errors.SettingError("backbone.resolution", f"{expected}, found {resolution}")
    few, many = images < FEW, images >= MANY
    space, backbone = _fitted(resolution)
    phases = (
        config_lib.Phase("full", 4, 0.1, teacher=False, warmup_epochs=0.2),
        _in_sandwiches(space, epochs=1, learning_rate=0.05, subnets=3),
    )
    return config_lib.Config(
        "photos",
        space=space,
        backbone=backbone,
        data=config_lib.Data(
            "folder",
            augmentation="crop",
            crop_area=0.35,
            rand_augment=0 if many else 2,
            rand_magnitude=0.5 if few else 0.3,
            mixup=0.2 if few else 0.0,
            batch_size=32 if few else 64,
            validation_fraction=0.1,
            least_validation=2000,
        ),
        supernet=config_lib.Supernet(
            phases=phases,
            weight_decay=1e-4,
            label_smoothing=0.1,
            dropout=0.1 if few else 0.0,
            optimizer="muon",
            least_steps=1500,
        ),
        measure=config_lib.Measure(architectures=40, draw="madds", calibration_images=500, batch_size=100),
        finetune=config_lib.Finetune(
            epochs=2, equalise=0.5, optimizer="muon", learning_rate=0.04, least_steps=300, processes=0
        ),
        eval=config_lib.Eval(**_ANSWER, measurements=120),
        **_OF_FEW_RECORDS,
    )


def _paper() -> config_lib.Config:
    """ImageNet at 224 pixels, width 1.2, 90 epochs (section E); learning rates are once-for-all's."""
    phases = (
        config_lib.Phase("full", 30, 0.1, teacher=False, warmup_epochs=1),
        config_lib.Phase("kernel", 20, 0.03, **_KERNELS),
        config_lib.Phase("depth_34", 5, 0.01, kernels=(3, 5, 7), depths=(3, 4), subnets_per_step=2),
        config_lib.Phase("depth", 10, 0.03, **_KERNELS, **_DEPTHS, subnets_per_step=2),
        config_lib.Phase("width_46", 5, 0.01, **_KERNELS, **_DEPTHS, ratios=(4, 6), subnets_per_step=4),
        config_lib.Phase("width", 20, 0.03, **_KERNELS, **_DEPTHS, **_RATIOS, subnets_per_step=4),
    )
    return config_lib.Config(
        "paper",
        space=space_lib.SearchSpace(),
        backbone=backbone_lib.Backbone(width_multiplier=1.2, resolution=224, classes=1000),
        data=config_lib.Data("imagenet2012", augmentation="crop", batch_size=256),
        supernet=config_lib.Supernet(phases=phases, ema=0.999),
        # 16,000 records on all 26,000 validation images each would cost five times the multiply-adds of the supernet;
        # see benchmarks/cost.py. Most of 2,000 are measured where they count instead.
        measure=config_lib.Measure(architectures=40, validation_images=5000),
        finetune=config_lib.Finetune(ema=0.999),
        predictors=config_lib.Predictors(model="mlp", members=1, hidden=400),
        evaluator=config_lib.Evaluator(),
        generator=config_lib.Generator(first_budget=0.0),
        eval=config_lib.Eval(measurements=2000),
    )


def _search() -> config_lib.Config:
    """Records of the paper's size: four minutes on two cores. Images, where there are any, are those of `paper`."""
    return dataclasses.replace(
        _paper(),
        preset="search",
        predictors=config_lib.Predictors("process", **_ENSEMBLE, epochs=30, held_out=0.03),
        evaluator=config_lib.Evaluator(**_RANKING, epochs=8, batch_size=192, pseudo_labels=20_000, held_out=0.03),
        generator=config_lib.Generator(**_POLICY, samples=8, iterations=1500, checkpoint_every=250),
        eval=config_lib.Eval(**_ANSWER, measurements=2000),
    )
