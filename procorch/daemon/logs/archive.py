"""Log files that are no longer written: compressed, and removed when they are too old or too many.

Any thread may call; one works at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from procorch.daemon.logs.folder import LogFile, LogFolder
from procorch.daemon.specs import LogSettings

_log = logging.getLogger("procorch")


class LogArchive:
    """Compresses and removes files of one folder.

    Args:
        stopped: whether the writer is being closed; then what is not compressed stays for the next
            start.

    Attributes:
        settings: what is kept.
    """

    def __init__(
        self, folder: LogFolder, settings: LogSettings, stopped: Callable[[], bool]
    ) -> None:
        self.settings: LogSettings = settings
        self._folder = folder
        self._stopped = stopped
        self._work = threading.Lock()
        self._complained = False

    def tidy(self, now: float, written: Callable[[], Collection[str]]) -> None:
        """Compress what is not compressed, and remove what is not kept; trouble is only logged.

        Args:
            now: the time of day.
            written: names the files that are written.
        """
        try:
            with self._work:
                self._pack_all()
            self.retain(now, written())
        except InterruptedError:
            return
        except OSError as error:
            if not self._complained:
                self._complained = True
                _log.warning(
                    "rotated logs in %s could not be compressed or removed, it is tried again: %s",
                    self._folder.path, error,
                )  # fmt: skip
        else:
            self._complained = False

    def _pack_all(self) -> None:
        for file in sorted(self._folder.files(), key=_age):
            if file.number and not file.packed:
                self._folder.pack(file.name, self._stopped)

    def retain(self, now: float, written: Collection[str]) -> int:
        """Remove what is older than ``keep``, and the oldest files beyond ``total``.

        Args:
            now: the time of day.
            written: names of files that are written, and stay in any case.

        Returns:
            The number of bytes that were removed.
        """
        removed = 0
        with self._work:
            files = self._folder.files()
            size = sum(file.size for file in files)
            for file in sorted((it for it in files if it.name not in written), key=_age):
                keep = self.settings.keep
                old = keep is not None and file.time < now - keep
                if old or size > self.settings.total:
                    self._folder.remove(file.name)
                    size -= file.size
                    removed += file.size
        return removed

    def size(self) -> int:
        """Bytes of all log files."""
        return sum(file.size for file in self._folder.files())


def _age(file: LogFile) -> tuple[float, int]:
    return file.time, file.number
