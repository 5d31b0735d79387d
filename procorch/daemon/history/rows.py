"""Events of the history as they are asked for: those that are there, and those to come."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

_AT_ONCE = 500
"""Events that are read at once."""


class Source(Protocol):
    """What is read; `history.History` is it."""

    changed: threading.Condition
    """Notified when something was written, and at the end."""
    closed: bool
    written: int
    """How often something was written."""

    @property
    def files(self) -> int:
        """How often a file was begun anew."""
        ...

    def query(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows that a query finds."""
        ...


class EventRows(Iterator[dict[str, Any]]):
    """Events as plain data, the oldest first. Those of a follower end with `close`, or when the
    daemon ends. See `History.events` for the arguments.
    """

    def __init__(
        self,
        source: Source,
        agents: Sequence[str],
        *,
        follow: bool,
        last: int | None,
        since: float | None,
    ) -> None:
        self._source = source
        self._agents = [*agents, ""]  # where events were lost, nobody knows of which agent
        self._follow = follow
        self._since = since
        self._ready: deque[dict[str, Any]] = deque()
        self._closed = False
        self._reading = threading.Lock()
        self._seen, self._files = 0, source.files
        if last is not None:
            self._seen = self._id_before(last)

    def __next__(self) -> dict[str, Any]:
        with self._reading:
            while not self._closed:
                if self._ready:
                    return self._ready.popleft()
                if not self._fetch():
                    break
        raise StopIteration

    def close(self) -> None:
        """End it; from any thread."""
        with self._source.changed:
            self._closed = True
            self._source.changed.notify_all()

    def _fetch(self) -> bool:
        """Read further events, and wait for them if need be; False: none will come."""
        source = self._source
        while not self._closed:
            over, written = source.closed, source.written
            if self._read():
                return True
            if over or not self._follow:
                return False
            with source.changed:
                source.changed.wait_for(
                    lambda: self._closed or source.closed or source.written != written  # noqa: B023
                )
        return False

    def _read(self) -> bool:
        where, values = self._condition()
        if self._files != self._source.files:
            self._seen, self._files = 0, self._source.files
        rows = self._source.query(
            f"SELECT id, data FROM events WHERE id > ? AND {where} ORDER BY id LIMIT ?",
            (self._seen, *values, _AT_ONCE),
        )
        for number, data in rows:
            self._seen = number
            event = _event(data)
            if event is not None:
                self._ready.append(event)
        return bool(rows)

    def _id_before(self, last: int) -> int:
        """The number of the event before the last ones that are asked for."""
        where, values = self._condition()
        found = self._source.query(
            f"SELECT id FROM events WHERE {where} ORDER BY id DESC LIMIT 1 OFFSET ?",
            (*values, last),
        )
        return found[0][0] if found else 0

    def _condition(self) -> tuple[str, list[Any]]:
        where = f"agent IN ({', '.join('?' * len(self._agents))})"
        if self._since is None:
            return where, list(self._agents)
        return f"{where} AND time >= ?", [*self._agents, self._since]


def _event(data: str) -> dict[str, Any] | None:
    try:
        event = json.loads(data)
    except ValueError:  # a bit of it has flipped
        return None
    return event if isinstance(event, dict) else None
