"""The monitor thread: waits, feeds the machine, performs what it answers.

One thread for any number of agents. Other threads reach it through `Monitor.post` alone. It never
opens a payload, never blocks on a read or a write, and runs no code of the user: policies are asked
on a thread of their own, callbacks and log handlers run on another, and what workers print is
passed on by a third.

Races closed here:

* *A request posted while the monitor ends.* The poster appends first and looks at ``_over`` second;
  the monitor sets ``_over`` first and empties the inbox second. Each item left is taken by exactly
  one of them (a deque pops atomically) and refused. Its request may have been answered before, by
  the monitor's last look at all open ones: an outcome is fixed by whoever takes the request out.
* *A frame of an old generation.* A process hands in its own spec's generation with each frame; the
  machine drops what is not current.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from procorch.errors import Aborted, AgentError, AgentStopped, ProtocolError, StartError
from procorch.launch.base import Cause, ExitInfo, Launcher, Spec, Stream, Where, WorkerProcess
from procorch.messages import AgentResult, RequestMetrics
from procorch.runtime import judge
from procorch.runtime.asks import Switchboard
from procorch.runtime.clock import REAL, Clock
from procorch.runtime.entrance import Outgoing
from procorch.runtime.events import Hub
from procorch.runtime.frames import event_of
from procorch.runtime.link import Link
from procorch.runtime.loop import Loop
from procorch.runtime.output import Echo
from procorch.runtime.reply import Outcome
from procorch.runtime.sampler import Sampler
from procorch.runtime.side import SideThread
from procorch.supervision import events as ev
from procorch.supervision import notices
from procorch.supervision.machine import Machine
from procorch.supervision.states import AgentStatus, Rung
from procorch.telemetry import log
from procorch.wire import heads
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import unpack

_log = logging.getLogger("procorch")


class Monitor:
    """Runs the machine of one orchestrator.

    Args:
        launcher: starts the processes.
        max_message: the largest reply, in bytes.
        sys_path: what workers get as ``sys.path``, asked for at each start.
        clock: the time of all that is timed.
        chance: draws a number in [0, 1] for the jitter of a backoff.
        start_limit: how many processes may be starting at once (N10); None: one a core.
    """

    def __init__(
        self,
        launcher: Launcher,
        max_message: int,
        sys_path: Callable[[], list[str]],
        *,
        clock: Clock = REAL,
        chance: Callable[[], float] = random.random,
        start_limit: int | None = None,
    ) -> None:
        self._launcher = launcher
        self._max_message = max_message
        self._sys_path = sys_path
        self.clock = clock
        starts = start_limit or os.cpu_count() or 1
        self._machine = Machine(chance=chance, start_limit=starts)
        self._loop: Loop[ev.Event] = Loop(clock)
        self._sampler = Sampler(self._loop, self._exceeded)
        self._judge = SideThread("procorch-policy", clock)
        self._callbacks = SideThread("procorch-callbacks", clock)
        self._echo = Echo(clock)
        self.hub = Hub()
        self._asks = Switchboard(self.find, self._name_of, self.submit, self.drop, clock)
        self._links: dict[int, Link] = {}
        self._requests: dict[int, Outgoing] = {}
        self._now = clock.now()
        self._closing = False
        self._over = False
        self._owner = os.getpid()
        self._disowned = False
        self._thread = threading.Thread(target=self._run, name="procorch-monitor", daemon=True)
        self._perform: dict[type, Callable[[Any], None]] = {
            ev.Launch: self._launch,
            ev.Send: self._send,
            ev.Resolve: self._resolve,
            ev.Ask: self._ask,
            ev.Appeal: self._appeal,
            ev.Probe: self._probe,
            ev.Press: self._press,
            ev.Started: self._started,
            ev.Finish: self._finish,
            ev.Emit: self._emit,
        }

    # ---- from other threads

    def start(self) -> None:
        """Start the threads."""
        self._judge.start()
        self._callbacks.start()
        self._echo.start()
        self._thread.start()

    def post(self, event: ev.Event) -> None:
        """Hand an event to the machine."""
        self._loop.post(event)
        if self._over:
            self._refuse()

    def spawn(self, links: Sequence[Link]) -> None:
        """Begin to start instances."""
        self.must_be_ours()
        for link in links:
            # All of them before the first starts: its failure must not close the door on the rest.
            link.mailbox.join()
        for link in links:
            self._links[link.key] = link
            self.hub.began(link.name)
            self.post(
                ev.Spawn(
                    key=link.key,
                    mailbox=link.mailbox.key,
                    name=link.name,
                    settings=link.settings,
                    supervised=link.policy is not None,
                    appeals=hasattr(link.policy, "on_child_escalation"),
                    parent=link.parent,
                )
            )

    def restart(self, link: Link) -> Future[None]:
        """Replace the process of an instance on request.

        Returns:
            Done when the new one is ready, or with what ended the instance instead.
        """
        fresh: Future[None] = Future()
        link.fresh.append((link.ready, fresh))
        self.post(ev.Restart(link.key))
        if link.ended.done():
            _release(link)  # Its end may have come before anybody was seen to wait here.
        return fresh

    def find(self, name: str) -> Link | None:
        """The latest running instance of a name."""
        for link in reversed(list(self._links.values())):
            if link.name == name:
                return link
        return None

    def look(self, link: Link) -> tuple[str, int, str | None, int | None]:
        """State in the users' words, counted restarts, last exit, request under way; any thread.

        Single attributes of the machine's record are read, never written, so no lock is needed.
        """
        a = self._machine.instance(link.key)
        if a is None:
            return link.status.name, *link.last, None
        inflight = a.inflight[:1]  # one step of Python's: the list may become empty meanwhile
        return a.state, a.limits.total, a.last_exit, inflight[0] if inflight else None

    def must_be_ours(self) -> None:
        """Refuse callers in the child of a fork: the monitor thread is not there to answer them.

        Raises:
            AgentStopped: this process is not the one that started the agents.
        """
        if self._disowned:
            raise AgentStopped(
                f"the agents belong to process {self._owner}, of which this is a fork; "
                "make an orchestrator of its own here"
            )

    def disown(self) -> None:
        """See `lifetime.Closable`; nothing of the parent's may be touched."""
        self._disowned = self._over = True
        self._loop.disown()

    def submit(self, request: Outgoing) -> None:
        """Hand in a request that has entered its mailbox."""
        self._requests[request.id] = request
        self.post(request.event())

    def drop(self, request: int) -> None:
        """The caller does not want the request any more."""
        self.post(ev.CancelRequest(request))

    def run_callback(self, call: Callable[[], None]) -> None:
        """Run the user's code away from the monitor."""
        self._callbacks.call(call)

    def begin_close(self, *, drain: bool, timeout: float) -> None:
        """See `lifetime.Closable`."""
        if not self._over:
            self.post(ev.Close(drain, self.clock.now() + timeout))

    def close(self, *, drain: bool, timeout: float) -> None:
        """Close all instances and end the threads; see `AgentOrchestrator.close`. Idempotent."""
        if self._disowned:
            return
        self.begin_close(drain=drain, timeout=timeout)
        self._thread.join()
        self._judge.close(timeout=1.0)
        self._callbacks.close(timeout=1.0)
        self._echo.close(timeout=1.0)

    # ---- the thread

    def _run(self) -> None:
        try:
            self._launcher.open(self._loop, self)
            while not (self._closing and self._machine.idle):
                self._loop.wait(self._machine.next_due(), self._take_inbox)
                self._step(ev.Tick())
        except BaseException:
            # A fault of ours: nobody may wait for ever because of it.
            _log.critical("the monitor failed; its agents are killed", exc_info=True)
            for link in self._links.values():
                if link.process is not None:
                    link.process.kill(signal.SIGKILL)
        finally:
            self._over = True
            self._abandon()
            self._refuse()
            self._launcher.close()
            self._loop.close()
            self.hub.close()

    def _take_inbox(self) -> None:
        while (event := self._loop.take()) is not None:
            self._closing = self._closing or type(event) is ev.Close
            self._step(event)

    def _step(self, event: ev.Event) -> None:
        perform = self._perform
        self._now = self.clock.now()
        for action in self._machine.step(event, self._now):
            perform[type(action)](action)

    def _abandon(self) -> None:
        """Answer whoever still waits: after a regular end nobody does."""
        for request in list(self._requests):
            self._resolve(ev.Resolve(request, Aborted("the orchestrator is closed")))
        for link in list(self._links.values()):
            self._finish(ev.Finish(link.key, AgentStatus.STOPPED, Aborted(agent=link.name)))

    def _refuse(self) -> None:
        while (event := self._loop.take()) is not None:
            if isinstance(event, ev.Submit):
                self._resolve(ev.Resolve(event.request, AgentStopped("agent channel closed")))
            elif isinstance(event, ev.Spawn):
                stopped = AgentStopped("the orchestrator is closed", agent=event.name)
                self._finish(ev.Finish(event.key, AgentStatus.STOPPED, stopped))

    # ---- actions

    def _launch(self, action: ev.Launch) -> None:
        link = self._links[action.key]
        link.generation = action.generation
        link.process = link.pid = None
        link.output.begin()
        try:
            link.process = self._launcher.start(self._spec(link))
        except Exception as error:  # of the system (descriptors, memory), or of what goes into it
            failed = _no_process(link.name, error)
            failed.__cause__ = error
            self.post(ev.StartFailed(link.key, action.generation, failed))
            self.post(ev.Exited(link.key, action.generation, ev.Exit()))

    def _spec(self, link: Link) -> Spec:
        head = heads.InitHead(
            name=link.name,
            generation=link.generation,
            sys_path=self._sys_path(),
            max_message=self._max_message,
            checkpoint=-1 if link.checkpoint is None else len(link.factory),
            env=dict(link.settings.env),
            cwd=link.settings.cwd,
            nice=link.settings.priority,
            address_space=link.settings.address_space_limit,
        )
        body = link.factory + (link.checkpoint or b"")
        capture = link.output.captures_stdout
        return Spec(link.key, link.generation, link.name, heads.encode(head), body, capture)

    def _send(self, action: ev.Send) -> None:
        request = self._requests[action.request]
        link = self._links[action.key]
        link.busy = request.id
        process, now = link.process, self._now
        self._left_queue(request)
        request.sent, request.generation = now, action.generation
        if self.hub.watched:
            self.hub.publish(
                notices.RequestStarted(
                    agent=request.agent,
                    generation=action.generation,
                    at=now,
                    request=request.id,
                )
            )
        remaining = request.timeout
        if request.deadline is not None:
            remaining = max(0.0, request.deadline - now)
        head = heads.encode(heads.RequestHead(request.text, remaining))
        if process is not None:
            process.send(Kind.REQUEST, request.id, head, request.body)

    def _resolve(self, action: ev.Resolve) -> None:
        request = self._requests.pop(action.request, None)
        if request is None:
            return
        self._left_queue(request)
        outcome = action.payload if action.payload is not None else Outcome()
        outcome.error = error = action.error
        if outcome.metrics is None and request.sent is not None:
            outcome.metrics = RequestMetrics(
                queued=request.sent - request.submitted,
                wall=self._now - request.sent,
                bytes_in=request.size,
                generation=request.generation,
            )
        if error is not None and error.agent is None:
            error.agent = request.agent
        if self.hub.watched:
            # Before the caller knows: who has the answer finds the event in the stream.
            self.hub.publish(
                notices.RequestDone(
                    agent=request.agent,
                    generation=request.generation,
                    at=self._now,
                    request=request.id,
                    error=error,
                )
            )
        request.reply.settle(outcome)

    def _left_queue(self, request: Outgoing) -> None:
        if request.waiting:
            request.waiting = False
            request.mailbox.leave()

    def _ask(self, action: ev.Ask) -> None:
        policy = self._links[action.key].policy
        assert policy is not None
        self._judge.call(lambda: self.post(judge.ask(policy, action)))

    def _appeal(self, action: ev.Appeal) -> None:
        policy = self._links[action.key].policy
        assert policy is not None
        self._judge.call(lambda: self.post(judge.appeal(policy, action)))

    def _press(self, action: ev.Press) -> None:
        process = self._links[action.key].process
        if process is None:
            return
        match action.rung:
            case Rung.LEAVE:
                process.send(Kind.STOP, 0, b"", [])
            case Rung.COOPERATE | Rung.INTERRUPT as rung:
                self._asks.cancel(action.key, action.request)
                process.cancel(action.request, force=rung is Rung.INTERRUPT)
            case Rung.STACK:
                process.dump_stacks()
            case Rung.TERMINATE:
                process.kill(signal.SIGTERM)
            case Rung.KILL:
                process.kill(signal.SIGKILL)

    def _probe(self, action: ev.Probe) -> None:
        process = self._links[action.key].process
        if process is not None:
            self.post(ev.Probed(action.key, action.generation, process.progress))

    def _started(self, action: ev.Started) -> None:
        self._links[action.key].started.set_result(None)

    def _finish(self, action: ev.Finish) -> None:
        link = self._links.pop(action.key, None)
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
            link.started.set_exception(error or stopped)
        if error is None:
            link.ended.set_result(AgentResult())
        else:
            link.ended.set_exception(error)
        _release(link)

    def _emit(self, action: ev.Emit) -> None:
        notice = action.notice
        if type(notice) is notices.Ready:
            self._risen(self._links[action.key], notice.generation)
        elif type(notice) is notices.Unreaped:
            notice = msgspec.structs.replace(notice, pid=self._links[action.key].pid)
        self.hub.publish(notice)
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

    def _name_of(self, key: int) -> str:
        return self._links[key].name

    def _exceeded(self, key: int, generation: int, observed: int) -> None:
        self._step(ev.Overgrown(key, generation, observed))

    # ---- the launcher's sink

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        """See `launch.base.Sink`."""
        link = self._links[process.spec.key]
        link.pid = where.pid
        limit = link.settings.memory_limit
        if limit is not None and not self._launcher.caps.remote:
            self._sampler.watch(link.key, process.spec.generation, where.pid, limit)

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        """See `launch.base.Sink`."""
        if frame.kind is Kind.CHECKPOINT:
            self._links[process.spec.key].checkpoint = bytes(unpack(frame.body))
            return
        try:
            if frame.kind is Kind.ASK:
                self._asks.ask(process, frame, self._links[process.spec.key].busy)
                return
            if frame.kind is Kind.FORGET:
                self._asks.forget(process, frame.request)
                return
            event = event_of(process, frame, self._requests.get(frame.request))
        except ValueError as error:
            name = process.spec.name
            self.on_broken(process, ProtocolError(f"agent {name!r}: bad frame: {error}"))
        else:
            self._step(event)

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        """See `launch.base.Sink`."""
        link = self._links.get(process.spec.key)
        if link is None:  # It has been given up.
            return 0.0
        link.output.keep(stream, data)
        target = link.output.target
        return 0.0 if target is None else self._echo.put(target, data)

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        """See `launch.base.Sink`."""
        self._step(ev.Broken(process.spec.key, process.spec.generation, error))

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        """See `launch.base.Sink`."""
        spec = process.spec
        link = self._links.get(spec.key)
        self._sampler.forget(spec.key)
        self._asks.gone(spec.key)
        if exit.cause is Cause.START_FAILED:
            self._step(
                ev.StartFailed(spec.key, spec.generation, _no_process(spec.name, exit.detail))
            )
        self._step(
            ev.Exited(
                spec.key,
                spec.generation,
                ev.Exit(
                    code=exit.code,
                    signal=exit.signal,
                    pid=None if process.where is None else process.where.pid,
                    started=exit.started,
                    last_stack=exit.last_stack,
                    stderr_tail=None if link is None else link.output.tail(),
                    detail=exit.detail,
                    lost=exit.cause is Cause.LOST,
                ),
            )
        )


def _release(link: Link) -> None:
    """Whoever waits for a fresh process of an instance that has ended gets what ended it.

    Two threads may do this at once; a deque hands out each item to one of them.
    """
    with contextlib.suppress(IndexError):
        while True:
            fresh = link.fresh.popleft()[1]
            stopped = AgentStopped(f"agent {link.name!r} ended {link.status.name}", agent=link.name)
            fresh.set_exception(link.ended.exception() or stopped)


def _no_process(name: str, why: object) -> StartError:
    return StartError(
        f"agent {name!r}: its process could not be started: {why}",
        agent=name,
        phase="start",
    )
