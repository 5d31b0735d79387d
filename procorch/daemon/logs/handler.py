"""What the daemon itself has to say goes to its own log file, by the module `logging`."""

from __future__ import annotations

import logging

from procorch.daemon.logs.writer import LogWriter
from procorch.daemon.specs import OWN_LOG


class LogHandler(logging.Handler):
    """Writes records of the logger ``procorch`` to the log file of the daemon."""

    def __init__(self, logs: LogWriter) -> None:
        super().__init__(logging.INFO)
        self._logs = logs
        self._logger = logging.getLogger("procorch")
        self._level = self._logger.level

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            text = f"{record.levelname.lower()}: {record.getMessage()}\n"
            self._logs.write(OWN_LOG, 0, 0, None, "stderr", text.encode("utf-8", "replace"))
        except Exception:
            self.handleError(record)

    def install(self) -> None:
        """Begin."""
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def remove(self) -> None:
        """End."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
