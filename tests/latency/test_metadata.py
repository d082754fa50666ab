"""A classifier's .tflite says what it takes and gives: labels, metadata, and the same answers as before."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from pnag_tf.latency import anatomy, export, metadata
from pnag_tf.space import network

NAMES = ["cat", "dog", "zebra crossing", "ä\nb", *"efghij"]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def logits(space, backbone):
    """A network of ten classes that takes normalised images."""
    return network.randomise(network.build(backbone, space.decode(space.smallest())[0]))


@pytest.fixture(scope="module")
def classifier(logits):
    return network.classifier(logits, MEAN, STD)


@pytest.fixture(scope="module")
def tflite(classifier):
    return export.convert(classifier)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.float32)


def test_pixels_become_probabilities_inside_the_graph(logits, classifier, tflite, pixels):
    normalised = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    expected = keras.ops.softmax(logits(normalised.astype(np.float32))).numpy()
    np.testing.assert_allclose(classifier(pixels), expected, atol=1e-5)
    found = export.run(tflite, pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert anatomy.delegated(tflite)  # XNNPACK takes normalisation and softmax as well


def test_one_mean_serves_all_channels(logits, pixels):
    grey, each = (network.classifier(logits, mean, (0.3,) * len(mean)) for mean in ((0.5,), (0.5, 0.5, 0.5)))
    np.testing.assert_array_equal(grey(pixels), each(pixels))


def test_labels_come_back_and_answers_stay(tflite, pixels):
    assert metadata.labels(tflite) is None and metadata.labels(b"no model") is None
    labelled = metadata.with_metadata(tflite, NAMES, "for a test")
    assert metadata.labels(labelled) == [name.replace("\n", " ") for name in NAMES]
    np.testing.assert_array_equal(export.run(labelled, pixels), export.run(tflite, pixels))
    assert labelled == metadata.with_metadata(tflite, NAMES, "for a test")  # equal models are equal files


def test_the_metadata_is_a_flatbuffer_of_its_own(tflite):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(metadata.with_metadata(tflite, NAMES, "for a test")))
    (entry,) = [each for each in model.metadata if each.name in (metadata.NAME, metadata.NAME.encode())]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001" and b"for a test" in content and b"labels.txt" in content
    assert isinstance(model, schema.ModelT) and len(model.subgraphs) == 1


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-4), ("int8", 0.02)])
def test_mediapipe_gives_the_same_five_classes(kind, tolerance, classifier, tmp_path):
    """On 200 pictures of the network's size, which MediaPipe does not scale; in int8 up to its steps."""
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core import base_options

    path, pictures = tmp_path / "net.tflite", np.random.default_rng(1).integers(0, 256, (200, 16, 16, 3))
    pictures = pictures.astype(np.uint8)
    tflite = export.convert(classifier, quantization=kind, representative=pictures[:50].astype(np.float32))
    path.write_bytes(metadata.with_metadata(tflite, NAMES, "for a test"))
    names = metadata.labels(path.read_bytes())
    expected = export.run(path.read_bytes(), pictures.astype(np.float32))
    asked = vision.ImageClassifierOptions(base_options.BaseOptions(model_asset_path=str(path)), max_results=5)
    with vision.ImageClassifier.create_from_options(asked) as net:
        for picture, probabilities in zip(pictures, expected, strict=True):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
            answers = net.classify(image).classifications[0].categories
            ours = probabilities[[names.index(each.category_name) for each in answers]]
            np.testing.assert_allclose([each.score for each in answers], ours, atol=tolerance)
            np.testing.assert_allclose(np.sort(ours), np.sort(probabilities)[-5:], atol=tolerance)
