"""What the machine has decided is done here; the monitor and `direct` have it done, in turns.

Nothing here blocks, opens a payload or runs code of the user: policies are asked on a thread of
their own, callbacks and log handlers run on another, and what workers print is passed on by a
third.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from procorch.clock import Clock
from procorch.errors import Aborted, AgentError, AgentStopped, RequestCancelled, StartError
from procorch.futures.latch import Latch
from procorch.futures.outcome import Outcome
from procorch.futures.watch import Hub
from procorch.launch.base import Launcher, Spec
from procorch.messages import AgentResult, RequestMetrics
from procorch.runtime import policy_call
from procorch.runtime.asks import Switchboard
from procorch.runtime.cargo import Cargo
from procorch.runtime.instance_runtime import Link
from procorch.runtime.serial_executor import SideThread
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.request import Request
from procorch.supervision.states import AgentStatus, StopStage
from procorch.telemetry import log
from procorch.wire import environment, headers
from procorch.wire.frame import Kind


class Performer:
    """Performs the actions of one machine.

    Args:
        launcher: starts the processes.
        max_message: the largest reply, in bytes.
        sys_path: what workers get as ``sys.path``, asked for at each start.
        seed: what the seeds of requests are derived from.
        clock: the time of all that is timed.
        post: hands an event to the machine, later.
        asks: told of requests that are cancelled.

    Attributes:
        links: the instances that have not ended, by key.
        requests: the requests without an outcome, by number.
        quiet: opened when there is no such request.
        now: the time of the present step.
        verdicts: for the machine, when what it has decided is done.
    """

    def __init__(
        self,
        launcher: Launcher,
        max_message: int,
        sys_path: Callable[[], list[str]],
        clock: Clock,
        post: Callable[[ev.Event], None],
        asks: Switchboard,
        hub: Hub,
        seed: str,
    ) -> None:
        self._launcher = launcher
        self._max_message = max_message
        self._sys_path = sys_path
        self._seed = seed
        self._post = post
        self._asks = asks
        self._hub = hub
        self._judge = SideThread("procorch-policy", clock)
        self._callbacks = SideThread("procorch-callbacks", clock)
        self.links: dict[int, Link] = {}
        self.requests: dict[int, Request] = {}
        self.quiet: deque[Latch] = deque()
        self.now: float = clock.now()
        self.verdicts: deque[ev.PolicyAnswered] = deque()
        self._perform: dict[type, Callable[[Any], None]] = {
            actions.Launch: self._launch,
            actions.Send: self._send,
            actions.BeginAhead: self._begin,
            actions.Proceed: self._proceed,
            actions.Resolve: self._resolve,
            actions.AskPolicy: self._ask,
            actions.Reconsider: self._appeal,
            actions.Probe: self._probe,
            actions.StopProcess: self._press,
            actions.Started: self._started,
            actions.Ended: self._finish,
            actions.Notify: self._emit,
        }

    def start(self) -> None:
        """Start the threads for the user's code."""
        self._judge.start()
        self._callbacks.start()

    def close(self) -> None:
        """End them, after what they have begun."""
        self._judge.close(timeout=1.0)
        self._callbacks.close(timeout=1.0)

    def run_callback(self, call: Callable[[], None]) -> None:
        """Run the user's code away from the monitor."""
        self._callbacks.call(call)

    def perform(self, taken: list[actions.Action], now: float) -> None:
        """Do what a step of the machine at time ``now`` has decided."""
        self.now = now
        perform = self._perform
        for action in taken:
            perform[type(action)](action)

    def abandon(self) -> None:
        """Answer whoever still waits: after a regular end nobody does."""
        for request in list(self.requests.values()):
            aborted = Aborted("the orchestrator is closed")
            # After a fault of the monitor nobody can say more.
            aborted.may_have_executed = request.cargo.process is not None
            self._resolve(actions.Resolve(request, aborted))
        for link in list(self.links.values()):
            self._finish(actions.Ended(link.key, AgentStatus.STOPPED, Aborted(agent=link.name)))

    def refuse(self, event: ev.Event) -> None:
        """Answer whoever waits for what an event will not bring about any more."""
        if isinstance(event, ev.Submit):
            self._resolve(actions.Resolve(event.request, AgentStopped("agent channel closed")))
        elif isinstance(event, ev.Spawn):
            stopped = AgentStopped("the orchestrator is closed", agent=event.name)
            self._finish(actions.Ended(event.key, AgentStatus.STOPPED, stopped))

    # ---- actions

    def _launch(self, action: actions.Launch) -> None:
        link = self.links[action.key]
        link.generation = action.generation
        link.process = link.pid = None
        link.output.begin()
        try:
            link.process = self._launcher.start(self._spec(link))
        except Exception as error:  # of the system (descriptors, memory), or of what goes into it
            failed = no_process(link.name, error)
            failed.__cause__ = error
            self._post(ev.StartFailed(link.key, action.generation, failed))
            self._post(ev.Exited(link.key, action.generation, ev.Exit()))

    def _spec(self, link: Link) -> Spec:
        head = headers.InitHead(
            name=link.name,
            generation=link.generation,
            sys_path=self._sys_path(),
            max_message=self._max_message,
            checkpoint=-1 if link.checkpoint is None else len(link.factory),
            env=dict(link.settings.env),
            cwd=link.settings.cwd,
            nice=link.settings.priority,
            address_space=link.settings.address_space_limit,
            surroundings=environment.gather(),
            seed=self._seed,
            instance=link.key,
            waits=link.settings.prefetch > 1,
            weigh=link.settings.weighed_above,
        )
        body = link.factory + (link.checkpoint or b"")
        capture = link.output.captures_stdout
        return Spec(link.key, link.generation, link.name, headers.encode(head), body, capture)

    def _send(self, action: actions.Send) -> None:
        request = action.request
        cargo: Cargo = request.cargo
        link = self.links[action.key]
        process = cargo.process = link.process
        cargo.generation = action.generation
        cargo.leave_mailbox()
        if not action.ahead:
            self._begun(request, link)
        remaining = request.timeout
        if request.deadline is not None:
            remaining = max(0.0, request.deadline - self.now)
        items = cargo.items
        chunk, whole = items is not None, items is not None and items.whole
        head = headers.encode(
            headers.RequestHead(cargo.text, remaining, chunk, cargo.stream, whole)
        )
        if process is not None:
            process.send(Kind.REQUEST, request.id, head, cargo.body)

    def _begin(self, action: actions.BeginAhead) -> None:
        self._begun(action.request, self.links[action.key])

    def _begun(self, request: Request, link: Link) -> None:
        cargo: Cargo = request.cargo
        cargo.sent = self.now
        cargo.output, cargo.mark = link.output, link.output.mark()
        cargo.reply.begun()
        if self._hub.watched:
            self._hub.publish(
                notices.RequestStarted(
                    agent=cargo.agent,
                    generation=cargo.generation,
                    at=self.now,
                    request=request.id,
                )
            )

    def _proceed(self, action: actions.Proceed) -> None:
        process = self.links[action.key].process
        if process is not None:
            process.send(Kind.PROCEED, 0, b"", [])

    def _resolve(self, action: actions.Resolve) -> None:
        request = self.requests.pop(action.request.id, None)
        if request is None:
            return
        cargo: Cargo = request.cargo
        cargo.leave_mailbox()
        outcome = action.payload if action.payload is not None else Outcome()
        outcome.error = error = action.error
        if action.sent and error is not None:
            self._look_whether_begun(request, action.sent, error)
        outcome.withdrawn = action.payload is None and type(error) is RequestCancelled
        if cargo.sent is not None and cargo.output is not None:
            outcome.stdout, outcome.stderr = cargo.output.since(cargo.mark)
            if outcome.metrics is None:
                outcome.metrics = RequestMetrics(
                    queued=cargo.sent - cargo.submitted,
                    wall=self.now - cargo.sent,
                    bytes_in=cargo.size,
                    generation=cargo.generation,
                )
        if error is not None and error.agent is None:
            error.agent = cargo.agent
        if self._hub.watched:
            # Before the caller knows: who has the answer finds the event in the stream.
            self._hub.publish(
                notices.RequestDone(
                    agent=cargo.agent,
                    generation=cargo.generation,
                    at=self.now,
                    request=request.id,
                    error=error,
                )
            )
        cargo.reply.settle(outcome)
        while not self.requests and self.quiet:
            self.quiet.popleft().open()

    @staticmethod
    def _look_whether_begun(request: Request, sent: tuple[int, ...], error: AgentError) -> None:
        """Complete the account of a request that is taken from a living worker.

        The worker is told first and looked at second. It marks a request as begun first and looks
        second whether it was told: what is not seen to have begun here will not begin.
        """
        cargo: Cargo = request.cargo
        process = cargo.process
        if process is None:  # It could not be started.
            return
        process.revoke(request.id)
        started, item = process.started, process.item
        if started in sent:
            error.may_have_executed = True
            if cargo.items is not None:
                cargo.items.begun = item if started == request.id else sys.maxsize

    def read_lent(self) -> None:
        """Read what callers that read for themselves have not come to read yet, because something
        is about to expire; what the loop reads it has read."""
        for link in list(self.links.values()):
            if link.process is not None:
                link.process.read()

    def _ask(self, action: actions.AskPolicy) -> None:
        policy = self.links[action.key].policy
        assert policy is not None
        if policy_call.is_ours(policy, action.error):  # the caller waits for the verdict
            self.verdicts.append(policy_call.ask(policy, action))
        else:
            self._judge.call(lambda: self._post(policy_call.ask(policy, action)))

    def _appeal(self, action: actions.Reconsider) -> None:
        policy = self.links[action.key].policy
        assert policy is not None
        self._judge.call(lambda: self._post(policy_call.appeal(policy, action)))

    def _press(self, action: actions.StopProcess) -> None:
        process = self.links[action.key].process
        if process is None:
            return
        match action.stage:
            case StopStage.LEAVE:
                process.send(Kind.STOP, 0, b"", [])
            case StopStage.COOPERATE | StopStage.INTERRUPT as stage:
                self._asks.cancel(action.key, action.request)
                process.cancel(action.request, force=stage is StopStage.INTERRUPT)
            case StopStage.STACK:
                process.dump_stacks()
            case StopStage.TERMINATE:
                process.kill(signal.SIGTERM)
            case StopStage.KILL:
                process.kill(signal.SIGKILL)

    def _probe(self, action: actions.Probe) -> None:
        process = self.links[action.key].process
        if process is not None:
            self._post(ev.Probed(action.key, action.generation, process.progress))

    def _started(self, action: actions.Started) -> None:
        self.links[action.key].started.set_result(None)

    def _finish(self, action: actions.Ended) -> None:
        link = self.links.pop(action.key, None)
        if link is None:
            return
        link.status = action.status
        link.last = action.restarts, action.last_exit
        link.mailbox.release()
        error = action.error
        if not link.started.done():
            stopped = AgentStopped(
                f"agent {link.name!r} ended before it was ready", agent=link.name
            )
            link.started.set_exception(stopped if error is None else error)
        if error is None:
            link.ended.set_result(AgentResult())
        else:
            link.ended.set_exception(error)
        release(link)

    def _emit(self, action: actions.Notify) -> None:
        notice = action.notice
        if type(notice) is notices.Ready:
            self._risen(self.links[action.key], notice.generation)
        elif type(notice) is notices.Unreaped:
            notice = msgspec.structs.replace(notice, pid=self.links[action.key].pid)
        self._hub.publish(notice)
        if log.wanted(notice):
            self._callbacks.call(lambda: log.write(notice))

    @staticmethod
    def _risen(link: Link, generation: int) -> None:
        link.ready = generation
        for _ in range(len(link.fresh)):
            before, fresh = link.fresh.popleft()
            if before < generation:
                fresh.set_result(None)
            else:
                link.fresh.append((before, fresh))


def release(link: Link) -> None:
    """Whoever waits for a fresh process of an instance that has ended gets what ended it.

    Two threads may do this at once; a deque hands out each item to one of them.
    """
    with contextlib.suppress(IndexError):
        while True:
            fresh = link.fresh.popleft()[1]
            stopped = AgentStopped(f"agent {link.name!r} ended {link.status.name}", agent=link.name)
            ended = link.ended.exception()
            fresh.set_exception(stopped if ended is None else ended)


def no_process(name: str, why: object) -> StartError:
    """The error of a start that the system refused."""
    return StartError(
        f"agent {name!r}: its process could not be started: {why}",
        agent=name,
        phase="start",
    )
