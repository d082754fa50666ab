"""The stage `data`: what the images are, on a page to look at before anything is trained."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Iterator

import numpy as np

import pnag_tf
from pnag_tf import data
from pnag_tf.run import context as context_lib
from pnag_tf.util import files, pages

SAMPLES = 32  # pictures after augmentation
WIDEST = 14.0  # rem, the bar of the largest class
UNEVEN = 10  # times as many images as another class has
FEW = 20  # training images of a class


def page(context: context_lib.Context) -> list[tuple[str, list[dict]]]:
    """Writes the page of the images, and returns their table."""
    splits, path = context.resources.splits, context.layout.data_page
    if not context.distribution.first:
        return []
    info, rows = splits.info, _classes(splits)
    html = pages.environment(autoescape=True).get_template("data.html.j2")
    text = html.render(
        name=context.layout.root.resolve().name,
        version=pnag_tf.__version__,
        date=datetime.date.today().isoformat(),
        facts=list(_facts(context)),
        warnings=list(_warnings(rows)),
        classes=rows,
        samples=list(_samples(context)),
        skipped=info.skipped,
        reasons=_reasons(info.skipped),
    )
    files.write_text(path, text)
    counts = [dict(zip(("class", *splits.counts()), (row["class"], *row["counts"]), strict=True)) for row in rows]
    return [(f"{info.classes} classes, more in {path}", counts)]


def _classes(splits: data.Splits) -> list[dict]:
    """(class, its images in each part, how wide these are drawn), in the order of the labels."""
    counts = np.stack(list(splits.counts().values()), axis=1)
    widths = np.round(WIDEST * counts / max(1, counts.sum(1).max()), 2)
    rows = zip(splits.info.class_names, counts.tolist(), widths.tolist(), strict=True)
    return [{"class": name, "counts": found, "widths": wide} for name, found, wide in rows]


def _facts(context: context_lib.Context) -> Iterator[tuple[str, str]]:
    settings, info = context.config.data, context.resources.splits.info
    yield "images", f"{settings.dataset} {settings.data_dir}".strip()
    yield "training, validation, test", f"{info.train_images:,}, {info.validation_images:,}, {info.test_images:,}"
    yield "classes", f"{info.classes:,}"
    sizes = context.resources.splits.sizes
    if len(sizes):
        for what, of_all in zip(("width", "height"), sizes.T, strict=True):
            least, median, most = (f"{value:,.0f}" for value in np.percentile(of_all, (0, 50, 100)))
            yield what, f"{least} px" if least == most else f"{least} to {most} px, median {median}"
    resolutions = context.config.space.resolutions or (context.config.backbone.resolution,)
    yield "trained on at", f"{', '.join(map(str, resolutions))} px"
    yield "augmentation", settings.augmentation
    yield "SHA-256", info.digest


def _warnings(rows: list[dict]) -> Iterator[str]:
    """What one should know before training on these images, a sentence each."""
    of_class = {row["class"]: row["counts"][0] for row in rows}
    least, most = (choose(of_class, key=of_class.get) for choose in (min, max))
    if of_class[most] >= UNEVEN * of_class[least]:
        yield (
            f"'{most}' has {of_class[most]:,} training images, '{least}' {of_class[least]:,}: what is rare is easily "
            "missed. Setting data.class_weights to balanced counts each class the same."
        )
    if few := [name for name, count in of_class.items() if count < FEW]:
        listed = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        yield f"Fewer than {FEW} training images: {listed}. Top-1 of these classes is mostly chance."


def _samples(context: context_lib.Context) -> Iterator[tuple[str, str]]:
    """(class, data URI) of some training images as the network sees them."""
    splits = context.resources.splits
    info, resolution = splits.info, context.config.backbone.resolution
    images, labels = next(iter(splits.train(SAMPLES, steps=1)))
    pixels = data.pixels(images.numpy(), info.mean, info.std)
    labels = data.one_hot(labels, info.classes).numpy()
    for image, share in zip(pixels, labels, strict=True):
        names = [info.class_names[label] for label in np.argsort(-share)[: np.count_nonzero(share > 0.05)]]
        yield " and ".join(names), pages.picture(image.reshape(resolution, resolution, 3))


def _reasons(skipped: tuple[tuple[str, str], ...]) -> list[tuple[str, int, str]]:
    """(why, how many files, one of them); reasons that name a file or a number count as one."""
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for path, why in skipped:
        kind = "the same as another file" if why.startswith("the same as") else why.split(":")[0]
        groups[kind].append(path)
    return [(why, len(paths), paths[0]) for why, paths in sorted(groups.items())]
