"""A daemon with fixed answers behind the real control socket, for tests of what verbs print."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from procorch.daemon.control.protocol import SOCKET
from procorch.daemon.control.server import ControlServer
from procorch.daemon.errors import DaemonError, UnknownAgent
from procorch.errors import AgentCrashed, AgentFailure
from procorch.errors.plain_data import to_plain


def instance(slot: int, pid: int | None, state: str, **changes: Any) -> dict[str, Any]:
    """A row of an instance."""
    row = {
        "slot": slot, "pid": pid, "generation": 1, "state": state, "uptime": 3725.0, "restarts": 0,
        "last_exit": None, "cpu": 12.5, "rss": 52_428_800, "release": 1, "current": None,
    }  # fmt: skip
    return row | changes


def agent(name: str, state: str, *instances: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A row of an agent."""
    row = {
        "name": name, "kind": "agent", "group": None, "parent": None, "state": state, "detail": "",
        "queue": 0, "restarts": sum(each["restarts"] for each in instances), "last_exit": None,
        "size": 1, "release": 1, "drift": [], "instances": list(instances),
    }  # fmt: skip
    return row | changes


DAEMON = {
    "pid": 4100, "version": "0.1.0", "config": "/srv/app/procorch.toml",
    "dir": "/srv/app/.procorch",
    "state": "running", "ready": True, "release": 2, "uptime": 200_000.0, "cpu": 42.0,
    "rss": 73_400_320, "drain_timeout": 25.0,
}  # fmt: skip
AGENTS = [
    agent(
        "solver", "BUSY",
        instance(0, 4127, "BUSY", current=17, rss=2 << 30),
        instance(1, 4140, "READY", restarts=2, last_exit="SIGSEGV", uptime=4.25, generation=3),
        size=2, queue=3, last_exit="SIGSEGV", release=2, group="workers",
    ),
    agent("critic", "READY", instance(0, 4131, "READY"), parent="solver", group="workers"),
    agent(
        "index", "BACKOFF", instance(0, None, "BACKOFF", uptime=None, cpu=0.0, rss=0, restarts=4),
        detail="4/5, next in 12 s: SIGSEGV at f.py:9", last_exit="SIGSEGV", restarts=4,
    ),
    agent("lint", "STOPPED", kind="command", drift=["stopped by hand"], release=None),
]  # fmt: skip
DESCRIPTION = AGENTS[2] | {
    "error": None,
    "config": {
        "place": "procorch.toml:7", "kind": "agent", "factory": "app.agents:index",
        "secrets": {"OPENAI_API_KEY": "file:/run/secrets/key"}, "autostart": True, "env": {},
        "settings": {"max_restarts": 5},
    },
    "exits": [
        {"time": 1_700_000_000.25, "agent": "index", "instance": 0, "generation": 4, "pid": 4135,
         "reason": "agent 'index' died: SIGSEGV", "signal": "SIGSEGV", "exitcode": None,
         "place": "SIGSEGV at f.py:9", "stderr_tail": "Fatal Python error\n\x1b[2Jgone",
         "last_stack": "", "uptime": 2.5},
    ],
    "events": [],
}  # fmt: skip
EVENTS = [
    {"type": "Ready", "agent": "solver", "instance": 0, "generation": 1, "at": 5.0,
     "time": 1_700_000_000.25},
    {"type": "Crashed", "agent": "index", "instance": 0, "generation": 4, "at": 6.0,
     "time": 1_700_000_001.5, "error": {"type": "AgentCrashed", "message": "agent 'index' died:\nx",
     "details": {}, "cause": None}},
    {"type": "Restarting", "agent": "index", "instance": 0, "generation": 4, "at": 6.0,
     "time": 1_700_000_001.75, "counted": True, "restart": 4, "max_restarts": 5, "planned": False},
]  # fmt: skip
LINES = [
    {"time": 1_700_000_000.25, "agent": "solver", "instance": 0, "generation": 1, "request": 17,
     "stream": "stdout", "text": "thinking"},
    {"time": 1_700_000_001.5, "agent": "index", "instance": 0, "generation": 4, "request": None,
     "stream": "stderr", "text": "\x1b[31mno index\x1b[0m\x07"},
]  # fmt: skip
ANSWER = {
    "id": 17, "state": "done", "text": "42", "output": "42", "error": None,
    "metrics": {"wall": 0.5}, "usage": None, "cost": None,
}  # fmt: skip


class FixedRows:
    """Rows that were written before; with ``follow``, it waits after them until it is closed."""

    def __init__(self, rows: Iterable[dict[str, Any]], follow: bool) -> None:
        self._rows = iter(list(rows))
        self._follow = follow
        self._closed = threading.Event()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        for row in self._rows:
            return row
        if self._follow:
            self._closed.wait()
        raise StopIteration

    def close(self) -> None:
        self._closed.set()


