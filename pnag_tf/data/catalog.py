"""Any image classification dataset of TensorFlow Datasets, by its name."""

from __future__ import annotations

import difflib
import inspect
import os
import pathlib
import shutil
import socket
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import tqdm

from pnag_tf.data import examples, folder
from pnag_tf.util import errors, files

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

MEMORY_LIMIT = 2**30  # bytes of pixels; larger datasets are written out as image files
CONNECT_SECONDS = 5
PNG = b"\x89PNG"
INSTRUCTIONS = "MANUAL_DOWNLOAD_INSTRUCTIONS"


def library() -> Any:
    """TFDS, imported late: it costs seconds that other datasets need not pay."""
    import tensorflow_datasets

    return tensorflow_datasets


def root(data_dir: str) -> pathlib.Path:
    """TFDS's data directory."""
    return pathlib.Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def check_name(name: str) -> None:
    """Raises UserError for a name that TFDS does not know; names those that are near."""
    known = library().list_builders(with_community_datasets=False)
    if name.split("/")[0].split(":")[0] not in known:
        near = difflib.get_close_matches(name, ["fashion_mnist", "folder", *known], n=4)
        hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
        raise errors.UserError(f"unknown dataset '{name}': expected fashion_mnist, folder or a name of TFDS{hint}")


def check_network(builder: tfds.core.DatasetBuilder) -> None:
    """Fails within seconds where the files cannot be reached; TFDS itself would try again for minutes.

    Behind a proxy, and for a dataset that does not list its files, only TFDS can tell.
    """
    if urllib.request.getproxies() or not builder.url_infos:
        return
    address = urllib.parse.urlparse(next(iter(builder.url_infos)))
    port = address.port or {"http": 80, "https": 443}.get(address.scheme)
    if port is None:
        return
    try:
        socket.create_connection((address.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise errors.UserError(
            f"{builder.name} is not in {builder.data_path.parent.parent} and cannot be downloaded: "
            f"{address.hostname} is out of reach ({error.strerror or error}); "
            "connect to the network, or give the data directory of a prepared copy: `data.data_dir`"
        ) from None


def check_manual(builder: tfds.core.DatasetBuilder, data_dir: str) -> None:
    """Raises UserError with TFDS's instructions where the user has to fetch files and has not."""
    instructions = getattr(builder, INSTRUCTIONS, None)
    manual = root(data_dir) / "downloads" / "manual"
    if instructions and not (manual.is_dir() and any(manual.iterdir())):
        raise errors.UserError(
            f"{builder.name} has to be downloaded by hand into {manual}, which is empty or missing. "
            f"TFDS says:\n{inspect.cleandoc(str(instructions))}"
        )


def prepare(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """The builder of a dataset, downloaded and prepared.

    Raises:
      UserError: unknown name, no images with class labels, files to be fetched by hand, no network, failed download.
    """
    check_name(name)
    try:
        builder = library().builder(name, data_dir=str(root(data_dir)))
    except Exception as error:  # TFDS raises many kinds: unknown versions, configs, missing packages
        raise errors.UserError(f"TFDS cannot open '{name}': {error}") from error
    found, kinds = dict(builder.info.features.items()), library().features
    if not (isinstance(found.get("image"), kinds.Image) and isinstance(found.get("label"), kinds.ClassLabel)):
        raise errors.UserError(f"dataset '{name}' has {', '.join(found)}; expected 'image' and the class 'label'")
    if builder.info.splits:
        return builder
    check_manual(builder, data_dir)
    if not getattr(builder, INSTRUCTIONS, None):
        check_network(builder)
    try:
        builder.download_and_prepare()
    except Exception as error:  # ditto: checksums, archives, missing manual files (AssertionError)
        raise errors.UserError(f"TFDS cannot prepare '{name}' in {root(data_dir)}: {error}") from error
    return builder


def test_split(builder: tfds.core.DatasetBuilder) -> str | None:
    """The published test data: of ImageNet its validation images, as its test images have no labels."""
    order = ("validation", "test") if builder.name.startswith("imagenet") else ("test", "validation")
    return next((split for split in order if split in builder.info.splits), None)


def in_memory(builder: tfds.core.DatasetBuilder) -> bool:
    shape = builder.info.features["image"].shape
    if None in shape or shape[-1] not in (1, 3):
        return False
    images = sum(builder.info.splits[split].num_examples for split in ("train", test_split(builder)) if split)
    return images * int(np.prod(shape)) <= MEMORY_LIMIT


def read(builder: tfds.core.DatasetBuilder, split: str) -> examples.Examples:
    """A split as pixels, in the order of its files."""
    pairs = {"image": builder.info.features["image"], "label": builder.info.features["label"]}
    decoders = library().decode.PartialDecoding(pairs)
    batches = list(library().as_numpy(builder.as_dataset(split=split, batch_size=1024, decoders=decoders)))
    images = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    return examples.Examples(images, labels.astype(np.int32))


def write_out(builder: tfds.core.DatasetBuilder, split: str, names: dict[int, str], target: pathlib.Path) -> None:
    """Writes the images of the classes label -> name as files target/<name>/<number>, bytes as they are.

    Files can be read in any order, so that every epoch has a full permutation of its own and goes on where a killed
    one stopped; TFDS's records can only be read in sequence. `target` appears when it is complete.
    """
    beside = files.unfinished(target)
    for name in names.values():
        (beside / name).mkdir(parents=True)
    decoders = {"image": library().decode.SkipDecoding()}
    dataset = library().as_numpy(builder.as_dataset(split=split, decoders=decoders))
    try:
        progress = tqdm.tqdm(dataset, f"images of {builder.name} {split}", builder.info.splits[split].num_examples)
        for number, example in enumerate(progress):
            if name := names.get(int(example["label"])):
                suffix = ".png" if example["image"].startswith(PNG) else ".jpg"
                (beside / name / f"{number:08d}{suffix}").write_bytes(example["image"])
        beside.rename(target)
    except OSError:
        if not target.is_dir():  # another process was first
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def class_names(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
    return tuple(builder.info.features["label"].names)


def load(
    name: str,
    data_dir: str,
    class_subset: int,
    seed: int,
    resolution: int = 0,
    copies: pathlib.Path | None = None,
) -> examples.Source:
    """A dataset of TFDS: pixels in memory where they fit, else image files beside TFDS's own.

    Args:
      resolution, copies: see `folder.load`.

    Raises:
      UserError: see `prepare`; no training split, or a class subset that does not fit.
    """
    builder = prepare(name, data_dir)
    if "train" not in builder.info.splits:
        raise errors.UserError(f"dataset '{name}' has the splits {', '.join(builder.info.splits)}; expected train")
    every = class_names(builder)
    chosen = examples.choose_classes(len(every), class_subset, seed)
    published_test = test_split(builder)
    if in_memory(builder):
        train = read(builder, "train")
        if published_test:
            test = read(builder, published_test)
        else:
            kept, held_out = examples.stratified(train.labels, folder.TEST_FRACTION, examples.generator(seed, "test"))
            train, test = train.take(kept), train.take(held_out)
        return examples.Source(every, train, test).take_classes(chosen)

    kind = f"{class_subset}_classes_seed{seed}" if class_subset else "all_classes"
    images = pathlib.Path(builder.data_path, "pnag_images", kind)
    images.mkdir(parents=True, exist_ok=True)
    names = {int(label): every[label].replace("/", "_") for label in chosen}
    parts = {"train": "train", "test": published_test} if published_test else {"train": "train"}
    for part, split in parts.items():
        if not (images / part).is_dir():
            write_out(builder, split, names, images / part)
    place = images if published_test else images / "train"
    return folder.load(place, 0, seed, resolution, copies, duplicates=True)
