"""The daemon without its socket and its signals: the implementation of `ports.CorePort`.

It puts together what runs (`tree`), what is remembered (`history`, the logs) and the configuration
(`reloading`). Every method may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from procorch import ServiceSupervisor
from procorch.api.orchestrator import AgentOrchestrator
from procorch.daemon import reloading, status
from procorch.daemon.config import loading as configuration
from procorch.daemon.config.changes import texts
from procorch.daemon.config.secrets import Redactor
from procorch.daemon.errors import (
    ConfigErrors,
    DaemonBusy,
    DaemonEnding,
    Problem,
    SecretError,
)  # fmt: skip
from procorch.daemon.failure_hook import call_hook
from procorch.daemon.history.history import History
from procorch.daemon.logs import reader as log_reader
from procorch.daemon.logs.writer import LogWriter
from procorch.daemon.member import Member
from procorch.daemon.operating import Operating
from procorch.daemon.ports import Plain, Rows
from procorch.daemon.registering import Registrar
from procorch.daemon.reloading import Reloader
from procorch.daemon.requests import Requests
from procorch.daemon.specs import Config
from procorch.daemon.tree import Tree
from procorch.errors import AgentError, AgentStopped, TakesNoRequests

_log = logging.getLogger("procorch")


class Core(Operating):
    """One daemon.

    Args:
        config: the configuration it starts with.
        history: what is kept of events, exits and manual changes.
        logs: gets the output of agents.
        redactor: hides secrets.
        ended: is called when the daemon has to end by itself (``exit_when``), with the reason.
        stop: is called by `shutdown`, with the seconds to drain or None.
        changed: is called when an agent has changed its phase.
        reloads: is called with True before a reload or a rollback, and with False after it.

    Raises:
        ConfigErrors: agents cannot be registered; it has the reason of each.
    """

    def __init__(
        self,
        config: Config,
        history: History,
        logs: LogWriter,
        redactor: Redactor,
        *,
        ended: Callable[[str], None],
        stop: Callable[[float | None], None],
        changed: Callable[[], None],
        reloads: Callable[[bool], None],
    ) -> None:
        super().__init__(history, redactor)
        self._logs = logs
        self._ended = ended
        self._stop = stop
        self._changed = changed
        self._reloads = reloads
        self._began = time.time()
        self._draining = False
        self._reloading = threading.Lock()
        self._requests = Requests(redactor.mask)
        self.orchestrator: AgentOrchestrator = AgentOrchestrator(
            supervisor=ServiceSupervisor(), output_sink=logs
        )
        self._registrar = Registrar(self.orchestrator, config.folder, redactor)
        self.tree: Tree = Tree(
            self.orchestrator, self._registrar, history.drift(), self._failed, self._tree_changed
        )
        self._add_all(config)
        self._reloader = Reloader(config, self.orchestrator, self._registrar, self.tree)
        self._events = threading.Thread(target=self._read_events, name="procorch-events")
        self._hooks = ThreadPoolExecutor(2, thread_name_prefix="procorch-hook")

    def _add_all(self, config: Config) -> None:
        errors = []
        for spec in config.agents:
            try:
                self.tree.add(spec)
            except (AgentError, SecretError, ValueError, TypeError) as error:
                file, _, line = spec.place.rpartition(":")
                errors.append(Problem(file, int(line), spec.name, str(error)))
        if errors:
            self.orchestrator.close()
            raise ConfigErrors(errors)

    # ---- life

    def begin(self) -> None:
        """Start the agents."""
        stream = self.orchestrator.events(requests=False)
        self._stream = stream
        self._events.start()
        self.tree.begin()

    def close(self, timeout: float) -> bool:
        """Finish what runs, at most ``timeout`` seconds; returns whether that was enough."""
        self._draining = True
        self.tree.close()
        end = time.monotonic() + timeout
        self.orchestrator.close(drain=True, timeout=timeout)
        self._hooks.shutdown(wait=False, cancel_futures=True)
        if self._events.is_alive():
            self._events.join()
        return time.monotonic() < end

    @property
    def config(self) -> Config:
        """The configuration that is applied."""
        return self._reloader.config

    @property
    def release(self) -> int:
        """The number of the release; the first one is 1."""
        return self._reloader.release

    @property
    def is_ready(self) -> bool:
        """All agents that are to run have become ready."""
        return not self._draining and not self.not_ready()

    def files(self) -> Iterable[Path]:
        """Files whose change is a reason for a reload."""
        return self._reloader.files()

    def _read_events(self) -> None:
        for event in self._stream:
            self._history.record(event)
            self.tree.on_event(event)

    def _failed(self, member: Member) -> None:
        why = member.error.removeprefix(f"agent {member.name!r} ")
        _log.error("agent %r is FAILED: %s", member.name, self._redactor.mask(why))
        if member.spec.on_failure is not None:
            self._hooks.submit(
                call_hook, self.orchestrator, self._registrar, member.spec, member.error
            )

    def _tree_changed(self) -> None:
        self._changed()
        members = [each for each in self.tree.members() if each.wanted]
        rule = self.config.daemon.exit_when
        if rule == "any_failed":
            failed = [each for each in members if each.phase == "failed" and _has_ended(each)]
            if failed:
                self._ended(f"agent {failed[0].name!r} has failed: {failed[0].error}")
        if (
            rule == "all_ended"
            and members
            and all(_has_ended(each) or self.tree.obstacle(each) is not None for each in members)
        ):
            self._ended("all agents have ended")

    # ---- what is told

    def names(self) -> Mapping[str, str | None]:
        """See `CorePort`."""
        return {each.name: each.spec.group for each in self.tree.members()}

    def status(self, names: Sequence[str]) -> Plain:
        """See `CorePort`."""
        members = [self.tree.member(name) for name in names]
        return {
            "daemon": status.daemon_row(
                self.config, self._state(), self.is_ready, self.release, self._began
            ),
            "agents": [self._masked_row(member) for member in members],
        }

    def _masked_row(self, member: Member) -> Plain:
        row = status.agent_row(member, self.tree)
        for key in ("detail", "last_exit"):
            if row[key]:
                row[key] = self._redactor.mask(row[key])
        return row

    def _state(self) -> str:
        if self._draining:
            return "draining"
        if self._reloading.locked():
            return "reloading"
        failed = self.failures()
        return "running" if all(name in failed for name in self.not_ready()) else "starting"

    def describe(self, name: str) -> Plain:
        """See `CorePort`."""
        member = self.tree.member(name)
        return {
            **self._masked_row(member),
            "error": self._redactor.mask(member.error) or None,
            "config": status.configuration(member.spec, self._redactor.mask),
            "exits": self._history.exits(name),
            "events": list(self._history.events([name], last=20)),
        }

    # ---- releases

    def reload(
        self, *, names: Sequence[str] = (), dry_run: bool = False, timeout: float | None = None
    ) -> Plain:
        """See `CorePort`."""
        for name in names:
            self.tree.member(name)
        if not self._reloading.acquire(blocking=False):
            raise DaemonBusy("another reload is under way")
        try:
            new = configuration.load(self.config.file)
            if new.daemon.dir != self.config.daemon.dir:
                what = "it cannot change while the daemon runs: run procorch down, then procorch up"
                raise ConfigErrors([Problem(str(new.file), None, "daemon.dir", what)])
            changes = self._reloader.changes(new, names)
            told = reloading.plain(changes) + self.undone(new)
            text = texts(self.config, new, changes)
            if not dry_run:
                with self._telling(), self._ended_by_the_end():
                    self._reloader.apply(new, changes, timeout)
                self._history.clear_drift()
                self._logs.reconfigure(new.daemon.log)
                self._history.reconfigure(new.daemon.history)
            return {
                "release": self.release, "changes": told, "text": text, "applied": not dry_run,
            }  # fmt: skip
        finally:
            self._reloading.release()

    def rollback(self, timeout: float | None = None) -> Plain:
        """See `CorePort`."""
        if not self._reloading.acquire(blocking=False):
            raise DaemonBusy("a reload is under way")
        try:
            with self._telling(), self._ended_by_the_end():
                names = self._reloader.rollback(timeout)
            return {"names": names, "release": self.release}
        finally:
            self._reloading.release()

    @contextmanager
    def _ended_by_the_end(self) -> Iterator[None]:
        """Say of what the end of the daemon has interrupted that it was so."""
        try:
            yield
        except AgentError:
            if self._draining:
                what = "the daemon ends: the reload was given up, and agents are as they were"
                raise DaemonEnding(what) from None
            raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        self._reloads(True)
        try:
            yield
        finally:
            self._reloads(False)

    # ---- requests

    def send(
        self, name: str, message: Any, *, timeout: float | None,
        began: Callable[[int], None], piece: Callable[[str], None] | None,
    ) -> Plain:  # fmt: skip
        """See `CorePort`."""
        member = self.tree.member(name)
        if not member.spec.answers:
            text = f"{name!r} is a {member.spec.kind}: nothing can be sent to it"
            return self._requests.failed(None, TakesNoRequests(text, agent=name))
        with self.tree.condition:
            handle = member.handle if member.lives else None
        if handle is None:
            text = f"agent {name!r} does not run: {self.why_not(member)}"
            return self._requests.failed(None, AgentStopped(text, agent=name))
        raw = member.spec.kind == "command"
        return self._requests.send(
            handle, message, raw=raw, timeout=timeout, began=began, piece=piece
        )

    def cancel(self, request: int) -> bool:
        """See `CorePort`."""
        return self._requests.cancel(request)

    def stack(self, name: str) -> list[Plain]:
        """See `CorePort`."""
        member = self.tree.member(name)
        handle = member.handle if member.lives else None
        if handle is None:
            return []
        return [
            {"instance": each.instance, "pid": each.pid, "stack": self._redactor.mask(each.text)}
            for each in handle.stack()
        ]

    # ---- the past

    def events(self, names: Sequence[str], *, follow: bool, last: int, since: float | None) -> Rows:
        """See `CorePort`."""
        return self._history.events(names, follow=follow, last=last, since=since)

    def logs(
        self, names: Sequence[str], *, follow: bool, last: int | None, since: float | None
    ) -> Rows:
        """See `CorePort`."""
        return log_reader.read(self._logs, names, follow=follow, last=last, since=since)

    def rotate(self) -> list[str]:
        """See `CorePort`."""
        return self._logs.rotate()

    def disk(self) -> Plain:
        """See `CorePort`."""
        return {"logs": self._logs.disk(), "history": self._history.disk()}

    def prune(self) -> Plain:
        """See `CorePort`."""
        return {"logs": self._logs.prune(), "history": self._history.prune()}

    # ---- the end

    def shutdown(self, timeout: float | None) -> None:
        """See `CorePort`."""
        self._stop(timeout)


def _has_ended(member: Member) -> bool:
    return member.phase in ("completed", "failed") and member.retry_at is None
