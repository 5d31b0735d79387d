"""The output of agents on the standard output of a daemon that runs in the foreground."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Literal

from procorch.daemon.log_lines import LogLine, as_json
from procorch.runtime.backlog import Backlog
from procorch.runtime.output import write_to

STANDARD_OUTPUT = 1
_WAIT = 0.25
"""Seconds that one call waits for a slow terminal: the log files must not suffer from it."""


class Console(Backlog[int]):
    """Writes lines on standard output, from a thread of its own and never a part of a line.

    A slow reader delays the agents. One that has stopped gets a line that says how much is missing.

    Args:
        form: "text" (``solver/0 | text``) or "json" (as in the log files).
    """

    def __init__(self, form: Literal["text", "json"]) -> None:
        super().__init__(thread="procorch-console")
        self._form = as_json if form == "json" else _as_text
        self.start()

    def show(self, lines: Sequence[LogLine]) -> None:
        """Have lines written; returns at once."""
        self.put(STANDARD_OUTPUT, b"".join(map(self._form, lines)))

    def wait(self) -> None:
        """Wait for a reader that is slow."""
        until = time.monotonic() + _WAIT
        while (pause := self.put(STANDARD_OUTPUT, b"")) and time.monotonic() < until:
            time.sleep(pause)

    def _write(self, to: int, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            write_to(to, data)

    def _tell(self, to: int, lost: int) -> None:
        self._write(to, b"[procorch: %d bytes of output are missing here]\n" % lost)


def _as_text(line: LogLine) -> bytes:
    # Lines of the daemon itself come from no process.
    source = f"{line.agent}/{line.instance}" if line.generation else line.agent
    return f"{source} | {line.text}\n".encode("utf-8", "replace")
