"""Calls of services by workers: each waits here for its permit (N23), and is paid for.

A worker says that a call is about to begin, and waits; it says how the call has ended. A permit is
given back when the process that holds it ends, however it ends. During a reload an instance has two
processes (N19), so permits are kept by process.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from procorch.clock import Clock
from procorch.errors import AgentError, ModelThrottled, PluginError
from procorch.errors.plain_data import to_plain
from procorch.errors.texts import did_you_mean
from procorch.futures.watch import EventHub
from procorch.launch.base import WorkerProcess
from procorch.messages import Cost, Usage
from procorch.runtime.asks import QuestionRelay
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.limits import Confirmer, LimitStore, Ticket
from procorch.supervision import notices
from procorch.supervision.budgets import Accounts, Charge, ModelUse
from procorch.wire import headers
from procorch.wire.frame import Frame, Kind

_DAY = 86400.0
"""Seconds."""


class CallGate:
    """Passes questions for permits on to the limits. For the owner of the loop.

    Args:
        limits: the limits of this orchestrator by name; others add to it.
        asks: knows during which request an agent was asked.
        monitor: tells workers that they have their permits.
        instances: the instances that have not ended, by key.
        later: calls a function after some seconds.
        hub: publishes pauses.

    Attributes:
        accounts: what was used of models.
    """

    def __init__(
        self,
        limits: Mapping[str, LimitStore],
        asks: QuestionRelay,
        monitor: Confirmer,
        instances: Mapping[int, InstanceRuntime],
        later: Callable[[float, Callable[[], None]], None],
        clock: Clock,
        hub: EventHub,
    ) -> None:
        self.accounts: Accounts = Accounts()
        self._limits = limits
        self._asks = asks
        self._monitor = monitor
        self._instances = instances
        self._later = later
        self._clock = clock
        self._hub = hub
        self._open: dict[WorkerProcess, dict[int, tuple[LimitStore, Ticket]]] = {}
        self._due: dict[LimitStore, float] = {}
        self._probes = itertools.count(1)

    @property
    def retries(self) -> dict[str, int]:
        """How often a call that the service refused is tried again, by the limit's name."""
        return {name: limit.retries for name, limit in self._limits.items()}

    def begin(self, process: WorkerProcess, frame: Frame) -> None:
        """A worker waits for a permit."""
        head, number = headers.decode_call(frame.head), frame.request
        charge = self._charge(process, head.request)
        refused: AgentError | None = None if charge is None else self.accounts.refusal(charge)
        name = head.limit
        limit = None if name is None else self._limits.get(name)
        if refused is None and name is not None and limit is None:
            hint = did_you_mean(name, self._limits, listed="there is")
            refused = PluginError("orchestrator", f"no limit is called {name!r}{hint}")
        if refused is not None:
            why = headers.AnswerErrorHead(to_plain(refused))
            process.send(Kind.ANSWER_ERROR, number, headers.encode(why), [])
            return
        if limit is None:
            process.send(Kind.ANSWER, number, b"", [])
            return
        ticket = Ticket(self._monitor, process, number)
        self._open.setdefault(process, {})[number] = limit, ticket
        now = self._clock.steady()
        self._wait_for(limit, limit.change(lambda shared: shared.ask(ticket), now), now)

    def end(self, process: WorkerProcess, frame: Frame) -> None:
        """A call has ended."""
        head = headers.decode_call_end(frame.head)
        usage, cost = Usage(*head.tokens), Cost(*head.dollars)
        charge = self._charge(process, head.request)
        if charge is not None and (head.model or usage.total or cost.total):
            self.accounts.spend(charge, head.model, ModelUse(1, usage, cost))
        found = self._open.get(process, {}).pop(frame.request, None)
        if found is None:
            return
        limit, ticket = found
        now = self._clock.steady()
        if not head.refused:
            opens_at = limit.change(lambda shared: shared.end(ticket, now, usage.total), now)
        else:
            error = ModelThrottled(agent=process.spec.name, retry_after=head.asked)
            pauses: list[float | None] = []
            opens_at = limit.change(
                lambda shared: pauses.append(shared.refused(ticket, error, now)), now
            )
            if pauses[0] is not None:
                self._tell(process, pauses[0], error, now)
        self._wait_for(limit, opens_at, now)

    def _charge(self, process: WorkerProcess, request: int | None) -> Charge | None:
        """Who pays for a call; None: the machine has given the agent up."""
        instance = self._instances.get(process.spec.key)
        if instance is None or not instance.agent.payers:
            return None
        paying = [] if request is None else [(request, instance.agent.payers[0])]
        for key, number in self._asks.origins(request or 0):
            asker = self._instances.get(key)
            if asker is not None and asker.agent.payers:
                paying.append((number, asker.agent.payers[0]))
        return Charge(instance.agent.payers, tuple(paying), int(self._clock.wall() // _DAY))

    def answered(self, request: int) -> None:
        """A request was answered: nothing more is charged to it."""
        self.accounts.close(request)

    def forget(self, process: WorkerProcess, number: int) -> None:
        """A worker does not want to make a call any more; a worker that waits gets an answer."""
        found = self._open.get(process, {}).pop(number, None)
        if found is not None and self._drop(*found):
            process.send(Kind.ANSWER, number, b"", [])  # else it was sent with the permit

    def process_ended(self, process: WorkerProcess) -> None:
        """A process has ended: it gives its permits back."""
        for limit, ticket in self._open.pop(process, {}).values():
            self._drop(limit, ticket)

    def progress_of(self, process: WorkerProcess) -> int:
        """The progress count of a process for its watchdog (N12): a new one each time while it
        waits for a permit, because then it does not hang."""
        calls = self._open.get(process, {}).values()
        waits = any(limit.waits(ticket) for limit, ticket in calls)
        return -next(self._probes) if waits else process.progress

    def _drop(self, limit: LimitStore, ticket: Ticket) -> bool:
        now, waited = self._clock.steady(), []
        opens_at = limit.change(lambda shared: waited.append(shared.drop(ticket, now)), now)
        self._wait_for(limit, opens_at, now)
        return waited[0]

    def _wait_for(self, limit: LimitStore, opens_at: float | None, now: float) -> None:
        """Grant permits at ``opens_at``. A limit has one timer at most, the earliest."""
        if opens_at is None or opens_at >= self._due.get(limit, math.inf):
            return
        self._due[limit] = opens_at
        self._later(opens_at - now, lambda: self._grant(limit, opens_at))

    def _grant(self, limit: LimitStore, due: float) -> None:
        if self._due.get(limit) == due:
            del self._due[limit]
        now = self._clock.steady()
        self._wait_for(limit, limit.change(lambda shared: None, now), now)

    def _tell(self, process: WorkerProcess, pause: float, error: ModelThrottled, at: float) -> None:
        instance = self._instances[process.spec.key]
        self._hub.publish(
            notices.Throttled(
                agent=process.spec.name,
                instance=instance.slot,
                generation=process.spec.generation,
                at=at,
                time=self._clock.wall(),
                delay=pause,
                asked=error.retry_after,
                error=error,
            )
        )
