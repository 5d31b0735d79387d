"""The order in which finished items are handed out."""

from __future__ import annotations

from collections import deque

from procorch.batch.items import BatchItem


class OutputOrder:
    """Holds finished items until they may be handed out.

    Args:
        keep_order: in the order of the input, else in the order in which they finish.

    Attributes:
        ready: items that may be handed out now.
    """

    def __init__(self, *, keep_order: bool) -> None:
        self.ready: deque[BatchItem] = deque()
        self._keep_order = keep_order
        self._held: dict[int, BatchItem | None] = {}
        self._next_turn = 0

    @property
    def held(self) -> int:
        """How many items wait for one before them."""
        return len(self._held)

    def put(self, item: BatchItem | None, turn: int) -> None:
        """Add a finished item.

        Args:
            item: None: its turn is over, but it is not handed out.
            turn: its place in the order of the input.
        """
        if not self._keep_order:
            if item is not None:
                self.ready.append(item)
            return
        self._held[turn] = item
        while self._next_turn in self._held:
            item = self._held.pop(self._next_turn)
            self._next_turn += 1
            if item is not None:
                self.ready.append(item)

    def release(self) -> None:
        """Make all held items ready; an interrupted batch has no outcome for some before them."""
        for turn in sorted(self._held):
            if (item := self._held.pop(turn)) is not None:
                self.ready.append(item)
