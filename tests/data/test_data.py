"""The data pipelines, on IDX files, image folders and a TFDS stand-in that the tests write themselves."""

import dataclasses
import gzip
import os
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config, data
from pnag_tf.data import augment, catalog, examples, idx
from pnag_tf.util import errors


def idx_bytes(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def write_idx(folder: pathlib.Path, train: int = 200, test: int = 50) -> None:
    """Fashion-MNIST in small: the pixels of image i are all i, its label is i % 10; test images count from 200."""
    folder.mkdir(exist_ok=True)
    for part, first, count in (("train", 0, train), ("test", 200, test)):
        numbers = np.arange(first, first + count)
        images = np.broadcast_to(numbers[:, None, None], (count, 28, 28))
        (folder / idx.NAMES[part, "images"]).write_bytes(idx_bytes(images))
        (folder / idx.NAMES[part, "labels"]).write_bytes(idx_bytes(numbers % 10))


def write_image(path: pathlib.Path, value: int, height: int = 20, width: int = 30, channels: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = tf.fill((height, width, channels), tf.constant(value, tf.uint8))
    encode = tf.io.encode_png if path.suffix == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(image).numpy())


def write_folder(folder: pathlib.Path, classes: int = 3, images: int = 10, first: int = 0) -> None:
    """Image i of class k has the value 80 k + i, i from `first` on; every other one is a PNG."""
    for label in range(classes):
        for number in range(first, first + images):
            suffix = ".png" if number % 2 else ".jpg"
            write_image(folder / f"class{label}" / f"{number}{suffix}", 80 * label + number, 20 + label, 30 - label)


@pytest.fixture
def fashion(tmp_path) -> config.Data:
    write_idx(tmp_path)
    return config.Data(data_dir=str(tmp_path), augmentation="none")


@pytest.fixture
def pictures(tmp_path) -> config.Data:
    write_folder(tmp_path / "pictures")
    return config.Data(dataset="folder", data_dir=str(tmp_path / "pictures"), augmentation="none")


def with_(settings: config.Data, **changes) -> config.Data:
    return config.dataclasses.replace(settings, **changes)


def numbers(dataset: tf.data.Dataset, info: data.DatasetInfo) -> list[int]:
    """The centre pixels, denormalised: which images a dataset holds."""
    centres = np.concatenate([images.numpy()[:, 8, 8, 0] for images, _ in dataset])
    return np.round((centres * info.std[0] + info.mean[0]) * 255).astype(int).tolist()


def test_parts_are_disjoint_and_hold_everything(fashion):
    splits = data.load(fashion, 16, seed=3)
    train = numbers(splits.train(10, steps=16), splits.info)
    validation = numbers(splits.validation(64), splits.info)
    assert sorted(train + validation) == list(range(200))
    assert sorted(number % 10 for number in validation) == sorted(list(range(10)) * 4)  # stratified, 20 %
    assert numbers(splits.test(16), splits.info) == list(range(200, 250))
    info = splits.info
    assert (info.train_images, info.validation_images, info.test_images, info.classes) == (160, 40, 50, 10)
    assert info.native_size == 28 and info.class_names[9] == "Ankle boot"
    assert data.class_names(fashion, seed=3) == info.class_names


@pytest.mark.parametrize(("least", "found"), [(0, 20), (10, 20), (30, 30), (999, 40)])
def test_a_small_share_leaves_as_many_validation_images_as_are_needed(fashion, least, found):
    settings = with_(fashion, validation_fraction=0.1, least_validation=least)
    assert data.load(settings, 28, seed=3).info.validation_images == found


def test_seed_settles_parts_and_order(fashion):
    def order(seed):
        splits = data.load(fashion, 16, seed)
        return numbers(splits.train(10, steps=16), splits.info), numbers(splits.validation(64), splits.info)

    assert order(0) == order(0)
    assert order(0)[0] != order(1)[0] and set(order(0)[1]) != set(order(1)[1])


@pytest.mark.parametrize("kind", ["none", "crop"])
@pytest.mark.parametrize("source", ["fashion", "pictures"])
def test_training_goes_on_where_it_was(source, kind, request):
    """Step i gives the same batch whether the run started at 0 or at i; epochs differ from each other."""
    splits = data.load(with_(request.getfixturevalue(source), augmentation=kind), 16, seed=0)
    per_epoch = splits.steps_per_epoch(8)
    through = list(splits.train(8, steps=2 * per_epoch))
    resumed = list(splits.train(8, first_step=per_epoch + 1, steps=per_epoch - 1))
    assert len(through) == 2 * per_epoch and len(resumed) == per_epoch - 1
    for (images, labels), (again, labels_again) in zip(through[per_epoch + 1 :], resumed, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)
    assert np.any(through[0][0] != through[per_epoch][0])


def test_each_epoch_holds_each_image_once(fashion):
    splits = data.load(fashion, 16, seed=0)
    order = numbers(splits.train(16, steps=20), splits.info)
    assert sorted(order[:160]) == sorted(order[160:]) and order[:160] != order[160:]
    assert len(set(order[:160])) == 160


def test_padding_and_normalisation_by_hand(fashion):
    images, labels = next(iter(data.load(fashion, 32, seed=0).test(2)))
    assert images.shape == (2, 32, 32, 3) and images.dtype == tf.float32
    assert labels.dtype == tf.int32 and labels.numpy().tolist() == [0, 1]
    expected = np.full((32, 32), (0 - 0.2860) / 0.3530, np.float32)  # two black pixels on each side
    expected[2:30, 2:30] = (200 / 255 - 0.2860) / 0.3530
    for channel in range(3):
        np.testing.assert_allclose(images[0, :, :, channel], expected, rtol=1e-5)


def test_photographs_are_normalised_by_channel(pictures):
    images, _ = next(iter(data.load(pictures, 16, seed=0).test(1)))
    value = np.round(images.numpy()[0, 0, 0] * examples.IMAGENET_STD * 255 + np.array(examples.IMAGENET_MEAN) * 255, 3)
    assert value[0] == value[1] == value[2] and 0 <= value[0] < 10


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_by_channel(channels):
    """Grey images are repeated first where each channel has a mean of its own."""
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, channels)).astype(np.uint8)
    mean, std = examples.IMAGENET_MEAN, examples.IMAGENET_STD
    normal = augment.normalise(tf.constant(images), mean, std)
    np.testing.assert_allclose(normal, (images / 255 - mean) / std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", ["fashion", "pictures"])
@pytest.mark.parametrize("kind", ["flip", "shift", "crop"])
def test_augmentation_changes_training_images_alone(source, kind, request):
    settings = request.getfixturevalue(source)
    # A gradient in place of the flat images, so that each augmentation shows.
    if source == "fashion":
        ramp = np.broadcast_to(np.arange(28) * 9, (200, 28, 28))
        (pathlib.Path(settings.data_dir) / idx.NAMES["train", "images"]).write_bytes(idx_bytes(ramp))
    else:
        for number, path in enumerate(pathlib.Path(settings.data_dir).rglob("*.*")):
            image = tf.broadcast_to((tf.range(30 + number) * 4)[None, :, None], (30, 30 + number, 3))
            path.write_bytes(tf.io.encode_png(tf.cast(image, tf.uint8)).numpy())
    plain, changed = data.load(settings, 32, 0), data.load(with_(settings, augmentation=kind), 32, 0)

    def first(dataset):
        return next(iter(dataset))[0].numpy()

    assert np.any(first(plain.train(8)) != first(changed.train(8)))
    assert np.isfinite(first(changed.train(8))).all()
    if kind != "crop":
        return
    for part in (lambda s: s.validation(8), lambda s: s.test(8), lambda s: s.calibration(8, 8)):
        np.testing.assert_array_equal(first(part(plain)), first(part(changed)))


@pytest.mark.parametrize("source", ["fashion", "pictures"])
def test_two_epochs_show_each_image_both_ways(source, request):
    settings = request.getfixturevalue(source)
    ramp = np.arange(28) * 4 + np.zeros((28, 1), int)
    if source == "fashion":  # darker to the right where mirrored; the last row tells the images apart
        images = np.broadcast_to(ramp, (200, 28, 28)).copy()
        images[:, -1] = np.arange(200)[:, None]
        (pathlib.Path(settings.data_dir) / idx.NAMES["train", "images"]).write_bytes(idx_bytes(images))
    else:
        for number, path in enumerate(sorted(pathlib.Path(settings.data_dir).rglob("*.*"))):
            image = np.concatenate([ramp[:-1], np.full((1, 28), number)])[..., None].repeat(3, -1)
            path.write_bytes(tf.io.encode_png(image.astype(np.uint8)).numpy())
    splits = data.load(with_(settings, augmentation="flip"), 28, seed=3)
    per_epoch, seen = splits.steps_per_epoch(8), {}
    for step, (images, _) in enumerate(splits.train(8, steps=4 * per_epoch)):
        for image in images.numpy():
            seen.setdefault(round(float(image[-1, 0, 0]), 4), {})[step // per_epoch] = image[0, 0, 0] > image[0, -1, 0]
    whole = [epochs for epochs in seen.values() if len(epochs) == 4]
    assert len(whole) > 8 and all(each[0] != each[1] and each[0] == each[2] != each[3] for each in whole)
    assert 0 < np.mean([each[0] for each in whole]) < 1


def test_flip_and_shift_by_hand():
    images = tf.reshape(tf.range(1, 10), (1, 3, 3, 1))
    seen = set()
    for number in range(100):
        seed = tf.constant([0, number], tf.int64)
        moved = augment.flip_and_shift(tf.tile(images, (2, 1, 1, 1)), tf.constant([False, True]), 1, seed)
        seen |= {tuple(image.ravel().tolist()) for image in moved.numpy()}
    expected = set()
    padded = np.pad(np.arange(1, 10).reshape(3, 3), 1)
    for top in range(3):
        for left in range(3):
            window = padded[top : top + 3, left : left + 3]
            expected |= {tuple(window.ravel().tolist())}
    mirrored = np.pad(np.arange(1, 10).reshape(3, 3)[:, ::-1], 1)
    for top in range(3):
        for left in range(3):
            expected |= {tuple(mirrored[top : top + 3, left : left + 3].ravel().tolist())}
    assert seen == expected


def test_colour_jitter_keeps_grey_grey_and_scales_brightness():
    grey = tf.fill((50, 4, 4, 3), 100.0)
    jittered = augment.colour_jitter(grey, tf.constant([0, 0], tf.int64)).numpy()
    np.testing.assert_allclose(jittered, np.broadcast_to(jittered[:, :1, :1, :1], grey.shape), rtol=1e-3)
    factors = jittered[:, 0, 0, 0] / 100
    assert 1 - 33 / 255 < factors.min() < 0.95 and 1.05 < factors.max() < 1 + 33 / 255


def test_fused_crop_is_the_crop_of_the_decoded_image(tmp_path):
    rng = np.random.default_rng(0)
    noise = tf.image.resize(rng.uniform(0, 255, (6, 8, 3)), (60, 80))
    path = str(tmp_path / "image.jpg")
    tf.io.write_file(path, tf.io.encode_jpeg(tf.cast(noise, tf.uint8), quality=95))
    whole = tf.io.decode_jpeg(tf.io.read_file(path), dct_method="INTEGER_FAST")
    square = whole[4:56, 14:66]  # 7/8 of 60 px is 52 px
    # The borders may differ: colour is stored at half the resolution and interpolated from what was decoded.
    np.testing.assert_allclose(augment.decode(path, 52)[1:-1, 1:-1], square[1:-1, 1:-1], atol=1)


def test_folder_takes_any_size_and_mode(tmp_path):
    for label, channels in enumerate((1, 3, 4)):
        for number in range(4):
            write_image(tmp_path / f"c{label}" / f"{number}.png", 60, 10 + number, 400, channels)
    write_image(tmp_path / "c0" / "grey.JPEG", 60, 33, 35, 1)
    (tmp_path / "c0" / "notes.txt").write_text("not an image")
    splits = data.load(config.Data(dataset="folder", data_dir=str(tmp_path)), 24, seed=0)
    assert splits.info.class_names == ("c0", "c1", "c2") and splits.info.native_size == 0
    for images, _ in (next(iter(splits.train(4))), next(iter(splits.test(4)))):
        assert images.shape[1:] == (24, 24, 3)
        pixels = images.numpy() * examples.IMAGENET_STD + examples.IMAGENET_MEAN
        np.testing.assert_allclose(pixels * 255, 60, atol=1)


def test_folder_sets_test_images_aside(pictures):
    splits = data.load(pictures, 16, seed=0)
    train, validation, test = splits._given.values()
    paths = [*train.images, *validation.images, *test.images]
    assert len(paths) == len(set(paths)) == 30 and len(test) == 6 and len(validation) == 6
    assert set(data.load(pictures, 16, seed=1)._given["test"].images) != set(test.images)


def test_folder_with_train_and_test(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", images=2, first=10)
    splits = data.load(config.Data(dataset="folder", data_dir=str(tmp_path)), 16, seed=0)
    assert (splits.info.train_images, splits.info.validation_images, splits.info.test_images) == (24, 6, 6)
    assert all("/val/" in path for path in splits._given["test"].images)
    (tmp_path / "val" / "class2").rename(tmp_path / "val" / "other")
    with pytest.raises(errors.UserError, match="class2, other only in one"):
        data.load(config.Data(dataset="folder", data_dir=str(tmp_path)), 16, seed=0)


@pytest.mark.parametrize("source", ["fashion", "pictures"])
def test_class_subset(source, request):
    settings = with_(request.getfixturevalue(source), class_subset=2)
    splits = data.load(settings, 16, seed=5)
    assert splits.info.classes == 2
    for part in (splits.train(4, steps=4), splits.test(4)):
        assert set(np.concatenate([labels for _, labels in part])) == {0, 1}
    names = {data.class_names(settings, seed) for seed in range(6)}
    assert len(names) > 1 and data.class_names(settings, 5) == splits.info.class_names
    with pytest.raises(errors.UserError, match="`data.class_subset`: expected 0 .all. or 2 to"):
        data.class_names(with_(settings, class_subset=11), 0)


def test_train_limit_and_calibration(fashion):
    splits = data.load(with_(fashion, train_limit=30), 16, seed=0)
    train = set(numbers(splits.train(10, steps=3), splits.info))
    assert len(train) == splits.info.train_images == 30 and splits.info.validation_images == 40
    calibration = numbers(splits.calibration(12, 5), splits.info)
    assert len(calibration) == 12 and set(calibration) < train
    assert len(numbers(splits.validation(8, images=9), splits.info)) == 9


def test_batch_larger_than_the_training_set(fashion):
    splits = data.load(with_(fashion, train_limit=7), 16, seed=0)
    assert splits.steps_per_epoch(64) == 1
    assert next(iter(splits.train(64)))[0].shape[0] == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "gzipped IDX file"),
        (idx_bytes(np.zeros((200, 28, 28)))[:-20], "gzipped IDX file"),
        (gzip.compress(b"\0\0\x08\x03\0\0\0\x02\0\0\0\x1c\0\0\0\x1c" + b"\0" * 99), "expected 1584 bytes"),
        (idx_bytes(np.zeros(200)), "3 dimensions, found the bytes 00 00 08 01"),
        (idx_bytes(np.zeros((3, 28, 28))), "has 3 images"),
        (None, "is missing"),
    ],
    # named, not shown: gzip writes the time, and parallel test processes must collect the same names
    ids=["not gzip", "cut", "too short", "labels", "three images", "missing"],
)
def test_broken_idx(fashion, content, message):
    path = pathlib.Path(fashion.data_dir) / idx.NAMES["train", "images"]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(errors.UserError, match=message) as caught:
        data.load(fashion, 32, seed=0)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_broken_folders(tmp_path):
    def error(folder) -> str:
        with pytest.raises(errors.UserError) as caught:
            data.load(config.Data(dataset="folder", data_dir=str(folder)), 16, seed=0)
        return str(caught.value)

    assert "`data.dataset=folder` needs it" in error("")
    assert "is not a folder" in error(tmp_path / "absent")
    assert "found none" in error(tmp_path)
    write_folder(tmp_path, classes=1)
    assert "at least two class folders, found one, 'class0'" in error(tmp_path)
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} has no images that can be used" in error(tmp_path)


