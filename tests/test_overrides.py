"""Settings by name: typed by their dataclasses, and checked before anything starts."""

import dataclasses
import math

import pytest

from pnag_tf import config as config_lib
from pnag_tf import overrides, presets
from pnag_tf.data import augment
from pnag_tf.latency import export
from pnag_tf.util import errors


@pytest.fixture(scope="module")
def tiny():
    return presets.preset("tiny")


@pytest.mark.parametrize(
    ("assignment", "found"),
    [
        ("measure.architectures=500", lambda config: config.measure.architectures == 500),
        ("data.data_dir=/a=b, c ", lambda config: config.data.data_dir == "/a=b, c"),
        ("data.data_dir=", lambda config: config.data.data_dir == ""),
        ("data.deterministic=False", lambda config: config.data.deterministic is False),
        ("supernet.momentum = 0.8", lambda config: config.supernet.momentum == 0.8),
        ("eval.budgets=25, 30.5", lambda config: config.eval.budgets == (25.0, 30.5)),
        ("eval.budgets=", lambda config: config.eval.budgets == ()),
        ("eval.quantize=int8,float16", lambda config: config.eval.quantize == ("int8", "float16")),
        ("space.kernels=3,7", lambda config: config.space.kernels == (3, 7)),
        ("backbone.squeeze_excite=true,false", lambda config: config.backbone.squeeze_excite == (True, False)),
        ("supernet.phases.1.epochs=0.5", lambda config: [each.epochs for each in config.supernet.phases] == [1, 0.5]),
        ("supernet.phases.0.sandwich=true", lambda config: config.supernet.phases[0].sandwich is True),
        ("seed=7", lambda config: config.seed == 7 and type(config.seed) is int),
        ("evaluator.loss=hinge", lambda config: config.evaluator.loss == "hinge"),
    ],
)
def test_a_value_has_the_type_of_its_setting_and_nothing_else_changes(tiny, assignment, found):
    made = overrides.apply(tiny, [assignment])
    assert found(made)
    overrides.check(made)
    name = assignment.split("=")[0].strip()
    before, after = dict(overrides._leaves(tiny)), dict(overrides._leaves(made))
    assert {each for each in before if before[each] != after[each]} <= {name}


def test_later_ones_count_and_settings_that_belong_together_change_together(tiny):
    assert overrides.apply(tiny, ["seed=1", "seed=2"]).seed == 2
    parts = ("base_widths=16,24,32", "strides=2,2,1", "squeeze_excite=false,true,true", "activations=relu,relu,relu")
    made = overrides.apply(tiny, [f"backbone.{part}" for part in parts] + ["space.units=3"])
    overrides.check(made)
    assert made.backbone.units == made.space.units == 3
    with pytest.raises(errors.SettingError, match="`backbone.strides`: .* different lengths"):
        overrides.apply(tiny, ["backbone.strides=1,1,1"])
    with pytest.raises(
        errors.SettingError, match="`space.units`: expected those of `backbone.base_widths`, 2, found 3"
    ):
        overrides.check(overrides.apply(tiny, ["space.units=3"]))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("measure.architectures=many", "`measure.architectures`: expected a whole number, found 'many'"),
        ("measure.architectures=5e2", "expected a whole number, found '5e2'"),
        ("measure.architectures=", "expected a whole number, found ''"),
        ("supernet.momentum=nan", "`supernet.momentum`: expected a number, found 'nan'"),
        ("eval.budgets=25,inf", "`eval.budgets`: expected a number, found 'inf'"),
        ("eval.budgets=25;30", "`eval.budgets`: expected a number, found '25;30'"),
        ("data.deterministic=1", "`data.deterministic`: expected true or false, found '1'"),
        ("evaluator.loss=l2", "`evaluator.loss`: expected one of hinge, margin, found 'l2'"),
        ("eval.quantize=int4", "`eval.quantize`: expected one of float32, float16, dynamic_int8, int8, found 'int4'"),
        ("space.kernels=4", "`space.kernels`: kernels .4,.: expected odd sizes"),
        ("space.ratios=", "`space.ratios`: ratios .*: expected increasing positive numbers"),
        ("seed", "`seed`: expected name=value, found 'seed'"),
        ("preset=paper", "`preset`: cannot be set"),
        ("backbone.classes=5", "`backbone.classes`: cannot be set: .*`data.class_subset`"),
    ],
)
def test_values_of_another_type(tiny, assignment, message):
    with pytest.raises(errors.SettingError, match=message) as error:
        overrides.apply(tiny, [assignment])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("measure.architecture", ["measure.architectures"]),
        ("architectures", ["measure.architectures"]),
        ("data.batchsize", ["data.batch_size"]),
        ("batch_size", ["data.batch_size", "measure.batch_size", "predictors.batch_size", "evaluator.batch_size"]),
        ("width", ["backbone.width_multiplier"]),
        ("phone", ["phone.serial", "phone.cpu_mask"]),
        ("supernet.phases.2.epochs", ["supernet.phases.0.epochs", "supernet.phases.1.epochs"]),
        ("supernet.phases", ["supernet.phases.0.epochs"]),
        ("data.dataset.name", ["data.dataset"]),
        ("Seed", ["seed"]),
        ("qqq", ["data.*", "supernet.*"]),
        ("", ["data.*"]),
    ],
)
def test_an_unknown_name_lists_near_ones(tiny, name, near):
    with pytest.raises(errors.SettingError, match="no such setting; near: ") as error:
        overrides.apply(tiny, [f"{name}=1"])
    listed = str(error.value).split("near: ")[1].split(", ")
    assert set(near) <= set(listed) and "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("shrinking", presets.SHRINKING)
