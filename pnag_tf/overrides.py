"""Single settings changed by their names, such as 'measure.architectures', and checked before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping

from pnag_tf import config as config_lib
from pnag_tf.util import errors

FIXED = {  # what cannot be set by its name -> why
    "preset": "it is chosen before single settings are changed",
    "kind": "it is chosen before single settings are changed, as the backbone depends on it",
    "backbone.classes": "it is the number of classes of the images; `data.class_subset` chooses among them",
}

LEAST_MAP = 2  # pixels of the last map at the smallest of several resolutions

# What numbers have to be, by a setting's whole name or, for all others, by the last part of it.
_LEAST = {
    "adapt_epochs": 0,
    "architectures": 20,  # records, fewer than which the predictors refuse
    "base_feature_mix": 0,
    "base_final_expand": 0,
    "base_first": 0,
    "base_stem": 1,
    "base_widths": 1,
    "batch_size": 1,
    "bayesian_trials": 1,
    "budget_embedding": 1,
    "bytes": 0,
    "calibration_images": 1,
    "calibration_networks": 3,
    "check_networks": 0,
    "checkpoint_every": 1,
    "class_subset": 0,
    "distillation_weight": 0,
    "entropy_weight": 0,
    "equalise": 0,
    "evaluator.batch_size": 2,  # pairs
    "evaluator.layers": 2,
    "evaluator_trials": 1,
    "final_entropy_weight": 0,
    "final_learning_rate": 0,
    "finalist_images": 0,
    "finetune.epochs": 0,
    "first_budget": 0,
    "generator.budgets": 1,
    "generator_trials": 1,
    "gpu_batch": 1,
    "hidden": 1,
    "images_gib": 0,
    "int8_epochs": 0,
    "in_memory_gib": 0,
    "iterations": 1,
    "layers": 1,
    "least_gain": 0,
    "least_steps": 0,
    "least_validation": 0,
    "madds": 0,
    "max_thermal_status": 0,
    "measurements": 0,
    "members": 1,
    "memory_mb": 0,
    "minutes": 0,
    "params": 0,
    "predictors.epochs": 1,
    "evaluator.epochs": 1,
    "processes": 0,
    "pseudo_labels": 0,
    "mixup": 0,
    "rand_augment": 0,
    "random_trials": 1,
    "refinement": 0,
    "resolution": 8,
    "resolutions": 8,
    "rounds": 0,
    "samples": 1,
    "seed": 0,
    "stem_stride": 1,
    "strides": 1,
    "subnets_per_step": 1,
    "threads": 1,
    "train_limit": 0,
    "units": 1,
    "validation_images": 0,
    "warmup_epochs": 0,
    "weight_decay": 0,
    "workers": 0,
}
_ABOVE_0 = ("adapt_learning_rate", "epochs", "eval.budgets", "learning_rate", "measure_timeout_s", "timeout_s")
_ABOVE_0 += ("width_multiplier",)
_BELOW_1 = ("dropout", "ema", "label_smoothing", "momentum")  # and not below 0
_BETWEEN = ("crop_area", "held_out", "validation_fraction")  # 0 and 1
_SHARES = ("aim", "full_share", "rand_magnitude")  # from 0 to 1
_MOST = {"seed": 2**32 - 1, "stem_stride": 2, "strides": 2}


def names(settings: object, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings that can be changed, such as 'supernet.phases.0.epochs'."""
    for key, value in _members(settings):
        name = f"{prefix}{key}"
        if _has_members(value):
            yield from names(value, f"{name}.")
        elif name not in FIXED:
            yield name


def apply(config: config_lib.Config, assignments: Iterable[str]) -> config_lib.Config:
    """The settings with each 'name=value' of `assignments` made, the later ones over the earlier ones.

    Values are typed by the dataclasses of `config`: numbers, true or false, text, or several of them with commas.

    Raises:
      SettingError: a name is unknown (the message lists near ones), or a value is not of its setting's type.
    """
    known, changes = dict(_leaves(config)), {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise errors.SettingError(name, f"expected name=value, found '{assignment}'")
        if name in FIXED:
            raise errors.SettingError(name, f"cannot be set: {FIXED[name]}")
        if name not in known:
            raise errors.SettingError(name, f"no such setting; near: {', '.join(_near(name, list(known)))}")
        changes[tuple(name.split("."))] = _parsed(known[name][0], name, text)
    return _replaced(config, changes)


def check(config: config_lib.Config) -> None:
    """Looks for values that would end a run much later.

    Raises:
      SettingError: a value cannot be used.
    """
    for name, (kind, value) in _leaves(config):
        for each in value if isinstance(value, tuple) else (value,):
            expected = _unlike(kind, each) or _outside(name, each)
            if expected:
                raise errors.SettingError(name, f"expected {expected}, found {each!r}")
    evaluation, generator = config.eval, config.generator
    if len(set(evaluation.budgets)) < len(evaluation.budgets):
        found = ",".join(map(str, evaluation.budgets))
        raise errors.SettingError("eval.budgets", f"expected different ones, found {found}")
    if generator.advantage == "normalised" and generator.samples < 2:
        raise errors.SettingError("generator.samples", f"expected 2 or more to normalise, found {generator.samples}")
    if config.kind != "float32" and config.device == "gpu":
        raise errors.SettingError("kind", f"expected float32, as device gpu runs no .tflite, found {config.kind}")
    if config.space.units != config.backbone.units:
        expected = f"expected those of `backbone.base_widths`, {config.backbone.units}"
        raise errors.SettingError("space.units", f"{expected}, found {config.space.units}")
    resolutions, largest = config.space.resolutions, config.backbone.resolution
    if resolutions and resolutions[-1] != largest:
        expected = f"expected {largest}, `backbone.resolution`, as the largest"
        raise errors.SettingError("space.resolutions", f"{expected}, found {resolutions[-1]}")
    if resolutions and dataclasses.replace(config.backbone, resolution=resolutions[0]).final_size < LEAST_MAP:
        expected = f"expected pixels that leave {LEAST_MAP} × {LEAST_MAP} or more behind the last unit"
        raise errors.SettingError("space.resolutions", f"{expected}, found {resolutions[0]}")
    phases = [phase.name for phase in config.supernet.phases]
    for number, name in enumerate(phases):  # folders
        if not name or "/" in name or name in phases[:number]:
            raise errors.SettingError(
                f"supernet.phases.{number}.name", f"expected a name of its own without '/', found '{name}'"
            )


def _has_members(value: object) -> bool:
    return dataclasses.is_dataclass(value) or (isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)))