def test_damage_inside_an_image_is_found(pictures):
    path = pathlib.Path(pictures.data_dir) / "class0" / "1.png"
    content = bytearray(path.read_bytes())
    middle = content.index(b"IDAT") + 6
    content[middle : middle + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    splits = data.load(pictures, 16, seed=0)
    with pytest.raises(errors.UserError, match=r"1\.png is broken"):
        splits.check_files()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"augmentation": "mixup"}, "choose from none, flip"), ({"validation_fraction": 1.5}, "between 0 and 1")],
)
def test_impossible_settings(fashion, changes, message):
    with pytest.raises(errors.UserError, match=message):
        data.load(with_(fashion, **changes), 32, seed=0)


def test_unknown_name_gets_near_ones():
    with pytest.raises(errors.UserError, match="unknown dataset 'fashion_minst'.*did you mean fashion_mnist"):
        data.class_names(config.Data(dataset="fashion_minst"), 0)


def test_imagenet_has_to_be_fetched_by_hand(tmp_path):
    with pytest.raises(errors.UserError, match="ILSVRC2012_img_train.tar") as caught:
        data.class_names(config.Data(dataset="imagenet2012", data_dir=str(tmp_path), class_subset=100), 0)
    assert str(tmp_path / "downloads" / "manual") in str(caught.value).splitlines()[0]


