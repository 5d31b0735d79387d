"""Finds duplicate names before anything is started, in a fixed amount of memory.

A set of ten million names takes a gigabyte. So the first reading of an input only sets two bits for
each name, in a field of fixed size. If both bits are set already, the name is a suspect: it may
have occurred before. There are few suspects (some thousand of ten million names), and a second
reading compares them alone. Without suspects there is no second reading; up to a million names
there are hardly any.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

from procorch.batch.errors import BatchInputError
from procorch.batch.records import SourceItem

_BITS = 27
"""The number of bits is two to the power of this: 16 MiB, of which few names use little."""


class DuplicateFinder:
    """Notes the names that were read."""

    def __init__(self) -> None:
        # Not a bytearray: this memory is returned to the system as soon as the object is freed.
        self._field = mmap.mmap(-1, 1 << (_BITS - 3))
        self._suspect: set[str] = set()

    def add(self, name: str) -> None:
        """Note that a name was read."""
        hashed = hash(name)
        known = True
        for place in (hashed & (1 << _BITS) - 1, hashed >> _BITS & (1 << _BITS) - 1):
            byte, bit = place >> 3, 1 << (place & 7)
            if not self._field[byte] & bit:
                self._field[byte] |= bit
                known = False
        if known:
            self._suspect.add(name)

    def check(self, items: Iterable[SourceItem]) -> None:
        """Compare the suspects.

        Args:
            items: the same items from the beginning; read only if there are suspects.

        Raises:
            BatchInputError: a name occurs twice; the text says where.
        """
        if not self._suspect:
            return
        places: dict[str, str] = {}
        for item in items:
            if item.id in self._suspect and places.setdefault(item.id, item.where) != item.where:
                raise duplicate_error(item, places[item.id])


def duplicate_error(item: SourceItem, before: str) -> BatchInputError:
    """The error for an item whose name has occurred before."""
    return BatchInputError(f"item {item.id!r} is there twice: {before}, and {item.where}")
