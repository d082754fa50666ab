"""Opens a dataset by name, parts it into training, validation and test images, and feeds them in batches."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np
import tensorflow as tf

from pnag_tf import config
from pnag_tf.data import augment, catalog, examples, folder, idx, rand_augment
from pnag_tf.util import errors

MOST_VALIDATION = 0.2  # of the training images, that `Data.least_validation` may take
SHIFT = 1 / 8  # 'shift' moves images by up to this share of their side: 4 px of 32
EPOCH_SEEDS = 1_000_003  # seeds of different runs stay apart for as many epochs
AHEAD = 2  # plain batches that are ready before they are asked for: 150 MB each for 250 images of 224 px
SEED_STEP = 1000  # between the seeds of two images; the operations on one take seed, seed + 1, seed + 100 and so on


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before any image is decoded.

    Attributes:
      name: as asked for.
      class_names: one a label; `classes` of them.
      train_images, validation_images, test_images: how many of each.
      native_size: height of the images in pixels, 0 where it differs from image to image.
      mean, std: pixels are normalised to (pixel / 255 − mean) / std, by colour channel (one for grey).
      skipped: (path, why) of files that cannot be used.
      digest: SHA-256 of the pixels and labels; of image files, of their parts, labels, sizes, and first and last bytes.
    """

    name: str
    class_names: tuple[str, ...]
    train_images: int
    validation_images: int
    test_images: int
    native_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    digest: str = ""

    @property
    def classes(self) -> int:
        return len(self.class_names)


def class_names(data: config.Data, seed: int) -> tuple[str, ...]:
    """The classes, without a look at the images; a dataset of TFDS is downloaded where need be.

    Raises:
      UserError: anything about the data that the user has to change.
    """
    if data.dataset == "folder":
        every = folder.class_names(_image_folder(data))
    elif data.dataset == "fashion_mnist":
        every = idx.CLASS_NAMES
    else:
        every = catalog.class_names(catalog.prepare(data.dataset, data.data_dir))
    return tuple(every[index] for index in examples.choose_classes(len(every), data.class_subset, seed))


def count(data: config.Data) -> int:
    """Roughly how many images there are, without a look at them: files of a folder; 0 where that is not known."""
    if data.dataset == "folder":
        return folder.count(_image_folder(data))
    return 0


def _image_folder(data: config.Data) -> pathlib.Path:
    if not data.data_dir:
        raise errors.SettingError("data.data_dir", f"`data.dataset=folder` needs it; expected {folder.LAYOUT}")
    return pathlib.Path(data.data_dir).expanduser()


def _open(data: config.Data, seed: int, resolution: int, copies: pathlib.Path | None) -> examples.Source:
    """The source of a name, with the chosen classes alone."""
    path = pathlib.Path(data.data_dir).expanduser()
    if data.dataset == "folder":
        return folder.load(_image_folder(data), data.class_subset, seed, resolution, copies, data.strict)
    if data.dataset != "fashion_mnist":
        return catalog.load(data.dataset, data.data_dir, data.class_subset, seed, resolution, copies)
    if data.data_dir and idx.holds_files(path):
        source = idx.load(path)
    elif not data.data_dir and idx.holds_files(idx.DEBIAN_FOLDER):
        source = idx.load(idx.DEBIAN_FOLDER)
    else:
        source = _fashion_from_catalog(data.data_dir)
    return source.take_classes(examples.choose_classes(len(source.class_names), data.class_subset, seed))


def _fashion_from_catalog(data_dir: str) -> examples.Source:
    try:
        source = catalog.load("fashion_mnist", data_dir, 0, 0)
    except errors.UserError as error:
        raise errors.UserError(
            f"Fashion-MNIST is not in {data_dir or idx.DEBIAN_FOLDER}: install Debian's dataset-fashion-mnist, or give "
            f"the folder of its four IDX files ({idx.NAMES['train', 'images']} ...) as `data.data_dir`; {error}"
        ) from error
    return dataclasses.replace(source, class_names=idx.CLASS_NAMES, mean=idx.MEAN, std=idx.STD)