def test_no_network_is_told_at_once(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(catalog.socket, "create_connection", refuse)
    monkeypatch.setattr(catalog.urllib.request, "getproxies", dict)
    with pytest.raises(errors.UserError, match="Network is unreachable.*`data.data_dir`"):
        data.class_names(config.Data(dataset="cifar10", data_dir=str(tmp_path)), 0)
    with pytest.raises(errors.UserError, match="Fashion-MNIST is not in .*dataset-fashion-mnist"):
        data.load(config.Data(data_dir=str(tmp_path)), 28, 0)


def stand_in(folder: pathlib.Path, shape: tuple, monkeypatch) -> None:
    """A prepared TFDS dataset of 4 classes, 10 images each for training and 2 each for validation."""
    tfds = catalog.library()

    class Tinyset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = folder

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=shape, encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["a", "b", "c", "d"]),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples(40), "validation": self._generate_examples(8)}

        def _generate_examples(self, count):
            for number in range(count):
                size = (12 if shape[0] else 12 + number, 12, 3)
                yield number, {"image": np.full(size, number, np.uint8), "label": number % 4}

    builder = Tinyset(data_dir=str(folder))
    builder.download_and_prepare()
    library = types.SimpleNamespace(**vars(tfds))
    library.builder = lambda name, data_dir: builder
    library.list_builders = lambda **_: ["tinyset"]
    monkeypatch.setattr(catalog, "library", lambda: library)


