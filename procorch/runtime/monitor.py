"""The monitor thread: waits, feeds the machine, has performed what it answers.

One thread for any number of agents. Other threads reach it through `Monitor.post`, or take its part
for a moment (`direct`); who acts holds the loop's turn.

Races closed here:

* *A request posted while the monitor ends.* The poster appends first and looks at ``_over`` second;
  the monitor sets ``_over`` first and empties the inbox second. Each item left is taken by exactly
  one of them (a deque pops atomically) and refused. Its request may have been answered before, by
  the monitor's last look at all open ones: an outcome is fixed by whoever takes the request out.
"""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from procorch.clock import Clock
from procorch.futures.fork_guard import must_be_ours
from procorch.futures.reply import Reply
from procorch.futures.watch import EventHub
from procorch.launch.base import Launcher, WorkerProcess
from procorch.runtime.asks import QuestionRelay
from procorch.runtime.direct import Direct
from procorch.runtime.effects import ActionRunner, release
from procorch.runtime.instance_runtime import InstanceRuntime, status_of
from procorch.runtime.loop import Loop
from procorch.runtime.open_requests import OpenRequests
from procorch.runtime.output import Echo
from procorch.runtime.reports import Reports
from procorch.runtime.sampler import Sampler
from procorch.supervision import events as ev
from procorch.supervision.machine import Machine
from procorch.supervision.request import Request, RequestState
from procorch.supervision.states import AgentStatus
from procorch.supervision.throttle import Pause
from procorch.wire.frame import Kind

_log = logging.getLogger("procorch")


class _Confirm(NamedTuple):
    """What a worker waits for; it goes through the inbox, but the machine has no say in it."""

    process: WorkerProcess
    number: int


