"""A daemon without agents: what the control socket is tested with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Self

from procorch.daemon.errors import ConfigErrors, Problem
from procorch.daemon.ports import Plain
from procorch.errors import AgentCrashed, AgentError, RequestCancelled
from procorch.errors.plain_data import to_plain


class FakeRows:
    """Rows of an iterator, and then, if they are followed, those that are put."""

    def __init__(self, rows: Iterator[Plain], *, follow: bool) -> None:
        self._rows = rows
        self._follow = follow
        self._more: SimpleQueue[Plain | None] = SimpleQueue()
        self.closed = threading.Event()
        self.given = 0

    def put(self, row: Plain) -> None:
        self._more.put(row)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Plain:
        if self.closed.is_set():
            raise StopIteration
        row = next(self._rows, None)
        if row is None and self._follow:
            row = self._more.get()
        if row is None:
            raise StopIteration
        self.given += 1
        return row

    def close(self) -> None:
        self.closed.set()
        self._more.put(None)


class FakeCore:
    """`CorePort` without anything behind it.

    Attributes:
        called: the methods that were called, with their arguments.
        rows: those that were asked for.
        held: `restart` and the messages "wait" and "slow" are held until it is set.
        cancelled: requests that were cancelled.
        began: one permit for each request that is being held.
    """

    def __init__(self) -> None:
        self.agents: dict[str, str | None] = {"solver": None, "web-1": "web", "web-2": "web"}
        self.called: list[tuple[Any, ...]] = []
        self.rows: SimpleQueue[FakeRows] = SimpleQueue()
        self.held = threading.Event()
        self.cancelled: SimpleQueue[int] = SimpleQueue()
        self.began: SimpleQueue[int] = SimpleQueue()
        self._last = 0
        self._lock = threading.Lock()
        self._running: dict[int, threading.Event] = {}

    def _note(self, *called: Any) -> list[Plain]:
        self.called.append(called)
        return [{"name": name, "result": called[0], "error": None} for name in called[1]]

    def names(self) -> Mapping[str, str | None]:
        return self.agents

    def status(self, names: Sequence[str]) -> Plain:
        self._note("status", names)
        return {"daemon": {"pid": 1}, "agents": [{"name": name} for name in names]}

    def describe(self, name: str) -> Plain:
        return {"name": name if name != "web-2" else "\ud800"}

    def start(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        return self._note("start", names, timeout)

    def stop(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        return self._note("stop", names, timeout)

    def restart(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        self.began.put(0)
        self.held.wait(30)
        return self._note("restart", names, timeout)

    def reset(self, names: Sequence[str]) -> list[Plain]:
        return self._note("reset", names)

    def pause(self, names: Sequence[str]) -> list[Plain]:
        return self._note("pause", names)

    def resume(self, names: Sequence[str]) -> list[Plain]:
        return self._note("resume", names)

    def scale(self, counts: Mapping[str, int], timeout: float | None) -> list[Plain]:
        if max(counts.values()) > 100:
            raise ValueError("an agent has at most 100 instances")
        return self._note("scale", counts, timeout)

    def reload(self, *, names: Sequence[str], dry_run: bool, timeout: float | None) -> Plain:
        self._note("reload", names, dry_run, timeout)
        text = "not a number"
        raise ConfigErrors([Problem("procorch.toml", 3, "agents.solver.max_restarts", text)])

    def rollback(self, timeout: float | None) -> Plain:
        raise AgentCrashed(agent="solver", exitcode=-11)

    def send(
        self,
        name: str,
        message: Any,
        *,
        timeout: float | None,
        began: Callable[[int], None],
        piece: Callable[[str], None] | None,
    ) -> Plain:
        with self._lock:
            self._last += 1
            number = self._last
            cancelled = self._running[number] = threading.Event()
        began(number)
        if message == "wait":
            self.began.put(number)
            if cancelled.wait(30):
                return self._failed(number, RequestCancelled(agent=name))
        if message == "crash":
            return self._failed(number, AgentCrashed(agent=name, exitcode=-11))
        text = f"{name}: {message}"
        if piece is not None:
            for word in text.split():
                piece(word)
        usage = {"input": 3, "output": 4, "cache_read": 0, "cache_write": 0}
        return {
            "id": number, "state": "done", "text": text, "output": message, "error": None,
            "metrics": {"wall": 0.5, "pid": 7}, "usage": usage, "cost": None,
        }  # fmt: skip

    def _failed(self, number: int, error: AgentError) -> Plain:
        return {
            "id": number, "state": "failed", "text": "", "output": None, "error": to_plain(error),
            "metrics": None, "usage": None, "cost": None,
        }  # fmt: skip

    def cancel(self, request: int) -> bool:
        self.cancelled.put(request)
        running = self._running.get(request)
        if running is not None:
            running.set()
        return running is not None

    def stack(self, name: str) -> list[Plain]:
        return [{"instance": 0, "pid": 1, "stack": "File ..."}]

    def events(
        self, names: Sequence[str], *, follow: bool, last: int, since: float | None
    ) -> FakeRows:
        rows = FakeRows(iter([{"event": number} for number in range(last)]), follow=follow)
        self.rows.put(rows)
        return rows

    def logs(
        self, names: Sequence[str], *, follow: bool, last: int | None, since: float | None
    ) -> FakeRows:
        numbers = iter(int, 1) if last is None else range(last)
        rows = FakeRows(({"text": "x" * 1000} for _ in numbers), follow=follow)
        self.rows.put(rows)
        return rows

    def rotate(self) -> list[str]:
        raise OSError(28, "No space left on device")

    def wait_ready(self, names: Sequence[str], timeout: float | None) -> Plain:
        self._note("wait_ready", names, timeout)
        self.held.wait(timeout)
        return {"ready": self.held.is_set(), "waiting": [] if self.held.is_set() else list(names)}

    def disk(self) -> Plain:
        raise TypeError("password=hunter22222 is not subscriptable")

    def prune(self) -> Plain:
        return {"logs": 0}

    def shutdown(self, timeout: float | None) -> None:
        self._note("shutdown", [], timeout)