def _members(settings: object) -> Iterator[tuple[str, object]]:
    if isinstance(settings, tuple):
        yield from ((str(number), value) for number, value in enumerate(settings))
    else:
        yield from ((field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings))


def _leaves(config: config_lib.Config) -> Iterator[tuple[str, tuple[object, object]]]:
    """(name, (type, value)) of each setting that can be changed."""
    for name in names(config):
        *path, key = name.split(".")
        owner = config
        for part in path:
            owner = owner[int(part)] if isinstance(owner, tuple) else getattr(owner, part)
        yield name, (typing.get_type_hints(type(owner))[key], getattr(owner, key))


def _near(name: str, known: list[str]) -> list[str]:
    """Settings that may have been meant; the parts of the settings where there is none."""
    last = name.split(".")[-1]
    near = [each for each in known if each.split(".")[-1] == last or each.startswith(f"{name}.")]
    near += difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    near += [each for each in known if difflib.SequenceMatcher(None, last, each.split(".")[-1]).ratio() > 0.75]
    near += [each for each in known if len(last) > 2 and last in each.split(".")[-1]]
    parts = dict.fromkeys(f"{each.split('.')[0]}.*" if "." in each else each for each in known)
    return list(dict.fromkeys(near))[:6] or list(parts)


def _replaced(settings, changes: Mapping[tuple[str, ...], object], prefix: str = ""):
    """`settings`, a dataclass or a tuple of them, with the values at the paths of `changes`."""
    values = {}
    for key, value in _members(settings):
        inside = {path[1:]: new for path, new in changes.items() if path[0] == key}
        values[key] = inside[()] if () in inside else _replaced(value, inside, f"{prefix}{key}.") if inside else value
    if isinstance(settings, tuple):
        return tuple(values.values())
    try:
        return dataclasses.replace(settings, **values)
    except ValueError as error:  # the dataclass checks itself
        raise errors.SettingError(prefix + ".".join(next(iter(changes))), str(error)) from None


def _parsed(kind: object, name: str, text: str):
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_parsed(inner, name, part) for part in text.split(",") if part.strip())
    value = text.strip()
    try:
        if kind is bool:
            value = {"true": True, "false": False}[value.lower()]
        elif kind in (int, float):
            value = kind(value)
    except (KeyError, ValueError):
        pass  # as text it is unlike the kind
    expected = _unlike(kind, value)
    if expected:
        raise errors.SettingError(name, f"expected {expected}, found '{text.strip()}'")
    return value


def _unlike(kind: object, value: object) -> str:
    """What a value, or one of a tuple, should be; empty where it is that."""
    if typing.get_origin(kind) is tuple:
        return _unlike(typing.get_args(kind)[0], value)
    if typing.get_origin(kind) is typing.Literal:
        options = typing.get_args(kind)
        return "" if value in options else f"one of {', '.join(options)}"
    if kind is float:
        fits = type(value) in (int, float) and math.isfinite(value)
    else:
        fits = type(value) is kind
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return "" if fits else words[kind]


def _outside(name: str, value: object) -> str:
    """The range that a number should lie in; empty where it does."""
    last = name.split(".")[-1]

    def has(table) -> bool:
        return name in table or last in table

    least, most = _LEAST.get(name, _LEAST.get(last)), _MOST.get(last)
    if least is not None:
        if most is not None:
            return "" if least <= value <= most else f"a number from {least} to {most}"
        return "" if value >= least else f"{least} or more"
    if has(_ABOVE_0):
        return "" if value > 0 else "more than 0"
    if has(_BELOW_1):
        return "" if 0 <= value < 1 else "0 or more, and less than 1"
    if has(_BETWEEN):
        return "" if 0 < value < 1 else "a number between 0 and 1"
    if has(_SHARES):
        return "" if 0 <= value <= 1 else "a number from 0 to 1"
    return ""
