"""The monitor thread: waits for events, steps the machine and performs its actions.

One thread serves any number of agents. Other threads post events with `Monitor.post`, or act in its
place for a moment (`direct`). The acting thread holds the lock `Loop.ownership`.

A race that is closed here:

* *A request is posted while the monitor ends.* The poster appends first and reads ``_over`` second.
  The monitor sets ``_over`` first and empties the inbox second. Exactly one of them takes each item
  that is left (a deque pops atomically), and refuses it. The monitor may have aborted the same
  request with all open ones before: the thread that takes a request out fixes its outcome.
"""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

from procorch.clock import Clock
from procorch.futures.fork_guard import must_be_ours
from procorch.futures.reply import Reply
from procorch.futures.watch import EventHub
from procorch.launch.base import Launcher, WorkerProcess
from procorch.runtime.asks import QuestionRelay
from procorch.runtime.calls import CallGate
from procorch.runtime.changes import Changes
from procorch.runtime.direct import Direct
from procorch.runtime.effects import ActionRunner
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.limits import LimitStore
from procorch.runtime.lookup import Lookup
from procorch.runtime.loop import Loop
from procorch.runtime.open_requests import OpenRequests
from procorch.runtime.output import Echo
from procorch.runtime.output_sink import OutputSink, SinkFeed
from procorch.runtime.reloads import release_waiting
from procorch.runtime.reports import Reports
from procorch.runtime.sampler import Sampler
from procorch.runtime.stepper import Stepper
from procorch.supervision import events as ev
from procorch.supervision.machine import Machine
from procorch.supervision.request import Request, RequestState
from procorch.wire.frame import Kind

_log = logging.getLogger("procorch")


_Call: TypeAlias = Callable[[], None]  # what the owner of the loop does for another thread


