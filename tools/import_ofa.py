"""Imports once-for-all's MobileNetV3 weights: a PyTorch checkpoint becomes a saved supernet.

    python tools/import_ofa.py ofa_mbv3_d234_e346_k357_w1.2 --out=ofa_w1.2.keras --resolution=224

Without --out the supernet is written beside the checkpoint. Needs PyTorch to read the file: pip install -e '.[ofa]'.
"""

import pathlib
import sys

from absl import app, flags

from pnag_tf.util import errors, files, terminal

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "the .keras to write; the checkpoint's name with .keras behind it by default")
flags.DEFINE_integer("resolution", 224, "height of the images that the networks are for", lower_bound=32)
ENDINGS = (".pth", ".pt", ".tar", ".bin")  # published files end in _w1.0, where .0 is no ending


def main(argv):
    try:
        if len(argv) != 2:
            raise errors.UserError(f"expected one checkpoint, found {len(argv) - 1}: import_ofa.py CHECKPOINT.pth")
        path = pathlib.Path(argv[1])
        name = path.stem if path.suffix in ENDINGS else path.name
        out = pathlib.Path(FLAGS.out or path.parent / f"{name}.keras")
        if out.suffix != ".keras":
            raise errors.UserError(f"--out={out}: expected a name that ends in .keras")
        net, tensors = _supernet(path, _read(path))
        with files.replacing(out) as beside:
            net.save(beside)
    except (errors.UserError, OSError) as error:
        sys.exit(terminal.fail(error, "import_ofa"))
    parameters = sum(weight.shape.num_elements() for weight in net.trainable_variables)
    print(
        f"{out}: {tensors} tensors, {parameters:,} parameters, width multiplier {net.backbone.width_multiplier}, "
        f"{net.backbone.classes} classes, {net.backbone.resolution} px"
    )


def _read(path):
    """Tensors by name, as arrays, of a file that is a state dict or has one as 'state_dict'. Raises UserError."""
    try:
        import torch
    except ImportError:
        raise errors.UserError("reading a checkpoint needs PyTorch: pip install -e '.[ofa]'") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise errors.UserError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # torch tells of unusable files in many ways and words
        raise errors.UserError(
            f"{path}: expected a PyTorch checkpoint that holds a state_dict and no objects of other classes, "
            f"found something else or a broken file ({type(error).__name__})"
        ) from None
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict):
        raise errors.UserError(f"{path}: expected a state_dict, found a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise errors.UserError(f"{path}: expected tensors alone, found '{name}' of type {type(value).__name__}")
    return {name: value.detach().float().numpy() for name, value in state.items()}


def _supernet(path, state):
    """The supernet of a checkpoint, and how many tensors are in it. Raises UserError."""
    with terminal.quiet():  # here, not at the top: TensorFlow takes seconds to import, and --help should not
        from pnag_tf.space import backbone
        from pnag_tf.supernet import ofa
    try:
        with terminal.quiet():
            net = ofa.to_supernet(state, backbone=backbone.Backbone(resolution=FLAGS.resolution))
    except errors.UserError as error:
        raise errors.UserError(f"{path}: {error}") from None
    return net, sum(not name.endswith(ofa.UNUSED) for name in state)


if __name__ == "__main__":
    app.run(main, flags_parser=terminal.flags_parser("import_ofa"))
