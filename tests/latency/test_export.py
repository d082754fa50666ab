import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.latency import anatomy, export
from pnag_tf.space import network


@pytest.fixture(scope="module")
def model(space, backbone):
    return network.randomise(network.build(backbone, space.decode(space.smallest())[0]))


@pytest.fixture(scope="module")
def tflite(model):
    return export.convert(model)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).normal(size=(20, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def calibrated(space, subnets):
    """A network with the statistics of its own activations: what it answers depends on the image."""
    return subnets.extract(space.smallest())


@pytest.fixture(scope="module")
def quantized(calibrated, images):
    return {kind: export.convert(calibrated, None, kind, images) for kind in export.QUANTIZATIONS[1:]}


def test_tflite_answers_like_keras(model, tflite):
    images = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype(np.float32)
    expected = model(images).numpy()
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(export.run(tflite, images), expected, atol=1e-5 * np.abs(expected).max())


def test_batch_norm_is_folded_and_hard_swish_is_one_operator(model, tflite):
    operators = anatomy.operators(tflite)
    assert set(operators) <= {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "HARD_SWISH", "PAD", "MEAN", "ADD", "MUL", "RESHAPE", "FULLY_CONNECTED")
    }
    batch_norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    swishes = sum(getattr(layer, "activation", None) is keras.activations.hard_silu for layer in model.layers)
    blocks_with_gate = sum(layer.name.endswith("squeeze_multiply") for layer in model.layers)
    assert batch_norms and swishes and blocks_with_gate
    assert operators.count("HARD_SWISH") == swishes
    # A hard sigmoid is a clipped convolution and a product with 1/6; the gate is one more product.
    assert operators.count("MUL") <= 2 * blocks_with_gate


def test_the_whole_graph_goes_to_xnnpack(tflite):
    assert anatomy.delegated(tflite)


def test_a_difference_to_keras_is_an_error(model):
    with pytest.raises(export.ExportError, match="differs from Keras"):
        export.convert(model, tolerance=0.0)


def test_a_keras_file_holds_the_model(model, images, tmp_path):
    (tmp_path / "net.keras").write_bytes(export.keras_file(model))
    read = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(read(images).numpy(), model(images).numpy())


@pytest.mark.parametrize("kind", export.QUANTIZATIONS)
def test_nan_is_an_error_that_names_the_side(kind, model, images):
    inputs = keras.Input((16, 16, 3))
    broken = keras.Model(inputs, keras.layers.Dense(10, bias_initializer=_nan)(keras.layers.Flatten()(inputs)))
    with pytest.raises(export.ExportError, match="the Keras model answers NaN"):
        export.convert(broken, quantization=kind, representative=images)
    with pytest.raises(export.ExportError, match=r"the \.tflite answers NaN"):
        export.check_parity(model, _always_nan())


def test_other_weights_are_told_apart(space, backbone, tflite):
    other = network.build(backbone, space.decode(space.smallest())[0])
    with pytest.raises(export.ExportError, match="differs from Keras"):
        export.check_parity(other, tflite)


def test_open_shapes_are_refused():
    inputs = keras.Input((None, None, 3))
    with pytest.raises(export.ExportError, match="fixed shape"):
        export.convert(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))


def test_nothing_is_written_to_the_terminal(model, images, capfd):
    for kind in ("float32", "int8"):
        export.convert(model, quantization=kind, representative=images)
    assert capfd.readouterr() == ("", "")


# ---- kinds other than float32 ----------------------------------------------------------------------------------------


def test_float16_rounds_the_weights_and_nothing_else(calibrated, images, quantized):
    expected = calibrated(images).numpy()
    assert np.abs(export.run(quantized["float16"], images) - expected).max() < 3e-3 * np.abs(expected).max()
    assert anatomy.delegated(quantized["float16"])
    with pytest.raises(export.ExportError, match="differs from Keras"):
        export.check_parity(calibrated, quantized["float16"], tolerance=1e-6)


@pytest.mark.parametrize("kind", ["dynamic_int8", "int8"])
def test_int8_is_near_and_takes_and_gives_float32(kind, calibrated, images, quantized):
    expected = calibrated(images).numpy()
    difference = np.abs(export.run(quantized[kind], images) - expected).max() / expected.std(0).max()
    assert 1e-3 < difference < 1
    operators = anatomy.operators(quantized[kind])
    assert (operators[0], operators[-1]) == (
        ("QUANTIZE", "DEQUANTIZE") if kind == "int8" else ("CONV_2D", "FULLY_CONNECTED")
    )


def test_sizes_are_those_of_the_weights(images):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Dense(256, activation="relu")(keras.layers.Flatten()(inputs))
    dense = keras.Model(inputs, keras.layers.Dense(10)(x))
    sizes = {k: len(export.convert(dense, quantization=k, representative=images)) for k in export.QUANTIZATIONS}
    assert sizes["float32"] > 4 * dense.count_params()
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.3 * sizes["float32"] and sizes["dynamic_int8"] < 0.3 * sizes["float32"]


def test_int8_takes_its_ranges_from_the_representative_images(calibrated, images, quantized):
    dark = export.convert(calibrated, quantization="int8", representative=images / 100)
    expected = calibrated(images).numpy()
    errors = [np.abs(export.run(tflite, images) - expected).mean() for tflite in (quantized["int8"], dark)]
    assert errors[1] > 3 * errors[0]


def test_int8_without_fitting_images_is_refused(model, images):
    with pytest.raises(export.ExportError, match=r"needs representative images \('n', 16, 16, 3\), found none"):
        export.convert(model, quantization="int8")
    for wrong in (images[:, :8], images[:0]):
        with pytest.raises(export.ExportError, match=r"needs representative images .*, found \("):
            export.convert(model, quantization="int8", representative=wrong)
    with pytest.raises(export.ExportError, match="the Keras model answers NaN or infinity to the representative"):
        export.convert(model, quantization="int8", representative=np.full_like(images, np.inf))
    with pytest.raises(export.ExportError, match="quantization 'int4'; choose from float32, float16"):
        export.convert(model, quantization="int4")


def test_what_xnnpack_leaves_out_is_counted(tflite, quantized):
    assert anatomy.delegation(tflite) == anatomy.Delegation(1, {})
    found = anatomy.delegation(quantized["int8"])
    swishes = anatomy.operators(quantized["int8"]).count("HARD_SWISH")
    assert found.outside == {"HARD_SWISH": swishes} and 1 < found.pieces <= swishes + 1
    assert not anatomy.delegated(quantized["int8"])


def test_workers_answer_in_order(tflite, images):
    alone = export.run(tflite, images)
    for workers, count in ((3, len(images)), (4, 2)):
        np.testing.assert_array_equal(export.run(tflite, images[:count], workers), alone[:count])


def _nan(shape, dtype):
    return tf.fill(shape, tf.constant(float("nan"), dtype))


def _always_nan():
    function = tf.function(lambda x: tf.zeros((1, 10)) * x[0, 0, 0, 0] + float("nan"), autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec((1, 16, 16, 3), tf.float32))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
