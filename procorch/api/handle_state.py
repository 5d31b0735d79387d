"""What a handle says about its agent."""

from __future__ import annotations

from typing import get_args

from procorch.api.info import AgentInfo, info_of
from procorch.launch.base import Stream
from procorch.runtime.changes import ProcessStack
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.monitor import Monitor
from procorch.supervision.states import AgentStatus
from procorch.units import seconds


class HandleState:
    """The part of `OrchestratedHandle` that says who the agent is, and how it is."""

    def __init__(self, agent: AgentRuntime, monitor: Monitor) -> None:
        self._agent = agent
        self._monitor = monitor

    @property
    def name(self) -> str:
        """The name of the agent."""
        return self._agent.name

    @property
    def instance(self) -> int:
        """A number that differs between all running agents, also of one name."""
        return self._agent.number

    @property
    def pid(self) -> int | None:
        """Process id of the current generation, of its first instance; None before the first
        start."""
        first = self._first()
        return None if first is None else first.pid

    @property
    def generation(self) -> int:
        """How many processes its first instance has had; 0 before the first start."""
        first = self._first()
        return 0 if first is None else first.generation

    def belongs_to(self, monitor: Monitor | None) -> bool:
        """Whether that monitor runs the agent (`AgentOrchestrator.spawn`)."""
        return self._monitor is monitor

    def _first(self) -> InstanceRuntime | None:
        slots = self._agent.live() or self._agent.slots()
        return slots[0] if slots else None

    def info(self) -> AgentInfo:
        """The current state of the agent and of each of its instances, with figures of their
        processes from psutil."""
        self._monitor.must_be_ours()
        return info_of(self._agent, self._monitor)

    def stack(self, timeout: float | str = 1.0) -> list[ProcessStack]:
        """The Python stacks of its processes now, of all their threads. The processes go on.

        Args:
            timeout: seconds to wait for a process to write them.

        Returns:
            For each instance that has a process a tuple (``instance``, ``pid``, ``text``). The text
            is empty if the process wrote nothing in time, has not begun to load its code yet, or is
            stopped by a signal (SIGSTOP).
        """
        self._monitor.must_be_ours()
        return self._monitor.changes.stacks(self._agent, seconds(timeout, "timeout"))

    def output(self, stream: Stream = "stderr") -> str:
        """The last 64 KiB that its processes, and their child processes, have written on a stream;
        of several instances one after the other.

        It includes all output that was written before an answer, once you have that answer.

        Args:
            stream: "stdout" or "stderr".

        Raises:
            ValueError: no such stream, or one that is not captured (with ``output="inherit"``
                standard output is that of your program).
        """
        self._monitor.must_be_ours()
        if stream not in get_args(Stream):
            raise ValueError(f"stream={stream!r}; known: {', '.join(get_args(Stream))}")
        kept = [instance.output for instance in self._agent.slots()]
        if stream == "stdout" and not all(each.captures_stdout for each in kept):
            raise ValueError(
                f"agent {self.name!r} writes on this program's own standard output; to have it "
                "captured, register it with output='capture' or a path"
            )
        return "".join(each.text(stream) for each in kept)

    def status(self) -> AgentStatus:
        """RUNNING until the final status is fixed; its processes may still be ending then
        (`is_done`, `wait`)."""
        self._monitor.must_be_ours()
        return self._monitor.status(self._agent, wait=self._monitor.may_wait())

    def is_done(self) -> bool:
        """Whether the agent has ended, its processes included."""
        self._monitor.must_be_ours()
        return self._agent.status is not AgentStatus.RUNNING

    def failure(self) -> BaseException | None:
        """The error that it ended with; None while it runs, and after an end without an error."""
        self._monitor.must_be_ours()
        ended = self._agent.ended
        return ended.exception() if ended.done() else None

    def __repr__(self) -> str:
        return f"<OrchestratedHandle name={self.name!r} status={self._agent.status.name}>"
