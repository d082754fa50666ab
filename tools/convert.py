"""Converts a network to .tflite: an architecture with fresh weights, or a saved Keras model.

    python tools/convert.py --arch=2,2,2,2,2:3,3,0,0,... --resolution=224 --classes=1000 --out=net.tflite
    python tools/convert.py --arch=pnag-cpu-30 --out=net.tflite
    python tools/convert.py --model=net.keras --out=net.tflite
    python tools/convert.py --model=net.keras --out=net.tflite --quantize=int8 --images=photos

Prints the operators, the size and how far the outputs are from those of Keras.
"""

import collections
import dataclasses
import sys

from absl import app, flags

from pnag_tf.util import errors, terminal

FLAGS = flags.FLAGS
SETTINGS = {"data.data_dir": "images"}  # as errors name them -> the flag
flags.DEFINE_string("arch", None, "architecture, depths:kernels:ratios or a published one's name such as pnag-cpu-30")
flags.DEFINE_string("model", None, "a saved Keras model, in place of --arch")
flags.DEFINE_string("out", None, "the .tflite to write", required=True)
flags.DEFINE_float(
    "width_multiplier", None, "of --arch; 1.0, and of a published one 1.2, where left out", lower_bound=0.1
)
flags.DEFINE_integer("resolution", 224, "height of the images of --arch", lower_bound=1)
flags.DEFINE_integer("classes", 1000, "of --arch", lower_bound=1)
flags.DEFINE_enum("quantize", "float32", ["float32", "float16", "dynamic_int8", "int8"], "kind of .tflite")
flags.DEFINE_string("images", None, "for --quantize=int8: images like those to come, a folder of them for each class")
flags.DEFINE_integer("stem_stride", 2, "of --arch", lower_bound=1, upper_bound=2)


def main(argv):
    if len(argv) > 1:
        sys.exit(terminal.fail(f"unexpected argument {argv[1]}", "convert"))
    with terminal.quiet():  # here, not at the top: TensorFlow takes seconds to import, and --help should not
        from pnag_tf.latency import anatomy, export
        from pnag_tf.util import files

    try:
        with terminal.quiet():
            model = _model()
            images = _representative(model)
        tflite = export.convert(model, quantization=FLAGS.quantize, representative=images)
        files.write_bytes(FLAGS.out, tflite)
        operators = collections.Counter(anatomy.operators(tflite))
        print(f"{FLAGS.out}: {len(tflite) / 1e6:.2f} MB, input {[1, *model.inputs[0].shape[1:]]}")
        print("operators: " + ", ".join(f"{count} {name}" for name, count in sorted(operators.items())))
        found = anatomy.delegation(tflite)
        print(f"XNNPACK takes it in {found.pieces} pieces and leaves {sum(found.outside.values())} operators to LiteRT")
        print(f"difference to Keras: {export.check_parity(model, tflite, None):.1e} of the largest output")
    except (errors.UserError, export.ExportError, OSError) as error:
        sys.exit(terminal.fail(errors.with_flags(str(error), SETTINGS), "convert"))


def _model():
    """The Keras model that the flags name. Raises UserError."""
    import keras

    from pnag_tf.space import backbone, network, space
    from pnag_tf.zoo import published

    if (FLAGS.arch is None) == (FLAGS.model is None):
        raise errors.UserError("expected either --arch or --model")
    try:
        if FLAGS.model is not None:
            return keras.models.load_model(FLAGS.model, compile=False)
        settings = {name: FLAGS[name].value for name in ("resolution", "classes", "stem_stride")}
        arch = published.architecture(FLAGS.arch)
        usual = published.WIDTH_MULTIPLIER if FLAGS.arch in published.ARCHITECTURES else 1.0
        settings["width_multiplier"] = FLAGS.width_multiplier or usual
        space.SearchSpace().check(arch)
        return network.build(dataclasses.replace(backbone.Backbone(), **settings), arch)
    except (ValueError, OSError) as error:
        raise errors.UserError(str(error).strip().splitlines()[0]) from None


def _representative(model):
    """What ranges of int8 are taken from: float32 [n, height, width, channels], or None. Raises UserError."""
    import numpy as np

    from pnag_tf import config, data
    from pnag_tf.run import deployable

    if (FLAGS.images is None) == (FLAGS.quantize == "int8"):
        raise errors.UserError(f"--quantize={FLAGS.quantize}: expected --images with int8, and with int8 alone")
    if FLAGS.images is None:
        return None
    splits = data.load(config.Data("folder", FLAGS.images), model.inputs[0].shape[1], seed=0)
    count = min(deployable.CALIBRATION_IMAGES, splits.info.train_images)
    return np.concatenate([batch.numpy() for batch, _ in splits.calibration(count, count)])


if __name__ == "__main__":
    app.run(main, flags_parser=terminal.flags_parser("convert"))
