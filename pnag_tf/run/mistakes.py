"""What a network answers on test images, for the report: its classes, who is taken for whom, its worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnag_tf.run import answers as answers_lib
from pnag_tf.util import pages

WORST = 30  # classes in the table of a network
SHOWN_CONFUSED = 20  # classes, up to which all of who is taken for whom is shown, and pairs that are shown of more
BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)  # of right and wrong answers


def judged(answers: answers_lib.Answers, class_names: Sequence[str]) -> dict[str, object]:
    """What a network answers on test images, as the page shows it: classes, who is taken for whom, mistakes."""
    by_class = answers.by_class(class_names)
    if len(by_class) > WORST:
        by_class.sort(key=lambda row: (row["top1"] is None, row["top1"]))
    confusion = answers.confusion(len(class_names))
    few = len(class_names) <= SHOWN_CONFUSED
    mistakes = [
        {
            "class": class_names[answers.labels[place]],
            "named": class_names[answers.named[place]],
            "confidence": answers.confidence[place],
            "picture": pages.picture(picture),
        }
        for place, picture in zip(answers.mistakes, answers.pictures, strict=True)
    ]
    return {
        "images": len(answers.labels),
        "top1": answers.top1,
        "balanced_top1": answers.balanced_top1,
        "by_class": by_class[:WORST],
        "left_out": len(by_class[WORST:]),
        "confusion": _shaded(confusion, class_names) if few else [],
        "pairs": [] if few else _pairs(confusion, class_names),
        "mistakes": mistakes,
    }


def _shaded(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict]:
    """Rows of cells (count, colour): the larger their share of the row, the darker."""
    rows = []
    for label, (name, counts) in enumerate(zip(class_names, confusion, strict=True)):
        cells = []
        for named, count in enumerate(counts.tolist()):
            share = count / max(1, counts.sum())
            red, green, blue = BLUE if label == named else VERMILLION
            strength = 0.5 * share if label == named else min(1.0, 3 * share)
            cells.append((count, f"rgba({red}, {green}, {blue}, {strength:.2f})"))
        rows.append({"class": name, "cells": cells})
    return rows


def _pairs(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict]:
    """The most frequent mistakes: (class, what it is named, images)."""
    wrong = confusion * (1 - np.eye(len(class_names), dtype=confusion.dtype))
    places = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_CONFUSED]
    pairs = zip(*np.unravel_index(places, wrong.shape), strict=True)
    return [
        {"class": class_names[label], "named": class_names[named], "images": int(wrong[label, named])}
        for label, named in pairs
        if wrong[label, named]
    ]
