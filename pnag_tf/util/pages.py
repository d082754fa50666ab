"""Jinja2 as all pages and tables of the package are written: its own templates, and a missing name is an error."""

from __future__ import annotations

import jinja2


def environment(autoescape: bool = False) -> jinja2.Environment:
    """The templates in `pnag_tf/templates`; `autoescape` for HTML."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("pnag_tf"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
