"""Starting registered agents, alone and as trees."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, Unpack

from procorch.api import scaling
from procorch.api.handle import OrchestratedHandle
from procorch.api.pool_handle import PoolHandle
from procorch.api.registration import Registration
from procorch.api.registry import Entry
from procorch.errors import PluginError
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.monitor import Monitor
from procorch.runtime.output import Output
from procorch.supervision.keywords import Settings
from procorch.supervision.policy import Policy, checked_policy
from procorch.units import whole


class Spawning(Registration):
    """The part of `AgentOrchestrator` that starts agents."""

    def __init__(
        self,
        max_restarts: int | None,
        *,
        supervisor: Policy | None,
        channel_buffer: int,
        **settings: Any,
    ) -> None:
        super().__init__(max_restarts, **settings)
        self._supervisor = checked_policy(supervisor)
        self._channel_buffer = whole(channel_buffer, "channel_buffer", least=1)
        self._keys = itertools.count(1)
        # Held while an agent is begun with its settings, or these are changed. Re-entrant: a signal
        # handler or a finalizer may interrupt one of both and spawn an agent.
        self._configuring = threading.RLock()

    def spawn(
        self,
        name: str,
        *,
        parent: OrchestratedHandle | None = None,
        wait: bool = True,
        conversation: str | None = None,
    ) -> OrchestratedHandle:
        """Start a registered agent with all its instances; each call starts another one.

        Args:
            conversation: the conversation that requests of the handle belong to, as with
                `OrchestratedHandle.conversation`; None: they belong to none.
            parent: the running agent that it is started under: a handle of the agent that it was
                registered under. None: it is started by itself, outside of any group.
            wait: return when the agent is ready; False: at once.

        Returns:
            The handle of the agent: requests go to its queue, and to the first free instance.

        Raises:
            PluginError: no such agent, or the orchestrator is closed.
            ValueError: ``parent`` is a handle of another orchestrator, or of an agent that it was
                not registered under.
            AgentStopped: ``parent`` is ending, or has ended.
            StartError: the agent could not be started (N9); no process is left.
            OSError: the file for its ``output`` cannot be written.
            ConversationStoreError: the file of the conversations cannot be used.
        """
        if conversation is not None:
            from procorch.api.conversations.conversation import must_be_a_name

            must_be_a_name(conversation)
            self.keeper()  # a file that cannot be used is refused before anything runs
        if parent is not None:
            self._must_be_parent(name, parent)
        return self._spawn(name, parent, wait=wait, conversation=conversation)

    def _must_be_parent(self, name: str, parent: OrchestratedHandle) -> None:
        above = self._registry[name].parent
        if not parent.belongs_to(self._monitor):
            raise ValueError(
                f"agent {name!r} cannot start under {parent.name!r}: that agent runs in another "
                "orchestrator"
            )
        if parent.name != above:
            registered = "without a parent" if above is None else f"under {above!r}"
            raise ValueError(
                f"agent {name!r} cannot start under {parent.name!r}: it is registered {registered}"
            )

    def spawn_pool(self, name: str) -> PoolHandle:
        """Like `spawn`; the handle also controls the queue (pools, executors, batches)."""
        self.must_be_ours()
        agent, monitor = self._begin(name, None, wait=True)
        return PoolHandle(agent, monitor, self._max_message)

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
                handles[entry.name] = self._spawn(entry.name, above)
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
        """Register an agent under ``parent`` and start it under the running ``parent``.

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
            return self._spawn(name, above)
        except BaseException:
            self._registry.remove(name)
            raise

    def _spawn(
        self,
        name: str,
        parent: OrchestratedHandle | None,
        *,
        wait: bool = True,
        conversation: str | None = None,
    ) -> OrchestratedHandle:
        self.must_be_ours()
        return self._handle_of(*self._begin(name, parent, wait=wait), conversation)

    def _begin(
        self, name: str, parent: OrchestratedHandle | None, *, wait: bool
    ) -> tuple[AgentRuntime, Monitor]:
        with self._configuring:
            agent = self._new_agent(self._registry[name])
            agent.parent = None if parent is None else parent.instance
            monitor = self.running_monitor()
            fresh = scaling.begin(monitor, agent)
        if wait:
            scaling.await_start(monitor, agent, fresh)
        return agent, monitor

    def _new_agent(self, entry: Entry) -> AgentRuntime:
        settings = entry.settings(self._channel_buffer, self._supervisor)
        self._must_have_limit(entry.name, settings.limit)
        return AgentRuntime(
            entry.name,
            settings,
            entry.factory,
            Mailbox(next(self._keys), settings.channel_buffer),
            self._new_instance,
            self._supervisor,
            imports=entry.imports,
            payers=self._registry.payers(entry.name),
            release=entry.release,
            size=settings.instances,
            service=entry.service,
        )

    def _new_instance(self, agent: AgentRuntime, slot: int) -> InstanceRuntime:
        output = Output(agent.settings.output if self._output_sink is None else "capture")
        return InstanceRuntime(next(self._keys), agent, slot, output=output, release=agent.release)

    def _handle_of(
        self, agent: AgentRuntime, monitor: Monitor, conversation: str | None = None
    ) -> OrchestratedHandle:
        keeper = None if self._conversations is None else self.keeper
        return OrchestratedHandle(agent, monitor, self._max_message, keeper, conversation)

    def handle(self, name: str) -> OrchestratedHandle | None:
        """The handle of the running agent of a name, the latest of several; None: none runs."""
        self.must_be_ours()
        self._registry[name]
        monitor = self._monitor
        agent = None if monitor is None else monitor.find(name)
        return None if monitor is None or agent is None else self._handle_of(agent, monitor)
