"""The orchestrator: registers agents, starts them, and manages the running tree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Self, Unpack

from procorch.api.children import ChildCounts, ChildInfo, running_state
from procorch.api.handle import OrchestratedHandle
from procorch.api.registration import Registration
from procorch.api.registry import Entry
from procorch.api.replica import ReplicaHandle
from procorch.errors import PluginError
from procorch.futures.watch import EventStream as EventStream
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.monitor import Monitor
from procorch.runtime.output import Output
from procorch.runtime.submit import numbered_apart as numbered_apart
from procorch.supervision import events as ev
from procorch.supervision.keywords import Settings
from procorch.supervision.policy import Policy, checked_policy
from procorch.units import whole


class AgentOrchestrator(Registration):
    """Starts named agents, each in a process of its own, and replaces them when they fail.

    A context manager (also asynchronous): leaving the block closes it. Settings may be given here
    or with the chainable ``with_...`` methods. All methods are safe to call from any thread.

    Args:
        supervisor: decides what happens after an error: an object with
            ``on_agent_error(name, error)`` or a function with that signature. None: an agent whose
            request fails is kept, and one whose process dies ends FAILED.
        channel_buffer: requests that may wait in an agent's queue; further senders wait until there
            is room.
        max_restarts: consecutive restarts of an agent; None: the policy's ``max_restarts``, or 3.
        max_message: the largest request or reply, in bytes or as text such as ``"1G"``.
        preload: names of modules that the zygote imports once, so that workers start faster.
        start_method: "zygote" forks workers from a process that has everything loaded (only on
            Linux, and the default there); "spawn" starts a new interpreter for each. None: the
            environment variable ``PROCORCH_START_METHOD``, or the default.
        seed: ``current().seed`` is derived from it; None: a new one for each orchestrator.
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
        super().__init__(
            max_restarts, max_message=max_message, preload=preload, start_method=start_method,
            seed=seed,
        )  # fmt: skip
        self._supervisor = checked_policy(supervisor)
        self._channel_buffer = whole(channel_buffer, "channel_buffer", least=1)
        self._keys = itertools.count(1)

    def with_supervisor(self, policy: Policy) -> Self:
        """Set the policy for agents spawned from now on."""
        self._supervisor = checked_policy(policy)
        return self

    def with_channel_buffer(self, size: int) -> Self:
        """Set ``channel_buffer`` for agents spawned from now on."""
        self._channel_buffer = whole(size, "channel_buffer", least=1)
        return self

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
            StartError: the agent could not be started (N9); no process is left.
            OSError: the file for its ``output`` cannot be written.
        """
        self.must_be_ours()
        instance = self._new_instance(self._registry[name], None)
        return self._handle_of(instance, self._start([instance], wait=wait))

    def spawn_replicas(
        self,
        name: str,
        count: int,
        *,
        beside: ReplicaHandle | None = None,
        wait: bool = True,
    ) -> tuple[ReplicaHandle, ...]:
        """Start ``count`` instances of one agent behind one queue; otherwise like `spawn`.

        A request sent to any of the handles goes to the first free instance.

        Args:
            beside: a running instance whose queue they share; None: they get a new one.
        """
        self.must_be_ours()
        mailbox = None if beside is None else beside.mailbox
        instances: list[InstanceRuntime] = []
        for _ in range(count):
            instance = self._new_instance(self._registry[name], mailbox)
            mailbox = instance.mailbox
            instances.append(instance)
        monitor = self._start(instances, wait=wait)
        return tuple(ReplicaHandle(instance, monitor, self._max_message) for instance in instances)

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
        """Start all top-level agents with their subtrees; otherwise like `spawn_tree`."""
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
        """Register an agent under ``parent`` and start it under the parent's running instance.

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
        instance = self._new_instance(self._registry[name], None)
        instance.parent = None if parent is None else parent.instance
        return self._handle_of(instance, self._start([instance], wait=True))

    def _new_instance(self, entry: Entry, mailbox: Mailbox | None) -> InstanceRuntime:
        """A new instance. ``mailbox``: the one that it shares; None: a new one."""
        settings = entry.settings(self._channel_buffer, self._supervisor)
        self._must_have_limit(entry.name, settings.limit)
        if mailbox is None:
            mailbox = Mailbox(next(self._keys), settings.channel_buffer)
        return InstanceRuntime(
            next(self._keys),
            entry.name,
            settings,
            entry.factory,
            mailbox,
            self._supervisor,
            output=Output(settings.output),
            imports=entry.imports,
        )

    def _start(self, instances: list[InstanceRuntime], *, wait: bool) -> Monitor:
        monitor = self.running_monitor()
        monitor.spawn(instances)
        if wait:
            try:
                for instance in instances:
                    instance.started.result()
            except (
                BaseException
            ):  # also KeyboardInterrupt: without a handle the caller could not cancel
                for instance in instances:
                    monitor.post(ev.Cancel(instance.key))
                for instance in instances:
                    instance.ended.exception()
                raise
        return monitor

    def _handle_of(self, instance: InstanceRuntime, monitor: Monitor) -> OrchestratedHandle:
        return OrchestratedHandle(instance, monitor, self._max_message)

    # ---- the running tree

    def handle(self, name: str) -> OrchestratedHandle | None:
        """The handle of the running instance of a name, the latest of several; None: none runs."""
        self.must_be_ours()
        self._registry[name]
        monitor = self._monitor
        instance = None if monitor is None else monitor.find(name)
        return None if monitor is None or instance is None else self._handle_of(instance, monitor)

    def stop(self, name: str, *, grace: float | str | None = None) -> None:
        """Stop the running instance of a name, the agents linked to it first, and wait for the end.

        Args:
            grace: seconds for the accepted requests; default: the agent's ``shutdown.grace``.

        Raises:
            PluginError: no such agent. (One that does not run is not an error.)
        """
        self.must_be_ours()
        handle = self.handle(name)
        if handle is not None:
            handle.stop(grace=grace)

    def restart(self, name: str) -> None:
        """Replace an agent's process and wait until the new one is ready; not counted (N1).

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
        """Stop an agent and remove its registration.

        Raises:
            PluginError: no such agent.
            ValueError: it has children; remove them first.
        """
        self.must_be_ours()
        self._registry.must_be_childless(name)
        self.stop(name)
        self._registry.remove(name)

    def which_children(self, name: str) -> tuple[ChildInfo, ...]:
        """The registered children and their states, in order of registration (OTP)."""
        self.must_be_ours()
        found = []
        for child in self._registry[name].children:
            instance = None if self._monitor is None else self._monitor.find(child)
            if self._monitor is None or instance is None:
                handle, state = None, "stopped"
            else:
                handle = self._handle_of(instance, self._monitor)
                state = running_state(self._monitor.look(instance)[0])
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

    def monitor(self, name: str, *, requests: bool = True) -> EventStream:
        """Events of one agent from now on, for ``for`` or ``async for``; ends with the agent (N18).

        Watching an agent that has already ended yields its end.

        Args:
            requests: also `RequestStarted` and `RequestDone`; without them watching costs the
                requests no time.

        Raises:
            PluginError: no such agent.
        """
        self.must_be_ours()
        self._registry[name]
        return self.hub().watch(name, requests=requests)

    def events(self, *, requests: bool = True) -> EventStream:
        """Events of all agents from now on, for ``for`` and ``async for``; ends with `close`.

        Args:
            requests: as for `monitor`.
        """
        self.must_be_ours()
        return self.hub().watch(None, requests=requests)
