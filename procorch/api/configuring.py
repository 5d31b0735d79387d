"""Other settings, and another factory, for an agent that is registered and perhaps runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from procorch.agents.programs import is_command
from procorch.api.registry import Entry, check_service
from procorch.api.spawning import Spawning
from procorch.runtime.instance_runtime import AgentRuntime
from procorch.runtime.monitor import Monitor
from procorch.supervision.budgets import Payer
from procorch.supervision.keywords import Settings
from procorch.supervision.settings import AgentSettings
from procorch.supervision.shared_limit import Limit

if TYPE_CHECKING:
    from procorch.agents.command import Command


class Configuring(Spawning):
    """The part of `AgentOrchestrator` that changes registered agents."""

    def configure(
        self,
        name: str,
        factory: Callable[[], Any] | Command[Any] | None = None,
        *,
        says_ready: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        """Give an agent other settings, and perhaps another factory, whether it runs or not.

        The agent has exactly these settings afterwards: one that is not given has its default. A
        running agent goes on with its processes, its queue and its counted restarts:

        - What the supervisor decides follows at once: timeouts, ``heartbeat_timeout``, ``max_age``,
          ``max_requests``, ``restart``, ``max_restarts``, ``intensity``, ``shutdown``,
          ``strategy``, ``link``, ``significant``, ``auto_shutdown``, ``channel_buffer``, ``rate``,
          ``throttle`` and so on. Requests that were sent before keep their ``request_timeout`` and
          ``retries``. A backoff under way is not shortened.
        - What a process is started with applies to its next process (`restart`, `reload`, a
          crash): the factory, ``env``, ``cwd``, ``priority``, ``cpus``, ``memory_limit``,
          ``address_space_limit``, ``max_memory``, ``client_retries``, ``answers``, ``limit``, and a
          ``prefetch`` of 1 or no longer of 1. A ``budget`` applies at once if the process was
          started with any, and otherwise to the next one.
        - ``instances`` is for the next `spawn`; `scale` changes a running agent.
        - ``output`` cannot change while the agent runs.

        A process with another factory, ``env`` or ``cwd`` imports its modules anew, as they are on
        disk then; `reload` does so for all processes.

        Args:
            name: a registered agent; its parent stays the same.
            factory: as for `add_agent`, or ``run`` of `add_service` for a service. None: it keeps
                the one that it has.
            says_ready: as for `add_service`, with the ``factory`` of a service.
            settings: as for `add_agent` or `add_service`.

        Raises:
            PluginError: no such agent.
            ValueError: a setting is out of range, or cannot change while the agent runs; nothing
                has changed.
            TypeError: an unknown setting, or one of a wrong type; nothing has changed.
            SerializationError: the factory cannot be serialised; nothing has changed.
        """
        self.must_be_ours()
        changed = self._changed(name, factory, settings, says_ready=says_ready)
        with self._configuring:
            monitor = self._monitor
            running = [] if monitor is None else monitor.running(name)
            plans = [(agent, self._plan(changed, agent)) for agent in running]
            keep_limit = self._checked_limit(name, settings)
            if plans and not isinstance(settings.get("limit"), Limit):
                self._must_have_limit(name, plans[0][1].limit)
            self._registry.put(changed)
            keep_limit()
            if monitor is None:
                return
            payers = self._payers(name, monitor)
            changes = monitor.changes
            applied = [
                (agent, changes.configure(agent, plan, partial(_apply, agent, changed, payers)))
                for agent, plan in plans
            ]
        for agent, done in applied:
            changes.await_change(agent, done)

    def _changed(
        self,
        name: str,
        factory: Callable[[], Any] | Command[Any] | None,
        given: Mapping[str, Any],
        *,
        says_ready: bool,
    ) -> Entry:
        """The entry of the agent as it will be."""
        entry = self._registry[name]
        if says_ready and (factory is None or not entry.service):
            raise TypeError(f"agent {name!r}: says_ready is for a service, with its function")
        if not entry.service:
            return self._registry.changed(name, factory, given)
        from procorch.agents.service import factory_of  # it loads what runs programs

        program = entry.program if factory is None else is_command(factory)
        given = {"restart": "permanent", **given}
        check_service(name, given, says_ready=says_ready, program=program)
        made = None if factory is None else factory_of(factory, says_ready=says_ready)
        changed = self._registry.changed(name, made, given)
        changed.program = program
        return changed

    def _plan(self, changed: Entry, agent: AgentRuntime) -> AgentSettings:
        """The settings of a running agent as they will be.

        Raises:
            ValueError: one of them cannot change while it runs.
        """
        settings = changed.settings(self._channel_buffer, agent.policy)
        if settings.output != agent.settings.output:
            raise ValueError(
                f"agent {agent.name!r}: output={settings.output!r} cannot change while it runs "
                f"with {agent.settings.output!r}: stop it first"
            )
        return settings

    def _payers(self, name: str, monitor: Monitor) -> list[tuple[AgentRuntime, tuple[Payer, ...]]]:
        """Whom the calls of running agents are charged to: of this one and of those below it."""
        return [
            (agent, self._registry.payers(entry.name))
            for entry in self._registry.subtree(name)
            for agent in monitor.running(entry.name)
        ]


def _apply(
    agent: AgentRuntime, changed: Entry, payers: list[tuple[AgentRuntime, tuple[Payer, ...]]]
) -> None:
    agent.factory, agent.imports = changed.factory, changed.imports
    for other, pay in payers:
        other.payers = pay
