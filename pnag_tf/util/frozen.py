"""Frozen dataclasses and what JSON makes of them: read back, and told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def restore(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    """The dataclass that `dataclasses.asdict` and JSON made these values of; its lists become tuples again."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def differences(expected: Mapping[str, Any], found: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """Sentences that name the settings in which two differ; a tuple is equal to the list that JSON makes of it.

    Args:
      expected, found: what `dataclasses.asdict` gives, dictionaries of dictionaries; only names that are expected are
        looked at.
      name: of the dictionaries themselves, with a dot behind it.
    """
    for key, here in expected.items():
        there = found.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from differences(here, there, f"{name}{key}.")
        elif (list(here) if isinstance(here, tuple) else here) != there:
            yield f"{name}{key} is {there} there and {here} here"
