"""A source that may take its time, read ahead by a thread of its own.

While the next line of a pipe is not there, outcomes still have to be handed out.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from procorch.batch.items import SourceItem

_AHEAD = 64
"""Items read ahead."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """There is something to take."""


class Feed:
    """Reads ``items`` on a thread.

    Args:
        tell: called on that thread when there is something to take; must not block.
    """

    def __init__(self, items: Iterator[SourceItem], tell: Callable[[Arrived], None]) -> None:
        self.over = False
        self._items = items
        self._tell = tell
        self._waiting: queue.Queue[SourceItem | BaseException | None] = queue.Queue(_AHEAD)
        # A daemon: it may wait for ever for a line that nobody writes.
        threading.Thread(target=self._read, name="procorch-input", daemon=True).start()

    def _read(self) -> None:
        try:
            for item in self._items:
                self._waiting.put(item)
                self._tell(Arrived())
            self._waiting.put(None)
        except BaseException as error:  # whatever it is, the batch must hear of it
            self._waiting.put(error)
        self._tell(Arrived())

    def take(self) -> SourceItem | None:
        """The next item; None where there is none yet, or (`over`) none will come.

        Raises:
            BaseException: whatever has ended the reading.
        """
        try:
            found = self._waiting.get_nowait()
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            self.over = True
            raise found
        self.over = found is None
        return found
