"""Reloads when files change (``up --watch``)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

_EVERY = 0.5
"""Seconds between two looks at the files."""


class Watcher:
    """Looks at files, and calls when they have changed and then rested for one look.

    Args:
        files: the files to look at, asked each time.
        changed: is called on the watcher's thread.
    """

    def __init__(self, files: Callable[[], Iterable[Path]], changed: Callable[[], None]) -> None:
        self._files = files
        self._changed = changed
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, name="procorch-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; waits for a call that is under way."""
        self._closing.set()
        self._thread.join()

    def _look(self) -> None:
        known = self._seen()
        before = known
        while not self._closing.wait(_EVERY):
            now = self._seen()
            if now == before and now != known:
                self._changed()
                known = self._seen()
            before = now

    def _seen(self) -> dict[Path, tuple[int, int, int]]:
        found = {}
        for path in self._files():
            try:
                state = os.stat(path)
            except OSError:
                continue
            found[path] = (state.st_mtime_ns, state.st_size, state.st_ino)
        return found
