"""An orchestrator for tests: the real one, with a fake launcher and a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from procorch.api.orchestrator import AgentOrchestrator
from procorch.api.registry import Entry
from procorch.futures.watch import EventHub, EventStream
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.monitor import Monitor
from procorch.supervision.notices import AgentEvent
from procorch.testing.clock import FakeClock
from procorch.testing.launcher import FakeLauncher

T = TypeVar("T")


class TestOrchestrator(AgentOrchestrator):
    """An `AgentOrchestrator` without processes and without waiting; use it as the real one.

    Args:
        clock: its time; default: a new one.
        launcher: starts its workers, in the time of ``clock``; default: a new one.
        chance: a number in [0, 1], or a function that draws one: what part of a backoff with jitter
            is waited for. The default is all of it.
        start_limit: how many workers may be starting at once (N10).
        settings: those of `AgentOrchestrator`.

    Attributes:
        history: every event so far (N18).

    Example:
        >>> with TestOrchestrator(supervisor=DefaultSupervisor()) as orch:
        ...     orch.add_agent("mortal", ScriptedAgent([Die("SIGKILL"), "alive"]))
        ...     mortal = orch.spawn("mortal")
        ...     mortal.submit("one").exception().signal
        ...     mortal.send_message("two").text
        'SIGKILL'
        'alive'
    """

    __test__ = False  # for pytest: this is no class of tests

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        launcher: FakeLauncher | None = None,
        chance: float | Callable[[], float] = 1.0,
        start_limit: int = 8,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.clock: FakeClock = FakeClock() if clock is None else clock
        self.launcher: FakeLauncher = FakeLauncher(self.clock) if launcher is None else launcher
        self.history: list[AgentEvent] = []
        self._chance: Callable[[], float] = chance if callable(chance) else lambda: chance
        self._start_limit = start_limit

    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """See `AgentOrchestrator.close`; its time is virtual, too."""
        super().close(drain=drain, timeout=timeout)
        self.launcher.join(1.0)

    def _make_monitor(self) -> Monitor:
        hub = EventHub()
        hub.add(_Recorder(self.history))
        return _FakeMonitor(
            self.launcher,
            self._max_message,
            list,
            clock=self.clock,
            chance=self._chance,
            start_limit=self._start_limit,
            hub=hub,
            limits=self._limits,
            output_sink=self._output_sink,
        )

    def _new_agent(self, entry: Entry) -> AgentRuntime:
        agent = super()._new_agent(entry)
        agent.ended = _Awaited(self.clock)
        return agent

    def _new_instance(self, agent: AgentRuntime, slot: int) -> InstanceRuntime:
        instance = super()._new_instance(agent, slot)
        instance.started = _Awaited(self.clock)
        instance.ended = _Awaited(self.clock)
        return instance


class _FakeMonitor(Monitor):
    def start(self) -> None:
        self._kept_run = self.clock.promise(super()._run, "the monitor")
        super().start()

    def _run(self) -> None:
        self._kept_run()

    def restart(self, instance: InstanceRuntime) -> Future[None]:
        fresh = super().restart(instance)
        self.clock.attend(fresh.done, None)
        return fresh

    def close(self, *, drain: bool, timeout: float) -> None:
        self.begin_close(drain=drain, timeout=timeout)
        self.clock.attend(lambda: self._over, None)
        super().close(drain=drain, timeout=timeout)


class _Recorder(EventStream):
    """Keeps all events of an orchestrator, which so never lacks a watcher."""

    def __init__(self, history: list[AgentEvent]) -> None:
        super().__init__(None, lambda stream: None)
        self._history = history

    def put(self, notice: AgentEvent) -> None:
        self._history.append(notice)


class _Awaited(Future[T]):
    """Whoever waits for it lets time pass."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def result(self, timeout: float | None = None) -> T:
        return super().result(self._clock.attend(self.done, timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return super().exception(self._clock.attend(self.done, timeout))
