"""The kinds in which a network is deployed: size, accuracy and latency of each beside those of the run's own."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
from absl import logging
from tqdm import tqdm

from pnag_tf.latency import anatomy, export
from pnag_tf.latency import device as devices


@dataclasses.dataclass(frozen=True)
class Variant:
    """One network in one kind.

    Attributes:
      quantization: one of `export.QUANTIZATIONS`.
      tflite: the exported network.
      top1: on the test images, a fraction; run by LiteRT.
      agreement: share of the test images for which it names the class that the network of the run's kind names.
      latency: measured in one call with the other variants.
      delegation: what XNNPACK takes of it on this machine.
    """

    quantization: str
    tflite: bytes
    top1: float
    agreement: float
    latency: devices.MeasuredLatency
    delegation: anatomy.Delegation

    def facts(self) -> dict:
        """What is known, as columns."""
        return {
            "quantization": self.quantization,
            "bytes": len(self.tflite),
            "test_top1": f"{self.top1:.4f}",
            "agreement": f"{self.agreement:.4f}",
            **self.latency.columns(),
            **self.delegation.columns(),
        }


def make(
    networks: Sequence[tuple[keras.Model, bytes]],
    own: str,
    kinds: Iterable[str],
    convert: Callable[[keras.Model, str], bytes],
    test: Callable[[int], Iterable],
    measure: Callable[[Sequence[bytes]], Sequence[devices.MeasuredLatency]],
) -> list[list[Variant]]:
    """Every network in the run's kind and in each of `kinds`; warns of kinds that XNNPACK runs in pieces.

    Converting, testing and measuring never overlap, so that one does not disturb the other.

    Args:
      networks: (Keras model, its .tflite of the run's kind) pairs.
      own: the run's kind.
      kinds: others of `export.QUANTIZATIONS`.
      convert: a model and one of `kinds` -> its .tflite.
      test: resolution r -> the (images float32 [b, r, r, 3], labels int32 [b]) batches of the test images, as the files
        take them.
      measure: .tflite contents -> latencies, all in one call.

    Raises:
      ExportError: a network cannot be converted; see `export.convert`.
    """
    kinds = list(kinds)
    tflites = []
    for model, exported in tqdm(networks, desc="quantise", unit="network"):
        tflites.append([exported, *(convert(model, kind) for kind in kinds)])
    tested = tqdm(zip(networks, tflites, strict=True), total=len(tflites), desc="test", unit="network")
    judged = [judge(each, test(model.input_shape[1])) for (model, _), each in tested]
    latencies = iter(measure([tflite for each in tflites for tflite in each]))
    made = [
        [
            Variant(kind, tflite, top1, agreement, next(latencies), anatomy.delegation(tflite))
            for kind, tflite, (top1, agreement) in zip((own, *kinds), each, figures, strict=True)
        ]
        for each, figures in zip(tflites, judged, strict=True)
    ]
    for warning in split_warnings(made):
        logging.warning("%s", warning)
    return made


def judge(tflites: Sequence[bytes], batches: Iterable) -> list[tuple[float, float]]:
    """(top-1, agreement with the first one) of classifiers, as fractions; LiteRT on all cores, image by image.

    Args:
      batches: (images float32 [b, r, r, 3], labels int32 [b]) pairs, of one image at least.
    """
    runners = [export.Runner(tflite, workers=os.cpu_count() or 1) for tflite in tflites]
    count, hits, same = 0, np.zeros(len(tflites)), np.zeros(len(tflites))
    for images, labels in batches:
        named = np.stack([runner(np.asarray(images)).argmax(-1) for runner in runners])
        count += len(labels)
        hits += (named == np.asarray(labels)).sum(1)
        same += (named == named[0]).sum(1)
    return list(zip((hits / count).tolist(), (same / count).tolist(), strict=True))


def split_warnings(made: Sequence[Sequence[Variant]]) -> list[str]:
    """One sentence for each kind that XNNPACK does not take whole: what it leaves out, and what the split costs."""
    splits: Mapping[str, list] = collections.defaultdict(list)
    for variants in made:
        float32 = next((each for each in variants if each.quantization == export.QUANTIZATIONS[0]), None)
        for other in variants if float32 else ():
            if other.delegation.outside:
                splits[other.quantization].append((other, other.latency.median_ms / float32.latency.median_ms))
    sentences = []
    for kind, found in splits.items():
        pieces = max(variant.delegation.pieces for variant, _ in found)
        operators = sorted({operator for variant, _ in found for operator in variant.delegation.outside})
        ratio = float(np.median([ratio for _, ratio in found]))
        verdict = (
            "slower than float32; deploy float32 where latency counts" if ratio > 1 else "still faster than float32"
        )
        sentences.append(
            f"{kind}: XNNPACK runs the graph in up to {pieces} pieces on this machine; {', '.join(operators)} between "
            f"them are left to LiteRT's own kernels. Measured latency is {ratio:.2f} times float32's: {verdict}"
        )
    return sentences
