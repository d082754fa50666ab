"""What other programs read in a classifier's .tflite: labels, and how pixels become its input.

The metadata of TensorFlow Lite (metadata_schema.fbs) is a FlatBuffer of its own in a buffer of the model, and the
labels are a file in a ZIP archive behind the model. MediaPipe's Image Classifier and Android Studio read both, and so
does `labels`. Numbers of fields are those of the schema.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"
_IDENTIFIER = b"M001"
_RGB, _IMAGE_PROPERTIES, _NORMALIZATION, _AXIS_LABELS = 1, 2, 1, 2  # values of the schema's enumerations and unions


def with_metadata(tflite: bytes, class_names: Sequence[str], description: str) -> bytes:
    """A classifier of RGB pixels from 0 to 255, with what it takes and gives written into it.

    Args:
      tflite: one input [1, r, r, 3], one output [1, classes].
      class_names: of the outputs, in their order; a line break in a name becomes a space.
      description: for people.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(tflite))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_metadata(len(class_names), description), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    content = io.BytesIO(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    lines = "".join(f"{' '.join(name.splitlines())}\n" for name in class_names)
    with zipfile.ZipFile(content, "a") as archive:  # appended; stored as it is, as readers map the file
        archive.writestr(zipfile.ZipInfo(LABELS), lines)  # without the time of now: equal models are equal files
    return content.getvalue()


def labels(tflite: bytes) -> list[str] | None:
    """The names of a classifier's outputs; None where the file has none."""
    try:
        with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
            return archive.read(LABELS).decode().splitlines()
    except (KeyError, zipfile.BadZipFile):
        return None


def _metadata(classes: int, description: str) -> bytes:
    """ModelMetadata, finished."""
    write = _Writer()
    # The network takes pixels as they are: (pixel - 0) / 1.
    normalization = write.table({0: write.floats([0.0]), 1: write.floats([1.0])})
    image = write.table({}, {0: _RGB})
    source = {
        0: write.text("image"),
        1: write.text("RGB pixels from 0 to 255"),
        3: write.table({1: image}, {0: _IMAGE_PROPERTIES}),
        4: write.vector([write.table({1: normalization}, {0: _NORMALIZATION})]),
        5: write.table({0: write.floats([255.0]), 1: write.floats([0.0])}),
    }
    names = {0: write.text(LABELS), 1: write.text("names of the classes")}
    target = {
        0: write.text("probability"),
        1: write.text(f"of each of {classes} classes; their sum is 1"),
        5: write.table({0: write.floats([1.0]), 1: write.floats([0.0])}),
        6: write.vector([write.table(names, {2: _AXIS_LABELS})]),
    }
    subgraph = write.table({2: write.vector([write.table(source)]), 3: write.vector([write.table(target)])})
    root = {0: write.text("ImageClassifier"), 1: write.text(description), 3: write.vector([subgraph])}
    return write.finished(write.table(root | {7: write.text("1.0.0")}))


class _Writer:
    """FlatBuffers from the leaves up: each method returns where in the buffer its value begins."""

    def __init__(self):
        self._builder = flatbuffers.Builder(256)

    def text(self, value: str) -> int:
        return self._builder.CreateString(value)

    def floats(self, values: Sequence[float]) -> int:
        return self._builder.CreateNumpyVector(np.array(values, np.float32))

    def vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def table(self, offsets: Mapping[int, int], small: Mapping[int, int] | None = None) -> int:
        """A table of what lies elsewhere in the buffer, and of numbers of a byte, each by the number of its field."""
        self._builder.StartObject(1 + max([*offsets, *(small or {})], default=0))
        for field, offset in offsets.items():
            self._builder.PrependUOffsetTRelativeSlot(field, offset, 0)
        for field, value in (small or {}).items():
            self._builder.PrependUint8Slot(field, value, 0)
        return self._builder.EndObject()

    def finished(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
