"""Once-for-all's MobileNetV3 weights: between the tensors of its PyTorch checkpoints and a supernet, both ways.

A checkpoint is a plain dict of arrays here, by the names of once-for-all's state dict; PyTorch is not needed.

Names have changed over the years: a block's `conv` was `mobile_inverted_conv`, and of the doubled names of elastic
layers (`bn.bn`, `conv.conv.weight`, `linear.linear`) some files have one half. All of them are understood.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping

import keras
import numpy as np

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.util import errors, frozen

STATISTICS = ("running_mean", "running_var")
UNUSED = "num_batches_tracked"  # PyTorch's count of training steps, beside each batch norm
LISTED = 50  # names of each kind that an error lists
_MULTIPLIERS = [step / 100 for step in range(5, 401)]


@dataclasses.dataclass(frozen=True)
class Slot:
    """A tensor of a checkpoint and the weight that it fills.

    Attributes:
      weight: the variable.
      shape: of the tensor in the checkpoint.
      axes: the checkpoint's axes in the order of Keras.
    """

    weight: keras.Variable
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def put(self, tensor: np.ndarray) -> None:
        self.weight.assign(np.transpose(tensor, self.axes).reshape(self.weight.shape))

    def get(self) -> np.ndarray:
        there = np.array(self.weight).reshape([self.shape[axis] for axis in self.axes])
        return np.ascontiguousarray(np.transpose(there, np.argsort(self.axes)))


def to_supernet(
    state: Mapping[str, np.ndarray],
    space: space_lib.SearchSpace = space_lib.SearchSpace(),
    backbone: backbone_lib.Backbone = backbone_lib.Backbone(),
) -> supernet_lib.Supernet:
    """A supernet with the weights and the batch norm statistics of a checkpoint.

    Args:
      state: tensors by name. Weights of convolutions are [out, in, h, w].
      space: the checkpoint's; once-for-all's d234_e346_k357 by default.
      backbone: everything but the width multiplier and the number of classes, which the tensors tell.

    Raises:
      UserError: tensors are missing, unknown or misshapen; it lists them.
    """
    spelled: dict[str, list[str]] = {}
    for name in state:
        if not name.endswith(UNUSED):
            spelled.setdefault(canonical(name), []).append(name)
    given = {name: state[names[0]] for name, names in spelled.items()}
    classifier = np.shape(given.get("classifier.linear.weight", ()))
    backbone = dataclasses.replace(
        backbone,
        width_multiplier=_width_multiplier({name: np.shape(given[name]) for name in given}, space, backbone),
        classes=classifier[0] if len(classifier) == 2 else backbone.classes,
    )
    net = supernet_lib.Supernet(space, backbone)
    slots, norms = dict(_slots(net)), list(_norm_names(net))
    shapes = {name: slot.shape for name, slot in slots.items()}
    for name, norm in zip(norms, net.norms, strict=True):
        shapes |= {f"{name}.{part}": (norm.channels,) for part in STATISTICS}
    _check(given, spelled, shapes, backbone)
    for name, slot in slots.items():
        slot.put(given[canonical(name)])
    moving = [[given[canonical(f"{name}.{part}")] for name in norms] for part in STATISTICS]
    net.moving.assign(np.stack([np.concatenate(row) for row in moving]))
    return net


def from_supernet(net: supernet_lib.Supernet) -> dict[str, np.ndarray]:
    """The checkpoint that a supernet would have been read from, by once-for-all's present names.

    Raises:
      UserError: once-for-all has no such network: one with fused blocks, or without a fixed block or parts of the head.
    """
    whole = net.backbone.base_first and net.backbone.base_final_expand and net.backbone.base_feature_mix
    if not whole or "fused" in net.backbone.kinds:
        raise errors.UserError("expected a supernet of once-for-all's MobileNetV3, found another backbone")
    state = {name: slot.get() for name, slot in _slots(net)}
    ends = np.cumsum([norm.channels for norm in net.norms])[:-1]
    for name, values in zip(_norm_names(net), np.split(np.array(net.moving), ends, axis=1), strict=True):
        state |= {f"{name}.{part}": row for part, row in zip(STATISTICS, values, strict=True)}
    return state


def canonical(name: str) -> str:
    """The one spelling of a tensor's name, whichever version of once-for-all wrote it."""
    name = name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
    for part in (".bn.bn.", ".linear.linear.", ".conv.conv.weight"):
        name = name.replace(part, part[part.index(".", 1) :])
    return name


