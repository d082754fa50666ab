"""Once-for-all's checkpoints: against its network written out in numpy, its fixed logits, and PyTorch itself."""

import csv
import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import checkpoint
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import ofa, subnet
from pnag_tf.util import errors

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "import_ofa.py"


# ---- once-for-all by its own rules, without PyTorch -----------------------------------------------------------------


def _shapes(space, backbone):
    """Names and shapes of the state dict, in the present spelling."""
    shapes = {}

    def norm(name, channels):
        shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.{checkpoint.COUNTERS}"] = ()

    shapes["first_conv.conv.weight"] = (backbone.stem, 3, 3, 3)
    norm("first_conv.bn", backbone.stem)
    shapes["blocks.0.conv.depth_conv.conv.weight"] = (backbone.stem, 1, 3, 3)
    norm("blocks.0.conv.depth_conv.bn", backbone.stem)
    shapes["blocks.0.conv.point_linear.conv.weight"] = (backbone.first, backbone.stem, 1, 1)
    norm("blocks.0.conv.point_linear.bn", backbone.first)
    channels, number, k = backbone.first, 0, space.kernels[-1]
    for unit, width in enumerate(backbone.widths):
        for _ in range(space.max_depth):
            number += 1
            block, hidden = f"blocks.{number}.conv", backbone_lib.make_divisible(channels * space.ratios[-1])
            shapes[f"{block}.inverted_bottleneck.conv.conv.weight"] = (hidden, channels, 1, 1)
            norm(f"{block}.inverted_bottleneck.bn.bn", hidden)
            shapes[f"{block}.depth_conv.conv.conv.weight"] = (hidden, 1, k, k)
            for larger, kernel in zip(space.kernels[1:], space.kernels[:-1], strict=True):
                shapes[f"{block}.depth_conv.conv.{larger}to{kernel}_matrix"] = (kernel**2, kernel**2)
            norm(f"{block}.depth_conv.bn.bn", hidden)
            if backbone.squeeze_excite[unit]:
                inner = backbone_lib.make_divisible(hidden // 4)
                shapes[f"{block}.depth_conv.se.fc.reduce.weight"] = (inner, hidden, 1, 1)
                shapes[f"{block}.depth_conv.se.fc.reduce.bias"] = (inner,)
                shapes[f"{block}.depth_conv.se.fc.expand.weight"] = (hidden, inner, 1, 1)
                shapes[f"{block}.depth_conv.se.fc.expand.bias"] = (hidden,)
            shapes[f"{block}.point_linear.conv.conv.weight"] = (width, hidden, 1, 1)
            norm(f"{block}.point_linear.bn.bn", width)
            channels = width
    shapes["final_expand_layer.conv.weight"] = (backbone.final_expand, channels, 1, 1)
    norm("final_expand_layer.bn", backbone.final_expand)
    shapes["feature_mix_layer.conv.weight"] = (backbone.feature_mix, backbone.final_expand, 1, 1)
    shapes["classifier.linear.weight"] = (backbone.classes, backbone.feature_mix)
    shapes["classifier.linear.bias"] = (backbone.classes,)
    return shapes


def _conv(x, weight, stride=1):
    """Convolution as PyTorch defines it, [b, c, h, w] with [o, i, k, k]; depthwise where i is 1; padding k // 2."""
    pad = weight.shape[-1] // 2
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    if weight.shape[1] == 1:
        return np.einsum("bchwij,cij->bchw", windows, weight[:, 0])
    return np.einsum("bchwij,ocij->bohw", windows, weight, optimize=True)


def _hard_sigmoid(x):
    return np.clip(x + 3, 0, 6) / 6


def _logits(state, space, backbone, arch, images):
    """What once-for-all's network answers: images [b, r, r, 3] -> [b, classes]."""
    activations = {"relu": lambda x: np.maximum(x, 0), "hard_swish": lambda x: x * _hard_sigmoid(x)}

    def norm(x, name):
        weight, bias, mean, variance = (
            state[f"{name}.{part}"][: x.shape[1], None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def depth_filters(name, hidden, kernel):
        filters, size = state[f"{name}.conv.weight"][:hidden], space.kernels[-1]
        for smaller in space.kernels[-2::-1]:
            if size > kernel:
                cut = (size - smaller) // 2
                rows = filters[:, :, cut:-cut, cut:-cut].reshape(hidden, -1)
                filters = (rows @ state[f"{name}.{size}to{smaller}_matrix"].T).reshape(hidden, 1, smaller, smaller)
                size = smaller
        return filters

    x = _conv(images.transpose(0, 3, 1, 2), state["first_conv.conv.weight"], backbone.stem_stride)
    x = activations["hard_swish"](norm(x, "first_conv.bn"))
    y = _conv(x, state["blocks.0.conv.depth_conv.conv.weight"])
    y = np.maximum(norm(y, "blocks.0.conv.depth_conv.bn"), 0)
    y = norm(_conv(y, state["blocks.0.conv.point_linear.conv.weight"]), "blocks.0.conv.point_linear.bn")
    x = x + y if x.shape == y.shape else y
    for unit, depth in enumerate(arch.depths):
        activate = activations[backbone.activations[unit]]
        for layer in range(depth):
            slot, shortcut = unit * space.max_depth + layer, x
            name, stride = f"blocks.{slot + 1}.conv", 1 if layer else backbone.strides[unit]
            hidden = backbone_lib.make_divisible(x.shape[1] * arch.ratios[slot])
            x = _conv(x, state[f"{name}.inverted_bottleneck.conv.conv.weight"][:hidden])
            x = activate(norm(x, f"{name}.inverted_bottleneck.bn.bn"))
            x = _conv(x, depth_filters(f"{name}.depth_conv.conv", hidden, arch.kernels[slot]), stride)
            x = activate(norm(x, f"{name}.depth_conv.bn.bn"))
            if backbone.squeeze_excite[unit]:
                inner, se = backbone_lib.make_divisible(hidden // 4), f"{name}.depth_conv.se.fc"
                gate = _conv(x.mean((2, 3), keepdims=True), state[f"{se}.reduce.weight"][:inner, :hidden])
                gate = np.maximum(gate + state[f"{se}.reduce.bias"][:inner, None, None], 0)
                gate = _conv(gate, state[f"{se}.expand.weight"][:hidden, :inner])
                x = x * _hard_sigmoid(gate + state[f"{se}.expand.bias"][:hidden, None, None])
            x = norm(_conv(x, state[f"{name}.point_linear.conv.conv.weight"][:, :hidden]), f"{name}.point_linear.bn.bn")
            x = x + shortcut if x.shape == shortcut.shape and stride == 1 else x
    x = norm(_conv(x, state["final_expand_layer.conv.weight"]), "final_expand_layer.bn")
    x = activations["hard_swish"](x).mean((2, 3), keepdims=True)
    x = activations["hard_swish"](_conv(x, state["feature_mix_layer.conv.weight"]))[:, :, 0, 0]
    return x @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]


def _difference(found, expected):
    """Largest difference, as a part of the spread of the logits expected."""
    return np.abs(np.asarray(found) - expected).max() / np.ptp(expected)


def _both(net, arch, images):
    """Logits of an architecture by the supernet and by the extracted model."""
    images, choices = tf.constant(images), tf.constant(net.space.encode([arch])[0])
    return net({"images": images, "choices": choices}).numpy(), subnet.extract(net, arch)(images).numpy()


@pytest.fixture(scope="module")
def state(space, backbone):
    return checkpoint.state(_shapes(space, backbone))


@pytest.fixture(scope="module")
def net(state, space, backbone):
    return ofa.to_supernet(state, space, backbone)


def _spelled(state, how):
    """The tensors under the names of another version of once-for-all."""
    change = {
        "old": lambda name: name.replace(".conv.", ".mobile_inverted_conv.", 1) if "blocks" in name else name,
        "short": lambda name: name.replace(".bn.bn.", ".bn.").replace(".conv.conv.weight", ".conv.weight"),
        "wrapped": lambda name: f"module.{name}".replace("linear.weight", "linear.linear.weight"),
        "plain": lambda name: name,
    }[how]
    return {change(name): values for name, values in state.items()}


# ---- what is read ---------------------------------------------------------------------------------------------------


def test_supernet_and_extracted_networks_answer_like_once_for_all(net, state, space, backbone):
    images = np.random.default_rng(1).normal(size=(3, 16, 16, 3)).astype("float32")
    for arch in space.decode(np.stack([space.smallest(), space.largest(), *space.sample(np.random.default_rng(2), 3)])):
        expected = _logits(state, space, backbone, arch, images)
        assert np.abs(np.diff(expected, axis=0)).max() > 0.05 * np.ptp(expected)  # the images are seen
        for found in _both(net, arch, images):
            assert _difference(found, expected) < 1e-5


@pytest.mark.parametrize("how", ["old", "short", "wrapped"])
def test_every_spelling_is_understood(net, state, space, backbone, how):
    again = ofa.to_supernet(_spelled(state, how), space, backbone)
    for one, other in zip(net.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_there_and_back(net, state, supernet, space, backbone):
    back = ofa.from_supernet(net)
    assert back.keys() == {name for name in state if not name.endswith(checkpoint.COUNTERS)}
    for name, values in back.items():
        np.testing.assert_array_equal(values, state[name])
    again = ofa.to_supernet(ofa.from_supernet(supernet), space, backbone)
    images = tf.ones((1, 16, 16, 3))
    inputs = {"images": images, "choices": tf.constant(space.smallest())}
    np.testing.assert_allclose(again(inputs), supernet(inputs), rtol=1e-6)


@pytest.mark.parametrize(("multiplier", "classes"), [(1.5, 7), (0.75, 10), (2.0, 3)])
def test_width_multiplier_and_classes_are_told_by_the_tensors(space, backbone, multiplier, classes):
    wide = dataclasses.replace(backbone, width_multiplier=multiplier, classes=classes)
    found = ofa.to_supernet(checkpoint.state(_shapes(space, wide)), space, backbone).backbone
    assert _shapes(space, found) == _shapes(space, wide)


@pytest.mark.parametrize("width", ["1.0", "1.2"])
def test_names_and_shapes_are_those_of_once_for_alls_network(facts, width):
    with open(facts / "tensors.csv") as stream:
        known = {row["name"]: row[f"width_{width}"] for row in csv.DictReader(stream)}
    whole = backbone_lib.Backbone(width_multiplier=float(width))
    shapes = _shapes(space_lib.SearchSpace(), whole)
    assert {name: "x".join(map(str, shape)) for name, shape in shapes.items()} == known


@pytest.mark.parametrize("width", ["1.0", "1.2"])
def test_names_and_shapes_are_those_of_the_published_files(material, width):
    published = json.loads((material / "ofa_checkpoint" / f"manifest_w{width}.json").read_text())
    whole = backbone_lib.Backbone(width_multiplier=float(width))
    assert {name: list(shape) for name, shape in _shapes(space_lib.SearchSpace(), whole).items()} == published


# ---- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["plain", "old", "short"])
def test_what_is_missing_unknown_and_misshapen_is_listed(state, space, backbone, how):
    broken = dict(state)
    missing = ["blocks.2.conv.depth_conv.conv.7to5_matrix", "blocks.1.conv.point_linear.bn.bn.running_var"]
    for name in missing:
        del broken[name]
    broken["blocks.1.conv.depth_conv.se.fc.reduce.bias"] = np.zeros(4, "float32")
    broken["classifier.linear.bias"] = np.zeros(11, "float32")
    broken["blocks.4.conv.inverted_bottleneck.conv.conv.weight"] = np.zeros((3, 1), "float32")
    with pytest.raises(errors.UserError) as error:
        ofa.to_supernet(_spelled(broken, how), space, backbone)
    text = str(error.value)
    for name in _spelled(dict.fromkeys(missing), how):
        assert name in text
    (misshapen,) = _spelled({"blocks.4.conv.inverted_bottleneck.conv.conv.weight": None}, how)
    (unknown,) = _spelled({"blocks.1.conv.depth_conv.se.fc.reduce.bias": None}, how)
    width = backbone.widths[0]
    for part in (
        "found 2 missing: ",
        f"1 unknown: {unknown};",
        f"2 misshapen: {misshapen} is [3, 1], expected [{backbone.hidden(width, 6)}, {width}, 1, 1], ",
        "classifier.linear.bias is [11], expected [10]",
    ):
        assert part in text
    assert "\n" not in text


def test_a_tensor_under_two_names_is_an_error(state, space, backbone):
    twice = state | {"blocks.1.mobile_inverted_conv.depth_conv.bn.bn.bias": np.zeros(48, "float32")}
    with pytest.raises(
        errors.UserError, match=r"1 there twice: blocks.1.conv.depth_conv.bn.bn.bias and blocks.1.mobile_"
    ):
        ofa.to_supernet(twice, space, backbone)


def test_another_networks_tensors_are_told_in_bounds(space, backbone):
    other = {f"layer{number}.weight": np.zeros((8, 8, 3, 3), "float32") for number in range(70)}
    with pytest.raises(errors.UserError, match=r"70 unknown: layer0.weight, .* layer49.weight and 20 more"):
        ofa.to_supernet(other, space, backbone)


# ---- saved supernets ------------------------------------------------------------------------------------------------


def test_saved_supernets_are_described_and_loaded(net, space, tmp_path):
    net.save(tmp_path / "net.keras")
    assert ofa.describe(tmp_path / "net.keras") == (net.space, net.backbone)
    inputs = {"images": tf.ones((1, 16, 16, 3)), "choices": tf.constant(space.largest())}
    np.testing.assert_allclose(ofa.load(tmp_path / "net.keras")(inputs), net(inputs), rtol=1e-6)


def test_files_that_are_no_supernet_are_named(net, space, tmp_path):
    with pytest.raises(errors.UserError, match=r"cannot read .*none.keras: No such file"):
        ofa.load(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(errors.UserError, match=r"text.keras: expected a saved supernet \(.keras\)"):
        ofa.load(tmp_path / "text.keras")
    subnet.extract(net, space.decode(space.smallest())[0]).save(tmp_path / "plain.keras")
    with pytest.raises(errors.UserError, match="expected a saved supernet, found a Functional model"):
        ofa.load(tmp_path / "plain.keras")


# ---- the tool -------------------------------------------------------------------------------------------------------


def _python(*arguments, path=""):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(TOOL.parents[1])])}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def _run(*arguments, path=""):
    return _python(TOOL, *arguments, path=path)


def test_without_pytorch_one_line_says_what_to_install(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('none here')\n")
    done = _run("checkpoint.pth", path=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "import_ofa: reading a checkpoint needs PyTorch: pip install -e '.[ofa]'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one checkpoint, found 0"),
        (["one.pth", "--out=net.h5"], "--out=net.h5: expected a name that ends in .keras"),
        (["one.pth", "--resolution=8"], "--resolution=8"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    done = _run(*arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_unusable_files_are_one_line(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[ofa]'")
    (tmp_path / "text.pth").write_text("hello")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"state_dict": {"a": torch.zeros(2), "b": 3}}, tmp_path / "mixed.pth")
    script = (
        "import sys, import_ofa\n"
        "for path in sys.argv[1:]:\n"
        "    try: import_ofa._read(path)\n"
        "    except import_ofa.errors.UserError as error: print(error)\n"
    )
    names = ["none.pth", "text.pth", "list.pth", "mixed.pth"]
    done = _python("-c", script, *(tmp_path / name for name in names), path=TOOL.parent)
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    for line, name, message in zip(
        lines,
        names,
        (
            "cannot read .*: No such file",
            "expected a PyTorch checkpoint .* broken file",
            "expected a state_dict, found a list",
            "expected tensors alone, found 'b' of type int",
        ),
        strict=True,
    ):
        assert name in line and re.search(message, line)


@pytest.mark.heavy
def test_tool_imports_a_file_of_the_published_kind(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[ofa]'")
    space, whole = space_lib.SearchSpace(), backbone_lib.Backbone(width_multiplier=1.2)
    state = checkpoint.state(_shapes(space, whole))
    path = tmp_path / "ofa_mbv3_d234_e346_k357_w1.2"
    tensors = {name: torch.from_numpy(values) for name, values in _spelled(state, "old").items()}
    torch.save({"state_dict": tensors}, path)
    done = _run(path, "--resolution=64")
    written = tmp_path / "ofa_mbv3_d234_e346_k357_w1.2.keras"
    assert done.stdout == (
        f"{written}: 411 tensors, 10,715,752 parameters, width multiplier 1.2, 1000 classes, 64 px\n"
    ), done.stderr
    assert ofa.describe(written) == (space, dataclasses.replace(whole, resolution=64))
    back = ofa.from_supernet(ofa.load(written))
    assert all((values == state[name]).all() for name, values in back.items())


# ---- parity with once-for-all itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.25, 1.0, 1.2])
def test_logits_are_those_of_once_for_alls_network(facts, width):
    """Computed by its own PyTorch code from the same tensors and pictures, in facts/make_facts.py."""
    known = np.load(facts / "logits.npz")
    expected, every = known[f"logits_{width}"], 1 if width < 1 else 2
    resolution, seed = int(known["resolution"]), int(known["seed"])
    backbone = backbone_lib.Backbone(width_multiplier=width, resolution=resolution, classes=expected.shape[-1])
    shapes = _shapes(space_lib.SearchSpace(), backbone)
    state, images = checkpoint.state(shapes, seed), checkpoint.pictures(resolution, seed + 1)
    np.testing.assert_array_equal(state["first_conv.conv.weight"], known[f"tensor_{width}"], "another NumPy's numbers")
    np.testing.assert_array_equal(images[:, ::16, ::16], known["pictures"], "another NumPy's numbers")
    net = ofa.to_supernet(state, backbone=backbone_lib.Backbone(resolution=resolution))
    assert net.backbone == backbone
    assert len(known[f"archs_{width}"]) == len(expected) > 2
    for text, logits in zip(known[f"archs_{width}"], expected, strict=True):
        for found in _both(net, space_lib.Architecture.parse(str(text)), images[::every]):
            assert _difference(found, logits) < 1e-5


@pytest.fixture(scope="module", params=["1.0", "1.2"])
def fixed(request, material):
    """(tensors, logits file, images(n, resolution, seed)) of one width of the fixed checkpoints."""
    folder = material / "ofa_checkpoint"
    if not folder.is_dir():
        pytest.skip(f"needs the fixed checkpoints in {folder}")
    spec = importlib.util.spec_from_file_location("make_checkpoint", folder / "make_checkpoint.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    tensors = maker.tensors(json.loads((folder / f"manifest_w{request.param}.json").read_text()))
    return tensors, np.load(folder / f"expected_logits_w{request.param}.npz"), maker.images


@pytest.mark.heavy
def test_fixed_logits_of_once_for_all(fixed):
    tensors, known, images = fixed
    nets = {
        size: ofa.to_supernet(tensors, backbone=backbone_lib.Backbone(resolution=size))
        for size in set(known["resolution"].tolist())
    }
    for text, size, expected in zip(known["arch"], known["resolution"].tolist(), known["logits"], strict=True):
        pixels = images(len(expected), size, int(known["image_seed"]))
        for found in _both(nets[size], space_lib.Architecture.parse(text), pixels):
            assert _difference(found, expected) < 1e-4


@pytest.mark.heavy
def test_further_subnets_are_extracted_exactly(fixed):
    tensors, _, images = fixed
    net = ofa.to_supernet(tensors, backbone=backbone_lib.Backbone(resolution=128))
    for arch in net.space.decode(net.space.sample(np.random.default_rng(11), 4)):
        found, extracted = _both(net, arch, images(2, 128, 12))
        assert _difference(extracted, found) < 1e-4


def _once_for_all(width):
    """once-for-all's own network with random tensors, and PyTorch.

    Its image pipeline, which asks for torchvision and for an old PyTorch, is left out.
    """
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[ofa]'")
    if importlib.util.find_spec("ofa") is None:
        pytest.skip("needs once-for-all: pip install --no-deps ofa")
    sys.modules.setdefault("ofa.utils.my_dataloader", types.ModuleType("ofa.utils.my_dataloader"))
    from ofa.imagenet_classification.elastic_nn.networks.ofa_mbv3 import OFAMobileNetV3

    peer = OFAMobileNetV3(
        dropout_rate=0, width_mult=width, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )
    shapes = {name: tuple(value.shape) for name, value in peer.state_dict().items()}
    peer.load_state_dict(
        {name: torch.from_numpy(np.array(value)) for name, value in checkpoint.state(shapes, 21).items()}
    )
    return peer, torch


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1.0, 1.2])
def test_further_subnets_answer_like_pytorch(width):
    """With statistics of each subnet, so that no layer's answer drowns in the next one's bias."""
    peer, torch = _once_for_all(width)

    def answer(pictures):
        with torch.no_grad():
            return peer(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()

    norms = [module for module in peer.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    space, images = space_lib.SearchSpace(), checkpoint.pictures(192, 23)
    for arch in space.decode(np.stack([*space.sample(np.random.default_rng(24), 3), space.largest()])):
        peer.set_active_subnet(ks=list(arch.kernels), e=list(arch.ratios), d=list(arch.depths))
        for norm in norms:
            norm.momentum = None  # an average over the images that follow
            norm.reset_running_stats()
        peer.train()
        answer(checkpoint.pictures(128, 22))
        peer.eval()
        expected = answer(images)
        assert np.abs(np.diff(expected, axis=0)).max() > 0.05 * np.ptp(expected)  # the images are seen
        tensors = {name: value.numpy() for name, value in peer.state_dict().items()}
        net = ofa.to_supernet(tensors, backbone=backbone_lib.Backbone(resolution=192))
        for found in _both(net, arch, images):
            assert _difference(found, expected) < 1e-4
