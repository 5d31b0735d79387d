"""The books of a simulation: what an onlooker may hold against the machine (I1 to I5).

They know events, actions and the given settings, and nothing of how the machine comes to its
decisions. Every rule is asserted in the step that breaks it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, StopStage
from procorch.supervision.throttle import is_throttled

_ENDED_BY_AN_ANSWER = (StopStage.COOPERATE, StopStage.INTERRUPT, StopStage.STACK)
"""Whoever answers now has not hung, and its process is spared."""


@dataclass(slots=True, eq=False)
class Process:
    """One worker on paper.

    Args:
        ready: it has said so; ``failed``: it has said that it cannot start.
        gives_back: what was sent to it can be taken back.
        sends_ahead: it was started so that it may have more than one request.
        concurrency: how many requests it runs at once.
        running: what it works on; ``ahead``: what it has besides.
        cancelled: those of them whose task is to end; ``overdue``: the process is ended for them.
        held: it answered with an error and waits for leave to go on.
        sent: requests that were sent to it, and ``places`` the number of each among them.
        claimed: it has begun the requests up to this one, whatever its replies tell so far; but
            for those that are ``refused``: it will answer that they have not begun.
        late: such answers about requests that were taken back from it, number and place of each.
        began: when the request began, as far as the machine can know.
        walls: the time that its last requests took.
        leaving: it has said that its agent is finished.
        stage: the last that was pressed against it, ``target`` the request it was about.
        deaf: it ignores everything short of SIGKILL; ``immortal``: that as well, for a while.
    """

    key: int
    generation: int
    deaf: bool
    immortal: bool
    ready: bool = False
    gives_back: bool = False
    sends_ahead: bool = True
    failed: bool = False
    concurrency: int = 1
    running: list[int] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    overdue: bool = False
    ahead: deque[int] = field(default_factory=deque)
    revoked: set[int] = field(default_factory=set)
    held: bool = False
    sent: int = 0
    places: dict[int, int] = field(default_factory=dict)
    claimed: int = 0
    refused: set[int] = field(default_factory=set)
    late: deque[tuple[int, int]] = field(default_factory=deque)
    began: float = 0.0
    walls: deque[float] = field(default_factory=lambda: deque(maxlen=32))
    leaving: bool = False
    stage: StopStage | None = None
    target: int = 0
    unreaped: bool = False
    release: int = 1

    @property
    def request(self) -> int | None:
        """What it works on, or the first of several."""
        return self.running[0] if self.running else None

    def begin(self, request: int, now: float) -> None:
        """It begins a request."""
        self.running.append(request)
        self.began = now
        self.claimed = max(self.claimed, self.places[request])

    def go_on(self, now: float) -> None:
        """It begins what it has besides, if there is anything."""
        if self.ahead:
            self.begin(self.ahead.popleft(), now)

    def most(self, settings: AgentSettings) -> int:
        """How many requests it may have at a time."""
        if not self.sends_ahead:
            return 1
        if settings.prefetch != "auto":
            return settings.prefetch
        if len(self.walls) < 8 or not self.gives_back:
            return 1
        return min(16, 1 + int(0.001 / max(*self.walls, 1e-6)))


@dataclass(slots=True, eq=False)
class Asked:
    """One accepted request, as its sender remembers it."""

    id: int
    mailbox: int
    retries: int
    allowed_failures: int
    deadline: float | None
    priority: int = 0
    entered: int = 0
    deaths: int = 0
    blamed: int = 0
    began: bool = False
    repeatable: bool = True
    throttled: int = 0


@dataclass(slots=True, eq=False)
class Agent:
    """One instance, as its owner remembers it."""

    key: int
    mailbox: int
    settings: AgentSettings
    supervised: bool
    slot: int = 0
    service: bool = False
    generation: int = 0
    consecutive: int = 0
    explained: bool = True
    not_before: float = 0.0
    cancelled: bool = False
    reloads: int = 0
    ended: bool = False
    status: AgentStatus | None = None


@dataclass(slots=True, eq=False)
class Whole:
    """One agent with all its instances; ``restarts``: when one of its group was restarted."""

    number: int
    parent: int | None
    settings: AgentSettings
    restarts: list[float] = field(default_factory=list)
    ended: bool = False


class Books:
    """Keeps accounts of one simulation.

    Args:
        start_limit: how many processes may be starting at once.
    """

    def __init__(self, start_limit: int) -> None:
        self.start_limit = start_limit
        self.agents: dict[int, Agent] = {}
        self.wholes: dict[int, Whole] = {}
        self.processes: dict[int, Process] = {}
        self.beside: dict[int, Process] = {}
        self.requests: dict[int, Asked] = {}
        self.open: dict[int, Asked] = {}
        self.queues: dict[int, deque[int]] = {}
        self.asks: list[actions.AskPolicy] = []
        self.reconsiders: list[actions.Reconsider] = []
        self.probes: list[actions.Probe] = []
        self.closed = False
        self._stale_payloads: set[object] = set()
        self._lost: list[int] = []
        self._paused: dict[int, float] = {}

    @property
    def living(self) -> list[Process]:
        """All processes, those beside the current one of their instance, too."""
        return [*self.processes.values(), *self.beside.values()]

    def _of(self, key: int, generation: int) -> Process:
        return next(p for p in self.living if (p.key, p.generation) == (key, generation))

    # ---- before a step: what the event means

    def expect(self, event: ev.Event, now: float) -> None:
        """Note what an event says about the world."""
        match event:
            case ev.Spawn():
                self.agents[event.key] = Agent(
                    event.key,
                    event.mailbox,
                    event.settings,
                    event.supervised,
                    event.slot,
                    event.service,
                )
                if not event.joins:
                    whole = Whole(event.mailbox, event.parent, event.settings)
                    self.wholes[event.mailbox] = whole
                self.queues.setdefault(event.mailbox, deque())
            case ev.SpawnTogether(spawns):
                for spawn in spawns:
                    self.expect(spawn, now)
            case ev.Submit(request):
                asked = Asked(
                    request.id,
                    request.mailbox,
                    request.retries,
                    request.allowed_failures,
                    request.deadline,
                    request.priority,
                    repeatable=request.repeatable,
                )
                self.requests[request.id] = self.open[request.id] = asked
                self.queues.setdefault(request.mailbox, deque()).append(request.id)
            case ev.Configure(number, settings):
                whole = self.wholes[number]
                if settings.intensity != whole.settings.intensity:
                    whole.restarts.clear()  # the machine may have forgotten some of these
                for each in (whole, *self.of(number)):
                    each.settings = settings
                if settings.throttle is None:  # nothing is paused without one
                    for each in self.of(number):
                        self._paused.pop(each.mailbox, None)
            case ev.Close():
                self.closed = True
            case ev.Ready():
                process = self._of(event.key, event.generation)
                process.ready, process.gives_back = True, event.gives_back
            case ev.StartFailed():
                self._of(event.key, event.generation).failed = True
            case ev.Reload():
                self.agents[event.key].reloads += not self.agents[event.key].ended
            case ev.AgentFinished():
                self.processes[event.key].leaving = True
            case ev.Replied():
                self._expect_reply(event, now)
            case ev.TakenBack():
                self._expect_taken_back(event)
            case ev.NotBegun():
                self._expect_not_begun(event, now)
            case ev.Exited():
                self._expect_exit(event)

    def _expect_reply(self, event: ev.Replied, now: float) -> None:
        process = self.processes.get(event.key)
        if process is None or process.generation != event.generation:
            self._stale_payloads.add(event.payload)
        elif event.request in process.running:
            process.running.remove(event.request)
            process.cancelled.discard(event.request)
            process.walls.append(event.wall)
            process.held = event.error is not None and process.sends_ahead
            if not process.held and not process.leaving:
                process.go_on(now)
            if process.stage in _ENDED_BY_AN_ANSWER:
                process.stage = None
            if event.error is None and not self.agents[event.key].service:
                self.agents[event.key].consecutive = 0

    def _expect_taken_back(self, event: ev.TakenBack) -> None:
        process = self.processes[event.key]
        gone = [n for n in process.ahead if event.claimed < process.places[n] <= event.asked]
        for number in reversed(gone):
            process.ahead.remove(number)
            if number in self.open:
                self.queues[self.open[number].mailbox].appendleft(number)
        process.late.extend((number, process.places[number]) for number in gone)

    def _expect_not_begun(self, event: ev.NotBegun, now: float) -> None:
        process = self.processes[event.key]
        if (event.request, event.place) in process.late:
            process.late.remove((event.request, event.place))
            return
        assert process.running == [event.request]
        process.running.clear()
        self.requests[event.request].entered -= 1
        if event.request in self.open:
            self.queues[self.open[event.request].mailbox].appendleft(event.request)
        process.go_on(now)
        if process.stage in _ENDED_BY_AN_ANSWER:
            process.stage = None

    def _expect_exit(self, event: ev.Exited) -> None:
        process = self._of(event.key, event.generation)
        if process is self.beside.get(event.key):
            del self.beside[event.key]
            assert process.request is None, "I2: it serves beside another one"
            self._lost = []
            return
        del self.processes[event.key]
        died = [self.open[number] for number in process.running if number in self.open]
        died.sort(key=lambda asked: process.concurrency > 1 and asked.id != event.exit.started)
        self._lost = [asked.id for asked in died]
        for number in reversed(process.ahead):
            if number in self.open:
                self.queues[self.open[number].mailbox].appendleft(number)
        for asked in died:
            asked.deaths += 1
            asked.began = asked.began or asked.id in (event.exit.started, *event.exit.begun)
            if process.concurrency == 1:
                asked.blamed += 1
            elif event.exit.started in (0, asked.id) and not process.overdue:
                asked.blamed += 1  # 0: nobody knows which one it was
            assert asked.blamed <= asked.retries + 1, "I4: deaths of one request"
            assert asked.blamed <= asked.allowed_failures + 1, "I4: deaths because of one request"

    # ---- after a step: whether the actions are right

    def book(self, event: ev.Event, taken: list[actions.Action], now: float) -> None:
        """Take down what the machine answered.

        Raises:
            AssertionError: it broke a rule; the text begins with the rule's name.
        """
        if type(event) is ev.Exited:
            fixed = {action.request.id for action in taken if type(action) is actions.Resolve}
            for number in reversed(self._lost):
                if number not in fixed:
                    self._retried(number)
            self._lost = []
        if type(event) is ev.Replied and is_throttled(event.error):
            self._throttled(event, taken)
        for action in taken:
            match action:
                case actions.Launch():
                    self._launch(action, now)
                case actions.TakeOver():
                    self._take_over(action)
                case actions.ReloadEnded(key):
                    agent = self.agents[key]
                    agent.reloads -= not agent.ended
                    assert agent.reloads >= 0, "N19: a reload ends once"
                case actions.Notify(key, notices.Reloaded() as notice):
                    process = self.processes[key]
                    assert process.ready, "N19: a release that is not ready"
                    assert process.release == notice.release, "N19: another release"
                case actions.Send():
                    self._send(action, now)
                case actions.BeginAhead():
                    self._begin_by_itself(action, now)
                    self._begin(action.key, action.request.id)
                case actions.Proceed():
                    process = self.processes[action.key]
                    assert process.held, "told to go on, though it does"
                    process.held = False
                    process.go_on(now)
                case actions.Resolve():
                    self._resolve(action)
                case actions.StopProcess():
                    self._stop_process(action)
                case actions.CancelTask(key, generation, request):
                    process = self._of(key, generation)
                    assert process.concurrency > 1, "N8: no task"
                    assert request in process.running, "N8: aimed at what it does not work on"
                    assert request not in process.cancelled, "N8: cancelled twice"
                    process.cancelled.add(request)
                case actions.Ended():
                    self._finish(action)
                case actions.AgentEnded():
                    self._finish_whole(action)
                case actions.AskPolicy():
                    assert self.agents[action.key].supervised
                    assert not self.closed, "N7: a verdict is asked for while closing"
                    self.asks.append(action)
                case actions.Reconsider():
                    assert not self.closed, "N7: a verdict is asked for while closing"
                    self.reconsiders.append(action)
                case actions.Probe():
                    self.probes.append(action)
                case actions.Notify(key, notices.Restarting() as notice):
                    self._restarting(event, self.agents[key], notice, now)
                case actions.Notify(key, notices.BackingOff() as notice):
                    self.agents[key].not_before = now + notice.delay
                case actions.Notify(key, notices.Throttled() as notice):
                    least = min(8.0, notice.asked or 0.0)
                    assert least <= notice.delay <= 8.0, "N23: not as long as asked, or capped"
                    self._paused[self.agents[key].mailbox] = now + notice.delay
                case actions.Notify(key, notices.Unreaped() as notice):
                    self._of(key, notice.generation).unreaped = True

        for action in taken:
            if type(action) is actions.Notify and type(action.notice) is notices.ReloadFailed:
                process = self.processes.get(action.key)
                over = process is None or process.release != action.notice.release
                assert over or process.stage is not None, "N19: a failed release serves"

    def _retried(self, number: int) -> None:
        """A request whose worker died without an outcome, and which may be tried again, waits
        before all others (N3)."""
        asked = self.open.get(number)
        if asked is None or max(1, asked.blamed) > asked.retries:
            return
        if asked.blamed <= asked.allowed_failures:
            self.queues[asked.mailbox].appendleft(number)

    def _throttled(self, event: ev.Replied, taken: list[actions.Action]) -> None:
        """A request that was throttled and has neither an outcome nor a judge waits again, before
        all others (N23)."""
        asked, process = self.open.get(event.request), self.processes.get(event.key)
        if asked is None or process is None or process.generation != event.generation:
            return
        decided = any(
            (type(a) is actions.Resolve and a.request.id == event.request)
            or (type(a) is actions.AskPolicy and a.key == event.key and a.error is event.error)
            for a in taken
        )
        throttle = self.wholes[asked.mailbox].settings.throttle
        again = throttle is not None and asked.repeatable and asked.throttled < throttle.retries
        if any(each.key == event.key for each in self.asks) and not again:
            return  # the policy, which is asked about another error, will be asked about this one
        if not decided:
            asked.throttled += 1
            asked.began = True
            assert asked.repeatable, "N23: tried again, though its caller notices"
            assert asked.throttled <= 4, "N23: tried again too often"
            self.queues[asked.mailbox].appendleft(event.request)

    def _launch(self, action: actions.Launch, now: float) -> None:
        agent = self.agents[action.key]
        if action.beside:
            assert action.key in self.processes, "I2: beside nothing"
            other = self.beside.get(action.key)
            assert other is None or other.unreaped, "I2: a third process"
        else:
            assert action.key not in self.processes, "I2: two live processes of one instance"
            assert agent.explained, "N1: a new process without a reason"
            assert now >= agent.not_before, "N2: a start before its backoff is over"
            agent.explained = False
        assert not agent.ended, "I2: a start after the end"
        assert not self.closed, "I2: a start during close"
        assert action.generation == agent.generation + 1, "I2: generations grow by one"
        assert not agent.cancelled, "N14: a start after a cancel"
        agent.generation = action.generation
        place = self.beside if action.beside else self.processes
        place[action.key] = Process(
            action.key, action.generation, False, False, release=action.release,
            sends_ahead=agent.settings.sends_ahead, concurrency=agent.settings.concurrency,
        )  # fmt: skip

    def _take_over(self, action: actions.TakeOver) -> None:
        before, successor = self.processes.get(action.key), self.beside.pop(action.key)
        assert successor.generation == action.generation
        assert successor.release == action.release
        assert successor.stage is None, "N19: it is being ended"
        if before is not None:
            assert successor.ready, "N19: a release that is not ready"
            assert before.request is None, "N19: it works on a request"
            assert before.held or not before.ahead, "N19: it goes on with what is ahead"
            self._put_back_ahead(before)
            self.beside[action.key] = before
        assert self.agents[action.key].explained, "N1: a new process without a reason"
        self.agents[action.key].explained = False
        self.processes[action.key] = successor

    def _send(self, action: actions.Send, now: float) -> None:
        process = self.processes[action.key]
        asked = self.open.get(action.request.id)
        assert asked is not None, "I1: sent after its outcome"
        assert process.generation == action.generation, "I1: sent to a superseded generation"
        assert process.ready, "sent before it was ready"
        assert not process.leaving, "sent to one that is finished"
        assert not process.held, "sent to one that waits"
        full = len(process.running) >= process.concurrency
        assert full == action.ahead, "seed: as many requests at a time as it may run"
        if action.ahead:
            most = process.most(self.agents[action.key].settings)
            assert len(process.ahead) + 1 < most, "more than it may have"
            assert not action.request.alone, "a large body is never sent ahead"
        process.sent += 1
        process.places[action.request.id] = process.sent
        assert now >= self._paused.get(asked.mailbox, 0.0), "N23: sent in a pause"
        assert process.stage is None, "N8: sent to a process that is being ended"
        assert asked.deadline is None or now < asked.deadline, "N3: sent after its deadline"
        self._given_up(action.request.id)
        queue = self.queues[asked.mailbox]
        waiting = [number for number in queue if number in self.open]
        assert waiting, "I4: sent twice"
        first = max(waiting, key=lambda number: self.requests[number].priority)
        assert first == action.request.id, "I4: the first of the highest priority"
        self.queues[asked.mailbox] = deque(number for number in waiting if number != first)
        assert asked.blamed <= asked.allowed_failures, "N3: poison was sent again"
        if action.ahead:
            process.ahead.append(action.request.id)
        else:
            process.begin(action.request.id, now)
            self._begin(action.key, action.request.id)

    def _given_up(self, request: int) -> None:
        """What is ahead at a process that waits, and is not to go on, is for the others."""
        for process in self.processes.values():
            if request in process.ahead and process.held and process.stage is not None:
                self._put_back_ahead(process)

    def _put_back_ahead(self, process: Process) -> None:
        for number in reversed(process.ahead):
            if number in self.open:
                self.queues[self.open[number].mailbox].appendleft(number)
        process.ahead.clear()

    def _begin_by_itself(self, action: actions.BeginAhead, now: float) -> None:
        """A service begins the one request that it runs."""
        request = action.request
        if request.id not in self.requests:
            process = self.processes[action.key]
            assert self.agents[action.key].service, "begun, and never sent"
            assert process.request is None, "seed: one request at a time"
            asked = Asked(request.id, request.mailbox, 0, 0, None, repeatable=False)
            self.requests[request.id] = self.open[request.id] = asked
            process.places[request.id] = 1
            process.begin(request.id, now)

    def _begin(self, key: int, request: int) -> None:
        asked = self.requests[request]
        assert request in self.processes[key].running, "it works on something else"
        asked.entered += 1
        most = asked.retries + asked.throttled + 1 + asked.deaths - asked.blamed
        assert asked.entered <= most, "I4: more often than its retries allow"

    def _resolve(self, action: actions.Resolve) -> None:
        asked = self.open.pop(action.request.id, None)
        assert asked is not None, "I1: exactly one outcome"
        at = [p for p in self.processes.values() if action.request.id in (*p.running, *p.ahead)]
        if action.error is not None and action.payload is None:
            assert action.error.may_have_executed == asked.began, "N3: may_have_executed"
            for process in at:
                after = (*process.running, *process.ahead)
                after = after[after.index(action.request.id) :]
                if process.concurrency > 1:
                    after = (action.request.id,)
                known = action.sent == after or (process.held and not action.sent)
                assert known, "N3: it is not known whether its worker began it"
                if action.request.id in process.ahead:
                    process.revoked.add(action.request.id)
        assert at or not action.sent, "N3: it is not at a worker"
        if action.payload is not None:
            assert action.payload not in self._stale_payloads, "I1: by a superseded generation"
            assert action.payload[2] == action.request.id, "I1: somebody else's reply"

    def _stop_process(self, action: actions.StopProcess) -> None:
        process = self._of(action.key, action.generation)
        if action.stage in (StopStage.COOPERATE, StopStage.INTERRUPT):
            assert process.concurrency == 1, "N8: others run at the same time"
            assert process.request == action.request, "N8: aimed at what it does not work on"
            assert action.request, "N8: aimed at nothing"
        if process.stage is not None:
            assert action.stage > process.stage, "N8: the ladder goes up"
        if action.stage is StopStage.TERMINATE and process.stage is None and process.cancelled:
            process.overdue = True
        process.stage, process.target = action.stage, action.request

    def _finish(self, action: actions.Ended) -> None:
        agent = self.agents[action.key]
        assert not agent.ended, "an end happens once"
        agent.ended, agent.status = True, action.status
        assert action.status is not AgentStatus.RUNNING
        assert not agent.cancelled or action.status is AgentStatus.CANCELLED, "N14"
        process = self.processes.get(action.key)
        assert process is None or process.unreaped, "I5: ended while its process lives, unreported"
        other = self.beside.get(action.key)
        assert other is None or other.unreaped, "I5: ended while another process lives, unreported"
        assert not agent.reloads, "N19: a reload without an outcome"

    def _finish_whole(self, action: actions.AgentEnded) -> None:
        whole = self.wholes[action.agent]
        assert not whole.ended, "an end happens once"
        whole.ended = True
        assert action.status is not AgentStatus.RUNNING
        assert all(each.ended for each in self.of(action.agent)), "it ended before its instances"
        waits = [number for number, asked in self.open.items() if asked.mailbox == action.agent]
        assert not waits, f"I1: requests {waits} wait for an agent that has ended"

    def of(self, number: int) -> list[Agent]:
        """The instances of an agent."""
        return [agent for agent in self.agents.values() if agent.mailbox == number]

    def _restarting(
        self, event: ev.Event, agent: Agent, notice: notices.Restarting, now: float
    ) -> None:
        assert not self.closed, "N7: a restart while closing"
        for other in self.agents.values():
            if self._goes_with(other, agent):
                other.explained = True
                other.not_before = 0.0
        if not notice.counted:
            return
        agent.consecutive += 1
        if agent.service and notice.restart == 1:
            agent.consecutive = 1  # it was ready for long enough, or returned after a while
        assert agent.consecutive == notice.restart, "N2: miscounted"
        assert agent.consecutive <= agent.settings.max_restarts, "I3: consecutive"
        whole = self.wholes[agent.mailbox]
        parent = self.wholes.get(whole.parent) if whole.parent is not None else None
        if parent is not None and not parent.ended:
            self._count(parent, now)
        if not any(w.parent == whole.number and not w.ended for w in self.wholes.values()):
            self._count(whole, now)

    def _count(self, head: Whole, now: float) -> None:
        intensity = head.settings.intensity
        if intensity is not None:
            head.restarts = [at for at in head.restarts if at >= now - intensity.period] + [now]
            assert len(head.restarts) <= intensity.restarts, "I3: intensity"

    def _goes_with(self, other: Agent, agent: Agent) -> bool:
        """Whether a restart of ``agent`` may be one of ``other``: same tree, roughly."""
        return self._root(other) == self._root(agent)

    def _root(self, agent: Agent) -> int:
        whole = self.wholes[agent.mailbox]
        while whole.parent is not None and whole.parent in self.wholes:
            whole = self.wholes[whole.parent]
        return whole.number