# ---- where a tensor goes --------------------------------------------------------------------------------------------


def _slots(net: supernet_lib.Supernet) -> Iterator[tuple[str, Slot]]:
    """Name and place of every tensor but the batch norm statistics."""

    def convolution(name, weight, *hwio):
        *window, into, out = hwio
        return f"{name}.weight", Slot(weight, (out, into, *window), (2, 3, 1, 0))

    def vector(name, weight):
        return name, Slot(weight, tuple(weight.shape), (0,))

    yield convolution("first_conv.conv", net.stem, *net.stem.shape)
    for name, block, inner in _blocks(net):
        if block.block.expands:
            yield convolution(f"{name}.inverted_bottleneck.conv{inner}", block.expand, 1, 1, *block.expand.shape)
            # once-for-all multiplies rows of filters with the transposed matrix: the same as ours from the left.
            for larger, kernel, matrix in zip(
                block.kernels[:0:-1], block.kernels[-2::-1], block.transforms, strict=True
            ):
                yield f"{name}.depth_conv.conv.{larger}to{kernel}_matrix", Slot(matrix, tuple(matrix.shape), (0, 1))
        height, width, channels = block.depthwise.shape
        yield convolution(f"{name}.depth_conv.conv{inner}", block.depthwise, height, width, 1, channels)
        if block.squeezes[-1]:
            for part, weight, bias in (
                ("reduce", block.reduce, block.reduce_bias),
                ("expand", block.excite, block.excite_bias),
            ):
                yield convolution(f"{name}.depth_conv.se.fc.{part}", weight, 1, 1, *weight.shape)
                yield vector(f"{name}.depth_conv.se.fc.{part}.bias", bias)
        yield convolution(f"{name}.point_linear.conv{inner}", block.project, 1, 1, *block.project.shape)
    yield convolution("final_expand_layer.conv", net.final_expand, 1, 1, *net.final_expand.shape)
    yield convolution("feature_mix_layer.conv", net.feature_mix, 1, 1, *net.feature_mix.shape)
    kernel = net.classifier.kernel
    yield "classifier.linear.weight", Slot(kernel, tuple(kernel.shape[::-1]), (1, 0))
    yield vector("classifier.linear.bias", net.classifier.bias)
    for name, norm in zip(_norm_names(net), net.norms, strict=True):
        yield vector(f"{name}.weight", norm.scale)
        yield vector(f"{name}.bias", norm.offset)


def _blocks(net: supernet_lib.Supernet):
    """(name, block, what is appended to the names of its convolutions), the fixed block first."""
    yield "blocks.0.conv", net.first, ""
    for number, block in enumerate(net.blocks, 1):
        yield f"blocks.{number}.conv", block, ".conv"


def _norm_names(net: supernet_lib.Supernet) -> Iterator[str]:
    """Names of the batch norms in the order of `net.norms`."""
    yield "first_conv.bn"
    for name, block, inner in _blocks(net):
        bn = "bn.bn" if inner else "bn"
        if block.block.expands:
            yield f"{name}.inverted_bottleneck.{bn}"
        yield f"{name}.depth_conv.{bn}"
        yield f"{name}.point_linear.{bn}"
    yield "final_expand_layer.bn"


