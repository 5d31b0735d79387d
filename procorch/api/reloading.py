"""Replacing running code (N19): the next release, and its way into the instances one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, get_args

from procorch.api.configuring import Configuring
from procorch.api.registry import Entry, Registry
from procorch.api.rolling import Replace, RollingChange, Target
from procorch.errors import ReloadError
from procorch.runtime.instance_runtime import AgentRuntime
from procorch.units import seconds

_Follower: TypeAlias = Registry | Entry | AgentRuntime
"""What has the release that new instances come from; the registry for agents that are added."""
_ADDED = ""
"""In place of a name: the agents that are added later."""


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
        keep: bool = False,
        release: int | None = None,
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
            keep: keep the release before loaded until the next reload, so that `rollback` can go
                back to it. This takes the memory of its zygote.
            release: one that an earlier call has returned and that is in use: the agents go over to
                it and share its zygote, and what that has loaded. None: a new one.

        Returns:
            The number of the new release. Agents begin with release 1.

        Raises:
            ReloadError: a new process did not start (its error is the cause), it took longer than
                ``timeout``, or another reload is under way; the release before serves on.
            PluginError: no such agent.
            ValueError: the start method is "spawn", whose workers load what is on disk; or
                ``release`` is not in use.
            AgentStopped: the orchestrator is closed.
        """
        with self._one_change(name, replace, timeout, "reload") as limit:
            number = self._one_more() if release is None else release
            if number not in self._loaded:
                raise ValueError(f"release={release}: no agent is on that release")
            self._go_over(lambda each: number, name, replace, limit, keep=keep)
            return number

    def add_from(self, release: int | None = None) -> int:
        """Have agents that are added from now on come from another release.

        Args:
            release: one that `reload` has returned before, or 1; None: a new one, which loads their
                code anew even if the zygote of other agents has loaded it.

        Returns:
            Its number.
        """
        with self._reloading:
            number = self._one_more() if release is None else release
            self._loaded.add(number)
            self._registry.release = number
            self._retire_unused()
            return number

    def _one_more(self) -> int:
        self._releases += 1
        self._loaded.add(self._releases)
        return self._releases

    async def reload_async(
        self,
        name: str | None = None,
        *,
        replace: Replace | None = None,
        timeout: float | str | None = None,
        keep: bool = False,
        release: int | None = None,
    ) -> int:
        """Like `reload`, without blocking the event loop. If the task is cancelled meanwhile, the
        reload goes on."""
        import asyncio

        return await asyncio.to_thread(
            self.reload, name, replace=replace, timeout=timeout, keep=keep, release=release
        )

    def rollback(
        self,
        name: str | None = None,
        *,
        replace: Replace | None = None,
        timeout: float | str | None = None,
    ) -> int:
        """Go back to the release before the last reload, one instance at a time like `reload`.

        That reload must have been told to ``keep`` it. Nothing is loaded: the processes come from
        the zygote that was kept. An agent goes back once. Its settings stay as they are.

        Args:
            name: an agent; None: all agents that can go back. Agents that were added after the
                reload stay as they are.
            replace, timeout: as for `reload`.

        Returns:
            The number of the release that serves now; of several the latest.

        Raises:
            ReloadError: there is no release to go back to; or, as for `reload`, an old process did
                not start, and the release that served before this call serves on.
            PluginError: no such agent.
            ValueError: the start method is "spawn".
            AgentStopped: the orchestrator is closed.
        """
        with self._one_change(name, replace, timeout, "rollback") as limit:
            entries = self._registry.entries() if name is None else [self._registry[name]]
            back = {each.name: each.before for each in entries if each.before is not None}
            if name is None and self._registry.before is not None:
                back[_ADDED] = self._registry.before
            if not back:
                who = "any agent" if name is None else f"agent {name!r}"
                raise ReloadError(
                    f"there is no release that {who} could go back to: the last reload was the "
                    "first, was without keep=True, or was rolled back already",
                    agent=name,
                )
            self._go_over(back.get, name, replace, limit, keep=False)
            return max(back.values())

    async def rollback_async(
        self,
        name: str | None = None,
        *,
        replace: Replace | None = None,
        timeout: float | str | None = None,
    ) -> int:
        """Like `rollback`, without blocking the event loop. If the task is cancelled meanwhile, it
        goes on."""
        import asyncio

        return await asyncio.to_thread(self.rollback, name, replace=replace, timeout=timeout)

    @contextmanager
    def _one_change(
        self, name: str | None, replace: Replace | None, timeout: float | str | None, what: str
    ) -> Iterator[float | None]:
        """The arguments are valid, and no other change of releases runs during the block.

        Yields:
            The seconds that it may take; None: any time.
        """
        self.must_be_ours()
        if replace is not None and replace not in get_args(Replace):
            raise ValueError(f"replace={replace!r}; known: {', '.join(get_args(Replace))}")
        limit = None if timeout is None else seconds(timeout, "timeout")
        if self._start_method != "zygote":
            raise ValueError(
                f"{what}() works with start_method='zygote'. With {self._start_method!r} each "
                "process loads what is on disk: use restart()"
            )
        if name is not None:
            self._registry[name]
        if not self._reloading.acquire(blocking=False):
            raise ReloadError("another reload is under way", agent=name)
        try:
            yield limit
        finally:
            self._retire_unused()
            self._reloading.release()

    def _go_over(
        self, target: Target, name: str | None, replace: Replace | None, limit: float | None, *,
        keep: bool,
    ) -> None:  # fmt: skip
        """Replace all instances, and remember the release before for a rollback, or none."""
        change = RollingChange(self.running_monitor(), name, target, replace, limit)
        change.run()
        with self._next_from(target, name, keep=keep):
            change.run()  # instances that were added meanwhile, from the release before

    @contextmanager
    def _next_from(self, target: Target, name: str | None, *, keep: bool) -> Iterator[None]:
        """New instances come from the release that ``target`` names, unless the block raises."""
        entries = self._registry.entries() if name is None else [self._registry[name]]
        named: list[Entry | AgentRuntime] = [*entries, *self.running_monitor().running(name)]
        all_of: list[tuple[_Follower, int | None]] = [(each, target(each.name)) for each in named]
        if name is None:
            all_of.append((self._registry, target(_ADDED)))
        of = [(each, release) for each, release in all_of if release is not None]
        before = [each.release for each, _ in of]
        for each, release in of:
            each.release = release
        try:
            yield
        except BaseException:
            for (each, _), old in zip(of, before, strict=True):
                each.release = old
            raise
        for (each, _), old in zip(of, before, strict=True):
            if not isinstance(each, AgentRuntime):
                each.before = old if keep else None

    def _one_user_less(self) -> None:
        """An agent was removed; a change that is under way looks at the releases at its end."""
        if self._reloading.acquire(blocking=False):
            try:
                self._retire_unused()
            finally:
                self._reloading.release()

    def _retire_unused(self) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        used: set[int | None] = {self._registry.release, self._registry.before}
        for entry in self._registry.entries():
            used.update((entry.release, entry.before))
        for agent in monitor.running(None):
            used.update((agent.release, *(each.release for each in agent.live())))
        for release in self._loaded - used:
            monitor.retire(release)
        self._loaded &= used
