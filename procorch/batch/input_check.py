"""Checks that an input does not change while the batch runs.

An input that can be read twice is read once before anything is started (`scan`), and once while the
batch runs. In between it may shrink, grow, or be rewritten. No item is run that was not checked. At
the end the input is compared with what was checked, and a batch that has missed an item ends with
an error.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

from procorch.batch import values
from procorch.batch.duplicate_names import DuplicateFinder
from procorch.batch.errors import BatchInputChanged, BatchInputError, BatchInputWarning
from procorch.batch.records import ItemRecord, SourceItem
from procorch.batch.selection import Selection
from procorch.batch.sources import IterableSource, Source, listed

_KNOWN = 10_000
"""Items whose digests are kept; if there are more, only their number and the fingerprint are."""


_CHUNK = 64
"""Items whose outcomes are looked up together."""

CheckItem: TypeAlias = Callable[[SourceItem], object]
"""Raises `BatchInputError` for an item that cannot be run."""
Find: TypeAlias = Callable[[list[str]], dict[str, ItemRecord | None]]


class InputScan(Struct, frozen=True):
    """What a source held when it was checked.

    Args:
        total: number of selected items.
        read: number of all items.
        fingerprint: hash of all bytes; None if the source has no bytes.
        state: see `Source.state`.
        digests: of the selected items, by their names; None: there are too many items.
    """

    total: int
    read: int
    fingerprint: str | None
    state: object
    digests: dict[str, bytes] | None


def scan(source: Source, selection: Selection, check: CheckItem | None = None) -> InputScan:
    """Read a source to its end.

    Args:
        check: called with each item that would be run.

    Raises:
        BatchInputError: the source cannot be read, is malformed, names an item twice, or has no
            item.
    """
    state = source.state()  # first, so that a change during the reading is noticed
    hashed = _Hash()
    names = DuplicateFinder()
    # If the program itself holds the values, only their number is compared.
    digests: dict[str, bytes] | None = None if isinstance(source, IterableSource) else {}
    total = read = 0

    def counted() -> Iterator[SourceItem]:
        nonlocal read
        for item in selection.some(source, source.items(hashed.update)):
            names.add(item.id)
            read += 1
            yield item

    everything = counted()
    for item in selection.chosen(everything):
        total += 1
        if check is not None:
            check(item)
        if digests is not None and total <= _KNOWN:
            digests[item.id] = values.digest(item.value, *item.more)
        else:
            digests = None
    for _ in everything:  # what is beyond the limit
        pass
    names.check(source.items())
    return InputScan(total, read, hashed.text(), state, digests)


class InputCheck:
    """Reads a source while the batch runs, and compares it with what was checked.

    Args:
        scan: what the source held when it was checked.
        tolerant: a difference is a warning, and no error.
    """

    def __init__(
        self, source: Source, selection: Selection, scan: InputScan, *, tolerant: bool
    ) -> None:
        self._source = source
        self._selection = selection
        self._scan = scan
        self._tolerant = tolerant
        self._found = _Differences()
        self._same = True

    def items(self) -> Iterator[SourceItem]:
        """The items in the order in which they are run, without items that were not checked.

        Raises:
            BatchInputChanged: the source cannot be read any more.
        """
        return self._selection.ordered(self._read())

    def _read(self) -> Iterator[SourceItem]:
        hashed = _Hash()
        everything = self._source.items(hashed.update)
        selected = self._selection.chosen(itertools.islice(everything, self._scan.read))
        missing = self._missing()
        try:
            for item in selected:
                if self._found.look(item, self._scan.digests, missing):
                    yield item
            more = next(everything, None)
        except BatchInputError as error:
            left = f"; not run: {listed(list(missing))}" if missing else ""
            raise BatchInputChanged(
                f"{error}; it was in order when the batch began, and has changed since{left}"
            ) from None
        self._found.missed |= missing
        # If there is more, not everything was read, and the fingerprint cannot be compared.
        self._same = more is not None or hashed.text() == self._scan.fingerprint

    def _missing(self) -> dict[str, None]:
        return dict.fromkeys(self._scan.digests or ())

    def confirm(self, find: Find) -> None:
        """Compare the source as it is now with what was checked.

        Args:
            find: looks outcomes up, whose digests are compared if there were too many items to keep
                digests of.

        Raises:
            BatchInputChanged: the text says which items.
        """
        now = self._source.state()
        if self._same and now is not None and now == self._scan.state and not self._found.any():
            return
        try:
            difference = self._compared(find)
        except BatchInputError as error:
            difference = str(error)
        if difference is not None:
            self._tell(difference)

    def _compared(self, find: Find) -> str | None:
        """How the source differs from what was checked; None: it does not."""
        found, hashed = self._found, _Hash()
        missing, total, known = self._missing(), 0, 0
        everything = self._source.items(hashed.update)
        selected = self._selection.chosen(everything)
        while some := list(itertools.islice(selected, _CHUNK)):
            total += len(some)
            digests = self._scan.digests
            if digests is None:
                rows = find([item.id for item in some])
                digests = {id: row.digest for id, row in rows.items() if row is not None}
            known += len(digests)
            for item in some:
                found.look(item, digests, missing)
        for _ in everything:
            pass
        found.gone |= {name: None for name in missing if name not in found.missed}
        if self._scan.digests is not None:
            return str(found) if found.any() else None
        if self._same and total == self._scan.total and hashed.text() == self._scan.fingerprint:
            return None
        text = f"it had {self._scan.total} items, and has {total}"
        # Without a journal no outcome is found, and all items would seem to be new.
        return f"{text}; {found}" if found.any() and known else text

    def _tell(self, what: str) -> None:
        text = f"{self._source.name} has changed while the batch ran: {what}"
        if self._tolerant:
            warnings.warn(text, BatchInputWarning, stacklevel=2)
            return
        raise BatchInputChanged(
            f"{text}. The outcomes are kept; resume=True, accept_changes=True (--resume "
            "--accept-changes) goes on with the input as it is now"
        )


class _Differences:
    """Names of items that differ, in the order in which they were found."""

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}
        self.new: dict[str, None] = {}
        self.missed: dict[str, None] = {}
        self.gone: dict[str, None] = {}

    def look(
        self, item: SourceItem, digests: dict[str, bytes] | None, missing: dict[str, None]
    ) -> bool:
        """Compare an item; returns whether it was checked. It is removed from ``missing``."""
        if digests is None:
            return True
        known = digests.get(item.id)
        if known is None:
            if len(self.new) <= _KNOWN:
                self.new[item.id] = None
            return False
        missing.pop(item.id, None)
        if known != values.digest(item.value, *item.more):
            self.changed[item.id] = None
        return True

    def any(self) -> bool:
        """Whether there is a difference."""
        return bool(self.changed or self.new or self.missed or self.gone)

    def __str__(self) -> str:
        parts = []
        for found, what in (
            (self.missed, "no longer there, not run"),
            (self.gone, "no longer there"),
            (self.changed, "with another input"),
            (self.new, "new, not run"),
        ):
            if found:
                count = f"more than {_KNOWN}" if len(found) > _KNOWN else len(found)
                several = "item" if count == 1 else "items"
                parts.append(f"{count} {several} {what}: {listed(list(found))}")
        return "; ".join(parts)


class _Hash:
    """A hash of all bytes that were read."""

    def __init__(self) -> None:
        self._hashed = hashlib.blake2b(digest_size=16)
        self._nothing = self._hashed.digest()

    def update(self, data: bytes) -> None:
        """Add some bytes."""
        self._hashed.update(data)

    def text(self) -> str | None:
        """The hash in hexadecimal; None: no bytes were read."""
        return None if self._hashed.digest() == self._nothing else self._hashed.hexdigest()