@pytest.mark.parametrize("preset", presets.NAMES)
def test_presets_can_be_used_and_every_setting_takes_its_own_value(preset, shrinking):
    config = presets.preset(preset, shrinking)
    overrides.check(config)
    same = [
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, (_, value) in overrides._leaves(config)
    ]
    assert overrides.apply(config, same) == config
    assert {"measure.architectures", "finetune.ema", "phone.timeout_s", "supernet.phases.0.name"} <= set(
        overrides.names(config)
    )


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("backbone.resolution=0", "`backbone.resolution`: expected 8 or more, found 0"),
        ("backbone.width_multiplier=0", "`backbone.width_multiplier`: expected more than 0, found 0.0"),
        ("backbone.strides=1,3", "`backbone.strides`: expected a number from 1 to 2, found 3"),
        ("backbone.activations=relu,mish", "`backbone.activations`: expected one of relu, hard_swish, found 'mish'"),
        ("measure.architectures=19", "`measure.architectures`: expected 20 or more, found 19"),
        ("data.batch_size=0", "`data.batch_size`: expected 1 or more, found 0"),
        ("measure.batch_size=0", "`measure.batch_size`: expected 1 or more"),
        ("evaluator.batch_size=1", "`evaluator.batch_size`: expected 2 or more"),
        ("data.validation_fraction=1", "`data.validation_fraction`: expected a number between 0 and 1, found 1.0"),
        ("data.validation_fraction=0", "expected a number between 0 and 1"),
        ("predictors.held_out=1.5", "`predictors.held_out`: expected a number between 0 and 1"),
        ("supernet.dropout=1", "`supernet.dropout`: expected 0 or more, and less than 1"),
        ("supernet.phases.1.epochs=0", "`supernet.phases.1.epochs`: expected more than 0"),
        ("supernet.phases.1.full_share=2", "`supernet.phases.1.full_share`: expected a number from 0 to 1"),
        ("supernet.phases.1.name=full", "`supernet.phases.1.name`: expected a name of its own"),
        ("supernet.phases.1.name=../x", "`supernet.phases.1.name`: expected a name of its own"),
        ("generator.samples=1", "`generator.samples`: expected 2 or more"),
        ("generator.learning_rate=0", "`generator.learning_rate`: expected more than 0"),
        ("eval.budgets=30,-3", "`eval.budgets`: expected more than 0, found -3.0"),
        ("eval.budgets=30,30.0", "`eval.budgets`: expected different ones"),
        ("latency.calibration_networks=2", "`latency.calibration_networks`: expected 3 or more"),
        ("latency.threads=0", "`latency.threads`: expected 1 or more"),
        ("finetune.epochs=-1", "`finetune.epochs`: expected 0 or more"),
        ("seed=-1", "`seed`: expected a number from 0 to 4294967295, found -1"),
    ],
)
def test_values_that_would_end_a_run_later(tiny, assignment, message):
    with pytest.raises(errors.SettingError, match=message):
        overrides.check(overrides.apply(tiny, [assignment]))


def test_values_that_python_made_are_checked_as_well(tiny):
    for value in (math.nan, "0.9", None):
        made = dataclasses.replace(tiny, supernet=dataclasses.replace(tiny.supernet, momentum=value))
        with pytest.raises(errors.SettingError, match="`supernet.momentum`: expected a number, found"):
            overrides.check(made)


def test_the_options_are_those_of_the_code():
    kinds = {name: kind for name, (kind, _) in overrides._leaves(config_lib.Config(""))}
    assert kinds["data.augmentation"].__args__ == augment.KINDS
    assert kinds["eval.quantize"].__args__[0].__args__ == export.QUANTIZATIONS