def _part(
    data: config.Data, seed: int, resolution: int, copies: pathlib.Path | None
) -> tuple[examples.Source, examples.Examples, examples.Examples]:
    """The source, its training images, and its validation images: its own, or some of the training images.

    Raises:
      UserError: a setting that cannot be, or too few images.
    """
    if data.augmentation not in augment.KINDS:
        raise errors.SettingError(
            "data.augmentation", f"found '{data.augmentation}'; choose from {', '.join(augment.KINDS)}"
        )
    if not 0 < data.validation_fraction < 1:
        raise errors.SettingError(
            "data.validation_fraction", f"expected between 0 and 1, found {data.validation_fraction}"
        )
    source = _open(data, seed, resolution, copies)
    train, validation = source.train, source.validation
    if validation is None:
        share = _validation_share(data, len(train))
        kept, held_out = examples.stratified(train.labels, share, examples.generator(seed, "validation"))
        train, validation = train.take(kept), train.take(held_out)
    if not len(validation) or not len(source.test):
        raise errors.UserError(
            f"dataset '{data.dataset}' has {len(source.train)} training and {len(source.test)} test images; "
            "expected at least two for training and one for test in some class"
        )
    if data.train_limit:
        kept = examples.generator(seed, "limit").permutation(len(train))[: data.train_limit]
        train = train.take(np.sort(kept))
    return source, train, validation


def _validation_share(data: config.Data, count: int) -> float:
    """Which share of `count` training images is held out for validation."""
    return max(data.validation_fraction, min(MOST_VALIDATION, data.least_validation / max(1, count)))


def _balancing(counts: np.ndarray) -> np.ndarray:
    """Weights of classes with `counts` images by which all count the same; 0 where there is none."""
    there = counts > 0
    return np.where(there, counts.sum() / (there.sum() * np.maximum(counts, 1)), 0.0)


def load(data: config.Data, resolution: int, seed: int, copies: pathlib.Path | None = None) -> Splits:
    """The parts of a dataset at `resolution` pixels; `seed` settles the parts, the order and the augmentation.

    Args:
      copies: where photos that TensorFlow cannot read as they are, or that are far larger than `resolution`, are copied
        to; see `photos.look`.

    Raises:
      UserError: anything about the data that the user has to change.
    """
    source, train, validation = _part(data, seed, resolution, copies)
    info = DatasetInfo(
        name=data.dataset,
        class_names=source.class_names,
        train_images=len(train),
        validation_images=len(validation),
        test_images=len(source.test),
        native_size=source.train.images.shape[1] if source.train.in_memory else 0,
        mean=source.mean,
        std=source.std,
        skipped=source.skipped,
        digest=source.digest or examples.digest(source.train, source.test),
    )
    sizes = source.sizes
    if source.train.in_memory:
        sizes = np.array([source.train.images.shape[2:0:-1]])
    return Splits(info, data, resolution, seed, train, validation, source.test, sizes)


