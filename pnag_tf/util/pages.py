"""Jinja2 as all pages and tables of the package are written: its own templates, and a missing name is an error."""

from __future__ import annotations

import base64
import io

import jinja2
import numpy as np
from PIL import Image

PHOTO = 64  # pixels a side, from which a picture is stored as JPEG


def environment(autoescape: bool = False) -> jinja2.Environment:
    """The templates in `pnag_tf/templates`; `autoescape` for HTML."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("pnag_tf"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def picture(pixels: np.ndarray) -> str:
    """The data URI of an image uint8 [h, w, 3]: of a small one every pixel, of a larger one much like it."""
    stream, kind = io.BytesIO(), "png" if max(pixels.shape[:2]) < PHOTO else "jpeg"
    Image.fromarray(pixels).save(stream, kind, **({} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