class Monitor:
    """Runs the machine of one orchestrator.

    Args:
        launcher: starts the processes.
        max_message: the largest reply, in bytes.
        sys_path: what workers get as ``sys.path``, asked for at each start.
        seed: what the seeds of requests are derived from.
        clock: the time of all that is timed; None: real time.
        chance: draws a number in [0, 1] for the jitter of a backoff.
        start_limit: how many processes may be starting at once (N10); None: one a core.
        hub: where events go to; None: one of its own.
    """

    def __init__(
        self,
        launcher: Launcher,
        max_message: int,
        sys_path: Callable[[], list[str]],
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        start_limit: int | None = None,
        hub: EventHub | None = None,
        seed: str = "",
    ) -> None:
        self._launcher = launcher
        clock = clock or Clock()
        self.clock: Clock = clock
        starts = start_limit or os.cpu_count() or 1
        self._machine = Machine(chance=chance, start_limit=starts)
        self._loop: Loop[ev.Event | _Confirm] = Loop(clock, self._machine.timers)
        self._echo = Echo(clock)
        self.hub: EventHub = hub or EventHub()
        asks = QuestionRelay(self)
        self._instances: dict[int, InstanceRuntime] = {}
        self._requests = OpenRequests(self._instances, self.hub, clock)
        self._runner = ActionRunner(
            launcher, max_message, sys_path, clock, self, asks, self.hub, self._instances,
            self._requests, seed,
        )  # fmt: skip
        self._sampler = Sampler(lambda *seen: self.post(ev.MemoryExceeded(*seen)))
        self._reports = Reports(
            launcher, self._instances, self._requests, asks, self._sampler, self._echo, self
        )
        self._direct = Direct(self._loop, self)
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
            RuntimeError: the system grants no more; none is left behind.
        """
        try:
            self._runner.start()
            self._echo.start()
            self._thread.start()
        except BaseException:
            self._runner.close()
            self._echo.close(timeout=1.0)
            raise

    def post(self, event: ev.Event | _Confirm) -> None:
        """Hand an event to the machine."""
        self._loop.post(event)
        if self._over:
            self._refuse()

    def spawn(self, instances: Sequence[InstanceRuntime]) -> None:
        """Begin to start instances."""
        self.must_be_ours()
        for instance in instances:
            # All of them before the first starts: its failure must not close the door on the rest.
            instance.mailbox.join()
        for instance in instances:
            self._instances[instance.key] = instance
            self.hub.began(instance.name)
            self.post(instance.spawned())

    def restart(self, instance: InstanceRuntime) -> Future[None]:
        """Replace the process of an instance on request.

        Returns:
            Done when the new one is ready, or with what ended the instance instead.
        """
        fresh: Future[None] = Future()
        instance.fresh.append((instance.ready, fresh))
        self.post(ev.Restart(instance.key))
        if instance.ended.done():
            release(instance)  # Its end may have come before anybody was seen to wait here.
        return fresh

    def find(self, name: str) -> InstanceRuntime | None:
        """The latest running instance of a name."""
        for instance in reversed(list(self._instances.values())):
            if instance.name == name:
                return instance
        return None

    def look(self, instance: InstanceRuntime) -> tuple[str, int, str | None, int | None]:
        """State in the users' words, counted restarts, last exit, request under way; any thread.

        Single attributes of the machine's record are read, never written, so no lock is needed.
        """
        a = self._machine.instance(instance.key)
        if a is None:
            return instance.status.name, *instance.last, None
        inflight = a.process.inflight[:1]  # in one step: the list may become empty meanwhile
        state = a.state
        if state == "READY" and self.pause(instance) is not None:
            state = "PAUSED"
        return state, a.limits.total, a.last_exit, inflight[0].id if inflight else None

    def status(self, instance: InstanceRuntime) -> AgentStatus:
        """How an instance ends, once that is fixed; any thread."""
        return status_of(instance, self._machine.instance, wait=self.may_wait())

    def pause(self, instance: InstanceRuntime) -> Pause | None:
        """What a throttled service holds the queue of an instance back for; any thread."""
        flow = self._machine.flow(instance.mailbox.key)
        left = 0.0 if flow is None else flow.until - self.clock.now()
        if flow is None or left <= 0 or flow.why is None:
            return None
        return Pause(left, flow.why)

    def allowed(self, instance: InstanceRuntime) -> int | None:
        """How many requests of its queue may be under way while load comes back; None: any."""
        flow = self._machine.flow(instance.mailbox.key)
        return None if flow is None else flow.allowed

    def must_be_ours(self) -> None:
        """Refuse callers in the child of a fork: the monitor thread is not there to answer them.

        Raises:
            AgentStopped: this process is not the one that started the agents.
        """
        must_be_ours(self.owner)

    def disown(self) -> None:
        """See `lifetime.Closable`; nothing of the parent's may be touched."""
        self._disowned = self._over = True
        self._loop.disown()
        self._requests.disown()

    def submit(self, request: Request) -> None:
        """Hand in a request that has entered its mailbox.

        Where others wait before it nobody needs to wake for it: the turn in which one of those gets
        its worker finds it. It is posted first, and the number of those that wait is looked at
        second; that turn makes the number smaller first, and looks at the inbox when it ends. A
        deadline has to be known at once.
        """
        self._requests.by_number[request.id] = request
        self._loop.post_quietly(ev.Submit(request))
        if not self._machine.waiting(request.mailbox) or request.deadline is not None:
            self._loop.wake()
        if self._over:
            self._refuse()

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """Hand in a request whose caller is going to wait for its outcome, and wait here as long as
        it saves a change of threads."""
        self._requests.by_number[request.id] = request
        try:
            if not self._over:
                self._direct.call(request, reply)
        finally:
            if request.state is RequestState.NEW:
                self.post(ev.Submit(request))

    def drop(self, request: int) -> None:
        """The caller does not want the request any more."""
        self.post(ev.CancelRequest(request))

    def withdraw_waiting(self) -> None:
        """Cancel the futures of all requests that no worker has got."""
        for number in list(self._requests.by_number):
            self._loop.post_quietly(ev.CancelRequest(number, waiting=True))
        self._loop.wake()

    def await_quiet(self, timeout: float) -> None:
        """Wait until each request has its outcome, at most ``timeout`` seconds."""
        if self.may_wait():
            self._requests.await_none(timeout, lambda: self._over)

    def may_wait(self) -> bool:
        """Whether the monitor can work while this thread waits: not if it is this thread, on which
        a finalizer of the user's may happen to run."""
        return threading.current_thread() is not self._thread

    def confirm(self, process: WorkerProcess, number: int) -> None:
        """Tell a worker that a piece of its answer was read."""
        self.post(_Confirm(process, number))

    def run_callback(self, call: Callable[[], None]) -> None:
        """Run the user's code away from the monitor."""
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
        except BaseException:  # Ctrl-C: nobody is going to wait for the rest of the work
            self.begin_close(drain=False, timeout=timeout)
            self._thread.join()
            raise
        self._sampler.close()
        self._runner.close()
        self._echo.close(timeout=1.0)

    # ---- whose turn it is

    def _run(self) -> None:
        try:
            self._launcher.open(self._loop, self._reports)
            self._direct.allowed = self._launcher.caps.direct
            while not (self._closing and self._machine.idle):
                self._loop.wait(self.take_posted, self._tick)
        except BaseException:
            # A fault of ours: nobody may wait for ever because of it.
            _log.critical("the monitor failed; its agents are killed", exc_info=True)
            for instance in self._instances.values():
                if instance.process is not None:
                    instance.process.kill(signal.SIGKILL)
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
        """See `ports.StepPort`."""
        while self._loop.posted and (event := self._loop.take()) is not None:
            if isinstance(event, _Confirm):
                event.process.send(Kind.ANSWER, event.number, b"", [])
                continue
            self._closing = self._closing or type(event) is ev.Close
            self.step(event)

    def _tick(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._machine.timers.bound < math.inf:
            due = self._machine.next_due()
            if due is not None and due <= self.clock.now():
                self._runner.read_detached()
                self.step(ev.Tick())

    def fail(self, fault: BaseException) -> None:
        """See `ports.StepPort`."""
        self._fault = fault
        self.post(ev.Tick())

    def step(self, event: ev.Event) -> None:
        """See `ports.StepPort`."""
        now = self._requests.now = self.clock.now()
        perform, verdicts = self._runner.actions, self._runner.verdicts
        while True:
            for action in self._machine.step(event, now):
                perform[type(action)](action)
            if not verdicts:
                return
            event = verdicts.popleft()

    def _refuse(self) -> None:
        while (event := self._loop.take()) is not None:
            if not isinstance(event, _Confirm):
                self._runner.refuse(event)

    def name_of(self, key: int) -> str:
        """See `ports.AgentPort`."""
        return self._instances[key].name