class FakeCore:
    """`CorePort` with fixed answers; ``calls`` has what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.daemon: dict[str, Any] = dict(DAEMON)
        self.agents: list[dict[str, Any]] = list(AGENTS)
        self.results: dict[str, str] = {}
        """What becomes of an agent of that name, where it is another than usual."""
        self.error: Exception | None = None
        """What `reload`, `rollback` and `send` raise."""
        self.waiting: list[str] = []
        self.changes: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = dict(ANSWER)
        self.on_shutdown: Callable[[], object] = lambda: None

    def names(self) -> Mapping[str, str | None]:
        return {each["name"]: each["group"] for each in self.agents}

    def status(self, names: Sequence[str]) -> dict[str, Any]:
        self.calls.append(("status", list(names)))
        return {
            "daemon": self.daemon,
            "agents": [each for each in self.agents if each["name"] in names],
        }

    def describe(self, name: str) -> dict[str, Any]:
        if name != "index":
            raise UnknownAgent(f"there is no agent {name!r}")
        return DESCRIPTION

    def _rows(self, did: str, names: Iterable[str], *given: Any) -> list[dict[str, Any]]:
        self.calls.append((did, list(names), *given))
        return [
            {
                "name": name,
                "result": self.results.get(name, did),
                "error": "it has\nno luck" if self.results.get(name) == "failed" else None,
            }
            for name in names
        ]

    def start(self, names: Sequence[str], timeout: float | None) -> list[dict[str, Any]]:
        return self._rows("started", names, timeout)

    def stop(self, names: Sequence[str], timeout: float | None) -> list[dict[str, Any]]:
        return self._rows("stopped", names, timeout)

    def restart(self, names: Sequence[str], timeout: float | None) -> list[dict[str, Any]]:
        return self._rows("restarted", names, timeout)

    def reset(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return self._rows("reset", names)

    def pause(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return self._rows("paused", names)

    def resume(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return self._rows("resumed", names)

    def scale(self, counts: Mapping[str, int], timeout: float | None) -> list[dict[str, Any]]:
        return self._rows("scaled", counts, list(counts.values()), timeout)

    def reload(
        self, *, names: Sequence[str], dry_run: bool, timeout: float | None
    ) -> dict[str, Any]:
        self.calls.append(("reload", list(names), dry_run, timeout))
        if self.error is not None:
            raise self.error
        return {
            "release": 3 if self.changes and not dry_run else 2, "changes": self.changes,
            "text": [], "applied": not dry_run,
        }  # fmt: skip

    def rollback(self, timeout: float | None) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"names": ["solver"], "release": 4}

    def send(
        self, name: str, message: Any, *, timeout: float | None,
        began: Callable[[int], None], piece: Callable[[str], None] | None,
    ) -> dict[str, Any]:  # fmt: skip
        self.calls.append(("send", name, message, timeout))
        if self.error is not None:
            raise self.error
        began(17)
        if piece is not None:
            piece("4")
            piece("2")
        return self.answer

    def cancel(self, request: int) -> bool:
        return request == 17

    def stack(self, name: str) -> list[dict[str, Any]]:
        self.calls.append(("stack", name))
        return [
            {"instance": 0, "pid": 4127, "stack": 'Thread "main":\n  File "f.py", line 9'},
            {"instance": 1, "pid": 4140, "stack": ""},
        ]

    def events(
        self, names: Sequence[str], *, follow: bool, last: int, since: float | None
    ) -> FixedRows:
        self.calls.append(("events", list(names), follow, last, since))
        return FixedRows((each for each in EVENTS if each["agent"] in names), follow)

    def logs(
        self, names: Sequence[str], *, follow: bool, last: int | None, since: float | None
    ) -> FixedRows:
        self.calls.append(("logs", list(names), follow, last, since))
        return FixedRows((each for each in LINES if each["agent"] in names), follow)

    def rotate(self) -> list[str]:
        return ["solver.1.log.gz"]

    def wait_ready(self, names: Sequence[str], timeout: float | None) -> dict[str, Any]:
        waiting = [name for name in self.waiting if name in names]
        return {"ready": not waiting, "waiting": waiting}

    def disk(self) -> dict[str, Any]:
        return {
            "logs": {"bytes": 3 << 20, "limit": 1 << 30},
            "history": {"bytes": 4096, "limit": None},
        }

    def prune(self) -> dict[str, Any]:
        return {"logs": 1 << 20, "history": 0}

    def shutdown(self, timeout: float | None) -> None:
        self.calls.append(("shutdown", timeout))
        self.on_shutdown()


def crashed() -> dict[str, Any]:
    """The row of a request whose process has died."""
    error = AgentCrashed(agent="solver", signal="SIGSEGV", exitcode=-11, pid=4127)
    return ANSWER | {"state": "failed", "text": "", "output": None, "error": to_plain(error)}


def failure() -> Exception:
    """What a reload says whose new process does not start."""
    return AgentFailure("agent 'solver' could not be reloaded")


def refused() -> Exception:
    """Another error of a daemon."""
    return DaemonError("another reload is under way")


@contextmanager
def served(folder: Path) -> Iterator[FakeCore]:
    """A daemon with its socket in a folder."""
    own = folder / ".procorch"
    own.mkdir(mode=0o700)
    core = FakeCore()
    server = ControlServer(own / SOCKET, core)
    server.start()
    try:
        yield core
    finally:
        server.close()
