"""Steps the machine and performs its actions.

Nearly all requests take a short path: an idle agent gets the request, and answers with a success.
`give` and `succeed` tell the machine so by a call each, without an event and without an action. The
machine keeps the same account as on the long path (docs/decisions/018).
"""

from __future__ import annotations

from collections.abc import Mapping

from procorch.clock import Clock
from procorch.futures.outcome import ReplyOutcome
from procorch.launch.base import WorkerProcess
from procorch.runtime.cargo import Cargo
from procorch.runtime.effects import ActionRunner
from procorch.runtime.open_requests import OpenRequests
from procorch.supervision import events as ev
from procorch.supervision.instance import Instance
from procorch.supervision.machine import Machine
from procorch.supervision.request import Request
from procorch.wire import headers


class Stepper:
    """Only the thread that owns the loop may use it.

    Args:
        machine: decides.
        runner: performs the actions.
        requests: the requests without an outcome.
        clock: tells the time.

    Attributes:
        instances: the machine's, by key; only for reading.
    """

    def __init__(
        self, machine: Machine, runner: ActionRunner, requests: OpenRequests, clock: Clock
    ) -> None:
        self._machine = machine
        self.instances: Mapping[int, Instance] = machine.instances
        self._runner = runner
        self._requests = requests
        self._clock = clock

    def step(self, event: ev.Event) -> None:
        """Step the machine with an event, and perform the actions it returns."""
        now = self._requests.now = self._clock.now()
        perform, answers = self._runner.actions, self._runner.answers
        while True:
            for action in self._machine.step(event, now):
                perform[type(action)](action)
            if not answers:
                return
            event = answers.popleft()

    def submit_to_read(self, request: Request) -> tuple[WorkerProcess | None, int]:
        """Accept a request of a thread that is going to read the socket of the worker itself.

        Returns:
            The process that got the request, and its descriptor to poll; -1: the monitor reads it.
        """
        cargo: Cargo = request.cargo  # A request that gets its outcome in this step loses it.
        now = self._requests.now = max(self._requests.now, cargo.submitted)
        a = self._machine.give(request, now)
        if a is None:
            self.step(ev.Submit(request))
            process = cargo.process
            return process, -1 if process is None else process.detach_reader()
        # Detached first: a socket that is left alone is not attached for one request then.
        process = self._requests.instances[a.key].process
        fd = -1 if process is None else process.detach_reader()
        self._requests.write(request, a.key, a.process.generation, ahead=False)
        return process, fd

    def succeed(
        self,
        key: int,
        generation: int,
        number: int,
        outcome: ReplyOutcome,
        resources: headers.ResourceUse,
    ) -> None:
        """A process has answered a request with a success."""
        now = self._requests.now = self._clock.now()
        further = self._machine.succeed(key, generation, number, resources.wall, now)
        if further is None:
            used, wall = resources.used, resources.wall
            self.step(ev.Replied(key, generation, number, None, outcome, used, wall))
            return
        self._requests.succeed(number, outcome)
        for action in further:
            self._runner.actions[type(action)](action)
