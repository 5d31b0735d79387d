"""What adapters and the error map share: reading objects of libraries, mending text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def attribute(thing: Any, name: str) -> Any:
    """An attribute, None where there is none or reading it raises."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def first(values: Iterable[_Value | None]) -> _Value | None:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)


def well_formed(text: str) -> str:
    """Text that UTF-8 can carry: a pair of surrogates is one character, half of one is U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