class Splits:
    """Training, validation and test images of one dataset; each method gives batches of that part alone.

    Every dataset yields (images float32 [n, r, r, 3] normalised, labels int32 [n]). Image files that take no more than
    `Data.in_memory_gib` as pixels are decoded once, when a part is first asked for.

    Attributes:
      info: see DatasetInfo.
      sizes: width and height in pixels of all images, as they came: int [n, 2]; of equal ones, of one.
    """

    def __init__(
        self,
        info: DatasetInfo,
        data: config.Data,
        resolution: int,
        seed: int,
        train: examples.Examples,
        validation: examples.Examples,
        test: examples.Examples,
        sizes: np.ndarray,
    ):
        self.info, self.sizes = info, sizes
        self._data = data
        self._resolution = resolution
        self._seed = seed
        self._given = {"train": train, "validation": validation, "test": test}
        self._scaled: dict[int, Splits] = {}

    def at(self, resolution: int) -> Splits:
        """The same parts of the same images, at another resolution."""
        if resolution == self._resolution:
            return self
        if resolution not in self._scaled:
            given = (self._given[name] for name in ("train", "validation", "test"))
            self._scaled[resolution] = Splits(self.info, self._data, resolution, self._seed, *given, self.sizes)
        return self._scaled[resolution]

    @functools.cached_property
    def _train(self) -> examples.Examples:
        return self._decoded("train")

    @functools.cached_property
    def _validation(self) -> examples.Examples:
        return self._decoded("validation")

    @functools.cached_property
    def _test(self) -> examples.Examples:
        return self._decoded("test")

    def _decoded(self, name: str) -> examples.Examples:
        """A part with its pixels where they may be held; a random crop needs the files themselves."""
        part = self._given[name]
        count = sum(map(len, self._given.values()))
        held = count * self._resolution**2 * 3 <= self._data.in_memory_gib * 2**30
        if part.in_memory or not held or self._data.augmentation == "crop":
            return part
        return folder.decoded(part, self._resolution)

    def counts(self) -> dict[str, np.ndarray]:
        """How many images of each class 'train', 'validation' and 'test' have: int [classes] each."""
        return {name: np.bincount(part.labels, minlength=self.info.classes) for name, part in self._given.items()}

    @property
    def class_weights(self) -> np.ndarray:
        """How much a training image of each class counts, float32 [classes]; the mean over the images is 1."""
        counts = self.counts()["train"]
        if self._data.class_weights == "none":
            return np.ones(len(counts), np.float32)
        return _balancing(counts).astype(np.float32)

    def validation_weights(self, images: int = 0) -> np.ndarray:
        """How much each of the images of `validation(images)` counts, in their order, so that each class does the same.

        Float64 [n], their mean is 1: the weighted mean of right answers is the mean of the classes' top-1.
        """
        labels = self._some(self._given["validation"], images, "judge").labels
        return _balancing(np.bincount(labels, minlength=self.info.classes))[labels]

    def steps_per_epoch(self, batch_size: int) -> int:
        """Full batches in an epoch, at least one (a batch is then as large as the training set)."""
        return max(1, len(self._given["train"]) // batch_size)

    def train(self, batch_size: int, first_step: int = 0, steps: int | None = None) -> tf.data.Dataset:
        """Shuffled, augmented training batches: `steps` of them (None: without end) from step `first_step` of the run.

        With MixUp labels are float32 [n, classes].

        Batch i is a function of the seed and i alone, so that a run that goes on at step i sees what it would have
        seen. Each epoch is a permutation of its own, less the images that fill no batch.
        """
        batch_size = min(batch_size, len(self._train))
        per_epoch = self.steps_per_epoch(batch_size)
        count = len(self._train)

        def epoch_order(epoch):
            seed = tf.stack([tf.constant(self._seed, tf.int64), epoch])
            order = tf.random.experimental.stateless_shuffle(tf.range(count), seed)
            order = tf.reshape(order[: per_epoch * batch_size], (per_epoch, batch_size))
            # A seed for the first image of each batch; see `spread` for the others.
            places = SEED_STEP * batch_size * tf.range(per_epoch, dtype=tf.int64)
            seeds = tf.stack([tf.fill((per_epoch,), self._seed * EPOCH_SEEDS + epoch), places], axis=1)
            return tf.data.Dataset.from_tensor_slices((order, seeds))

        order = tf.data.Dataset.range(first_step // per_epoch, np.iinfo(np.int64).max).flat_map(epoch_order)
        order = order.skip(first_step % per_epoch)
        if steps is not None:
            order = order.take(steps)
        dataset = self._batches(self._train, order, batch_size, self._data.augmentation)
        if self._data.mixup:
            dataset = dataset.enumerate(first_step).map(self._mixed)
        cardinality = tf.data.INFINITE_CARDINALITY if steps is None else steps
        return dataset.apply(tf.data.experimental.assert_cardinality(cardinality))

    def validation(self, batch_size: int, images: int = 0, held_bytes: int = 0) -> tf.data.Dataset:
        """The validation images in a fixed order; a seeded choice of `images` of them, 0 for all.

        Args:
          held_bytes: they stay in memory, as uint8, after the first whole pass where they take no more than this; else
            each pass decodes anew. The batches are the same.
        """
        return self._plain(self._some(self._validation, images, "judge"), batch_size, held_bytes)

    def calibration(self, images: int, batch_size: int, held_bytes: int = 0) -> tf.data.Dataset:
        """A seeded choice of `images` training images without augmentation, to recalibrate batch norm.

        Args:
          held_bytes: see `validation`.
        """
        return self._plain(self._some(self._train, images, "calibration"), batch_size, held_bytes)

    def test(self, batch_size: int) -> tf.data.Dataset:
        """The published test images, for the final evaluation alone."""
        return self._plain(self._test, batch_size)

    def check_files(self) -> None:
        """Decodes every training and validation image; for finding the file that stopped a run.

        Raises:
          UserError: names the first file that cannot be decoded.
        """
        for part in (self._given["train"], self._given["validation"]):
            for path in () if part.in_memory else part.images:
                if not folder.decodes(path):
                    raise errors.UserError(f"{path} is broken: it cannot be decoded; repair or remove it")

    def _some(self, part: examples.Examples, images: int, purpose: str) -> examples.Examples:
        if not images or images >= len(part):
            return part
        return part.take(examples.generator(self._seed, purpose).permutation(len(part))[:images])

    def _plain(self, part: examples.Examples, batch_size: int, held_bytes: int = 0) -> tf.data.Dataset:
        order = tf.data.Dataset.range(len(part)).map(lambda index: tf.cast(index, tf.int32)).batch(batch_size)
        order = order.map(lambda indices: (indices, tf.zeros((2,), tf.int64)))
        feed = self._from_memory if part.in_memory else self._from_files
        # Whole numbers, as image libraries resize to: a quarter of the memory, and what is measured on them does not
        # depend on whether they are held.
        dataset = feed(part, order, batch_size, "none", lambda images, *_: augment.whole(images))
        if len(part) * self._resolution**2 * self._channels(part) <= held_bytes:
            dataset = dataset.cache()
        dataset = dataset.map(lambda pixels, labels: (self._normalised(pixels), labels))
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-len(part) // batch_size)))
        return dataset.prefetch(AHEAD)  # in order whatever `deterministic` says: architectures compare image by image

    @staticmethod
    def _channels(part: examples.Examples) -> int:
        return part.images.shape[-1] if part.in_memory else 3

    def _batches(
        self, part: examples.Examples, order: tf.data.Dataset, batch_size: int, augmentation: str
    ) -> tf.data.Dataset:
        """(int32 indices [n], int64 seed [2]) -> (images, labels)."""
        feed = self._from_memory if part.in_memory else self._from_files
        finish = functools.partial(self._finish, augmentation=augmentation)
        return self._ordered(feed(part, order, batch_size, augmentation, finish)).prefetch(tf.data.AUTOTUNE)

    def _ordered(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        options = tf.data.Options()
        options.deterministic = self._data.deterministic
        return dataset.with_options(options)

    def _from_memory(self, part, order, batch_size, augmentation, finish) -> tf.data.Dataset:
        pixels, labels = tf.constant(part.images), tf.constant(part.labels)

        def batch(indices, seed):
            images = tf.gather(pixels, indices)
            if augmentation == "crop":
                images = augment.random_crops(images, self._resolution, seed, self._data.crop_area)
            else:
                images = augment.fit(images, self._resolution)
            return finish(images, indices, seed), tf.gather(labels, indices)

        return order.map(batch)

    def _from_files(self, part, order, batch_size, augmentation, finish) -> tf.data.Dataset:
        # Encoded files are small enough for the operating system to keep in its cache; pixels would not be.
        paths, labels = tf.constant(part.images), tf.constant(part.labels)

        def spread(indices, seed):
            count = tf.shape(indices, tf.int64)[0]
            seeds = tf.stack([tf.fill((count,), seed[0]), seed[1] + SEED_STEP * tf.range(count)], axis=1)
            return tf.data.Dataset.from_tensor_slices((indices, seeds))

        def one(index, seed):
            if augmentation == "crop":
                image = augment.decode_random(paths[index], self._resolution, seed, self._data.crop_area)
            else:
                image = augment.decode(paths[index], self._resolution)
            # Image by image, in the parallel map: a batch of large pictures would leave the processor's cache.
            return finish(image[tf.newaxis], index[tf.newaxis], seed)[0], labels[index]

        return order.flat_map(spread).map(one, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)

    def _finish(self, images: tf.Tensor, indices: tf.Tensor, seed: tf.Tensor, augmentation: str) -> tf.Tensor:
        """What is left to do at the network's resolution, from flips to normalised pixels."""
        if augmentation != "none":
            shift = max(1, round(SHIFT * self._resolution)) if augmentation == "shift" else 0
            mirrored = augment.alternating(indices, seed[0])
            images = augment.flip_and_shift(images, mirrored, shift, seed + 100)
        if augmentation == "crop" and images.shape[-1] == 3:
            images = augment.colour_jitter(images, seed + 200)
        if augmentation != "none" and self._data.rand_augment:
            images = self._rand_augmented(images, seed + 300)
        return self._normalised(images)

    def _rand_augmented(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Images [n, r, r, 1 or 3] by RandAugment, each by operations of its own; of grey ones colour is no matter."""
        operations, magnitude, channels = self._data.rand_augment, self._data.rand_magnitude, images.shape[-1]
        images = tf.cast(images, tf.float32)
        images = tf.repeat(images, 3, axis=-1) if channels == 1 else images

        def one(number_and_image):
            number, image = number_and_image
            own = tf.random.experimental.stateless_fold_in(seed, number)
            return rand_augment.augmented(image, operations, magnitude, own)

        if images.shape[0] == 1:
            return one((0, images[0]))[tf.newaxis, ..., :channels]
        numbered = (tf.range(tf.shape(images)[0]), images)
        return tf.map_fn(one, numbered, fn_output_signature=tf.float32)[..., :channels]

    def _mixed(self, step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        seed = tf.stack([tf.constant(self._seed, tf.int64), step])
        return rand_augment.mixed(images, augment.one_hot(labels, self.info.classes), self._data.mixup, seed)

    def _normalised(self, images: tf.Tensor) -> tf.Tensor:
        return augment.normalise(images, self.info.mean, self.info.std)
