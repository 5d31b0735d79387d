"""A thread that reads a slow source ahead.

While the next line of a pipe has not arrived, outcomes still have to be handed out.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

from msgspec import Struct

from procorch.batch.records import SourceItem

_AHEAD = 64
"""Items read ahead."""


class InputArrived(Struct, frozen=True):
    """`ReaderThread.take` has something to give."""


class ReaderThread:
    """Reads ``items`` on a thread.

    Args:
        put: called on that thread when there is something to take; must not block.
    """

    def __init__(self, items: Iterator[SourceItem], put: Callable[[InputArrived], None]) -> None:
        self.over: bool = False
        self._closed = False
        self._put = put
        self._waiting: queue.Queue[SourceItem | BaseException | None] = queue.Queue(_AHEAD)
        # A daemon thread: it may block in a read that never returns.
        threading.Thread(
            target=self._read, args=(items,), name="procorch-input", daemon=True
        ).start()

    def _read(self, items: Iterator[SourceItem]) -> None:
        # Only this thread refers to the iterator, so its files are closed when the thread ends.
        try:
            for item in items:
                self._waiting.put(item)
                self._put(InputArrived())
                if self._closed:
                    return
            self._waiting.put(None)
        except BaseException as error:  # `take` raises it
            self._waiting.put(error)
        self._put(InputArrived())

    def close(self) -> None:
        """Stop after the item that is being read."""
        self._closed = True
        # The thread may wait for room in the queue. It gets some, and then sees that it is closed.
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()

    def take(self) -> SourceItem | None:
        """The next item.

        Returns:
            None if there is none yet; if `over`, there will be none.

        Raises:
            BaseException: the exception that has ended the reading.
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
