"""I1 to I5 on trees of up to 12 agents, whatever the world does, in any order (Hypothesis)."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from procorch.errors import ModelThrottled, ProtocolError, StartError
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff, Intensity
from procorch.supervision.machine import Machine
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings

SETTINGS = st.builds(
    AgentSettings,
    restart=st.sampled_from(["permanent", "transient", "temporary"]),
    max_restarts=st.integers(0, 2),
    backoff=st.sampled_from([Backoff(initial=0), Backoff(initial=1)]),
    intensity=st.sampled_from([None, Intensity(1, 5.0), Intensity(3, 20.0)]),
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    link=st.sampled_from(["record", "stop", "restart"]),
    significant=st.booleans(),
    auto_shutdown=st.sampled_from(["never", "any_significant", "all_significant"]),
    heartbeat_timeout=st.sampled_from([None, 2.0]),
    charge_requests=st.booleans(),
)
ACTIONS = st.sampled_from(SupervisorAction)


class World(RuleBasedStateMachine):
    """Random agents, requests, deaths, verdicts and ends; the books say what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(chance=lambda: 0.5, start_limit=2)
        self.now = 0.0
        self.keys: list[int] = []
        self.processes: dict[int, int] = {}
        self.generations: dict[int, int] = {}
        self.accepted: list[int] = []
        self.outcomes: dict[int, int] = {}
        self.entered: dict[int, int] = {}
        self.order: dict[int, list[int]] = {}
        self.busy: dict[int, int] = {}
        self.asked: list[actions.AskPolicy] = []
        self.ended: set[int] = set()
        self.reconsiders: list[actions.Reconsider] = []
        self.budgets: dict[int, int] = {}
        self.retries: dict[int, int] = {}
        self.closed = False

    def step(self, event: ev.Event) -> None:
        for action in self.machine.step(event, self.now):
            match action:
                case actions.Launch(key, generation):
                    assert key not in self.processes, "I2: two live processes"
                    assert key not in self.ended, "I2: a start after the end"
                    assert not self.closed, "I2: a start during close"
                    assert generation > self.generations.get(key, 0), "I2: generations grow"
                    self.processes[key] = self.generations[key] = generation
                case actions.Send(key, generation, sent):
                    request = sent.id
                    assert self.processes.get(key) == generation
                    assert request not in self.outcomes, "I1"
                    again = self.entered.get(request, 0)
                    self.entered[request] = again + 1
                    assert again <= self.retries[request], "I4: at most once without retries"
                    if not again:
                        assert request > max(self.order[key], default=0), "I4: FIFO"
                        self.order[key].append(request)
                    self.busy[key] = request
                case actions.Resolve(resolved):
                    request = resolved.id
                    self.outcomes[request] = self.outcomes.get(request, 0) + 1
                    assert self.outcomes[request] == 1, "I1: one outcome"
                case actions.AskPolicy():
                    self.asked.append(action)
                case actions.Ended(key):
                    assert key not in self.ended
                    self.ended.add(key)
                case actions.Reconsider():
                    self.reconsiders.append(action)
                case actions.Notify(key, notices.Restarting() as notice):
                    assert notice.restart <= self.budgets[key], "I3"

    def pick(self, data: st.DataObject, among: list[int]) -> int:
        return data.draw(st.sampled_from(sorted(among)))

    @precondition(lambda self: len(self.keys) < 12)
    @rule(data=st.data(), settings=SETTINGS, supervised=st.booleans(), reconsiders=st.booleans())
    def spawn(
        self, data: st.DataObject, settings: AgentSettings, supervised: bool, reconsiders: bool
    ) -> None:
        key = len(self.keys) + 1
        parent = data.draw(st.sampled_from([None, *self.keys]))
        self.keys.append(key)
        self.order[key] = []
        self.budgets[key] = settings.max_restarts
        self.step(
            ev.Spawn(
                key=key,
                mailbox=key,
                name=f"a{key}",
                settings=settings,
                supervised=supervised,
                reconsiders=reconsiders and supervised,
                parent=parent,
            )
        )

    @precondition(lambda self: self.keys)
    @rule(
        data=st.data(),
        timeout=st.sampled_from([None, 1.0, 5.0]),
        whole=st.booleans(),
        retries=st.integers(0, 2),
        allowed=st.integers(0, 2),
    )
    def submit(
        self, data: st.DataObject, timeout: float | None, whole: bool, retries: int, allowed: int
    ) -> None:
        request = len(self.accepted) + 1
        self.accepted.append(request)
        self.retries[request] = min(retries, allowed) if allowed < retries else retries
        deadline = self.now + timeout if timeout is not None and whole else None
        self.step(
            ev.Submit(
                Request(request, self.pick(data, self.keys), timeout, deadline, retries, allowed)
            )
        )

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        key = self.pick(data, list(self.processes))
        self.step(ev.Ready(key, self.processes[key]))

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def start_fails(self, data: st.DataObject) -> None:
        key = self.pick(data, list(self.processes))
        self.step(ev.StartFailed(key, self.processes[key], StartError("no")))

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), good=st.booleans(), age=st.integers(0, 2))
    def reply(self, data: st.DataObject, good: bool, age: int) -> None:
        key = self.pick(data, list(self.busy))
        error = None if good else ModelThrottled("slow down")
        generation = self.generations[key] - age
        real = age == 0 and key in self.processes
        request = self.busy.pop(key) if real else self.busy[key]
        self.step(ev.Replied(key, generation, request, error))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), signal=st.sampled_from(["SIGKILL", None]))
    def exit(self, data: st.DataObject, signal: str | None) -> None:
        key = self.pick(data, list(self.processes))
        generation = self.processes.pop(key)
        started = self.busy.pop(key, 0)
        how = ev.Exit(signal=signal, code=None if signal else 0, started=started)
        self.step(ev.Exited(key, generation, how))

    @precondition(lambda self: self.asked)
    @rule(action=ACTIONS, fault=st.booleans())
    def policy_says(self, action: SupervisorAction, fault: bool) -> None:
        question = self.asked.pop(0)
        given = ZeroDivisionError() if fault else None
        self.step(ev.PolicyAnswered(question.key, question.ticket, action, given))

    @precondition(lambda self: self.reconsiders)
    @rule(action=ACTIONS, fault=st.booleans())
    def decide_about_a_parent(self, action: SupervisorAction, fault: bool) -> None:
        question = self.reconsiders.pop(0)
        given = ZeroDivisionError() if fault else None
        self.step(
            ev.Reconsidered(
                question.key, question.ticket, question.child, question.error, action, given
            )
        )

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), what=st.sampled_from(["leaving", "probed", "memory_exceeded", "broken"]))
    def a_process_is_seen(self, data: st.DataObject, what: str) -> None:
        key = self.pick(data, list(self.processes))
        generation = self.processes[key]
        events: dict[str, ev.Event] = {
            "leaving": ev.AgentFinished(key, generation),
            "probed": ev.Probed(key, generation, 1),
            "memory_exceeded": ev.MemoryExceeded(key, generation, 10**9),
            "broken": ev.StreamBroken(key, generation, ProtocolError("junk")),
        }
        self.step(events[what])

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.step(ev.Tick())

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel_request(self, data: st.DataObject) -> None:
        self.step(ev.CancelRequest(self.pick(data, self.accepted)))

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), how=st.sampled_from([ev.Cancel, ev.Drain, ev.Restart]))
    def end(self, data: st.DataObject, how: type) -> None:
        self.step(how(self.pick(data, self.keys)))

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self.step(ev.Stop(self.pick(data, self.keys), 3.0))

    @precondition(lambda self: not self.closed)
    @rule(drain=st.booleans())
    def close(self, drain: bool) -> None:
        self.step(ev.Close(drain, self.now + 10))
        self.closed = True

    @invariant()
    def an_ended_agent_has_no_open_request(self) -> None:
        if len(self.ended) == len(self.keys):
            assert set(self.accepted) == set(self.outcomes), "I1"

    def teardown(self) -> None:
        """I5: close ends everything, whatever went before, once the processes are killed."""
        self.step(ev.Close(False, self.now + 1))
        self.closed = True
        for _ in range(20):
            self.now += 10
            self.step(ev.Tick())
        assert self.ended == set(self.keys), "I5: released, even by a process that cannot die"
        for key, generation in list(self.processes.items()):
            del self.processes[key]
            self.step(ev.Exited(key, generation, ev.Exit(signal="SIGKILL")))
        assert self.machine.idle, "I5"
        assert self.ended == set(self.keys)
        assert set(self.accepted) == set(self.outcomes), "I1"
        assert all(self.machine.instances.get(key) is None for key in self.keys)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=250, stateful_step_count=60, deadline=None)
TestWorld.pytestmark = [pytest.mark.timeout(240)]  # 7 s of processor time
