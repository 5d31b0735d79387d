"""What operators do with single agents: start, stop, restart, pause, scale.

What they have changed by hand is remembered over a restart of the daemon, until a reload.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from procorch.daemon.config.secrets import Redactor
from procorch.daemon.errors import DaemonError
from procorch.daemon.history.history import History
from procorch.daemon.member import Member
from procorch.daemon.ports import Plain
from procorch.daemon.readiness import Readiness
from procorch.daemon.specs import Config
from procorch.errors import AgentError


class Operating(Readiness):
    """The part of `Core` that changes single agents."""

    def __init__(self, history: History, redactor: Redactor) -> None:
        super().__init__(redactor)
        self._history = history

    def start(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        """See `CorePort`."""
        members = [self.tree.member(name) for name in names]
        running = {each.name for each in members if each.wanted and each.ready}
        self.tree.start(name for name in names if name not in running)
        self._remember(names)
        rows = self._started(members, timeout)
        return [{**row, "result": "running"} if row["name"] in running else row for row in rows]

    def _started(self, members: Sequence[Member], timeout: float | None) -> list[Plain]:
        self.tree.wait(lambda: all(self._is_decided(each) for each in members), timeout)
        return [self._row(each, "started") for each in members]

    def _is_decided(self, member: Member) -> bool:
        """It has started, or will not."""
        decided = member.ready or member.phase in ("stopped", "failed", "completed")
        return decided or self.tree.obstacle(member) is not None

    def _row(self, member: Member, done: str) -> Plain:
        if member.ready or member.phase == "completed":
            return {"name": member.name, "result": done, "error": None}
        return {"name": member.name, "result": "failed", "error": self.why_not(member)}

    def why_not(self, member: Member) -> str:
        """Why an agent does not run, and what to do."""
        if member.phase == "stopped":
            return f"it is stopped: run procorch start {member.name}"
        if member.phase == "completed":
            return "it has completed"
        if member.phase == "failed":
            return self._redactor.mask(member.error)
        if member.wanted and member.size == 0:
            return f"it is scaled to 0: run procorch scale {member.name}=1"
        found, waits = self.tree.obstacle(member), self.tree.waits_for(member)
        if found is not None:
            todo = "procorch scale" if found.why == "scaled to 0" else "procorch start"
            number = "=1" if found.why == "scaled to 0" else ""
            return (
                f"it waits until {' and '.join(waits)}, and {found.text}: "
                f"run {todo} {found.name}{number}"
            )
        if waits:
            return f"it still waits until {' and '.join(waits)}"
        if member.error:
            return f"it is tried again: {self._redactor.mask(member.error)}"
        return "it has not become ready in time; it goes on starting"

    def stop(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        """See `CorePort`."""
        late = self.tree.stop(names, timeout)
        self._remember(names)
        return [
            {"name": name, "result": "failed" if name in late else "stopped",
             "error": "it has not ended in time" if name in late else None}
            for name in names
        ]  # fmt: skip

    def restart(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        """See `CorePort`."""
        end = None if timeout is None else time.monotonic() + timeout
        rows = []
        for name in names:
            member = self.tree.member(name)
            left = None if end is None else max(0.0, end - time.monotonic())
            if not (member.ready and member.lives):
                rows += self.start([name], left)
                continue
            try:
                self.tree.restarted(name, left)
                rows.append({"name": name, "result": "restarted", "error": None})
            except (AgentError, DaemonError, TimeoutError, ValueError) as error:
                rows.append({"name": name, "result": "failed", "error": self._text(error)})
        self._remember(names)
        return rows

    def reset(self, names: Sequence[str]) -> list[Plain]:
        """See `CorePort`."""
        failed = [name for name in names if self.tree.member(name).phase in ("failed", "backoff")]
        self.tree.start(failed)
        return [
            {"name": name, "result": "reset" if name in failed else "running", "error": None}
            for name in names
        ]

    def pause(self, names: Sequence[str]) -> list[Plain]:
        """See `CorePort`."""
        return self._set_paused(names, paused=True)

    def resume(self, names: Sequence[str]) -> list[Plain]:
        """See `CorePort`."""
        return self._set_paused(names, paused=False)

    def _set_paused(self, names: Sequence[str], *, paused: bool) -> list[Plain]:
        done = "paused" if paused else "resumed"
        rows: list[Plain] = []
        for name in names:
            member = self.tree.member(name)
            if not member.spec.answers:
                error = "it takes no requests, so there is nothing to pause"
                rows.append({"name": name, "result": "failed", "error": error})
                continue
            with self.tree.condition:
                member.paused = paused
                handle = member.handle if member.lives else None
            if handle is not None:
                handle.pause() if paused else handle.resume()
            rows.append({"name": name, "result": done, "error": None})
        self._remember(names)
        return rows

    def scale(self, counts: Mapping[str, int], timeout: float | None) -> list[Plain]:
        """See `CorePort`."""
        rows: list[Plain] = []
        for name, count in counts.items():
            rows.append(self._scaled(self.tree.member(name), count, timeout))
        self._remember(list(counts))
        return rows

    def _scaled(self, member: Member, count: int, timeout: float | None) -> Plain:
        with self.tree.condition:
            before, member.size = member.size, count
            handle = member.handle if member.lives else None
        try:
            if handle is not None:
                handle.scale(count, timeout=timeout)
            elif member.wanted:
                self.tree.start([member.name])
                if count:
                    (row,) = self._started([member], timeout)
                    return row | {"result": f"scaled to {count}"} if row["error"] is None else row
        except (AgentError, TimeoutError, ValueError) as error:
            if not isinstance(error, TimeoutError):
                member.size = before
            return {"name": member.name, "result": "failed", "error": self._text(error)}
        return {"name": member.name, "result": f"scaled to {count}", "error": None}

    def undone(self, config: Config) -> list[Plain]:
        """What operators have changed by hand and a reload of ``config`` undoes."""
        return [
            {"name": member.name, "change": "undone", "keys": texts}
            for member in self.tree.members()
            if config.get(member.name) and (texts := member.drift_texts(undone=True))
        ]

    def _remember(self, names: Sequence[str]) -> None:
        self._history.set_drift({name: self.tree.member(name).drift() for name in names})

    def _text(self, error: BaseException) -> str:
        return self._redactor.mask(str(error))