def _width_multiplier(
    shapes: Mapping[str, tuple[int, ...]], space: space_lib.SearchSpace, backbone: backbone_lib.Backbone
) -> float:
    """The multiplier that explains the output channels of most layers; the shortest such number."""

    def differing(multiplier):
        scaled = dataclasses.replace(backbone, width_multiplier=multiplier)
        expected = {
            "first_conv": scaled.stem,
            "blocks.0.conv.point_linear": scaled.first,
            "final_expand_layer": scaled.final_expand,
            "feature_mix_layer": scaled.feature_mix,
        } | {
            f"blocks.{unit * space.max_depth + 1}.conv.point_linear": width for unit, width in enumerate(scaled.widths)
        }
        return sum(shapes.get(f"{name}.conv.weight", (0,))[:1] != (width,) for name, width in expected.items())

    return min(_MULTIPLIERS, key=lambda value: (differing(value), len(f"{value:g}"), abs(value - 1)))


# ---- what does not fit ----------------------------------------------------------------------------------------------


def _check(
    given: Mapping[str, np.ndarray],
    spelled: Mapping[str, list[str]],
    shapes: Mapping[str, tuple[int, ...]],
    backbone: backbone_lib.Backbone,
) -> None:
    """Raises UserError that lists what is missing, unknown, given twice or misshapen.

    Args:
      given: the checkpoint's tensors by canonical name.
      spelled: the names in the checkpoint for each canonical name.
      shapes: expected shapes by once-for-all's present names.
    """
    names = [name for spellings in spelled.values() for name in spellings]
    expected = {canonical(name): name for name in shapes}
    problems = {
        "missing": [_as_in(names, name) for short, name in expected.items() if short not in given],
        "unknown": [name for short in given if short not in expected for name in spelled[short]],
        "there twice": [" and ".join(spellings) for spellings in spelled.values() if len(spellings) > 1],
        "misshapen": [
            f"{spelled[short][0]} is {list(np.shape(given[short]))}, expected {list(shapes[name])}"
            for short, name in expected.items()
            if short in given and np.shape(given[short]) != shapes[name]
        ],
    }
    found = [_listed(kind, entries) for kind, entries in problems.items() if entries]
    if found:
        raise errors.UserError(
            f"expected the tensors of once-for-all's MobileNetV3 (width multiplier {backbone.width_multiplier}, "
            f"{backbone.classes} classes), found {'; '.join(found)}"
        )


def _as_in(names: Collection[str], name: str) -> str:
    """One of once-for-all's present names, spelled like the names of a checkpoint."""
    if not any(".bn.bn." in other for other in names):
        name = canonical(name)
    if name.startswith("blocks.") and any(".mobile_inverted_conv." in other for other in names):
        name = name.replace(".conv.", ".mobile_inverted_conv.", 1)
    return name


def _listed(kind: str, entries: list[str]) -> str:
    more = f" and {len(entries) - LISTED} more" if len(entries) > LISTED else ""
    return f"{len(entries)} {kind}: {', '.join(entries[:LISTED])}{more}"


# ---- saved supernets ------------------------------------------------------------------------------------------------


Description = tuple[space_lib.SearchSpace, backbone_lib.Backbone]


def describe(path: str | os.PathLike) -> Description:
    """Space and backbone of a saved supernet (.keras), without reading its weights.

    Raises:
      UserError: the file is missing, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("config.json"))
    except OSError as error:
        raise errors.UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (KeyError, ValueError, zipfile.BadZipFile):
        raise errors.UserError(f"{path}: expected a saved supernet (.keras), found another kind of file") from None
    if saved.get("registered_name") != keras.saving.get_registered_name(supernet_lib.Supernet):
        raise errors.UserError(f"{path}: expected a saved supernet, found a {saved.get('class_name')} model")
    space = frozen.restore(space_lib.SearchSpace, saved["config"]["space"])
    return space, frozen.restore(backbone_lib.Backbone, saved["config"]["backbone"])


def load(path: str | os.PathLike) -> supernet_lib.Supernet:
    """A saved supernet: an imported one, or one that a run has trained.

    Raises:
      UserError: the file is missing, broken, or holds something else.
    """
    describe(path)
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise errors.UserError(f"{path}: the saved supernet is broken: {str(error).strip().splitlines()[0]}") from None
