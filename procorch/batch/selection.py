"""Which items of an input a batch runs, and in which order."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator

from msgspec import Struct

from procorch.batch.errors import BatchInputError
from procorch.batch.records import SourceItem
from procorch.batch.sources import Source

_SHUFFLE = 10_000


class Shard(Struct, frozen=True):
    """Part ``index`` (from 1) of ``of`` parts; the id of an item decides its part."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a text such as ``2/8``.

        Raises:
            ValueError: the text has another form.
        """
        index, slash, of = text.partition("/")
        if not (slash and index.isdigit() and of.isdigit() and 1 <= int(index) <= int(of)):
            raise ValueError(f"shard: {text!r} is not a part; write 2/8 for the second of eight")
        return cls(int(index), int(of))

    def has(self, item: SourceItem) -> bool:
        """Whether the item belongs to this part."""
        hashed = hashlib.blake2b(item.id.encode(), digest_size=8).digest()
        return int.from_bytes(hashed) % self.of == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


class Selection(Struct, frozen=True):
    """Which items of a source, and in which order.

    Args:
        shard: only the items of this part; None: all.
        limit: only this many items, the first ones; None: all.
        seed: shuffle the items, in an order that follows from the seed; None: do not shuffle.
        allow_empty: a source without items is no error.
    """

    shard: Shard | None = None
    limit: int | None = None
    seed: int | None = None
    allow_empty: bool = False

    def of(self, source: Source) -> Iterator[SourceItem]:
        """The items in the order in which they are run.

        Raises:
            BatchInputError: see `Source.items`; or the source has no items.
        """
        return self.ordered(self.chosen(self.some(source, source.items())))

    def some(self, source: Source, items: Iterator[SourceItem]) -> Iterator[SourceItem]:
        """The same items, if there is at least one.

        Raises:
            BatchInputError: the source has no items in any shard.
        """
        first = next(items, None)
        if first is not None:
            yield first
            yield from items
        elif not self.allow_empty:
            raise BatchInputError(
                f"{source.name} has no items{source.hint}; allow_empty=True (--allow-empty) "
                "accepts that"
            )

    def chosen(self, items: Iterator[SourceItem]) -> Iterator[SourceItem]:
        """The items that the batch runs, in the order of the input."""
        if self.shard is not None:
            items = filter(self.shard.has, items)
        return items if self.limit is None else itertools.islice(items, self.limit)

    def ordered(self, items: Iterator[SourceItem]) -> Iterator[SourceItem]:
        """The same items in the order in which they are run."""
        return items if self.seed is None else shuffled(items, self.seed)


def shuffled(items: Iterator[SourceItem], seed: int) -> Iterator[SourceItem]:
    """Items in an order that follows from ``seed``, drawn from a window of 10,000 items."""
    chance = random.Random(seed)
    window: list[SourceItem] = []
    for item in items:
        if len(window) < _SHUFFLE:
            window.append(item)
            continue
        place = chance.randrange(_SHUFFLE)
        window[place], item = item, window[place]
        yield item
    chance.shuffle(window)
    yield from window
