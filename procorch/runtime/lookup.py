"""What threads other than the monitor's may read about running agents.

All of it reads single attributes, so it needs no lock.
"""

from __future__ import annotations

from procorch.clock import Clock
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime, status_of
from procorch.supervision.machine import Machine
from procorch.supervision.states import AgentStatus
from procorch.supervision.throttle import Pause


class Lookup:
    """The base of `monitor.Monitor`: finds agents, and says how they are.

    Args:
        machine: owns their state.
        clock: its time.
    """

    def __init__(self, machine: Machine, clock: Clock) -> None:
        self.clock: Clock = clock
        self._machine = machine
        self._instances: dict[int, InstanceRuntime] = {}
        self._agents: dict[int, AgentRuntime] = {}

    def find(self, name: str) -> AgentRuntime | None:
        """The latest running agent of a name."""
        for agent in reversed(list(self._agents.values())):
            if agent.name == name:
                return agent
        return None

    def running(self, name: str | None) -> list[AgentRuntime]:
        """The running agents of a name, or all of them, in order of start."""
        return [each for each in list(self._agents.values()) if name in (None, each.name)]

    def members(self, agent: int) -> list[int]:
        """See `ports.AgentPort`."""
        found = self._agents.get(agent)
        return [] if found is None else [each.key for each in found.live()]

    def look(self, instance: InstanceRuntime) -> tuple[str, int, str | None, int | None]:
        """The public state, counted restarts, last exit and running request of an instance; no
        request if several run at once."""
        a = self._machine.instances.get(instance.key)
        if a is None:
            return instance.status.name, *instance.last, None
        inflight = a.process.inflight[:2]  # a slice is atomic: the list may become empty meanwhile
        state = a.state
        if state == "READY" and self._is_paused(instance.agent):
            state = "PAUSED"
        return state, a.limits.total, a.last_exit, inflight[0].id if len(inflight) == 1 else None

    def placing(self, instance: InstanceRuntime) -> str | None:
        """Why an instance is not placed on a node of the cluster yet; None: it is."""
        a = self._machine.instances.get(instance.key)
        return None if a is None or a.state != "WAITING" else a.process.placing

    def status(self, agent: AgentRuntime, *, wait: bool) -> AgentStatus:
        """The final status of an agent once it is fixed, RUNNING before.

        Args:
            wait: this thread may wait for the one that performs the machine's actions.
        """
        return status_of(agent, self._machine.instances.get, wait=wait)

    def _is_paused(self, agent: AgentRuntime) -> bool:
        by_hand = self._machine.is_paused(agent.number)
        return by_hand or self.pause(agent) is not None

    def pause(self, agent: AgentRuntime) -> Pause | None:
        """The current pause of the queue of an agent; None: there is none."""
        flow = self._machine.flow(agent.number)
        left = 0.0 if flow is None else flow.until - self.clock.now()
        if flow is None or left <= 0 or flow.why is None:
            return None
        return Pause(left, flow.why)

    def allowed(self, agent: AgentRuntime) -> int | None:
        """How many requests of its queue may be under way after a pause; None: no limit."""
        flow = self._machine.flow(agent.number)
        return None if flow is None else flow.allowed

    def name_of(self, key: int) -> str:
        """See `ports.AgentPort`."""
        return self._instances[key].name
