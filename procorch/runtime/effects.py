"""What the machine has decided is done here; the monitor and `direct` have it done, in turns.

Nothing here blocks, opens a payload or runs code of the user: policies are asked on a thread of
their own, callbacks and log handlers run on another, and what workers print is passed on by a
third.
"""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from procorch.clock import Clock
from procorch.errors import Aborted, AgentStopped, StartError
from procorch.futures.watch import Hub
from procorch.launch.base import Launcher, Spec
from procorch.messages import AgentResult
from procorch.runtime import policy_call
from procorch.runtime.asks import Switchboard
from procorch.runtime.instance_runtime import Link
from procorch.runtime.open_requests import OpenRequests
from procorch.runtime.ports import EventPort
from procorch.runtime.serial_executor import SideThread
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
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
        events: takes events for the machine.
        asks: told of requests that are cancelled.
        links: the instances that have not ended, by key.
        requests: those without an outcome.

    Attributes:
        actions: what performs each kind of action.
        verdicts: for the machine, when what it has decided is done.
    """

    def __init__(
        self,
        launcher: Launcher,
        max_message: int,
        sys_path: Callable[[], list[str]],
        clock: Clock,
        events: EventPort,
        asks: Switchboard,
        hub: Hub,
        links: dict[int, Link],
        requests: OpenRequests,
        seed: str,
    ) -> None:
        self._launcher = launcher
        self._max_message = max_message
        self._sys_path = sys_path
        self._seed = seed
        self._events = events
        self._asks = asks
        self._hub = hub
        self._judge = SideThread("procorch-policy", clock)
        self._callbacks = SideThread("procorch-callbacks", clock)
        self._requests = requests
        self._links = links
        self.verdicts: deque[ev.PolicyAnswered] = deque()
        self.actions: dict[type, Callable[[Any], None]] = {
            actions.Launch: self._launch,
            actions.Send: requests.send,
            actions.BeginAhead: requests.begin,
            actions.Proceed: self._proceed,
            actions.Resolve: requests.resolve,
            actions.AskPolicy: self._ask,
            actions.Reconsider: self._appeal,
            actions.Probe: self._probe,
            actions.StopProcess: self._stop_process,
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

    def abandon(self) -> None:
        """Answer whoever still waits: after a regular end nobody does."""
        self._requests.abandon()
        for link in list(self._links.values()):
            self._finish(actions.Ended(link.key, AgentStatus.STOPPED, Aborted(agent=link.name)))

    def refuse(self, event: ev.Event) -> None:
        """Answer whoever waits for what an event will not bring about any more."""
        if isinstance(event, ev.Submit):
            stopped = AgentStopped("agent channel closed")
            self._requests.resolve(actions.Resolve(event.request, stopped))
        elif isinstance(event, ev.Spawn):
            stopped = AgentStopped("the orchestrator is closed", agent=event.name)
            self._finish(actions.Ended(event.key, AgentStatus.STOPPED, stopped))

    # ---- actions

    def _launch(self, action: actions.Launch) -> None:
        link = self._links[action.key]
        link.generation = action.generation
        link.process = link.pid = None
        link.output.begin()
        try:
            link.process = self._launcher.start(self._spec(link))
        except Exception as error:  # of the system (descriptors, memory), or of what goes into it
            failed = no_process(link.name, error)
            failed.__cause__ = error
            self._events.post(ev.StartFailed(link.key, action.generation, failed))
            self._events.post(ev.Exited(link.key, action.generation, ev.Exit()))

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

    def _proceed(self, action: actions.Proceed) -> None:
        process = self._links[action.key].process
        if process is not None:
            process.send(Kind.PROCEED, 0, b"", [])

    def read_lent(self) -> None:
        """Read what callers that read for themselves have not come to read yet, because something
        is about to expire; what the loop reads it has read."""
        for link in list(self._links.values()):
            if link.process is not None:
                link.process.read()

    def _ask(self, action: actions.AskPolicy) -> None:
        policy = self._links[action.key].policy
        assert policy is not None
        if policy_call.is_ours(policy, action.error):  # the caller waits for the verdict
            self.verdicts.append(policy_call.ask(policy, action))
        else:
            self._judge.call(lambda: self._events.post(policy_call.ask(policy, action)))

    def _appeal(self, action: actions.Reconsider) -> None:
        policy = self._links[action.key].policy
        assert policy is not None
        self._judge.call(lambda: self._events.post(policy_call.appeal(policy, action)))

    def _stop_process(self, action: actions.StopProcess) -> None:
        process = self._links[action.key].process
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
        process = self._links[action.key].process
        if process is not None:
            self._events.post(ev.Probed(action.key, action.generation, process.progress))

    def _started(self, action: actions.Started) -> None:
        self._links[action.key].started.set_result(None)

    def _finish(self, action: actions.Ended) -> None:
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
            link.started.set_exception(stopped if error is None else error)
        if error is None:
            link.ended.set_result(AgentResult())
        else:
            link.ended.set_exception(error)
        release(link)

    def _emit(self, action: actions.Notify) -> None:
        notice = action.notice
        if type(notice) is notices.Ready:
            self._risen(self._links[action.key], notice.generation)
        elif type(notice) is notices.Unreaped:
            notice = msgspec.structs.replace(notice, pid=self._links[action.key].pid)
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
