"""A world for the machine: agents, processes, policies and operators that act at random.

One `World` is one schedule, made from its seed alone. Which kinds of things happen, and how often,
is drawn anew for each (swarm testing): a schedule in which nobody is ever cancelled reaches states
that an even mixture hardly ever does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from msgspec import structs

from procorch.errors import (
    Aborted,
    AgentError,
    ModelThrottled,
    ProtocolError,
    SerializationError,
    StartError,
)
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.core import Due
from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.machine import Machine
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import Phase, StopStage
from procorch.supervision.throttle import Throttle
from tests.simulate import inside
from tests.simulate.books import Agent, Books, Process

MOST_AGENTS = 12
CLOSE_TIMEOUT = 10.0
KILL_WAIT = 5.0


class World:
    """One schedule.

    Args:
        seed: everything that happens follows from it.

    Attributes:
        steps: events handed to the machine so far.
        told: those events, each with its time.
        shortened: how many of them the machine handled on their short path.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps = 0
        self.told: list[tuple[float, ev.Event]] = []
        self.shortened = 0
        self._rng = rng = random.Random(seed)
        self._now = 0.0
        self._keys = itertools.count(1)
        self._requests = itertools.count(1)
        self._releases = itertools.count(2)
        limit = rng.choice((1, 2, 12))
        self._machine = Machine(chance=rng.random, start_limit=limit)
        self._books = Books(limit)
        self._spawns: dict[int, ev.Spawn] = {}
        self._gone: list[tuple[int, int, int]] = []
        self._latest = 0.0
        self._plain = rng.random() < 0.3  # else hardly any request takes its short path
        self._moves, self._weights = self._draw_moves()
        self._deaf = rng.choice((0.0, 0.1, 0.6))
        self._immortal = rng.choice((0.0, 0.0, 0.1))
        self._services = rng.choice((0.0, 0.0, 0.2, 0.8))
        self._kinds = rng.choice(("flat", "deep", "wide", "any"))
        self._together = rng.choice((0.3, 0.9))
        self._at_once = rng.choice(((1,), (1, 1, 3), (2, 4, 8)))
        self._short = rng.choice((0.0, 0.5, 1.0))
        self._rng_of_paths = random.Random(seed)

    # ---- playing

    def play(self) -> None:
        """Play it to its end.

        Raises:
            AssertionError: a rule was broken.
        """
        rng = self._rng
        self._act(rng.choice((20, 60, 150)))
        if not self._books.closed and rng.random() < 0.5:
            self._settle()
            self._act(20)
        self._close_and_wait()

    def _act(self, steps: int) -> None:
        """Take about so many steps; moves that find nothing to do take none."""
        until = self.steps + steps
        for _ in range(20 * steps):
            if self.steps >= until:
                break
            self._move()

    def _move(self) -> None:
        (move,) = self._rng.choices(self._moves, self._weights)
        move()

    def _tell(self, event: ev.Event) -> None:
        self.steps += 1
        self.told.append((self._now, event))
        books, core = self._books, self._machine._core
        books.expect(event, self._now)
        before = inside.before(core)
        taken = self._step(event)
        known = set(books.living)
        books.book(event, taken, self._now)
        for process in books.living:
            if process not in known:
                process.deaf = self._rng.random() < self._deaf
                process.immortal = self._rng.random() < self._immortal
        inside.look(core, {(question.key, question.ticket) for question in books.asks})
        inside.compare(core, before, taken)
        for action in taken:
            if isinstance(action, actions.TakeBack):
                self._take_back(action)
        if type(event) is ev.Tick:
            self._nothing_is_stuck()

    def _step(self, event: ev.Event) -> list[actions.Action]:
        """Hand an event to the machine, at random by its short path, if it has one."""
        if self._short < self._rng_of_paths.random():
            return self._machine.step(event, self._now)
        match event:
            case ev.Submit(request):
                a = self._machine.give(request, self._now)
                if a is not None:
                    self.shortened += 1
                    return [actions.Send(a.key, a.generation, request)]
            case ev.Replied(key, generation, number, None, payload, _, wall):
                request = self._machine._core.ledger.requests.get(number)
                further = self._machine.succeed(key, generation, number, wall, self._now)
                if further is not None:
                    self.shortened += 1
                    assert request is not None, "I1: a success of a request that has its outcome"
                    return [actions.Resolve(request, None, payload), *further]
        return self._machine.step(event, self._now)

    def _draw_moves(self) -> tuple[list[Callable[[], None]], list[int]]:
        often: dict[Callable[[], None], tuple[int, ...]] = {
            self._spawn: (4, 8),
            self._join: (0, 0, 2),
            self._retire: (0, 0, 1, 2),
            self._submit: (0, 4, 8),
            self._set_width: (0, 0, 1),
            self._set_paused: (0, 0, 1),
            self._configure: (0, 0, 1, 3),
            self._ready: (8,),
            self._reply: (4, 8),
            self._reply_badly: (0, 2, 8),
            self._obey: (8,),
            self._answer: (2, 8),
            self._pass_time: (1, 4),
            self._wait_for_timer: (1, 4),
            self._exit: (0, 1, 4),
            self._fail_start: (0, 1, 4),
            self._leave: (0, 0, 1),
            self._probed: (4,),
            self._cancel_request: (0, 1, 3),
            self._cancel: (0, 0, 1, 2),
            self._drain: (0, 0, 1, 2),
            self._stop: (0, 0, 1, 2),
            self._restart: (0, 0, 1, 3),
            self._reload: (0, 0, 1, 3),
            self._give_up_reload: (0, 0, 1),
            self._overgrow: (0, 0, 1),
            self._break: (0, 0, 1),
            self._reply_late: (0, 1),
            self._not_begun_late: (1,),
            self._make_quick: (0, 1, 3),
            self._close: (0, 0, 0, 0, 0, 0, 1),
        }
        weights = [self._rng.choice(choices) for choices in often.values()]
        if self._plain:
            usual = {
                self._spawn: 8, self._submit: 8, self._ready: 8, self._reply: 8,
                self._reply_late: 8, self._exit: 1, self._cancel_request: 2,
            }  # fmt: skip
            for at, move in enumerate(often):
                if move in usual:
                    weights[at] = usual[move]
                elif self._rng.random() < 0.8:
                    weights[at] = 0
        return list(often), weights

    # ---- what users do

    def _spawn(self) -> None:
        books, rng = self._books, self._rng
        if len(books.agents) >= MOST_AGENTS:
            return
        parent, keys = None, list(books.wholes)
        if keys and self._kinds == "deep":
            parent = keys[-1]
        elif keys and self._kinds == "wide":
            parent = keys[0] if rng.random() < 0.8 else rng.choice(keys)
        elif keys and self._kinds == "any" and rng.random() < 0.7:
            parent = rng.choice(keys)
        key, service = next(self._keys), rng.random() < self._services
        first = ev.Spawn(
            key=key,
            mailbox=key,
            name=f"a{key}",
            settings=_of_service(self._settings()) if service else self._settings(),
            service=service,
            supervised=rng.random() < 0.8,
            reconsiders=rng.random() < 0.5,
            parent=parent,
        )
        self._spawns[key] = first
        count = rng.choice((2, 3)) if rng.random() < self._together else 1
        if count == 1:
            self._tell(first)
        else:
            others = (self._another(key, slot) for slot in range(1, count))
            self._tell(ev.SpawnTogether((first, *others)))

    def _another(self, agent: int, slot: int) -> ev.Spawn:
        key = next(self._keys)
        return structs.replace(self._spawns[agent], key=key, slot=slot, joins=True)

    def _join(self) -> None:
        """An agent gets another instance: a new slot, or a successor for one (N19)."""
        if self._books.agents and len(self._books.agents) < MOST_AGENTS:
            number = self._number()
            slots = [agent.slot for agent in self._books.of(number)]
            self._tell(self._another(number, self._rng.choice((max(slots) + 1, *slots))))

    def _retire(self) -> None:
        if self._books.agents:
            self._tell(ev.Retire(self._agent().key, now=self._rng.random() < 0.2))

    def _settings(self) -> AgentSettings:
        rng, pick = self._rng, self._rng.choice
        restart = pick(("permanent", "transient", "transient", "temporary"))
        settings = AgentSettings(
            restart=restart,
            max_restarts=pick((0, 1, 3, 9)),
            backoff=Backoff(initial=pick((0.0, 1.0, 5.0)), cap=5.0, reset_after=pick((0, 30))),
            intensity=pick((None, None, Intensity(pick((0, 1, 3)), pick((2.0, 20.0))))),
            strategy=pick(("one_for_one", "one_for_all", "rest_for_one")),
            link=pick(("record", "stop", "restart")),
            significant=restart != "permanent" and rng.random() < 0.3,
            auto_shutdown=pick(("never", "any_significant", "all_significant")),
            shutdown=Shutdown(
                cooperate=pick((0.0, 0.2)), interrupt=1.0, grace=pick((0.0, 3.0)),
                terminate=pick((0.0, 2.0)), kill=pick((1.0, KILL_WAIT)),
            ),
            start_timeout=pick((1.0, 60.0)),
            heartbeat_timeout=pick((None, None, 2.0)),
            memory_limit=1000,
            max_requests=pick((None, None, None, 1, 3)),
            max_age=pick((None, None, None, 4.0)),
            prefetch=pick((1, 2, 5, "auto", "auto", "auto")),
            concurrency=pick(self._at_once),
            recycle_jitter=pick((0.0, 0.0, 0.5)),
            charge_requests=rng.random() < 0.2,
            throttle=pick((None, None, None, Throttle(retries=pick((0, 1, 4)), longest=8.0))),
            rate=pick((None, None, None, None, None, 0.5, 2.0)),
        )  # fmt: skip
        if self._plain:
            return structs.replace(
                settings, heartbeat_timeout=None, max_requests=None, throttle=None, rate=None
            )
        return settings

    def _submit(self) -> None:
        rng, takers = self._rng, self._takers()
        if not takers:
            return
        timeout = rng.choice((None, None, 1.0, 5.0))
        deadline = self._now + timeout if timeout and rng.random() < 0.7 else None
        self._tell(
            ev.Submit(
                Request(
                    mailbox=rng.choice(takers).mailbox,
                    id=next(self._requests),
                    deadline=deadline,
                    timeout=timeout,
                    retries=rng.choice((0, 0, 1, 3)),
                    allowed_failures=rng.choice((0, 1, 2)),
                    priority=rng.choice((0, 0, 0, -1, 5)),
                    repeatable=rng.random() < 0.8,
                    alone=rng.random() < 0.1,
                )
            )
        )

    def _set_width(self) -> None:
        if takers := self._takers():
            mailbox = self._rng.choice(takers).mailbox
            self._tell(ev.SetWidth(mailbox, self._rng.choice((1, 1, 2, 3))))

    def _set_paused(self) -> None:
        if takers := self._takers():
            mailbox = self._rng.choice(takers).mailbox
            self._tell(ev.SetPaused(mailbox, self._rng.random() < 0.5))

    def _configure(self) -> None:
        """An agent gets other settings, at random also when it ends or has ended."""
        if self._books.agents:
            number = self._number()
            settings = self._settings()
            if self._spawns[number].service:
                settings = _of_service(settings)
            self._spawns[number] = structs.replace(self._spawns[number], settings=settings)
            self._tell(ev.Configure(number, settings))

    def _takers(self) -> list[Agent]:
        """The agents that take requests."""
        return [agent for agent in self._books.agents.values() if not agent.service]

    def _agent(self) -> Any:
        return self._books.agents[self._rng.choice(list(self._books.agents))]

    def _number(self) -> int:
        return self._rng.choice(list(self._books.wholes))

    def _cancel_request(self) -> None:
        if self._books.requests:
            among = self._books.open or self._books.requests
            self._tell(ev.CancelRequest(self._rng.choice(list(among))))

    def _cancel(self) -> None:
        if self._books.agents:
            number = self._number()
            for agent in self._books.of(number):
                a = self._machine.instances.get(agent.key)
                if a is not None and a.phase not in (Phase.STOPPING, Phase.DONE):
                    agent.cancelled = True
            self._tell(ev.Cancel(number))

    def _drain(self) -> None:
        if self._books.agents:
            self._tell(ev.Drain(self._number()))

    def _stop(self) -> None:
        if self._books.agents:
            self._tell(ev.Stop(self._number(), self._rng.choice((0.0, 3.0))))

    def _restart(self) -> None:
        if self._books.agents:
            self._tell(ev.Restart(self._agent().key))

    def _reload(self) -> None:
        if self._books.agents:
            back = self._rng.random() < 0.2
            release = 1 if back else next(self._releases)
            stop_first = self._rng.random() < 0.4
            self._tell(ev.Reload(self._agent().key, release, stop_first, back))

    def _give_up_reload(self) -> None:
        if self._books.agents:
            self._tell(ev.GiveUpReload(self._agent().key))

    def _close(self) -> None:
        deadline = self._now + self._rng.choice((0.0, 3.0, CLOSE_TIMEOUT))
        latest = max(deadline, self._now) + KILL_WAIT
        self._latest = min(self._latest, latest) if self._books.closed else latest
        self._tell(ev.Close(self._rng.random() < 0.5, deadline))

    def _answer(self) -> None:
        """A policy answers: late, never in the order of asking, at times with nonsense."""
        rng = self._rng
        questions = self._books.asks + self._books.reconsiders
        if not questions:
            return
        question = rng.choice(questions)
        action: SupervisorAction | None = rng.choice(
            (SupervisorAction.RESTART, SupervisorAction.RESTART, *SupervisorAction)
        )
        fault = None
        if rng.random() < 0.1:
            action, fault = None, ZeroDivisionError("the policy")
        if isinstance(question, actions.AskPolicy):
            self._books.asks.remove(question)
            self._tell(ev.PolicyAnswered(question.key, question.ticket, action, fault))
        else:
            self._books.reconsiders.remove(question)
            self._tell(
                ev.Reconsidered(
                    question.key, question.ticket, question.child, question.error, action, fault
                )
            )

    # ---- what the world does

    def _process(self, fits: Callable[[Process], object]) -> Process | None:
        found = [process for process in self._books.living if fits(process)]
        return self._rng.choice(found) if found else None

    def _ready(self) -> None:
        process = self._process(lambda p: not p.ready and not p.failed)
        if process is not None:
            self._becomes_ready(process)

    def _becomes_ready(self, process: Process) -> None:
        gives_back = self._rng.random() < 0.9
        agent, run = self._books.agents[process.key], None
        if agent.service:
            run = Request(mailbox=agent.mailbox, id=next(self._requests), repeatable=False)
        self._tell(ev.Ready(process.key, process.generation, gives_back, run))

    def _fail_start(self) -> None:
        process = self._process(lambda p: not p.ready and not p.failed)
        if process is not None:
            error = StartError("no", permanent=self._rng.random() < 0.2)
            self._tell(ev.StartFailed(process.key, process.generation, error))

    def _reply(self, error: AgentError | None = None) -> None:
        process = self._process(lambda p: p.request is not None)
        if process is not None:
            request = self._rng.choice(process.running)
            ends = request in process.revoked or request in process.cancelled
            ends = ends and self._rng.random() < 0.8
            self._replies(process, Aborted() if ends else error, request=request)

    def _take_back(self, action: actions.TakeBack) -> None:
        """The worker may have gone on further than its replies tell, and may have seen in time that
        the last ones which it was about to begin were taken back."""
        rng, process = self._rng, self._books.processes[action.key]
        free = process.request is not None and process.stage is None and not process.leaving
        if free and rng.random() < 0.3:
            begun = list(process.ahead)[: rng.choice((1, 1, 2, 3))]
            process.claimed = max([process.claimed, *(process.places[each] for each in begun)])
            process.refused.update(begun[rng.randrange(len(begun) + 1) :])
        self._tell(ev.TakenBack(action.key, action.generation, process.claimed, action.number))

    def _not_begun_late(self) -> None:
        """It answers that requests which were taken back from it have not begun."""
        process = self._process(lambda p: p.late and self._is_next(p, p.late[0][1]))
        if process is not None:
            self._tell(ev.NotBegun(process.key, process.generation, *process.late[0]))

    @staticmethod
    def _is_next(process: Process, place: int) -> bool:
        """Whether the answer about the request sent in that place is the next one to be written."""
        return process.request is None or process.places[process.request] > place

    def _nothing_is_stuck(self) -> None:
        """Nothing waits behind a slow request that another replica could take."""
        for process in self._books.processes.values():
            agent = self._books.agents[process.key]
            a = self._machine.instances.get(process.key)
            adapts = agent.settings.prefetch == "auto" and process.gives_back
            if adapts and a is not None and a.process.ahead:
                box = self._machine._core.ledger.boxes[agent.mailbox]
                if len(box.members) > 1 and self._now >= process.began + 0.001:
                    places = [process.places[number] for number in process.ahead]
                    assert max(places) <= process.claimed, "some wait behind a slow one"

    def _prefetch(self, process: Process) -> int | str:
        return self._books.agents[process.key].settings.prefetch

    def _make_quick(self) -> None:
        """The members of a queue get requests one after the other and answer each in no time, so
        that requests are sent ahead from then on."""
        idle = self._process(
            lambda p: (
                p.ready and p.request is None and self._prefetch(p) == "auto" and p.sends_ahead
            )
        )
        if idle is None:
            return
        mailbox = self._books.agents[idle.key].mailbox
        for _ in range(self._rng.choice((8, 16, 24))):
            number = next(self._requests)
            self._tell(ev.Submit(Request(mailbox=mailbox, id=number)))
            by = [p for p in self._books.processes.values() if p.request == number]
            if not by:
                break
            self._replies(by[0], None, wall=1e-4)
        for _ in range(self._rng.choice((3, 9, 30))):
            self._tell(ev.Submit(Request(mailbox=mailbox, id=next(self._requests))))
        if (
            not self._books.closed and self._rng.random() < 0.7
        ):  # The ones that run turn out to be slow.
            self._now += 0.002
            self._tell(ev.Tick())

    def _reply_badly(self) -> None:
        throttled = ModelThrottled("slow down", retry_after=self._rng.choice((None, 1.0, 20.0)))
        errors = (throttled, SerializationError(what="reply"), Aborted())
        self._reply(self._rng.choice(errors))

    def _replies(
        self,
        process: Process,
        error: AgentError | None,
        wall: float | None = None,
        request: int | None = None,
    ) -> None:
        key, generation = process.key, process.generation
        request = process.request if request is None else request
        assert request is not None
        while process.late and self._is_next(process, process.late[0][1]):
            self._tell(ev.NotBegun(key, generation, *process.late[0]))
        if request not in process.running or self._books.processes.get(key) is not process:
            return
        if request in process.refused:
            process.refused.remove(request)
            self._tell(ev.NotBegun(key, generation, request, process.places[request]))
            return
        if process.places[request] < process.claimed and process.concurrency == 1:
            error = None  # else it would have waited
        if wall is None:
            wall = self._rng.choice((0.0, 1e-5, 1e-4, 1e-4, 0.0004, 0.05))
        payload = (key, generation, request)
        if self._books.agents[key].service and not process.leaving:
            self._tell(ev.AgentFinished(key, generation))  # its worker leaves
        self._gone.append(payload)
        peak = self._rng.choice((0, 500, 500, 2000))
        self._tell(ev.Replied(key, generation, request, error, payload, peak, wall))

    def _reply_late(self) -> None:
        """A reply of an older generation, or one that has been there before."""
        if self._gone:
            key, generation, request = self._rng.choice(self._gone[-4:])
            process = self._books.processes.get(key)
            current = process is not None and process.generation == generation
            if process is None or not current or request not in process.running:
                payload = (key, generation, request, "late")
                self._tell(ev.Replied(key, generation, request, None, payload))

    def _leave(self) -> None:
        process = self._process(
            lambda p: (
                p.request is not None
                and not p.leaving
                and (p.concurrency > 1 or p.places[p.request] == p.claimed)
                and p.request not in p.refused
            )
        )
        if process is not None:
            self._tell(ev.AgentFinished(process.key, process.generation))

    def _exit(self) -> None:
        process = self._process(lambda p: not p.immortal)
        if process is not None:
            self._exits(process)

    def _exits(self, process: Process) -> None:
        rng = self._rng
        while (
            process.concurrency == 1
            and process.request is not None
            and (
                process.places[process.request] < process.claimed
                or process.request in process.refused
            )
        ):
            self._replies(process, None)  # it has written that
            if self._books.processes.get(process.key) is not process:
                return
        for request in process.running:
            self._gone.append((process.key, process.generation, request))
        started, begun = process.request or 0 if rng.random() < 0.8 else 0, ()
        if process.concurrency > 1:
            count = rng.randrange(len(process.running) + 1)
            begun = tuple(rng.sample(process.running, count))
            started = rng.choice((0, *begun))
        exit = ev.Exit(signal=rng.choice((None, "SIGKILL")), code=0, started=started, begun=begun)
        self._tell(ev.Exited(process.key, process.generation, exit))

    def _obey(self) -> None:
        """A process does what it is being pressed to do, if it hears at all."""
        process = self._process(
            lambda p: (
                (p.stage is not None or p.leaving or p.failed or p.cancelled)
                and not p.immortal
                and (not p.deaf or p.stage in (StopStage.KILL, StopStage.GIVE_UP))
            )
        )
        if process is not None:
            self._obeys(process)

    def _obeys(self, process: Process) -> None:
        if process.stage in (StopStage.COOPERATE, StopStage.INTERRUPT):
            self._replies(process, Aborted())
        elif process.cancelled and process.stage in (None, StopStage.LEAVE):
            self._replies(process, Aborted(), request=min(process.cancelled))
        elif process.request is not None and process.stage in (None, StopStage.LEAVE):
            self._replies(process, None)
        else:
            self._exits(process)

    def _probed(self, *, calm: bool = False) -> None:
        if self._books.probes:
            probe = self._books.probes.pop(0)
            works = calm and self._books.agents[probe.key].service
            progress = self.steps if works else self._rng.choice((7, 7, 7, self.steps))
            self._tell(ev.Probed(probe.key, probe.generation, progress))

    def _overgrow(self) -> None:
        process = self._process(lambda p: True)
        if process is not None:
            self._tell(ev.MemoryExceeded(process.key, process.generation, 2000))

    def _break(self) -> None:
        process = self._process(lambda p: True)
        if process is not None:
            self._tell(ev.StreamBroken(process.key, process.generation, ProtocolError("bad magic")))

    def _pass_time(self) -> None:
        now = self._now + self._rng.choice((0.1, 1.0, 7.0))
        due = self._machine.next_due()
        if self._books.closed and due is not None:
            now = min(now, max(due, self._now))  # I5 is about time, so none may be wasted here
        self._now = now
        if self._books.closed or self._rng.random() < 0.7:  # else noticed with a later event
            self._tell(ev.Tick())

    def _wait_for_timer(self) -> None:
        due = self._machine.next_due()
        if due is not None:
            self._now = max(self._now, due)
            self._tell(ev.Tick())

    # ---- how it ends

    def _settle(self) -> None:
        """The world comes to rest: whoever was asked answers, and everything obeys.

        Then every request has its outcome, and whoever was told to end has ended.
        """
        for _ in range(2000):
            if not self._calm_move():
                break
        else:
            raise AssertionError("liveness: it never comes to rest")
        running = {n for process in self._books.processes.values() for n in process.running}
        left = [number for number in self._books.open if number not in running]
        assert not left, f"liveness: requests without outcome: {left}"
        for key, agent in self._books.agents.items():
            a = self._machine.instances.get(key)
            if not agent.ended:
                assert a is not None
                assert a.draining is None, f"liveness: {a.name} was told to end, and stays"
                assert a.phase.value == "ready", f"liveness: {a.name} stays in {a.phase.name}"
                assert a.attempt is None, f"liveness: the reload of {a.name} does not end"
                assert a.beside is None, f"liveness: {a.name} keeps two processes"

    def _calm_move(self) -> bool:
        books = self._books
        if books.asks or books.reconsiders:
            self._answer()
        elif books.probes:
            self._probed(calm=True)
        elif process := self._process(
            lambda p: p.stage is not None or p.leaving or p.failed or p.cancelled
        ):
            process.immortal = process.deaf = False
            self._obeys(process)
        elif process := self._process(lambda p: not p.ready):
            self._becomes_ready(process)
        elif process := self._process(
            lambda p: p.request is not None and not books.agents[p.key].service
        ):
            self._replies(process, None)
        elif any(not self._goes_on(*timer) for timer in self._machine._core.timers._at):
            self._wait_for_timer()
        elif paused := [key for key in books.wholes if self._machine.is_paused(key)]:
            self._tell(ev.SetPaused(paused[0], paused=False))
        elif empty := [t.key for t in self._machine._core.teams.values() if not t.members]:
            self._tell(self._another(empty[0], 0))
        else:
            return False
        return True

    def _goes_on(self, kind: Due, key: int) -> bool:
        """Whether a timer is armed as long as an agent lives."""
        busy = kind is Due.HEARTBEAT and self._books.agents[key].service
        return busy or kind is Due.AGE

    def _close_and_wait(self) -> None:
        """I5, with processes that do not help: the deadline, the kill wait, and it is over."""
        if not self._books.closed:
            self._close()
        while (due := self._machine.next_due()) is not None and due <= self._latest:
            if self._rng.random() < 0.5:
                self._move()
            else:
                self._wait_for_timer()
        self._now = max(self._now, self._latest)
        self._tell(ev.Tick())
        assert self._machine.idle, "I5: close() does not return"
        assert not self._books.open, "I1: a request without outcome"
        for process in self._books.living:
            assert process.unreaped, "I5: a process that nobody reported"
            self._exits(process)
        core = self._machine._core
        assert not core.instances, "an instance is left"
        assert not core.teams, "an agent is left"
        assert not core.ledger.boxes, "a mailbox is left"
        assert not core.ledger.requests, "a request is left"
        assert not core.starting, "a start slot is left"
        left = [kind for kind, _ in core.timers._at if kind is not Due.CLOSE]
        assert not left, f"timers are left: {left}"


def _of_service(settings: AgentSettings) -> AgentSettings:
    """The settings without those about requests."""
    return structs.replace(
        settings, max_requests=None, prefetch=1, concurrency=1, charge_requests=False, rate=None
    )
