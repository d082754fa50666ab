"""Answers on test images by hand: classes, confusions, and the mistakes that a network is most sure of."""

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.run import answers, mistakes

LOGITS = np.array([[5, 0, 0], [0, 2, 0], [4, 0, 0], [0, 0, 1], [3, 0, 0], [0, 9, 0]], np.float32)
LABELS = np.array([0, 1, 1, 2, 2, 0], np.int32)  # images 2, 4 and 5 are mistakes, the last one the surest


def batches(size):
    """Image i has the pixels i / 255, before normalisation by mean 0.5 and deviation 0.25."""
    for start in range(0, len(LABELS), size):
        values = (np.arange(len(LABELS)) / 255 - 0.5) / 0.25
        images = np.broadcast_to(values[:, None, None, None], (len(LABELS), 4, 4, 3)).astype(np.float32)
        yield tf.constant(images[start : start + size]), tf.constant(LABELS[start : start + size])


class Network:
    """Answers image i with row i of the logits, as its pixels tell."""

    def __call__(self, images, training):
        assert not training
        numbers = tf.round((images[:, 0, 0, 0] * 0.25 + 0.5) * 255)
        return tf.gather(LOGITS, tf.cast(numbers, tf.int32))


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_answers_by_hand(size, tmp_path):
    found = answers.of(Network(), batches(size), (0.5,), (0.25,), most=2)
    np.testing.assert_array_equal(found.named, [0, 1, 0, 2, 0, 1])
    assert found.top1 == pytest.approx(3 / 6) and found.top5 == 1.0  # three classes: the label is always among five
    assert found.balanced_top1 == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    np.testing.assert_array_equal(found.confusion(3), [[1, 1, 0], [1, 1, 0], [1, 0, 1]])
    assert found.mistakes.tolist() == [5, 2]
    assert found.pictures.shape == (2, 4, 4, 3) and found.pictures[0, 0, 0].tolist() == [5, 5, 5]
    assert found.confidence[5] == pytest.approx(np.exp(9) / (np.exp(9) + 2))
    answers.write(tmp_path / "a.npz", found)
    again = answers.read(tmp_path / "a.npz")
    assert all((getattr(again, name) == value).all() for name, value in vars(found).items())


def test_rows_of_classes():
    found = answers.of(Network(), batches(6), (0.5,), (0.25,))
    rows = found.by_class(["a", "b", "c", "never"])
    assert rows[0] == {"class": "a", "images": 2, "top1": 0.5, "precision": 0.3333}
    assert rows[2]["precision"] == 1.0
    assert rows[3] == {"class": "never", "images": 0, "top1": None, "precision": None}


def test_a_class_of_one_image_counts_as_much_as_another():
    labels, named = np.array([0] * 9 + [1]), np.array([0] * 10)
    nothing = np.zeros(0, np.int64)
    found = answers.Answers(labels, named, np.ones(10, np.float32), np.ones(10, bool), nothing, nothing)
    assert found.top1 == 0.9 and found.balanced_top1 == 0.5


def test_a_network_without_mistakes():
    labels = np.arange(3)
    images = tf.zeros((3, 4, 4, 3))
    logits = tf.eye(3) * 9
    found = answers.of(lambda images, training: logits, [(images, tf.constant(labels))], (0.5,), (0.25,))
    assert found.top1 == 1.0 and not len(found.mistakes) and found.pictures.shape == (0, 4, 4, 3)
    assert mistakes.judged(found, ["a", "b", "c"])["mistakes"] == []


def test_few_classes_get_a_matrix_and_many_their_worst():
    found = answers.of(Network(), batches(6), (0.5,), (0.25,))
    shown = mistakes.judged(found, ["a", "b", "c"])
    assert [count for count, _ in shown["confusion"][2]["cells"]] == [1, 0, 1] and not shown["pairs"]
    assert shown["mistakes"][0]["class"] == "a" and shown["mistakes"][0]["named"] == "b"
    many = mistakes.judged(found, [str(n) for n in range(40)])
    assert not many["confusion"] and len(many["by_class"]) == 30 and many["left_out"] == 10
    assert [each["class"] for each in many["by_class"][:3]] == ["0", "1", "2"]  # the others have no images
    assert {(each["class"], each["named"]) for each in many["pairs"]} == {("0", "1"), ("1", "0"), ("2", "0")}
