"""A bench for the pure machine: virtual time, processes on paper."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings

from procorch.errors import AgentError, NetworkError
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff
from procorch.supervision.machine import TRANSITIONS, Machine
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, StopStage

# How long an example takes depends on what else the machine does.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class Bench:
    """Drives a machine and keeps the books a monitor would keep."""

    def __init__(self, *, start_limit: int = 100, chance: float = 1.0) -> None:
        self.machine = Machine(chance=lambda: chance, start_limit=start_limit)
        self.now = 0.0
        self.log: list[actions.Action] = []
        self.outcomes: dict[int, list[actions.Resolve]] = {}
        self.live: dict[int, set[int]] = {}
        self.sent: list[tuple[int, int, int]] = []
        self.questions: list[actions.AskPolicy] = []
        self.finished: dict[int, actions.Ended] = {}
        self.begun: set[int] = set()
        self.keys = itertools.count(1)
        self.requests = itertools.count(1)

    def step(self, event: ev.Event) -> list[actions.Action]:
        key = getattr(event, "key", None)
        before = self.machine.instances.get(key) if key is not None else None
        phase = before.phase if before else None
        taken = self.machine.step(event, self.now)
        rule = TRANSITIONS.get((phase, type(event))) if phase else None
        if rule is not None and before is not None and before.phase is not phase:
            assert before.phase in rule.leads_to, (phase, event, before.phase)
        for action in taken:
            self._book(action)
        self.log += taken
        return taken

    def _book(self, action: actions.Action) -> None:
        match action:
            case actions.Launch(key, generation):
                assert not self.live.get(key), "I2: two processes of one instance"
                assert key not in self.finished, "I2: a start after the end"
                self.live.setdefault(key, set()).add(generation)
            case actions.Resolve(request):
                self.outcomes.setdefault(request.id, []).append(action)
                assert len(self.outcomes[request.id]) == 1, "I1: two outcomes"
                if action.error is not None and self.begun & {*action.sent}:
                    action.error.may_have_executed = True  # as a monitor sees on the status page
            case actions.BeginAhead(_, request):
                self.begun.add(request.id)
            case actions.Send(key, generation, request, ahead):
                if not ahead:
                    self.begun.add(request.id)
                assert self.live.get(key) == {generation}, "sent to a dead process"
                assert request.id not in self.outcomes, "I1: sent after its outcome"
                self.sent.append((key, generation, request.id))
            case actions.Withdraw(request):
                self.begun.remove(request.id)
            case actions.AskPolicy():
                self.questions.append(action)
            case actions.Ended(key):
                assert key not in self.finished
                self.finished[key] = action

    # ---- short words for tests

    def spawn(
        self,
        *,
        supervised: bool = True,
        mailbox: int | None = None,
        parent: int | None = None,
        reconsiders: bool = False,
        **settings: Any,
    ) -> int:
        key = next(self.keys)
        settings.setdefault("backoff", Backoff(initial=0))
        self.step(
            ev.Spawn(
                key=key,
                mailbox=mailbox or key,
                name=f"a{key}",
                settings=AgentSettings.of(settings),
                supervised=supervised,
                reconsiders=reconsiders,
                parent=parent,
            )
        )
        return key

    def ready(self, key: int, *, gives_back: bool = True) -> list[actions.Action]:
        return self.step(ev.Ready(key, self.generation(key), gives_back))

    def running(self, **settings: Any) -> int:
        key = self.spawn(**settings)
        self.ready(key)
        return key

    def submit(self, mailbox: int, **given: Any) -> int:
        request = next(self.requests)
        self.step(ev.Submit(Request(request, mailbox, **given)))
        return request

    def reply(
        self, key: int, request: int, error: AgentError | None = None, wall: float = 0.0
    ) -> list[actions.Action]:
        return self.step(ev.Replied(key, self.generation(key), request, error, wall=wall))

    def fail(self, key: int, request: int) -> list[actions.Action]:
        return self.reply(key, request, NetworkError("lost"))

    def die(self, key: int, *, signal: str = "SIGKILL", started: int = 0) -> list[actions.Action]:
        generation = self.generation(key)
        self.live[key].discard(generation)
        return self.step(ev.Exited(key, generation, ev.Exit(signal=signal, started=started)))

    def policy_says(self, action: SupervisorAction, **given: Any) -> list[actions.Action]:
        question = self.questions.pop(0)
        return self.step(ev.PolicyAnswered(question.key, question.ticket, action, **given))

    def wait(self, seconds: float) -> list[actions.Action]:
        self.now += seconds
        return self.step(ev.Tick())

    def phase(self, key: int) -> Phase:
        instance = self.machine.instances.get(key)
        return Phase.DONE if instance is None else instance.phase

    def generation(self, key: int) -> int:
        instance = self.machine.instances.get(key)
        assert instance is not None
        return instance.generation

    def pressed(self, key: int) -> list[StopStage]:
        return [a.stage for a in self.log if isinstance(a, actions.StopProcess) and a.key == key]

    def status(self, key: int) -> AgentStatus | None:
        return self.finished[key].status if key in self.finished else None

    def error(self, request: int) -> AgentError | None:
        return self.outcomes[request][0].error


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def bench_of() -> type[Bench]:
    return Bench
