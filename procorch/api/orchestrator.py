"""The registry of agents, and the face of the whole."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, Unpack

from procorch.api.children import ChildCounts, ChildInfo
from procorch.api.context_manager import ClosedOnExit
from procorch.api.handle import OrchestratedHandle
from procorch.api.registry import Entry, Registry
from procorch.errors import AgentStopped, PluginError
from procorch.futures.fork_guard import is_ours
from procorch.futures.watch import EventStream as EventStream
from procorch.futures.watch import Hub
from procorch.launch import launchers
from procorch.runtime.instance_runtime import Link
from procorch.runtime.lifetime import close_at_exit, forget_definitions, keep_definitions
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.monitor import Monitor
from procorch.runtime.output import Output
from procorch.runtime.submit import numbered_apart as numbered_apart
from procorch.supervision import events as ev
from procorch.supervision.keywords import Settings
from procorch.supervision.policy import Policy, checked_policy
from procorch.supervision.settings import AgentSettings
from procorch.units import size_in_bytes, whole

_FRAME_EXTRA = 1 << 20
"""Bytes that a frame may have beside its message (``worker.main`` keeps its heads below)."""


class AgentOrchestrator(ClosedOnExit):
    """Starts named agents, each in a process of its own, and replaces them when they fail.

    A context manager (also asynchronous): leaving the block closes it. Settings may be given here
    or with the chainable ``with_...`` methods. All methods are safe to call from any thread.

    Args:
        supervisor: decides what happens after an error: an object with
            ``on_agent_error(name, error)`` or a function of that signature. None: a failed agent is
            kept and a dead one ends FAILED.
        channel_buffer: requests that may wait in an agent's queue before senders have to.
        max_restarts: consecutive restarts of an agent; None: the policy's ``max_restarts``, or 3.
        max_message: the largest request or reply, in bytes or as text such as ``"1G"``.
        preload: modules that the process which workers are forked from imports beforehand, so that
            a start does not pay for them.
        start_method: "zygote" forks workers from a warm process (Linux, the default there), "spawn"
            starts a fresh interpreter for each. Also by the variable ``PROCORCH_START_METHOD``.
        seed: what ``current().seed`` is derived from; None: a new one for each orchestrator.
    """

    def __init__(
        self,
        *,
        supervisor: Policy | None = None,
        channel_buffer: int = 32,
        max_restarts: int | None = None,
        max_message: int | str = "1G",
        preload: Sequence[str] = (),
        start_method: str | None = None,
        seed: int | None = None,
    ) -> None:
        self._registry = Registry()
        self._supervisor = checked_policy(supervisor)
        self._channel_buffer = whole(channel_buffer, "channel_buffer", least=1)
        self._max_restarts = None if max_restarts is None else whole(max_restarts, "max_restarts")
        self._max_message = size_in_bytes(max_message, "max_message")
        if isinstance(preload, str) or not all(isinstance(name, str) for name in preload):
            raise TypeError(f"preload must be a list of module names, not {preload!r}")
        self._preload = tuple(preload)
        self._start_method = launchers.start_method(start_method)
        if self._preload and self._start_method != "zygote":
            raise ValueError(
                f"preload works with start_method='zygote', not with {self._start_method!r}"
            )
        chosen = _any_seed() if seed is None else whole(seed, "seed", least=None)
        self._seed = str(chosen)
        self._monitor: Monitor | None = None
        self._closed = False
        keep_definitions(self)
        self._keys = itertools.count(1)
        # Re-entrant: a signal handler or a finalizer may come in between and use this, too.
        self._lock = threading.RLock()

    def with_supervisor(self, policy: Policy) -> Self:
        """Set the policy for agents spawned from now on."""
        self._supervisor = checked_policy(policy)
        return self

    def with_channel_buffer(self, size: int) -> Self:
        """Set the length of the queues of agents spawned from now on."""
        self._channel_buffer = whole(size, "channel_buffer", least=1)
        return self

    def with_max_restarts(self, limit: int) -> Self:
        """Set the budget of agents registered from now on (seed: captured at registration)."""
        self._max_restarts = whole(limit, "max_restarts")
        return self

    # ---- the registry

    def add_agent(
        self, name: str, factory: Callable[[], Any], **settings: Unpack[Settings]
    ) -> None:
        """Register an agent.

        Args:
            name: how it is called from now on.
            factory: called without arguments in the worker at every start; returns what
                `procorch.Agent` is made of (`AgentOptions`, a callable, an object with ``prompt``
                or ``handle``). Serialised here and now.
            settings: see `procorch.supervision.keywords.Settings` and docs/settings.md.

        Raises:
            ValueError: the name is taken, or a setting is out of range; nothing is changed.
            TypeError: an unknown setting, or one of a wrong type; nothing is changed.
            SerializationError: the factory cannot be serialised, with the path to the culprit.
        """
        self._add(name, None, factory, settings)

    def add_child(
        self, name: str, parent: str, factory: Callable[[], Any], **settings: Unpack[Settings]
    ) -> None:
        """Register an agent under ``parent``; otherwise like `add_agent`.

        Raises:
            ValueError: also when ``parent`` is not registered.
        """
        self._add(name, parent, factory, settings)

    def _add(
        self, name: str, parent: str | None, factory: Callable[[], Any], given: Mapping[str, Any]
    ) -> None:
        self.must_be_ours()
        self._registry.add(name, parent, factory, given, self._max_restarts)

    def parent_of(self, name: str) -> str | None:
        """The parent's name; None for a top-level or unknown agent."""
        entry = self._registry.get(name)
        return None if entry is None else entry.parent

    def children_of(self, name: str) -> tuple[str, ...] | None:
        """The children's names in order of registration; None for an unknown agent."""
        entry = self._registry.get(name)
        return None if entry is None else tuple(entry.children)

    def names(self) -> list[str]:
        """All names in order of registration."""
        return self._registry.names()

    def contains(self, name: str) -> bool:
        """Whether an agent of that name is registered; also ``name in orchestrator``."""
        return name in self._registry

    def __contains__(self, name: object) -> bool:
        return name in self._registry

    def __len__(self) -> int:
        return len(self._registry.names())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __repr__(self) -> str:
        return (
            f"AgentOrchestrator(agents={self.names()!r}, supervisor={self._supervisor!r}, "
            f"channel_buffer={self._channel_buffer})"
        )

    # ---- running agents

    def spawn(self, name: str, *, wait: bool = True) -> OrchestratedHandle:
        """Start one instance of a registered agent; each call starts another.

        Args:
            wait: return when the agent is ready; False: at once.

        Raises:
            PluginError: no such agent, or the orchestrator is closed.
            StartError: the agent could not be started (N9); nothing stays behind.
            OSError: the file for its ``output`` cannot be written.
        """
        return self.spawn_replicas(name, 1, wait=wait)[0]

    def spawn_replicas(
        self,
        name: str,
        count: int,
        *,
        beside: OrchestratedHandle | None = None,
        wait: bool = True,
    ) -> tuple[OrchestratedHandle, ...]:
        """Start ``count`` instances of one agent behind one queue; otherwise like `spawn`.

        A request sent to any of the handles goes to whichever instance is free first.

        Args:
            beside: a running instance whose queue they share; None: they get one of their own.
        """
        self.must_be_ours()
        entry = self._registry[name]
        settings = entry.settings(self._channel_buffer, self._supervisor)
        if beside is None:
            mailbox = Mailbox(next(self._keys), settings.channel_buffer)
        else:
            mailbox = beside.mailbox
        links = [self._link(entry, settings, mailbox) for _ in range(count)]
        return self._start(links, wait=wait)

    def spawn_tree(self, root: str) -> dict[str, OrchestratedHandle]:
        """Start ``root`` and all agents below it as one supervised tree.

        Parents first, siblings in order of registration, each ready before the next begins (OTP).

        Returns:
            The handles by name, in order of start.

        Raises:
            PluginError: no such agent, or the orchestrator is closed.
            StartError: one of them could not be started; those before it are stopped again.
        """
        self.must_be_ours()
        handles: dict[str, OrchestratedHandle] = {}
        try:
            for entry in self._registry.subtree(root):
                above = handles.get(entry.parent) if entry.parent is not None else None
                handles[entry.name] = self._spawn_under(entry.name, above)
        except BaseException:
            for handle in reversed(handles.values()):
                handle.cancel()
            for handle in handles.values():
                handle.wait()
            raise
        return handles

    def spawn_all(self) -> dict[str, OrchestratedHandle]:
        """Start every top-level agent with its subtree; else like `spawn_tree`."""
        self.must_be_ours()
        handles: dict[str, OrchestratedHandle] = {}
        try:
            for name in self._registry.tops():
                handles.update(self.spawn_tree(name))
        except BaseException:
            for handle in handles.values():
                handle.cancel()
            for handle in handles.values():
                handle.wait()
            raise
        return handles

    def start_child(
        self, parent: str, name: str, factory: Callable[[], Any], **settings: Unpack[Settings]
    ) -> OrchestratedHandle:
        """Register an agent under ``parent`` and start it under the parent's live instance.

        Raises:
            PluginError: ``parent`` does not run.
            StartError: it could not be started; its registration is undone.
        """
        self.must_be_ours()
        self.add_child(name, parent, factory, **settings)
        try:
            above = self.handle(parent)
            if above is None:
                raise PluginError("orchestrator", f"agent {parent!r} is not running")
            return self._spawn_under(name, above)
        except BaseException:
            self._registry.remove(name)
            raise

    def _spawn_under(self, name: str, parent: OrchestratedHandle | None) -> OrchestratedHandle:
        entry = self._registry[name]
        settings = entry.settings(self._channel_buffer, self._supervisor)
        link = self._link(entry, settings, Mailbox(next(self._keys), settings.channel_buffer))
        link.parent = None if parent is None else parent.instance
        return self._start([link], wait=True)[0]

    def _link(self, entry: Entry, settings: AgentSettings, mailbox: Mailbox) -> Link:
        key = next(self._keys)
        return Link(
            key,
            entry.name,
            settings,
            entry.factory,
            mailbox,
            self._supervisor,
            output=Output(settings.output),
        )

    def _start(self, links: list[Link], *, wait: bool) -> tuple[OrchestratedHandle, ...]:
        monitor = self._running()
        monitor.spawn(links)
        if wait:
            try:
                for link in links:
                    link.started.result()
            except BaseException:  # KeyboardInterrupt, too: who does not get a handle cannot cancel
                for link in links:
                    monitor.post(ev.Cancel(link.key))
                for link in links:
                    link.ended.exception()
                raise
        return tuple(self._handle_of(link, monitor) for link in links)

    def _handle_of(self, link: Link, monitor: Monitor) -> OrchestratedHandle:
        return OrchestratedHandle(link, monitor, self._max_message)

    # ---- the running tree

    def handle(self, name: str) -> OrchestratedHandle | None:
        """The live instance of a name (the latest, if there are several); None without one."""
        self.must_be_ours()
        self._registry[name]
        monitor = self._monitor
        link = None if monitor is None else monitor.find(name)
        return None if monitor is None or link is None else self._handle_of(link, monitor)

    def stop(self, name: str, *, grace: float | str | None = None) -> None:
        """Stop the live instance of a name, the agents linked to it first, and wait for the end.

        Args:
            grace: seconds to finish what was accepted; default: the agent's ``shutdown.grace``.

        Raises:
            PluginError: no such agent. One that does not run is left alone.
        """
        self.must_be_ours()
        handle = self.handle(name)
        if handle is not None:
            handle.stop(grace=grace)

    def restart(self, name: str) -> None:
        """Give an agent a fresh process and wait until it is ready; not counted (N1).

        Raises:
            PluginError: no such agent, or it does not run.
            AgentError: it ended instead.
        """
        self.must_be_ours()
        handle = self.handle(name)
        if handle is None:
            raise PluginError("orchestrator", f"agent {name!r} is not running")
        handle.restart()

    def remove(self, name: str) -> None:
        """Stop an agent and forget it.

        Raises:
            PluginError: no such agent.
            ValueError: it has children; remove them first.
        """
        self.must_be_ours()
        self._registry.must_be_childless(name)
        self.stop(name)
        self._registry.remove(name)

    def which_children(self, name: str) -> tuple[ChildInfo, ...]:
        """The registered children and how they are, in order of registration (OTP)."""
        self.must_be_ours()
        found = []
        for child in self._registry[name].children:
            handle = self.handle(child)
            state = "stopped" if handle is None else handle.running_state()
            restart = self._registry[child].given.get("restart", "transient")
            found.append(ChildInfo(child, handle, state, restart))
        return tuple(found)

    def count_children(self, name: str) -> ChildCounts:
        """How many children there are, and how many of them run (OTP)."""
        self.must_be_ours()
        children = self._registry[name].children
        above = sum(bool(self._registry[child].children) for child in children)
        active = sum(self.handle(child) is not None for child in children)
        return ChildCounts(len(children), active, above, len(children) - above)

    # ---- watching

    def monitor(self, name: str) -> EventStream:
        """Events of one agent from now on, for ``for`` or ``async for``; ends with the agent (N18).

        Watching an agent that has already ended yields its end.

        Raises:
            PluginError: no such agent.
        """
        self.must_be_ours()
        self._registry[name]
        return self._hub().watch(name)

    def events(self) -> EventStream:
        """Events of all agents from now on, for ``for`` and ``async for``; ends with `close`."""
        self.must_be_ours()
        return self._hub().watch(None)

    def _hub(self) -> Hub:
        # One that is closed still tells of the ends that it has seen.
        monitor = self._monitor or self._running()
        return monitor.hub

    def _running(self) -> Monitor:
        with self._lock:
            if self._closed:
                raise AgentStopped("the orchestrator is closed")
            if self._monitor is None:
                monitor = self._make_monitor()
                if self._closed:
                    raise AgentStopped("the orchestrator is closed")
                if self._monitor is None:
                    self._monitor = monitor
                    try:
                        monitor.start()
                    except BaseException:  # no memory for a thread: the next call may have some
                        self._monitor = None
                        raise
                    close_at_exit(monitor)
            return self._monitor

    def _make_monitor(self) -> Monitor:
        max_frame = self._max_message + _FRAME_EXTRA
        launcher = launchers.launcher(self._start_method, max_frame, self._preload, _sys_path())
        return Monitor(launcher, self._max_message, _sys_path, seed=self._seed)

    # ---- whose it is

    def must_be_ours(self) -> None:
        """Refuse callers in the child of a fork, where the agents are somebody else's (N21).

        What needs agents does so by itself. Nothing waits there, and nothing touches the agents.

        Raises:
            AgentStopped: they were started by another process.
        """
        if self._monitor is not None:
            self._monitor.must_be_ours()

    def leave(self, kind: type[BaseException] | None) -> bool:
        """See `ClosedOnExit.leave`.

        In the child of a fork that leaves by an exception, `SystemExit` as a rule, there is not:
        that goes on undisturbed.

        Raises:
            AgentStopped: such a child comes out at the end of the block.
        """
        if kind is None or self._monitor is None:
            self.must_be_ours()
            return True
        return is_ours(self._monitor.owner)

    # ---- closing

    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """End all agents and wait until no process is left (N7, N15). Closing twice is one close.

        Args:
            drain: finish what was accepted; False: abort it (`Aborted`).
            timeout: seconds for all of it; at the deadline what is left is aborted and killed.
        """
        self.must_be_ours()
        with self._lock:
            self._closed = True
            monitor = self._monitor
        if monitor is not None:
            monitor.close(drain=drain, timeout=timeout)
        forget_definitions(self)

    def await_quiet(self, timeout: float) -> None:
        """Wait until each request has its outcome, at most ``timeout`` seconds (pools)."""
        self.must_be_ours()
        monitor = self._monitor
        if monitor is not None:
            monitor.await_quiet(timeout)


def _any_seed() -> int:
    """63 random bits; not by `secrets`, which loads OpenSSL into every program."""
    return int.from_bytes(os.urandom(8)) >> 1


def _sys_path() -> list[str]:
    """The parent's ``sys.path`` as it means the same elsewhere: the empty entry is the cwd, and
    nothing where that has been deleted.

    Entries that are no text (a ``Path``) mean nothing to Python's import either. Those that UTF-8
    cannot carry stay behind: `heads` are text.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    paths = [path or here for path in sys.path if isinstance(path, str) and (path or here)]
    return [
        path for path in paths if path.isascii() or path == path.encode(errors="ignore").decode()
    ]
