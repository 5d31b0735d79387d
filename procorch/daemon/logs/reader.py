"""Lines of log files: of several agents, merged by time, and those to come.

A place in the log of an agent is the number of a file and an offset in it (`LogWriter.position`).
It stays the same when the file is rotated and compressed. So a follower loses no line and gets none
twice: it reads a file to its end, as soon as that is fixed, and goes on with the next number.

Lines of one agent stay in the order of its file, also if the clock has jumped back.
"""

from __future__ import annotations

import heapq
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from gzip import GzipFile
from typing import IO, Any, NamedTuple

from procorch.daemon.logs.lines import LogLine, parse
from procorch.daemon.logs.writer import LogWriter

_BLOCK = 1 << 16
_AT_ONCE = 1 << 20
"""Bytes that a follower reads of one agent before it looks at the others."""
_GATHER = 0.005
"""Seconds that a follower lets lines gather before it reads them."""


class Place(NamedTuple):
    """A place in the log of an agent."""

    number: int
    offset: int


def read(
    logs: LogWriter,
    agents: Sequence[str],
    *,
    follow: bool = False,
    last: int | None = None,
    since: float | None = None,
) -> LogStream:
    """Lines of agents, the oldest first, as plain data.

    Args:
        follow: do not end with the last line; wait for those to come.
        last: at most so many lines of those that are there; None: all.
        since: none that came before this time, in seconds since the epoch.
    """
    ends = {agent: Place(*logs.position(agent)) for agent in agents}
    if last is None:
        past = _merged([_all(logs, agent, end, since) for agent, end in ends.items()])
    else:
        past = iter(_last(logs, ends, last, since))
    return LogStream(logs, past, ends if follow else {})


class LogStream(Iterator[dict[str, Any]]):
    """Lines as plain data (`LogLine`). The stream of a follower ends with `close`, or when the
    daemon ends.

    Args:
        past: the lines that are there.
        places: where to go on after them; empty: it ends after them.
    """

    def __init__(self, logs: LogWriter, past: Iterator[LogLine], places: dict[str, Place]) -> None:
        self._logs = logs
        self._past = past
        self._tails = [_Tail(logs, agent, place) for agent, place in places.items()]
        self._ready: deque[LogLine] = deque()
        self._closed = False
        self._reading = threading.Lock()

    def __next__(self) -> dict[str, Any]:
        with self._reading:
            if self._closed:
                raise StopIteration
            line = next(self._past, None)
            while line is None:
                line = self._ready.popleft() if self._ready else None
                if line is None and not self._fetch():
                    self._release()
                    raise StopIteration
            return line.as_dict()

    def _fetch(self) -> bool:
        """Wait for further lines; False: none will come."""
        logs = self._logs
        while self._tails and not self._closed:
            over, seen = logs.closed, logs.written
            self._ready.extend(_merged([tail.read() for tail in self._tails]))
            if self._ready:
                return True
            if over:
                return False
            with logs.changed:
                logs.changed.wait_for(
                    lambda: self._closed or logs.closed or logs.written != seen  # noqa: B023
                )
            time.sleep(_GATHER)
        return False

    def close(self) -> None:
        """End it; from any thread."""
        with self._logs.changed:
            self._closed = True
            self._logs.changed.notify_all()
        with self._reading:
            self._release()

    def _release(self) -> None:
        self._closed = True
        for tail in self._tails:
            tail.close()
        if isinstance(self._past, Generator):
            self._past.close()


