import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import export, latency_table, network


@pytest.fixture(scope="module")
def model(space, backbone):
    return latency_table.randomise(network.build(backbone, space.decode(space.smallest())[0]))


@pytest.fixture(scope="module")
def tflite(model):
    return export.convert(model)


def test_tflite_answers_like_keras(model, tflite):
    images = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype(np.float32)
    expected = model(images).numpy()
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(export.run(tflite, images), expected, atol=1e-5 * np.abs(expected).max())


def test_batch_norm_is_folded_and_hard_swish_is_one_operator(model, tflite):
    operators = export.operators(tflite)
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
    assert export.delegated(tflite)


def test_save_writes_the_file_or_nothing(model, tmp_path):
    export.save(model, tmp_path / "net.tflite")
    assert export.run((tmp_path / "net.tflite").read_bytes(), np.zeros((1, 16, 16, 3), np.float32)).shape == (1, 10)
    with pytest.raises(export.ExportError, match="differs from Keras"):
        export.save(model, tmp_path / "strict.tflite", tolerance=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]


def test_nan_is_an_error_that_names_the_side(model, tflite):
    inputs = keras.Input((16, 16, 3))
    broken = keras.Model(inputs, keras.layers.Dense(10, bias_initializer=_nan)(keras.layers.Flatten()(inputs)))
    with pytest.raises(export.ExportError, match="the Keras model answers NaN"):
        export.convert(broken)
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


def test_nothing_is_written_to_the_terminal(model, capfd):
    export.convert(model)
    assert capfd.readouterr() == ("", "")


def _nan(shape, dtype):
    return tf.fill(shape, tf.constant(float("nan"), dtype))


def _always_nan():
    function = tf.function(lambda x: tf.zeros((1, 10)) * x[0, 0, 0, 0] + float("nan"), autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec((1, 16, 16, 3), tf.float32))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
