"""I1 to I4 on the machine under whatever the world may do, in any order (Hypothesis)."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from procorch.errors import ModelThrottled, StartError
from procorch.supervision import events as ev
from procorch.supervision.machine import Machine
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings, Backoff

BUDGET = 2
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
        self.asked: list[ev.Ask] = []
        self.ended: set[int] = set()
        self.restarts: dict[int, int] = {}
        self.closed = False

    def step(self, event: ev.Event) -> None:
        for action in self.machine.step(event, self.now):
            match action:
                case ev.Launch(key, generation):
                    assert key not in self.processes, "I2: two live processes"
                    assert key not in self.ended, "I2: a start after the end"
                    assert not self.closed, "I2: a start during close"
                    assert generation > self.generations.get(key, 0), "I2: generations grow"
                    self.processes[key] = self.generations[key] = generation
                case ev.Send(key, generation, request):
                    assert self.processes.get(key) == generation
                    assert request not in self.outcomes, "I1"
                    self.entered[request] = self.entered.get(request, 0) + 1
                    assert self.entered[request] == 1, "I4: at most once"
                    mailbox = self.order[key]
                    assert mailbox == sorted(mailbox), "I4: FIFO"
                    mailbox.append(request)
                    self.busy[key] = request
                case ev.Resolve(request):
                    self.outcomes[request] = self.outcomes.get(request, 0) + 1
                    assert self.outcomes[request] == 1, "I1: one outcome"
                case ev.Ask():
                    self.asked.append(action)
                case ev.Finish(key):
                    assert key not in self.ended
                    self.ended.add(key)
                case ev.Emit(key, notice) if type(notice).__name__ == "Restarting":
                    if notice.restart > self.restarts.get(key, 0):
                        self.restarts[key] = notice.restart
                    assert notice.restart <= BUDGET, "I3"

    def pick(self, data: st.DataObject, among: list[int]) -> int:
        return data.draw(st.sampled_from(sorted(among)))

    @precondition(lambda self: len(self.keys) < 4)
    @rule(supervised=st.booleans(), charge=st.booleans(), delay=st.sampled_from([0.0, 1.0]))
    def spawn(self, supervised: bool, charge: bool, delay: float) -> None:
        key = len(self.keys) + 1
        self.keys.append(key)
        self.order[key] = []
        given = AgentSettings(
            max_restarts=BUDGET, charge_requests=charge, backoff=Backoff(initial=delay)
        )
        self.step(ev.Spawn(key, key, f"a{key}", given, supervised))

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), timeout=st.sampled_from([None, 1.0, 5.0]), whole=st.booleans())
    def submit(self, data: st.DataObject, timeout: float | None, whole: bool) -> None:
        request = len(self.accepted) + 1
        self.accepted.append(request)
        deadline = self.now + timeout if timeout is not None and whole else None
        self.step(ev.Submit(self.pick(data, self.keys), request, deadline, timeout))

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
        if age == 0 and key in self.processes:
            request = self.busy.pop(key)
        else:
            request = self.busy[key]
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
    def judge(self, action: SupervisorAction, fault: bool) -> None:
        question = self.asked.pop(0)
        given = ZeroDivisionError() if fault else None
        self.step(ev.Judged(question.key, question.ticket, action, given))

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.step(ev.Tick())

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel_request(self, data: st.DataObject) -> None:
        self.step(ev.CancelRequest(self.pick(data, self.accepted)))

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), how=st.sampled_from([ev.Cancel, ev.Drain]))
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
        for key, generation in list(self.processes.items()):
            del self.processes[key]
            self.step(ev.Exited(key, generation, ev.Exit(signal="SIGKILL")))
        assert self.machine.idle, "I5"
        assert self.ended == set(self.keys)
        assert set(self.accepted) == set(self.outcomes), "I1"
        assert all(self.machine.instance(key) is None for key in self.keys)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