@pytest.mark.parametrize("shape", [(12, 12, 3), (None, None, 3)], ids=["in memory", "as files"])
def test_dataset_of_tfds(tmp_path, monkeypatch, shape):
    stand_in(tmp_path, shape, monkeypatch)
    settings = config.Data(dataset="tinyset", data_dir=str(tmp_path), augmentation="none")
    splits = data.load(settings, 12, seed=0)
    info = splits.info
    assert info.class_names == ("a", "b", "c", "d")
    assert (info.train_images, info.validation_images, info.test_images) == (32, 8, 8)
    train, validation = numbers(splits.train(8, steps=4), info), numbers(splits.validation(8), info)
    assert sorted(train + validation) == list(range(40))
    for images, labels in splits.test(8):
        values = np.round((images.numpy()[:, 5, 5, 0] * info.std[0] + info.mean[0]) * 255).astype(int)
        np.testing.assert_array_equal(values % 4, labels)
    images, _ = next(iter(data.load(with_(settings, augmentation="crop"), 24, seed=0).train(8)))
    assert images.shape == (8, 24, 24, 3) and np.isfinite(images).all()
    subset = data.load(with_(settings, class_subset=2), 12, seed=0).info
    assert (subset.classes, subset.train_images, subset.test_images) == (2, 16, 4)


