"""Names that are there twice, found before anything is begun, however many names there are.

A set of ten million names is a gigabyte. So the first reading of an input only marks two bits for
each name, in a field of fixed size; a name that finds both marked may have been there before, or
not. Those are few (some thousand of ten million), and a second reading that looks at them alone
tells which. Where nothing is suspect, and with up to a million names next to nothing is, there is
no second reading.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

from procorch.batch.errors import BatchInputError
from procorch.batch.records import SourceItem

_BITS = 27
"""Two to the power of this is the number of bits: 16 MiB, of which few names touch little."""


class DuplicateFinder:
    """Names that have been read."""

    def __init__(self) -> None:
        # Not a bytearray: what is touched here goes back to the system at once when it is dropped.
        self._field = mmap.mmap(-1, 1 << (_BITS - 3))
        self._suspect: set[str] = set()

    def add(self, name: str) -> None:
        """Note that this name is there."""
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
        """Look at the suspects again.

        Args:
            items: the same ones from the beginning; read only where there are suspects.

        Raises:
            BatchInputError: a name is there twice; the text says where.
        """
        if not self._suspect:
            return
        places: dict[str, str] = {}
        for item in items:
            if item.id in self._suspect and places.setdefault(item.id, item.where) != item.where:
                raise duplicate_error(item, places[item.id])


def duplicate_error(item: SourceItem, before: str) -> BatchInputError:
    """What is to be said of an item whose name was there before."""
    return BatchInputError(f"item {item.id!r} is there twice: {before}, and {item.where}")
