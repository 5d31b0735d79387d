"""The Python stacks of a worker that lives on, read from its status page on request.

The worker's fault handler writes them, from a signal handler in C, also while the worker is blocked
in native code. It writes piece by piece and marks no end, so a text that has not grown for a while
counts as complete.

What was read on request must not be taken for the stack of a later crash, and the page has room for
few texts. So the worker erases it as soon as it runs Python code again, but not while it is read.
Until then the reader remembers how much of the text was there. The page counts erasures, so the
reader knows whether that part is still there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from procorch.launch.base import Watcher
from procorch.wire.status import StatusPage
from procorch.worker.interrupts import CANCEL, STACK

Told: TypeAlias = Callable[[str], None]

_INTERVAL = 0.01
"""Seconds between two looks at the page."""
_QUIET = 5
"""Looks for which a text must not have grown."""

_FATAL = b"Fatal Python error"
"""With this the fault handler begins its text about a crash."""
_ROOM = 40_000
"""Bytes of text after which a worker is not asked again before it has erased them. A page that is
full would have no room for the stack of a crash."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FRAME = re.compile(r'  File "(.*)", line ')


class _Asked(NamedTuple):
    """Somebody who waits for the stacks, for so many more looks."""

    looks: int
    told: Told


class StackReader:
    """Reads the stacks of one worker. Only the owner of the loop may use it.

    Args:
        page: the worker's.
        loop: calls it again.
        signal: signals the worker.
    """

    def __init__(self, page: StatusPage, loop: Watcher, signal: Callable[[int], None]) -> None:
        self._page = page
        self._loop = loop
        self._signal = signal
        self._asked: list[_Asked] = []
        # Each of these is a number of erasures, and of bytes of the text since the last one.
        self._begin = (0, 0)  # Before the worker was asked.
        self._read = (0, 0)  # What was read on request.
        self._reported = -1  # Erasures when its stacks were asked for to report its exit.
        self._last = b""
        self._quiet = 0

    def ask(self, pid: int, patience: float, told: Told) -> None:
        """Have the worker write its stacks.

        Args:
            patience: seconds to wait for them.
            told: called with the text; empty: it wrote nothing, or is stopped by a signal. A
                stopped worker is not asked, because it would write when it is continued.
        """
        if not self._page.handles_signals or _is_stopped(pid):
            told("")
            return
        asked = _Asked(max(1, round(patience / _INTERVAL)), told)
        if self._asked:
            self._asked.append(asked)
            return
        self._page.begin_reading()
        erasures, size = self._page.erasures, len(self._page.text())
        if size > _ROOM:  # it has run no Python code since, so the last text is still true
            self._page.end_reading(erase=False)
            told(shortened(self._last.decode("utf-8", "replace")))
            return
        self._asked.append(asked)
        self._begin = erasures, size
        self._last, self._quiet = b"", 0
        self._signal(STACK)
        self._loop.call_later(_INTERVAL, self._look)

    def keep(self) -> None:
        """The worker was told to write its stacks for the report of its exit."""
        self._reported = self._page.erasures

    def of_crash(self) -> str | None:
        """The text of a worker that has ended, without what was read on request."""
        if self._asked:
            self._mark_read()
        return self._since(self._read).decode("utf-8", "replace") or None

    def close(self) -> None:
        """The worker has ended: nobody waits any longer."""
        self._tell(self._asked)

    def _since(self, mark: tuple[int, int]) -> bytes:
        """What was written since then."""
        erasures, size = mark
        text = self._page.text()
        return text[size:] if erasures == self._page.erasures else text

    def _look(self) -> None:
        if not self._asked:
            return  # it has ended
        text = self._since(self._begin)
        self._quiet = self._quiet + 1 if text and text == self._last else 0
        self._last = text
        self._asked = [each._replace(looks=each.looks - 1) for each in self._asked]
        if self._quiet >= _QUIET:
            self._tell(self._asked)
        else:
            self._tell([each for each in self._asked if each.looks <= 0])
        if self._asked:
            self._loop.call_later(_INTERVAL, self._look)
            return
        self._mark_read()
        self._page.end_reading(erase=not self._is_reported)
        if not self._is_reported:
            self._signal(CANCEL)

    @property
    def _is_reported(self) -> bool:
        """Whether the text, or a part of it, was written for the report of its exit."""
        return self._reported == self._page.erasures

    def _mark_read(self) -> None:
        """What was written since it was asked is no stack of a crash, unless it says so."""
        if not self._is_reported:
            text = self._since(self._begin)
            fatal = text.find(_FATAL)
            size = len(text) if fatal < 0 else fatal
            same = self._begin[0] == self._page.erasures
            self._read = self._page.erasures, size + (self._begin[1] if same else 0)

    def _tell(self, whom: list[_Asked]) -> None:
        self._asked = [each for each in self._asked if each not in whom]
        shown = shortened(self._last.decode("utf-8", "replace"))
        for each in whom:
            each.told(shown)


def shortened(text: str) -> str:
    """The stacks without procorch's own frames below those of the agent. A stack that has no others
    stays whole: its top says what the worker waits for."""
    kept: list[str] = []
    for stack in re.split(r"\n(?=\S)", text):
        lines = stack.rstrip("\n").split("\n")
        most = len(lines)
        while most > 1 and _is_own(lines[most - 1]):
            most -= 1
        kept += lines[: most if most > 1 else len(lines)]
    return "\n".join(kept) + "\n" if any(kept) else ""


def _is_own(line: str) -> bool:
    """Whether a line shows a frame of procorch, or of the interpreter's start."""
    found = _FRAME.match(line)
    return found is not None and found[1].startswith((_PACKAGE, "<string>", "<frozen "))


def _is_stopped(pid: int) -> bool:
    import psutil  # slow to import, and only needed here

    try:
        return psutil.Process(pid).status() in (
            psutil.STATUS_STOPPED,
            psutil.STATUS_TRACING_STOP,
            psutil.STATUS_ZOMBIE,
        )
    except psutil.Error:
        return True
