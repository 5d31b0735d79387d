"""Replacing running code (N19): the next release, and its way into the instances one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, get_args

from procorch.api.configuring import Configuring
from procorch.api.registry import Entry, Registry
from procorch.errors import AgentError, AgentStopped, ReloadError
from procorch.runtime import reloads
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.monitor import Monitor
from procorch.units import seconds

Replace: TypeAlias = Literal["start_first", "stop_first"]
"""How an instance gets its new process: beside the old one, or after it."""


class Reloading(Configuring):
    """The part of `AgentOrchestrator` that replaces releases."""

    def __init__(self, max_restarts: int | None, **settings: Any) -> None:
        super().__init__(max_restarts, **settings)
        self._releases = 1
        self._loaded = {1}
        self._reloading = threading.Lock()

    def reload(
        self,
        name: str | None = None,
        *,
        replace: Replace | None = None,
        timeout: float | str | None = None,
    ) -> int:
        """Load the code of agents anew, and replace their processes one instance at a time.

        The first new process that does not start ends it: the release before serves on, also in
        instances that were replaced already. No request fails because of it, and no restart is
        counted. Handles stay valid. Agents that do not run get the new code when they are spawned.

        Args:
            name: an agent; None: all agents of the orchestrator.
            replace: "start_first": the new process becomes ready beside the old one, which finishes
                its request and leaves. "stop_first": the old one leaves first, and requests wait
                meanwhile. None: "stop_first" for an agent that has stored a checkpoint, because a
                state must not be held twice, and "start_first" for all others.
            timeout: seconds until all instances are replaced; None: no limit. Each start has the
                agent's ``start_timeout``.

        Returns:
            The number of the new release. Agents begin with release 1.

        Raises:
            ReloadError: a new process did not start (its error is the cause), it took longer than
                ``timeout``, or another reload is under way; the release before serves on.
            PluginError: no such agent.
            ValueError: the start method is "spawn", whose workers load what is on disk.
            AgentStopped: the orchestrator is closed.
        """
        self.must_be_ours()
        if replace is not None and replace not in get_args(Replace):
            raise ValueError(f"replace={replace!r}; known: {', '.join(get_args(Replace))}")
        limit = None if timeout is None else seconds(timeout, "timeout")
        if self._start_method != "zygote":
            raise ValueError(
                f"reload() works with start_method='zygote'. With {self._start_method!r} each "
                "process loads what is on disk: use restart()"
            )
        entries = self._registry.entries() if name is None else [self._registry[name]]
        if not self._reloading.acquire(blocking=False):
            raise ReloadError("another reload is under way", agent=name)
        try:
            self._releases += 1
            self._loaded.add(self._releases)
            change = _Change(self.running_monitor(), name, self._releases, replace, limit)
            change.run()
            with self._next_from(change.release, name, entries):
                change.run()  # instances that were added meanwhile, from the release before
            return change.release
        finally:
            self._retire_unused()
            self._reloading.release()

    async def reload_async(
        self,
        name: str | None = None,
        *,
        replace: Replace | None = None,
        timeout: float | str | None = None,
    ) -> int:
        """Like `reload`, without blocking the event loop. If the task is cancelled meanwhile, the
        reload goes on."""
        import asyncio

        return await asyncio.to_thread(self.reload, name, replace=replace, timeout=timeout)

    @contextmanager
    def _next_from(self, release: int, name: str | None, entries: list[Entry]) -> Iterator[None]:
        """New instances come from ``release``, unless the block raises."""
        of: list[Registry | Entry | AgentRuntime] = [*entries]
        if name is None:
            of.append(self._registry)
        of += self.running_monitor().running(name)
        before = [each.release for each in of]
        for each in of:
            each.release = release
        try:
            yield
        except BaseException:
            for each, old in zip(of, before, strict=True):
                each.release = old
            raise

    def _retire_unused(self) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        used = {self._registry.release, *(entry.release for entry in self._registry.entries())}
        for agent in monitor.running(None):
            used.update((agent.release, *(each.release for each in agent.live())))
        for release in self._loaded - used:
            monitor.retire(release)
        self._loaded &= used


class _Change:
    """One reload.

    Args:
        name: the agent; None: all.
        release: the number of the new release.
        replace: how; None: as it suits each instance.
        limit: seconds in all; None: any time.
    """

    def __init__(
        self, monitor: Monitor, name: str | None, release: int, replace: Replace | None,
        limit: float | None,
    ) -> None:  # fmt: skip
        self.release = release
        self._monitor = monitor
        self._name = name
        self._replace = replace
        self._until = None if limit is None else time.monotonic() + limit
        self._limit = limit
        self._seen: set[int] = set()
        self._done: list[tuple[InstanceRuntime, int]] = []

    def run(self) -> None:
        """Replace all instances that have not been replaced.

        Raises:
            ReloadError: one could not be replaced, and all are on the release before again.
        """
        while left := [each for each in self._instances() if each.key not in self._seen]:
            self._seen.add(left[0].key)
            try:
                self._one(left[0])
            except BaseException as error:
                self._go_back()
                if isinstance(error, AgentError | TimeoutError):
                    raise self._failed(left[0], error) from error
                raise

    def _instances(self) -> list[InstanceRuntime]:
        return [each for agent in self._monitor.running(self._name) for each in agent.live()]

    def _left(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def _one(self, instance: InstanceRuntime) -> None:
        if instance.release == self.release:
            return  # It was added after new instances came from it.
        if instance.started.exception(self._left()) is not None:
            return  # Its first start has failed, and its caller knows.
        stop_first = instance.checkpoint is not None
        if self._replace is not None:
            stop_first = self._replace == "stop_first"
        before = instance.release
        done = reloads.reload(self._monitor, instance, self.release, stop_first=stop_first)
        try:
            done.result(self._left())
        except AgentStopped:
            return  # It ends, and not because of the new release.
        except AgentError:
            raise
        except BaseException:
            reloads.give_up(self._monitor, instance)
            if done.exception() is None:  # it was replaced in the last moment
                self._done.append((instance, before))
            raise
        self._done.append((instance, before))

    def _go_back(self) -> None:
        back = [
            reloads.reload(self._monitor, each, before, back=True)
            for each, before in reversed(self._done)
        ]
        for each in back:
            each.exception()

    def _failed(self, instance: InstanceRuntime, error: BaseException) -> ReloadError:
        why = (
            f"not done within {self._limit:g} s"
            if isinstance(error, TimeoutError) and self._limit is not None
            else str(error)
        )
        return ReloadError(
            f"agent {instance.name!r} (instance {instance.slot}): release {self.release} was given "
            f"up, the one before serves on: {why}",
            agent=instance.name,
            instance=instance.slot,
            release=self.release,
            remote_traceback=getattr(error, "remote_traceback", ""),
        )
