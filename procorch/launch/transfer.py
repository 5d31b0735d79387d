"""Moving the bulk of a large frame on a thread of its own, in one system call.

The monitor has other things to do than to copy 100 MB, and to be woken for each 200 KiB of them. It
begins a frame and ends it; what is between, a thread moves that waits for the peer. The thread
knows nothing of frames, and while it works the monitor leaves that direction of the socket alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from procorch.launch.base import Watcher


class Transfer:
    """One transfer; it begins at once.

    Args:
        move: moves the data; it must not raise.
        end: makes ``move`` return early, from another thread.
        loop: calls ``done``.
        done: called by the loop's thread when ``move`` has returned, unless it was stopped.

    Raises:
        RuntimeError: the system has no thread left.
        OSError: it has no descriptor left.
    """

    def __init__(
        self,
        move: Callable[[], None],
        end: Callable[[], None],
        loop: Watcher,
        done: Callable[[], None],
    ) -> None:
        self._end = end
        self._loop = loop
        self._done = done
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(
            target=self._run, args=(move,), name="procorch-transfer", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:
            os.close(self._fd)
            raise
        loop.watch(self._fd, self._finished)

    def _run(self, move: Callable[[], None]) -> None:
        try:
            move()
        finally:
            os.eventfd_write(self._fd, 1)

    def _finished(self) -> None:
        self._close()
        self._done()

    def stop(self) -> None:
        """End it; afterwards the thread touches nothing, and ``done`` is not called.

        The thread copies at most what the socket holds, so this takes no longer than a read.
        """
        self._end()
        self._close()

    def _close(self) -> None:
        self._loop.unwatch(self._fd)
        self._thread.join()
        os.close(self._fd)