class _Tail:
    """Reads the lines of one agent as they are written.

    Args:
        place: where the next one begins.
    """

    def __init__(self, logs: LogWriter, agent: str, place: Place) -> None:
        self._logs = logs
        self._agent = agent
        self._place = place
        self._file: IO[bytes] | None = None

    def read(self) -> list[LogLine]:
        """The further lines, not too many at once."""
        found: list[LogLine] = []
        size = 0
        while size < _AT_ONCE:
            end = Place(*self._logs.position(self._agent))
            number, offset = self._place
            if self._place >= end:
                break
            if self._file is None:
                self._file = self._logs.open(self._agent, number)
                if self._file is None:
                    found.append(_removed(self._agent))
                    self._place = end if number == end.number else Place(number + 1, 0)
                    continue
                self._file.seek(offset)
            most = end.offset - offset if number == end.number else sys.maxsize
            data = _read(self._file, min(most, _AT_ONCE))
            lines, newline, rest = data.rpartition(b"\n")
            if rest:
                self._file.seek(-len(rest), 1)
            if newline:
                found += _parsed(lines)
                size += len(lines) + 1
                self._place = Place(number, offset + len(lines) + 1)
            elif number < end.number:
                self.close()
                self._place = Place(number + 1, 0)
            else:
                break
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _read(file: IO[bytes], size: int) -> bytes:
    """So many bytes, or what there is up to the end of the file."""
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _parsed(lines: bytes) -> list[LogLine]:
    return [line for each in lines.split(b"\n") if (line := parse(each)) is not None]


def _removed(agent: str) -> LogLine:
    text = "[procorch: lines are missing here: their file was removed before it was read]"
    return LogLine(time.time(), agent, None, None, None, None, text)


def _merged(each: Sequence[Iterable[LogLine]]) -> Iterator[LogLine]:
    """The lines of several agents by time."""
    pairs = heapq.merge(*map(_keyed, each), key=lambda pair: pair[0])
    return (line for _, line in pairs)


def _keyed(lines: Iterable[LogLine]) -> Iterator[tuple[float, LogLine]]:
    """Lines with the time to merge them by, which never falls."""
    latest = 0.0
    for line in lines:
        latest = max(latest, line.time)
        yield latest, line


def _files(logs: LogWriter, agent: str, end: Place, since: float | None) -> list[int]:
    """Numbers of the files up to a place that may have lines since a time, the newest first."""
    numbers = [
        number
        for number, written in logs.rotated(agent)
        if number < end.number and (since is None or written >= since)
    ]
    return [end.number, *reversed(numbers)]


def _all(logs: LogWriter, agent: str, end: Place, since: float | None) -> Iterator[LogLine]:
    """The lines of an agent up to a place."""
    for number in reversed(_files(logs, agent, end, since)):
        if (file := logs.open(agent, number)) is None:
            continue
        with file:
            left = end.offset if number == end.number else sys.maxsize
            rest = b""
            while left and (data := file.read(min(left, _BLOCK))):
                left -= len(data)
                lines, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    for line in _parsed(lines):
                        if since is None or line.time >= since:
                            yield line


def _last(logs: LogWriter, ends: dict[str, Place], last: int, since: float | None) -> list[LogLine]:
    """The last lines of all agents together."""
    lines = list(_merged([_last_of(logs, it, end, last, since) for it, end in ends.items()]))
    return lines[max(0, len(lines) - last) :]


def _last_of(
    logs: LogWriter, agent: str, end: Place, last: int, since: float | None
) -> list[LogLine]:
    found: deque[LogLine] = deque()
    for number in _files(logs, agent, end, since):
        if len(found) >= last:
            break
        if (file := logs.open(agent, number)) is None:
            continue
        with file:
            if number == end.number:
                backward = _backward(file, end.offset)
            elif isinstance(file, GzipFile):  # it can be read forward only
                ends = deque(file, last - len(found))
                backward = (line for each in reversed(ends) if (line := parse(each.rstrip(b"\n"))))
            else:
                backward = _backward(file, file.seek(0, 2))
            for line in backward:
                if len(found) >= last or (since is not None and line.time < since):
                    break
                found.appendleft(line)
    return list(found)


def _backward(file: IO[bytes], end: int) -> Iterator[LogLine]:
    """The lines of a file up to an offset, from the last one on."""
    rest = b""
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        data = _read(file, end - start) + rest
        rest, _, lines = data.partition(b"\n") if start else (b"", b"", data)
        for each in reversed(lines.split(b"\n")):
            if (line := parse(each)) is not None:
                yield line
        end = start
