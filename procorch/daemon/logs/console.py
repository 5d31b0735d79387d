"""The output of agents on the standard output of a daemon that runs in the foreground."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

from procorch.daemon.logs.lines import LogLine, as_json

STANDARD_OUTPUT = 1
_BACKLOG = 1 << 20
"""Bytes that wait for a reader."""
_WAIT = 0.25
"""Seconds that one call waits for a slow reader. The log files must not suffer from it."""
_PATIENCE = 1.0
"""Seconds after which a reader that takes nothing is not waited for any more."""


class Console:
    """Writes lines on standard output, from a thread of its own and never a part of a line.

    A slow reader delays the agents. One that has stopped does not: it misses the oldest lines, and
    a line says how many bytes.

    Args:
        form: "text" (``solver/0 | text``) or "json" (as in the log files).
    """

    def __init__(self, form: Literal["text", "json"]) -> None:
        self._form = as_json if form == "json" else _as_text
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._moved = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="procorch-console", daemon=True)
        self._thread.start()

    def show(self, lines: Sequence[LogLine]) -> None:
        """Have lines written; returns at once."""
        data = b"".join(map(self._form, lines))
        with self._changed:
            if not self._size:
                self._moved = time.monotonic()
            self._waiting.append(data)
            self._size += len(data)
            while self._size > _BACKLOG and self._is_stuck() and self._waiting:
                dropped = len(self._waiting.popleft())
                self._size -= dropped
                self._lost += dropped
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait a moment for a reader that is slow."""
        with self._changed:
            self._changed.wait_for(lambda: self._size <= _BACKLOG or self._is_stuck(), _WAIT)

    def _is_stuck(self) -> bool:
        return time.monotonic() - self._moved > _PATIENCE

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                data = self._waiting.popleft()
                lost, self._lost = self._lost, 0
            mark = b"[procorch: %d bytes of output are missing here]\n" % lost if lost else b""
            with contextlib.suppress(OSError):  # nobody reads it any more
                _write(mark + data)
            with self._changed:
                self._size -= len(data)
                self._moved = time.monotonic()
                self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Write what waits, for at most ``timeout`` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(STANDARD_OUTPUT, view) :]
        except BlockingIOError:  # somebody has made it non-blocking
            poll = select.poll()
            poll.register(STANDARD_OUTPUT, select.POLLOUT)
            poll.poll()


def _as_text(line: LogLine) -> bytes:
    # Lines of the daemon itself come from no process.
    source = f"{line.agent}/{line.instance}" if line.generation else line.agent
    return f"{source} | {line.text}\n".encode("utf-8", "replace")
