"""Events and exits of the past, in an SQLite file (`history_store`).

Callers only put things into a queue; one thread writes them, many in one transaction. If the queue
is full, because the disk takes nothing, events are counted instead, and an event of the type
``Lost`` says how many. What operators change by hand (the drift) is kept in memory as well: it
cannot be lost that way, and is written with the next transaction.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from procorch import Notice
from procorch.daemon.history.exits import ExitWatch
from procorch.daemon.history.file import HistoryError
from procorch.daemon.history.rows import EventRows
from procorch.daemon.history.store import HistoryStore
from procorch.daemon.specs import HistorySettings

_log = logging.getLogger("procorch")

QUEUE = 10_000
"""Events that wait to be written."""
_GROUP = 500
"""Events in one transaction."""
_DELAY = 0.05
"""Seconds that an event waits for others."""
_RETRY = 1.0
"""Seconds between two tries on a disk that takes nothing."""
_RETENTION = 60.0
"""Seconds between two looks at what is too old."""
_PATIENCE = 1.0
"""Seconds that a caller waits for what was put before."""

_Item: TypeAlias = Notice | threading.Event | None
"""An event; a wish to know when all before it is written; None: the end."""


class History:
    """The history of one daemon. All methods may be called from any thread.

    Args:
        path: the file, made with mode 0600 where there is none.
        settings: what is kept.
        mask: hides secrets in a text.

    Attributes:
        changed: notified when something was written, and at the end.
        written: how often something was written.
        closed: `close` was called.

    Raises:
        HistoryError: the file cannot be used, or a newer procorch has written it.
    """

    def __init__(self, path: Path, settings: HistorySettings, mask: Callable[[str], str]) -> None:
        self._path = path
        self._store = HistoryStore(path, settings, mask)
        self._drift = self._store.drift()
        self._watch = ExitWatch()
        self._items: queue.Queue[_Item] = queue.Queue(QUEUE)
        self._lock = threading.Lock()
        self._lost = 0
        self._in_trouble = False
        self._next_retention = 0.0
        self._closing = threading.Event()
        self.changed: threading.Condition = threading.Condition()
        self.written: int = 0
        self.closed: bool = False
        self._thread = threading.Thread(target=self._run, name="procorch-history", daemon=True)
        self._thread.start()

    # ---- what is put in

    def record(self, event: Notice) -> None:
        """Keep an event, and the exit that it tells of; returns at once."""
        try:
            self._items.put_nowait(event)
        except queue.Full:
            with self._lock:
                self._lost += 1

    def set_drift(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what operators have changed by hand; returns when that is written, or after a
        second.

        Args:
            changes: plain data by agent; empty: the agent is as its file says.
        """
        with self._lock:
            changed = {agent: dict(change) for agent, change in changes.items()}
            every = {**self._drift, **changed}
            self._drift = {agent: change for agent, change in every.items() if change}
        self._flush()

    def clear_drift(self) -> None:
        """Forget what operators have changed by hand."""
        with self._lock:
            self._drift = {}
        self._flush()

    def reconfigure(self, settings: HistorySettings) -> None:
        """Keep as much as these settings say from now on."""
        self._store.settings = settings
        self._next_retention = 0.0

    # ---- what is there

    def drift(self) -> dict[str, dict[str, Any]]:
        """What operators have changed by hand, by agent."""
        with self._lock:
            return {agent: dict(change) for agent, change in self._drift.items()}

    def exits(self, agent: str, last: int = -1) -> list[dict[str, Any]]:
        """The last exits of an agent, the oldest first, as plain data (`ProcessExit`).

        Args:
            last: at most so many; -1: all that are kept.

        Raises:
            HistoryError: the file cannot be read now.
        """
        self._flush()
        return self._store.exits(agent, last)

    def events(
        self,
        agents: Sequence[str],
        *,
        follow: bool = False,
        last: int | None = None,
        since: float | None = None,
    ) -> EventRows:
        """Events of agents as plain data (`Notice.as_dict`), the oldest first.

        Args:
            follow: do not end with the last one; wait for those to come.
            last: at most so many of those that are there; None: all.
            since: none before this time, in seconds since the epoch.

        Raises:
            HistoryError: the file cannot be read now; also later, by the iterator.
        """
        self._flush()
        return EventRows(self, agents, follow=follow, last=last, since=since)

    def query(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """See `HistoryStore.query`."""
        return self._store.query(query, values)

    @property
    def files(self) -> int:
        """How often a file was begun anew, because the one before was damaged."""
        return self._store.files

    def disk(self) -> dict[str, Any]:
        """Bytes of the file, and how many it may have."""
        return {"bytes": self._store.size(), "limit": self._store.settings.max_size}

    def prune(self) -> int:
        """Remove what the settings do not keep; returns the number of bytes."""
        before = self._store.size()
        self._next_retention = 0.0
        self._flush()
        return max(0, before - self._store.size())

    def close(self) -> None:
        """Write what waits, if the disk takes it, and end the thread. Idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._items.put(None, timeout=_RETRY + _PATIENCE)
        self._thread.join()
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self._store.close()

    def _flush(self) -> None:
        """Wait until everything that was put so far is written, but not long."""
        done = threading.Event()
        with contextlib.suppress(queue.Full):
            self._items.put(done, timeout=_PATIENCE)
            done.wait(_PATIENCE)

    # ---- the thread

    def _run(self) -> None:
        over = False
        while not over:
            events, waiting, over = self._gather()
            self._write(events)
            if time.monotonic() >= self._next_retention:
                self._next_retention = time.monotonic() + _RETENTION
                self._store.tidy()
            for each in waiting:
                each.set()
            with self.changed:
                self.written += 1
                self.changed.notify_all()

    def _gather(self) -> tuple[list[Notice], list[threading.Event], bool]:
        """What is to be written next, who waits for it, and whether that is the end."""
        events: list[Notice] = []
        waiting: list[threading.Event] = []
        until = time.monotonic() + _RETENTION
        while len(events) < _GROUP:
            try:
                item = self._items.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return events, waiting, True
            if isinstance(item, threading.Event):
                waiting.append(item)
            else:
                events.append(item)
            soon = 0.0 if waiting or self._closing.is_set() else _DELAY
            until = min(until, time.monotonic() + soon)
        return events, waiting, False

    def _write(self, events: list[Notice]) -> None:
        exits = [exit for event in events if (exit := self._watch.exit_of(event)) is not None]
        rows = [event.as_dict() for event in events]
        while True:
            with self._lock:
                lost, self._lost = self._lost, 0
            try:
                self._store.write([*rows, _lost(lost)] if lost else rows, exits, self.drift())
            except HistoryError as error:
                with self._lock:
                    self._lost += lost
                self._say_trouble(error)
                if self._closing.wait(_RETRY):
                    return
            else:
                break
        if self._in_trouble:
            self._in_trouble = False
            _log.info("the history %s is written again", self._path)

    def _say_trouble(self, error: HistoryError) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            _log.warning(
                "the history %s cannot be written: %s; the agents go on, and events may be missing",
                self._path, error,
            )  # fmt: skip


def _lost(count: int) -> dict[str, Any]:
    return {
        "type": "Lost", "agent": "", "instance": 0, "generation": 0, "at": time.monotonic(),
        "time": time.time(), "count": count,
    }  # fmt: skip