def test_images_are_written_out_beside_those_of_a_killed_process_with_the_same_id(tmp_path, monkeypatch):
    """As in two containers that share a folder: what the other process left, or is writing, is not in the way."""
    stand_in(tmp_path, (None, None, 3), monkeypatch)
    target = tmp_path / "images" / "train"
    (target.with_name(f".train.{os.getpid()}") / "a").mkdir(parents=True)
    catalog.write_out(catalog.library().builder("tinyset", ""), "train", {0: "a", 1: "b"}, target)
    assert [len(list((target / name).iterdir())) for name in "ab"] == [10, 10]


@pytest.mark.parametrize("source", ["fashion", "pictures"])
@pytest.mark.parametrize("size", [16, 28])
def test_held_images_are_those_that_are_streamed(source, size, request):
    splits = data.load(request.getfixturevalue(source), size, seed=0)
    streamed, held = splits.validation(4), splits.validation(4, held_bytes=2**30)
    for _ in range(2):
        for (images, labels), (again, labels_again) in zip(streamed, held, strict=True):
            np.testing.assert_array_equal(images, again)
            np.testing.assert_array_equal(labels, labels_again)


def test_images_stay_in_memory_up_to_the_limit_alone(pictures):
    """Six pictures take 6 · 16 · 16 · 3 bytes: with one byte less allowed they are read from disk again."""
    streaming = dataclasses.replace(pictures, in_memory_gib=0.0)
    splits, size = data.load(streaming, 16, seed=0), 6 * 16 * 16 * 3
    held, streamed = splits.validation(4, held_bytes=size), splits.validation(4, held_bytes=size - 1)
    first = [sum(len(images) for images, _ in batches) for batches in (held, streamed)]
    assert first == [6, 6]
    for path in pathlib.Path(pictures.data_dir).rglob("*.*"):
        path.unlink()
    assert sum(len(images) for images, _ in held) == 6
    with pytest.raises(tf.errors.NotFoundError):
        list(streamed)