class Monitor(Lookup):
    """Runs the machine of one orchestrator.

    Args:
        launcher: starts the processes.
        max_message: the largest reply, in bytes.
        sys_path: returns the ``sys.path`` of a worker; called at each start.
        clock: the time for all timers; None: real time.
        chance: draws a number in [0, 1] for the jitter of a backoff.
        start_limit: how many processes may be starting at once (N10); None: one for each core.
        hub: publishes events; None: a new one.
        seed: the seeds of requests are derived from it.
        limits: the limits of services by name; others may add to it.
        output_sink: receives the output of workers; None: it goes where their settings say.
    """

    def __init__(
        self, launcher: Launcher, max_message: int, sys_path: Callable[[], list[str]], *,
        clock: Clock | None = None, chance: Callable[[], float] = random.random,
        start_limit: int | None = None, hub: EventHub | None = None, seed: str = "",
        limits: Mapping[str, LimitStore] | None = None, output_sink: OutputSink | None = None,
    ) -> None:  # fmt: skip
        self._launcher = launcher
        clock = clock or Clock()
        starts = start_limit or os.cpu_count() or 1
        super().__init__(Machine(chance=chance, start_limit=starts), clock)
        self._loop: Loop[ev.Event | _Call] = Loop(clock, self._machine.timers)
        self._output: Echo | SinkFeed = Echo(clock)
        if output_sink is not None:
            self._output = SinkFeed(output_sink, clock, self.post, self._loop.call_later)
        self.hub: EventHub = hub or EventHub()
        asks = QuestionRelay(self)
        self._requests = OpenRequests(self._instances, self.hub, clock)
        later = self._loop.call_later
        self.calls: CallGate = CallGate(
            limits or {}, asks, self, self._instances, later, clock, self.hub
        )
        self._runner = ActionRunner(
            launcher, max_message, sys_path, clock, self, asks, self.calls, self.hub,
            self._instances, self._agents, self._requests, seed,
        )  # fmt: skip
        self._stepper = Stepper(self._machine, self._runner, self._requests, clock)
        self._sampler = Sampler(lambda *seen: self.post(ev.MemoryExceeded(*seen)))
        self._reports = Reports(
            launcher, self._instances, self._requests, asks, self.calls, self._sampler,
            self._output, self._stepper, self._runner,
        )  # fmt: skip
        self._direct = Direct(self._loop, self, self._stepper)
        self.changes: Changes = Changes(self.post, self._stepper.step, self.may_wait)
        self._fault: BaseException | None = None
        self._closing = False
        self._over = False
        self.owner: int = os.getpid()
        self._disowned = False
        self._thread = threading.Thread(target=self._run, name="procorch-monitor", daemon=True)

    # ---- from other threads

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: the system has no thread left; those that started are ended again.
        """
        try:
            self._runner.start()
            self._output.start()
            self._thread.start()
        except BaseException:
            self._runner.close()
            self._output.close(timeout=1.0)
            raise

    def post(self, event: ev.Event | _Call) -> None:
        """Hand an event to the machine."""
        self._loop.post(event)
        if self._over:
            self._refuse()

    def spawn(self, instances: Sequence[InstanceRuntime], *, joins: bool) -> None:
        """Begin to start instances of one agent; returns at once.

        Args:
            joins: the agent runs already.
        """
        self.must_be_ours()
        agent = instances[0].agent
        if not joins:
            self._agents[agent.number] = agent
            self.hub.began(agent.name)
        for instance in instances:
            self._instances[instance.key] = instance
            agent.instances.append(instance)
        first, *others = instances
        spawns = (first.spawned(joins=joins), *(each.spawned(joins=True) for each in others))
        self.post(ev.SpawnTogether(spawns))

    def restart(self, instance: InstanceRuntime) -> Future[None]:
        """Replace the process of an instance on request; the future that is returned is done when
        the new process is ready, and fails if the instance ends."""
        fresh: Future[None] = Future()
        instance.fresh.append((instance.ready, fresh))
        self.post(ev.Restart(instance.key))
        if instance.ended.done():
            release_waiting(instance)  # It may have ended before the future was appended.
        return fresh

    def retire(self, release: int) -> None:
        """Nobody uses that release any more."""
        self.post(lambda: self._launcher.retire(release))

    def must_be_ours(self) -> None:
        """Refuse callers in the child of a fork: the monitor thread is not there to answer them.

        Raises:
            AgentStopped: this process is not the one that started the agents.
        """
        must_be_ours(self.owner)

    def disown(self) -> None:
        """See `lifetime.Closable`; the child must not use anything of the parent."""
        self._disowned = self._over = True
        self._loop.disown()
        self._requests.disown()

    def submit(self, request: Request) -> None:
        """Submit a request that has entered its mailbox.

        If other requests wait before it, the loop need not wake: the step that sends one of those
        finds it. The order makes this safe. This thread posts the request first and reads the
        number of waiting requests second; that step lowers the number first and reads the inbox at
        its end. A deadline has to be armed at once, so it wakes the loop.
        """
        self._requests.by_number[request.id] = request
        self._loop.post_quietly(ev.Submit(request))
        if not self._machine.waiting(request.mailbox) or request.deadline is not None:
            self._loop.wake()
        if self._over:
            self._refuse()

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """Submit a request whose caller waits for the outcome next, and wait here as long as that
        saves a change of threads."""
        self._requests.by_number[request.id] = request
        try:
            if not self._over:
                self._direct.call(request, reply)
        finally:
            if request.state is RequestState.NEW:
                self.post(ev.Submit(request))

    def drop(self, request: int) -> None:
        """Cancel the request of that number."""
        self.post(ev.CancelRequest(request))

    def withdraw_waiting(self) -> None:
        """Cancel the futures of all requests that no worker has."""
        for number in list(self._requests.by_number):
            self._loop.post_quietly(ev.CancelRequest(number, waiting=True))
        self._loop.wake()

    def await_quiet(self, timeout: float) -> None:
        """Wait until each request has its outcome, at most ``timeout`` seconds."""
        if self.may_wait():
            self._requests.await_none(timeout, lambda: self._over)

    def may_wait(self) -> bool:
        """Whether this thread may wait for the monitor; the monitor thread itself may not."""
        return threading.current_thread() is not self._thread

    def confirm(self, process: WorkerProcess, number: int) -> None:
        """Tell a worker that the caller has read a piece of its answer."""
        self.post(lambda: process.send(Kind.ANSWER, number, b"", []))

    def run_callback(self, call: Callable[[], None]) -> None:
        """See `ports.RequestPort`."""
        self._runner.run_callback(call)

    def begin_close(self, *, drain: bool, timeout: float) -> None:
        """See `lifetime.Closable`."""
        if not self._over:
            self.post(ev.Close(drain, self.clock.now() + timeout))

    def close(self, *, drain: bool, timeout: float) -> None:
        """Close all instances and end the threads; see `AgentOrchestrator.close`. Idempotent."""
        if self._disowned:
            return
        self.begin_close(drain=drain, timeout=timeout)
        if not self.may_wait():
            return
        try:
            self._thread.join()
        except BaseException:  # Ctrl-C: abort the rest of the work
            self.begin_close(drain=False, timeout=timeout)
            self._thread.join()
            raise
        self._sampler.close()
        self._runner.close()
        self._output.close(timeout=1.0)

    # ---- for the owner of the loop

    def _run(self) -> None:
        try:
            self._launcher.open(self._loop, self._reports)
            self._direct.allowed = self._launcher.caps.direct
            while not (self._closing and self._machine.idle):
                self._loop.wait(self.take_posted, self._tick)
        except BaseException:
            # A defect of procorch: no caller may wait for ever because of it.
            _log.critical("the monitor failed; its agents are killed", exc_info=True)
            for instance in self._instances.values():
                for process in (instance.process, instance.beside):
                    if process is not None:
                        process.kill(signal.SIGKILL)
        finally:
            self._over = True
            with self._loop.ownership:
                self._runner.abandon()
                self._refuse()
                self._launcher.close()
                self._direct.close()
                self._loop.close()
            self.hub.close()

    def take_posted(self) -> None:
        """See `ports.OwnerPort`."""
        while self._loop.posted and (event := self._loop.take()) is not None:
            if callable(event):
                event()
                continue
            self._closing = self._closing or type(event) is ev.Close
            self._stepper.step(event)

    def _tick(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._machine.timers.bound < math.inf:
            due = self._machine.next_due()
            if due is not None and due <= self.clock.now():
                self._runner.read_detached()
                self._stepper.step(ev.Tick())

    def fail(self, fault: BaseException) -> None:
        """See `ports.OwnerPort`."""
        self._fault = fault
        self.post(ev.Tick())

    def _refuse(self) -> None:
        while (event := self._loop.take()) is not None:
            if not callable(event):
                self._runner.refuse(event)
