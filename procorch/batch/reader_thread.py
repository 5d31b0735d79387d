"""A source that may take its time, read ahead by a thread of its own.

While the next line of a pipe is not there, outcomes still have to be handed out.
"""

from __future__ import annotations

import contextlib
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
        self.over: bool = False
        self._closed = False
        self._tell = tell
        self._waiting: queue.Queue[SourceItem | BaseException | None] = queue.Queue(_AHEAD)
        # A daemon: it may wait for ever for a line that nobody writes.
        threading.Thread(
            target=self._read, args=(items,), name="procorch-input", daemon=True
        ).start()

    def _read(self, items: Iterator[SourceItem]) -> None:
        # Only this thread holds the items, so what they have open is closed when it ends.
        try:
            for item in items:
                self._waiting.put(item)
                self._tell(Arrived())
                if self._closed:
                    return
            self._waiting.put(None)
        except BaseException as error:  # whatever it is, the batch must hear of it
            self._waiting.put(error)
        self._tell(Arrived())

    def close(self) -> None:
        """Read no more than the item that is being read."""
        self._closed = True
        # The thread may wait for room. It finds some now, and then that it is to end.
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()

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
