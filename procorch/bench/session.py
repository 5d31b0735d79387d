"""Measuring several programs in turn.

Turn by turn each program gets one run (A B A B), so that a machine that becomes slower becomes so
for all of them. The runs of a program are distributed over several processes. A run that fails is
recorded, and the next one goes on in a new process.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from procorch.bench import machine
from procorch.bench.amounts import Amounts
from procorch.bench.cases import Case
from procorch.bench.measurement import Measurement
from procorch.bench.precision import half_width
from procorch.bench.process import Conditions, Lost, Process, World, new_seed
from procorch.bench.records import Failure, Plan, Run
from procorch.errors import AgentError

_GIVE_UP = 5
"""Failed runs, none of which succeeded, after which a program is not tried again."""
_LONG = 1.0
"""Seconds of a run from which on its way is measured in the first process alone."""

_FORKED = (
    "measured in forks of one process: they share a hash seed and a memory layout, and imports of "
    "procorch cost them nothing"
)

OnRun = Callable[[str, Run | Failure], None]


@dataclass
class _Subject:
    """What is known of one program while it is measured."""

    case: Case
    world: World
    kind: str
    loops: int
    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    python: str = ""
    requests: int = 1
    process: Process | None = None
    block: int = -1
    next_number: int = 0
    given_up: bool = False
    error: AgentError | None = None

    def note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    @property
    def tried(self) -> list[Run | Failure]:
        return [*self.runs, *self.failures]

    def done(self, turn: int) -> bool:
        return any(each.turn == turn for each in self.tried)


class Session:
    """Measures programs.

    Args:
        cases: the programs, each under a name of its own.
        on_run: called with the name and each run that counts, or its failure.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        amounts: Amounts,
        conditions: Conditions,
        on_run: OnRun | None = None,
    ) -> None:
        self.cases = cases
        self._amounts = amounts
        self._conditions = replace(conditions, pause=len(cases) > 1)
        self._on_run = on_run
        self.after_turn: Callable[[Session], None] | None = None
        """Called after each turn, when `measurements` has grown."""
        self._earlier: Mapping[str, Measurement] = {}
        self._subjects: list[_Subject] = []
        self._load = machine.load()
        self._seeds: list[int | None] = []
        self._ended_early = False

    def resume(self, earlier: Mapping[str, Measurement]) -> None:
        """Go on with measurements, by name, that were interrupted."""
        self._earlier = earlier

    @property
    def left(self) -> int:
        """How many runs are still to be made."""
        kept = sum(each.tried for each in self._earlier.values())
        return max(self._amounts.runs * len(self.cases) - kept, 1)

    @property
    def error(self) -> AgentError | None:
        """Why there are no figures, where no run of any program has succeeded."""
        if any(subject.runs for subject in self._subjects):
            return None
        return next((each.error for each in self._subjects if each.error), None)

    def execute(self) -> None:
        """Measure; what is finished stays in `measurements`, whatever ends this.

        Raises:
            NotMeasurable: a program cannot be measured as it was named.
        """
        began = time.monotonic()
        with ExitStack() as worlds:
            world: World | None = None
            for case in self.cases:
                # Forks inherit what their zygote has loaded: each program has one of its own.
                if world is None or self._conditions.fast:
                    world = World(self._conditions)
                    worlds.callback(world.close)
                self._subjects.append(self._subject(case, world))
            for subject in self._subjects:
                if not all(map(subject.done, range(self._amounts.runs))):
                    self._warm_up(subject)
            for turn in range(self._amounts.runs):
                for subject in self._subjects:
                    if not subject.given_up and not subject.done(turn):
                        self._take_turn(subject, turn)
                if self.after_turn is not None:
                    self.after_turn(self)
                if self._is_enough(turn, time.monotonic() - began):
                    break
            for subject in self._subjects:
                self._leave(subject)

    def _is_enough(self, turn: int, elapsed: float) -> bool:
        """Whether the figures are as precise as was asked for, or the time is over."""
        amounts = self._amounts
        over = elapsed >= amounts.max_time
        # The figures of a process that is half done tell nothing new.
        if not over and (not amounts.until or amounts.block(turn) == amounts.block(turn + 1)):
            return False
        self._ended_early = over or self._half_width() <= amounts.until
        if over and amounts.until:
            width = self._half_width()
            told = f"+- {width:.1%}" if math.isfinite(width) else "too few runs to tell"
            for subject in self._subjects:
                subject.note(f"the time was over before +- {amounts.until:.1%}: {told}")
        return self._ended_early

    def _half_width(self) -> float:
        """The least precise figure, or ratio of programs with the same parameters."""
        groups: dict[str, list[Measurement]] = {}
        for measured in self.measurements():
            assert measured.plan is not None
            groups.setdefault(repr(measured.plan.params), []).append(measured)
        return max(map(half_width, groups.values()))

    def _subject(self, case: Case, world: World) -> _Subject:
        subject = _Subject(case, world, case.kind, self._amounts.loops)
        earlier = self._earlier.get(case.name)
        if earlier is not None:
            subject.runs, subject.failures = list(earlier.runs), list(earlier.failures)
            subject.notes, subject.python = list(earlier.notes), earlier.machine["python"]
            subject.requests = earlier.requests
            numbers = [each.process for each in subject.tried]
            subject.next_number = max(numbers, default=-1) + 1
        return subject

    def _warm_up(self, subject: _Subject) -> None:
        """Runs that do not count. They tell what the program is, and how many loops it takes."""
        if not self._amounts.warmup:
            return
        number = subject.next_number
        try:
            process = self._open(subject, turn=-1)
            for _ in range(self._amounts.warmup):
                self._run(subject, process, -1)
        except Lost as lost:  # the runs that count will tell
            self._spare_loops(subject, lost)
            self._leave(subject)
        if self._amounts.fresh:
            self._leave(subject)
            subject.next_number = number
        else:
            subject.block = 0

    def _take_turn(self, subject: _Subject, turn: int) -> None:
        block = self._amounts.block(turn)
        found: Run | Failure
        try:
            if subject.process is None or block != subject.block:
                self._leave(subject)
                subject.block = block
                self._open(subject, turn)
            process = subject.process
            assert process is not None
            run = self._run(subject, process, turn)
            last = turn + 1 == self._amounts.runs or self._amounts.block(turn + 1) != block
            if last and (run.wall < _LONG or process.number == 0):
                run = process.measure_way(run)
            subject.runs.append(run)
            found = run
        except Lost as lost:
            found = self._record(subject, lost)
        if self._on_run is not None:
            self._on_run(subject.case.name, found)

    def _open(self, subject: _Subject, turn: int) -> Process:
        number = subject.next_number
        process = Process(subject.case, subject.world, number, self._seed(number))
        subject.next_number += 1
        subject.process = process
        process.load(subject.kind, turn)
        loaded = process.loaded
        subject.kind = loaded["kind"]
        subject.python, subject.requests = loaded["python"], loaded["requests"]
        subject.note(loaded["note"])
        return process

    def _run(self, subject: _Subject, process: Process, turn: int) -> Run:
        run = process.run(turn, warmup_calls=self._amounts.warmup_calls, loops=subject.loops)
        subject.loops = subject.loops or run.loops
        if process.loaded["returned"] in ("generator", "async_generator"):
            subject.note("it returns a generator, whose body is not executed and not measured")
        return run

    def _record(self, subject: _Subject, lost: Lost) -> Failure:
        subject.failures.append(lost.failure)
        subject.error = subject.error or lost.error
        if lost.over or lost.failure.phase == "start":
            self._leave(subject)
        self._spare_loops(subject, lost)
        if not subject.runs and len(subject.failures) >= _GIVE_UP:
            subject.given_up = True
            subject.note(f"given up after {_GIVE_UP} runs, which all failed")
        return lost.failure

    def _spare_loops(self, subject: _Subject, lost: Lost) -> None:
        """Call a program once a run from now on, if it has failed where it is called very often:
        one that fails now and then would fail in nearly every run."""
        if lost.in_loops and not self._amounts.loops:
            subject.loops = 1
            subject.note(
                "a call failed in the inner loops: runs after that call each request once, and are "
                "less exact"
            )

    @staticmethod
    def _leave(subject: _Subject) -> None:
        if subject.process is not None:
            subject.process.close()
            subject.process = None

    def _seed(self, number: int) -> int | None:
        """The hash seed of the processes with a number: that of all programs is the same one.

        A seed that the user has set holds for all processes.
        """
        given = os.environ.get("PYTHONHASHSEED", "random")
        if given != "random":
            return int(given)
        while len(self._seeds) <= number:
            self._seeds.append(new_seed())
        return self._seeds[number]

    def measurements(self) -> list[Measurement]:
        """What is known by now of each program."""
        return [self._measurement(subject) for subject in self._subjects]

    def plan(self, case: Case) -> Plan:
        """How a program is measured."""
        amounts, conditions = self._amounts, self._conditions
        return Plan(
            app=case.app,
            python=case.python,
            params=dict(case.sweep),
            runs=amounts.runs,
            processes=min(amounts.processes, amounts.runs) if amounts.fresh else 1,
            warmup_calls=amounts.warmup_calls,
            mode="forked" if conditions.fast else "executed",
            cpu=",".join(map(str, conditions.cpus)),
            digest=case.digest,
        )

    def _measurement(self, subject: _Subject) -> Measurement:
        notes = [
            *([_FORKED] if self._conditions.fast else []),
            *subject.notes,
            *machine.notes(self._load),
        ]
        return Measurement(
            name=subject.case.name,
            runs=tuple(subject.runs),
            requests=subject.requests,
            fresh=self._amounts.fresh,
            machine=machine.describe(subject.python, self._conditions.cpus),
            notes=tuple(dict.fromkeys(notes)),
            failures=tuple(subject.failures),
            plan=self.plan(subject.case),
            complete=subject.given_up
            or self._ended_early
            or len(subject.tried) >= self._amounts.runs,
        )


def as_conditions(
    *,
    fast: bool,
    timeout: float | None,
    cpus: tuple[int, ...],
    settings: Mapping[str, Any],
) -> Conditions:
    """The conditions that settings of an agent mean for the process that is measured.

    Raises:
        TypeError, ValueError: a setting is wrong.
    """
    from procorch import units

    if "instances" in settings:
        raise TypeError("unknown setting 'instances': a measurement has processes=")
    kept = dict(settings)
    limit, start = kept.pop("memory_limit", None), kept.pop("start_timeout", None)
    conditions = Conditions(fast=fast, timeout=timeout, cpus=cpus, settings=kept)
    if limit is not None:
        limit = units.size_in_bytes(limit, "memory_limit")
        conditions = replace(conditions, memory_limit=limit)
    if start is not None:
        conditions = replace(conditions, start_timeout=units.seconds(start, "start_timeout"))
    return replace(conditions, stdout=None) if "output" in kept else conditions