def test_small_files_are_decoded_once(pictures):
    """What is held gives the batches that files give, and needs the files no more."""
    held, streamed = (data.load(dataclasses.replace(pictures, in_memory_gib=limit), 16, seed=0) for limit in (1.0, 0.0))
    for one, other in zip(held.validation(4), streamed.validation(4), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    first = next(iter(held.train(4)))[0]
    for path in pathlib.Path(pictures.data_dir).rglob("*.*"):
        path.unlink()
    np.testing.assert_array_equal(next(iter(held.train(4)))[0], first)


def test_small_pictures_are_shown_whole():
    """A picture of 16 pixels loses nothing at 16, one of 32 pixels an eighth of its side."""
    for side, shown in ((16, 16), (17, 16), (32, 28), (256, 224)):
        window = augment._central_window(tf.constant([side, side + 6, 3]), 16)
        assert window[2] == window[3] == shown


def test_weights_by_which_each_class_counts_the_same(tmp_path):
    for label, count in enumerate((30, 10)):
        for number in range(count):
            write_image(tmp_path / f"c{label}" / f"{number}.png", 5 * number + label, 20 + label)
    settings = config.Data(dataset="folder", data_dir=str(tmp_path))
    splits = data.load(with_(settings, class_weights="balanced"), 16, seed=0)
    counts = splits.counts()
    assert {name: each.tolist() for name, each in counts.items()} == {
        "train": [19, 6],
        "validation": [5, 2],
        "test": [6, 2],
    }
    np.testing.assert_allclose(splits.class_weights, [25 / 38, 25 / 12])
    assert (data.load(settings, 16, seed=0).class_weights == 1).all()
    labels = np.concatenate([each for _, each in splits.validation(4)])
    weights = splits.validation_weights()
    assert weights.mean() == pytest.approx(1) and weights[labels == 0].sum() == pytest.approx(
        weights[labels == 1].sum()
    )
    assert len(splits.validation_weights(3)) == 3
