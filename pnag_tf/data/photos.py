"""Photos as cameras, phones and the web make them: which can be used, and copies of those that need another form.

TensorFlow reads JPEG and PNG, and knows nothing of EXIF rotation. A file that it would not read as people see it
(rotated, CMYK, 16 bits a channel, HEIC, WebP, GIF, BMP, TIFF), or that is far larger than the networks look at, is read
once and copied; all others are used as they are.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import pathlib
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from tqdm import tqdm

from pnag_tf.util import files

LEAST_SIDE = 8  # pixels; smaller pictures are spacers and icons
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
ENDS = 4096  # bytes of either end that tell most files apart
THREADS = 8  # Pillow decodes without Python's lock, and disks like several requests
SECONDS_UNSEEN = 1.0  # a progress bar appears after
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = 5  # from this orientation on width and height change places
QUALITY = 95  # of copies as JPEG
PLAIN_MODES = {"JPEG": ("RGB", "L"), "MPO": ("RGB", "L"), "PNG": ("RGB", "RGBA", "L", "LA", "P", "1")}
TAILS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
JOURNAL = "photos.csv"
COLUMNS = ("path", "size", "modified_ns", "key", "width", "height", "copy", "why")


@dataclasses.dataclass(frozen=True)
class Photo:
    """What is known of one file.

    Attributes:
      path: of the file.
      size, modified_ns: when these change, the file is looked at again.
      key: of its size and its ends; files with the same content have the same.
      width, height: pixels, as people see it; 0 where it could not be read.
      copy: name of its copy among the copies; empty where the file itself is read, or is skipped.
      why: why it is skipped; empty where it is not.
    """

    path: str
    size: int
    modified_ns: int
    key: str
    width: int = 0
    height: int = 0
    copy: str = ""
    why: str = ""


def look(paths: Iterable[str], copies: pathlib.Path | None, resolution: int) -> list[Photo]:
    """Opens each file, and makes copies of those that need one; what was looked at before is not opened again.

    Args:
      copies: folder of the copies, and of a list of all files; None where no file is expected to need one.
      resolution: side in pixels of what is read; the shorter side of a copy is 8/7 of it, so that the central square
        that networks are judged on needs no further scaling.

    Raises:
      ValueError: a file needs a copy, and there is no folder for it.
    """
    paths = list(paths)
    journal = copies / JOURNAL if copies else None
    known = {photo.path: photo for photo in _read(journal)} if journal and journal.exists() else {}
    side = round(resolution * 8 / 7)
    one = functools.partial(_look_at, known=known, copies=copies, side=side)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        try:
            found = list(tqdm(pool.map(one, paths), "look at photos", len(paths), delay=SECONDS_UNSEEN))
        except BaseException:  # Ctrl-C does not wait for thousands of photos
            pool.shutdown(cancel_futures=True)
            raise
    if journal and list(known.values()) != found:
        files.write_csv(journal, map(dataclasses.asdict, found), COLUMNS)
    return found


def same(photos: Sequence[Photo]) -> list[list[int]]:
    """Groups of files with the same content, as positions in `photos`; files that are skipped are in none."""
    alike = _groups({place: photo.key for place, photo in enumerate(photos) if not photo.why})
    whole = {place: _content(photos[place].path) for group in alike for place in group}
    return _groups(whole)


def _groups(names: dict[int, str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, name in names.items():
        groups.setdefault(name, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _content(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _read(journal: pathlib.Path) -> list[Photo]:
    rows = files.read_csv(journal, COLUMNS)
    whole = ("size", "modified_ns", "width", "height")
    return [Photo(**{name: int(row[name]) if name in whole else row[name] for name in COLUMNS}) for row in rows]


def _look_at(path: str, known: dict[str, Photo], copies: pathlib.Path | None, side: int) -> Photo:
    stat = os.stat(path)
    before = known.get(path)
    if before and (before.size, before.modified_ns) == (stat.st_size, stat.st_mtime_ns):
        if not before.copy or (copies / before.copy).exists():
            return before
    photo = Photo(path, stat.st_size, stat.st_mtime_ns, _ends(path, stat.st_size))
    try:
        return _opened(photo, copies, side)
    except _Unusable as why:
        return dataclasses.replace(photo, why=str(why))


class _Unusable(Exception):
    """Why a file is skipped."""


def _ends(path: str, size: int) -> str:
    with open(path, "rb") as stream:
        first = stream.read(ENDS)
        stream.seek(max(0, size - ENDS))
        return hashlib.blake2b(b"%d " % size + first + stream.read(), digest_size=16).hexdigest()


def _opened(photo: Photo, copies: pathlib.Path | None, side: int) -> Photo:
    """The photo with its size as people see it, and its copy made where it needs one. Raises _Unusable."""
    with open(photo.path, "rb") as stream, _image(stream, photo) as image:
        orientation = _orientation(image)
        turn = TURNS.get(orientation)
        width, height = image.size[::-1] if turn is not None and orientation >= LYING else image.size
        photo = dataclasses.replace(photo, width=width, height=height)
        if min(image.size) < LEAST_SIDE:
            raise _Unusable(f"tiny: {width} x {height} pixels, expected {LEAST_SIDE} or more a side")
        plain = turn is None and image.mode in PLAIN_MODES.get(image.format, ()) and not _is_16_bit(image)
        shrinks = min(image.size) > 2 * side
        if plain and not shrinks:
            if not _ends_well(stream, image.format):
                _decoded(image)
            return photo
        if copies is None:
            raise ValueError(f"{photo.path} needs a copy; expected a folder for copies")
        suffix = ".jpg" if min(image.size) > side else ".png"  # what is not scaled loses nothing
        name = files.digest((photo.path, photo.size, photo.modified_ns, side)) + suffix
        if not (copies / name).exists():
            small = _rgb(_decoded(image, side))
            if min(small.size) > side:
                small = small.resize(_scaled(small.size, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
            small = small if turn is None else small.transpose(turn)
            with files.replacing(copies / name) as beside:
                small.save(beside, quality=QUALITY, subsampling=0) if suffix == ".jpg" else small.save(beside)
        return dataclasses.replace(photo, copy=name)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those that can be read here; HEIC with a package of its own."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _image(stream, photo: Photo) -> ImageFile.ImageFile:
    """An image, whose pixels are not read yet. Raises _Unusable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures; what is beyond twice that size raises
            return Image.open(stream, formats=_formats())
    except UnidentifiedImageError:
        stream.seek(0)
        head = stream.read(16)
        if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
            raise _Unusable("HEIC: `pip install pillow-heif` reads it") from None
        if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")):
            raise _Unusable("broken: the header cannot be read") from None
        raise _Unusable("no image" if head else "empty") from None
    except Exception as error:  # Pillow's plugins raise whatever a torn header leads them to
        raise _Unusable(f"broken: {error}") from None


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 for upright; torn EXIF data say nothing."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.info.get("bits") == 16


def _ends_well(stream, kind: str) -> bool:
    """Whether a file has the usual tail; cameras may add something behind it."""
    tail = TAILS[kind]
    stream.seek(-len(tail), 2)
    return stream.read() == tail


def _decoded(image: ImageFile.ImageFile, side: int = 0) -> ImageFile.ImageFile:
    """An image with its pixels, of a JPEG not many more than `side` needs. Raises _Unusable."""
    try:
        if side and min(image.size) > side:
            image.draft(None, _scaled(image.size, side))
        image.load()
    except Exception as error:  # as above
        raise _Unusable(f"broken: {error}") from None
    return image


def _scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size whose shorter side is `side`."""
    return tuple(max(1, round(length * side / min(size))) for length in size)


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel, red, green and blue; what is transparent is white. Raises _Unusable."""
    if image.mode == "F":
        raise _Unusable("floating-point pixels, expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values >> 8 if image.mode != "I" or values.max() > 255 else values).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return image.convert("RGB")
