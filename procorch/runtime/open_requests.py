"""The requests without an outcome: sends them to processes, and resolves them.

This module performs the machine's actions on requests (`effects` has the others). Nothing here
blocks or opens a payload.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from procorch.clock import Clock
from procorch.errors import Aborted, AgentError, RequestCancelled
from procorch.futures.latch import Latch
from procorch.futures.outcome import ReplyOutcome
from procorch.futures.reply import Reply
from procorch.futures.watch import EventHub
from procorch.runtime.cargo import Cargo
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.supervision import actions, notices
from procorch.supervision.request import Request
from procorch.wire import headers, used
from procorch.wire.frame import Kind

_TEXT = headers.encode(headers.RequestHead(True, None))
_PLAIN = headers.encode(headers.RequestHead(False, None))

_runs = itertools.count(1 << 48)
"""Numbers of what services run, apart from the requests of users, so that these have the same ones
in each run of a program (`Context.seed`)."""


class _Unread:
    """Receives the outcome of a service's request, which nobody waits for."""

    started = False

    def settle(self, outcome: ReplyOutcome) -> None:
        """See `Receiver`."""


class OpenRequests:
    """All requests of one orchestrator that have no outcome.

    Args:
        instances: the instances that have not ended, by key.
        hub: publishes when one begins and ends.
        clock: for `await_none`.

    Attributes:
        by_number: the requests. Any thread may add one; the thread that takes one out fixes its
            outcome.
        now: the time of the current step of the machine.
    """

    def __init__(self, instances: dict[int, InstanceRuntime], hub: EventHub, clock: Clock) -> None:
        self.instances = instances
        self._hub = hub
        self._clock = clock
        self.by_number: dict[int, Request] = {}
        self.now: float = clock.now()
        self._quiet: deque[Latch] = deque()

    def send(self, action: actions.Send) -> None:
        """Write a request to its process."""
        self.write(action.request, action.key, action.generation, ahead=action.ahead)

    def write(self, request: Request, key: int, generation: int, *, ahead: bool) -> None:
        """The same without an action."""
        cargo: Cargo = request.cargo
        instance = self.instances[key]
        process = cargo.process = instance.process
        cargo.generation, cargo.slot = generation, instance.slot
        if not ahead:
            self._note_begin(request, instance)
        if cargo.placed:
            cargo.placed = False
            cargo.mailbox.leave()
        remaining = request.timeout
        if request.deadline is not None:
            remaining = max(0.0, request.deadline - self.now)
        items = cargo.items
        plain = not cargo.stream and cargo.turn is None and cargo.trace is None
        if remaining is None and items is None and plain:
            head = _TEXT if cargo.text else _PLAIN
        else:
            chunk, whole = items is not None, items is not None and items.whole
            head = headers.encode(
                headers.RequestHead(
                    cargo.text, remaining, chunk, cargo.stream, whole, cargo.turn, cargo.trace
                )
            )
        if process is not None:
            process.send(Kind.REQUEST, request.id, head, cargo.body)

    def begin(self, action: actions.BeginAhead) -> None:
        """The process has begun a request that was sent ahead."""
        self._note_begin(action.request, self.instances[action.key])

    @staticmethod
    def withdraw(action: actions.Withdraw) -> None:
        """The process has not begun it after all."""
        cargo: Cargo = action.request.cargo
        cargo.sent, cargo.reply.started = None, False

    def run_by_itself(self, instance: InstanceRuntime, generation: int) -> Request:
        """The request that the process of a service begins by itself when it is ready."""
        agent = instance.agent
        cargo = Cargo(
            agent.name, agent.mailbox, _Unread(), False, [], 0, self.now,
            generation=generation, slot=instance.slot, placed=False,
        )  # fmt: skip
        return Request(next(_runs), agent.number, repeatable=False, cargo=cargo)

    def began_by_itself(self, instance: InstanceRuntime) -> Request | None:
        """A process is ready: the request that it has begun by itself; None: it is no service."""
        run = instance.run
        if run is not None:
            run.cargo.process = instance.process
            self.by_number[run.id] = run
        return run

    def _note_begin(self, request: Request, instance: InstanceRuntime) -> None:
        cargo: Cargo = request.cargo
        cargo.sent = self.now
        cargo.output, cargo.mark = instance.output, instance.output.written
        cargo.reply.started = True
        if self._hub.of_requests:
            self._publish(notices.RequestStarted, request)

    def _publish(
        self,
        kind: type[notices.RequestStarted | notices.RequestDone],
        request: Request,
        **more: Any,
    ) -> None:
        cargo: Cargo = request.cargo

        def make() -> notices.RequestStarted | notices.RequestDone:
            return kind(
                agent=cargo.agent,
                instance=cargo.slot,
                generation=cargo.generation,
                at=self.now,
                time=self._clock.wall(),
                request=request.id,
                **more,
            )

        self._hub.publish_request(cargo.agent, make)

    def resolve(self, action: actions.Resolve) -> None:
        """Give a request its outcome, unless it has one."""
        request = self.by_number.pop(action.request.id, None)
        if request is None:
            return
        cargo: Cargo = request.cargo
        if cargo.placed:
            cargo.placed = False
            cargo.mailbox.leave()
        outcome = action.payload if action.payload is not None else ReplyOutcome()
        outcome.error = error = action.error
        if action.sent and error is not None:
            self._look_whether_begun(request, action.sent, error)
        outcome.withdrawn = action.payload is None and type(error) is RequestCancelled
        if error is not None and error.agent is None:
            error.agent = cargo.agent
        self._settle(request, outcome)

    def succeed(self, number: int, outcome: ReplyOutcome) -> None:
        """Give a request that a worker has answered its outcome, a success, unless it has one."""
        request = self.by_number.pop(number, None)
        if request is not None:
            self._settle(request, outcome)

    def _settle(self, request: Request, outcome: ReplyOutcome) -> None:
        cargo: Cargo = request.cargo
        if cargo.sent is not None and cargo.output is not None:
            if cargo.mark != cargo.output.written and not cargo.output.shared:
                outcome.stdout, outcome.stderr = cargo.output.since(cargo.mark)
            if outcome.figures is None:
                queued, wall = cargo.sent - cargo.submitted, self.now - cargo.sent
                outcome.figures = (queued, wall, 0.0, 0.0, 0, cargo.size, 0, cargo.generation)
        if self._hub.of_requests:
            # Before `settle`: a caller that has the answer finds the event in the stream.
            error = outcome.error
            usage, cost = used.sums(outcome.used, error)
            self._publish(notices.RequestDone, request, error=error, usage=usage, cost=cost)
        cargo.reply.settle(outcome)
        request.cargo = None  # Free its memory: the machine may keep the request for long.
        if self._quiet:
            while not self.by_number and self._quiet:
                self._quiet.popleft().open()

    @staticmethod
    def _look_whether_begun(request: Request, sent: tuple[int, ...], error: AgentError) -> None:
        """Find out whether a living worker has begun a request that is taken from it.

        This thread revokes the request first and reads the worker's mark second. The worker marks a
        request as begun first and checks for a revocation second. So a request without a mark here
        will not begin.
        """
        cargo: Cargo = request.cargo
        process = cargo.process
        if process is None:  # The process could not be started.
            return
        process.revoke(request.id)
        started, item = process.started, process.item
        if started in sent or (len(sent) == 1 and request.id in process.begun):
            error.may_have_executed = True
            if cargo.items is not None:
                cargo.items.begun = item if started == request.id else sys.maxsize

    def abandon(self) -> None:
        """Abort all of them: their orchestrator is closed."""
        for request in list(self.by_number.values()):
            aborted = Aborted("the orchestrator is closed")
            # After a defect of the monitor this is all that is known.
            aborted.may_have_executed = request.cargo.process is not None
            self.resolve(actions.Resolve(request, aborted))

    def disown(self) -> None:
        """In the child of a fork: fail the futures, and use nothing of the parent."""
        for request in self.by_number.values():
            if isinstance(request.cargo.reply, Reply):
                request.cargo.reply.disown()

    def await_none(self, timeout: float, is_over: Callable[[], bool]) -> None:
        """Wait until each of them has its outcome, at most ``timeout`` seconds.

        This thread appends its latch first and reads the requests second. The thread that takes the
        last request out looks for a latch afterwards.

        Args:
            is_over: whether the monitor has ended, so that no request will be resolved.
        """
        left = self._clock.attend(lambda: not self.by_number, timeout)
        latch = Latch()
        self._quiet.append(latch)
        if self.by_number and not is_over():
            latch.wait(left)
