"""What the daemon itself has to say goes to its own log file, by the module `logging`.

A failure has one line there. The orchestrator tells of some twice: of an error that ends a process
and is passed on, and of an end for good, which the daemon tells with its cause and its place.
"""

from __future__ import annotations

import logging

from procorch import AgentStatus, Crashed, Escalated, Notice, Stopped
from procorch.daemon.logs.writer import LogWriter
from procorch.daemon.specs import OWN_LOG


class LogHandler(logging.Handler):
    """Writes records of the logger ``procorch`` to the log file of the daemon."""

    def __init__(self, logs: LogWriter) -> None:
        super().__init__(logging.INFO)
        self._logs = logs
        self._logger = logging.getLogger("procorch")
        self._level = self._logger.level
        self._crashes: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            if self._is_told_already(vars(record).get("notice")):
                return
            text = f"{record.levelname.lower()}: {record.getMessage()}\n"
            self._logs.write(OWN_LOG, 0, 0, None, "stderr", text.encode("utf-8", "replace"))
        except Exception:
            self.handleError(record)

    def _is_told_already(self, notice: Notice | None) -> bool:
        match notice:
            case Crashed(agent=agent, error=error):
                self._crashes[agent] = str(error)
                return False
            case Escalated(agent=agent, error=error):
                return self._crashes.pop(agent, None) == str(error)
            case Stopped(status=AgentStatus.FAILED):
                return True
            case _:
                return False

    def install(self) -> None:
        """Begin."""
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def remove(self) -> None:
        """End."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
