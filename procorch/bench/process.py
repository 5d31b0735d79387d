"""One measured process as the session sees it: orders go out, runs or failures come back."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from procorch.api.handle import OrchestratedHandle
from procorch.api.orchestrator import AgentOrchestrator
from procorch.bench.cases import Case, NotMeasurable
from procorch.bench.guard import Fork, Guard
from procorch.bench.records import Failure, Run
from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    CommandCrashed,
    CommandFailed,
    MemoryLimitExceeded,
    RequestTimeout,
    StartError,
)

_SEEDS = 1 << 32
"""Hash seeds are below; 0 would turn the randomisation of hashes off."""
_LEAVES = 5.0
"""Seconds that a process gets for its own end."""
_FIGURES = (
    "wall", "cpu_user", "cpu_system", "peak_rss", "page_faults", "cold", "cold_cpu", "loops",
    "children", "children_cpu", "children_peak_rss", "rss_after",
)  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """What a process is given, besides its program.

    Args:
        fast: a fork of a process that has procorch loaded; False: an interpreter is executed.
        timeout: seconds that one call may take.
        start_timeout: seconds until the program is ready.
        memory_limit: resident bytes; more of them end the process.
        cpus: the processors that it may use; none: those of this process.
        pause: it is stopped between its runs, so that its threads do not disturb other programs.
        stdout: what becomes of what it prints, as for `subprocess.Popen`.
        settings: of the guarding agent: its environment, directory, limits.
    """

    fast: bool = False
    timeout: float | None = None
    start_timeout: float = 60.0
    memory_limit: int | None = None
    cpus: tuple[int, ...] = ()
    pause: bool = False
    stdout: int | None = subprocess.DEVNULL
    settings: dict[str, Any] = field(default_factory=dict)


class Lost(Exception):
    """A run that failed.

    Args:
        failure: its record.
        error: the same as an error of procorch.
        over: the process has ended.
        in_loops: it happened in inner loops, which call a program very often.
    """

    def __init__(self, failure: Failure, error: AgentError, *, over: bool, in_loops: bool) -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.error = error
        self.over = over
        self.in_loops = in_loops


class World:
    """Where measured processes are started."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        guard = "procorch.bench.guard"
        method = "zygote" if sys.platform == "linux" else "spawn"
        self._orchestrator = AgentOrchestrator(
            start_method=method, preload=[guard] if method == "zygote" else []
        )
        settings = dict(conditions.settings)
        if conditions.fast:
            settings.setdefault("output", "capture")
            if conditions.memory_limit is not None:
                settings["memory_limit"] = conditions.memory_limit
        settings.update(restart="temporary", channel_buffer=4)
        self._orchestrator.add_agent("bench", Fork if conditions.fast else Guard, **settings)

    def spawn(self) -> OrchestratedHandle:
        """A new guard."""
        return self._orchestrator.spawn("bench")

    def close(self) -> None:
        """End all of its processes."""
        self._orchestrator.close(drain=False)


class Process:
    """One measured process.

    Args:
        number: its number among those of the measurement.
        hash_seed: its ``PYTHONHASHSEED``; None: inherited.
    """

    def __init__(self, case: Case, world: World, number: int, hash_seed: int | None) -> None:
        self._world = world
        self._case, self._conditions = case, world.conditions
        self.number = number
        self.hash_seed: int | None = None if world.conditions.fast else hash_seed
        self._handle: OrchestratedHandle | None = None
        self._start: float | None = None
        self._pid = 0
        self.loaded: dict[str, Any] = {}
        self.used: bool = False

    def load(self, kind: str, turn: int) -> None:
        """Start it and load the program.

        Raises:
            NotMeasurable: the program cannot be measured.
            Lost: it did not become ready.
        """
        case, conditions = self._case, self._conditions
        ours = [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]
        self._handle = self._world.spawn()
        report = self._ask(
            {
                "do": "load",
                "python": [case.python] if case.python else ours,
                "hash_seed": self.hash_seed,
                "stdout": conditions.stdout,
                "name": case.name,
                "app": case.app,
                "factory": case.factory,
                "program": case.program,
                "path": None if case.path is None else list(case.path),
                "requests": list(case.requests),
                "given": case.given,
                "params": dict(case.params),
                "kind": kind,
                "cpus": list(conditions.cpus),
            },
            turn,
            conditions.start_timeout,
        )
        self.loaded = report
        # What starts here is not the program, which starts with each call.
        self._start = None if case.program else report["seconds"]
        self._pid = report["pid"]

    def run(self, turn: int, *, warmup_calls: int, loops: int) -> Run:
        """Execute all requests.

        Args:
            loops: inner loops; 0: as many as it takes.

        Raises:
            Lost: one of the calls failed.
        """
        began = time.time()
        first, self.used = not self.used, True
        order = {"do": "run", "first": first, "warmup_calls": warmup_calls, "loops": loops}
        timeout = self._conditions.timeout
        report = self._ask(order, turn, timeout)
        slowest, request = report["slowest"]
        if timeout is not None and slowest > timeout:  # it ended before it was ended
            late = {"code": None, "phase": "warm", "request": request, "timeout": timeout}
            raise self._lost({"died": late}, turn)
        run = Run(
            **{name: report[name] for name in _FIGURES if name in report},
            each=tuple(report["each"]),
            start=self._start if first else None,
            process=self.number,
            pid=self._pid,
            hash_seed=self.hash_seed,
            turn=turn,
            began=began,
        )
        self.loaded["returned"] = report["returned"]
        return run

    def measure_way(self, run: Run) -> Run:
        """The run with the cost of its way; unchanged where the process does not survive that."""
        try:
            report = self._ask({"do": "way"}, run.turn, self._conditions.timeout)
        except Lost:
            return run
        return replace(run, way=report["way"])

    def close(self) -> None:
        """End it; what its end raises is not part of any run."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        order = {"do": "close", "timeout": _LEAVES, "memory_limit": None, "pause": False}
        with suppress(AgentError):  # It does not end by itself: its guard takes it along.
            handle.deliver(order, timeout=2 * _LEAVES).result()
        handle.cancel()
        handle.wait()

    def _ask(self, order: dict[str, Any], turn: int, timeout: float | None) -> dict[str, Any]:
        assert self._handle is not None
        conditions = self._conditions
        order = {
            **order, "timeout": timeout, "memory_limit": conditions.memory_limit,
            "pause": conditions.pause,
        }  # fmt: skip
        # A fork cannot watch itself: the limit holds for all calls of the order together.
        calls = len(self._case.requests) * (order.get("warmup_calls", 0) + 2)
        total = None if timeout is None or not conditions.fast else timeout * calls + 1.0
        try:
            report: dict[str, Any] = self._handle.deliver(order, timeout=total).result().output
        except (AgentCrashed, RequestTimeout) as error:
            raise self._lost(self._told(error, order), turn) from error
        if "refused" in report:
            raise NotMeasurable(_about(self._case, report["refused"]))
        if "error" in report or "died" in report:
            raise self._lost(report, turn)
        return report

    @staticmethod
    def _told(error: AgentCrashed | RequestTimeout, order: dict[str, Any]) -> dict[str, Any]:
        """What a guard would have said of the end of a fork."""
        at = {"phase": "start" if order["do"] == "load" else "warm", "request": None}
        died: dict[str, Any] = {"code": None, **at}
        if isinstance(error, RequestTimeout):
            died["timeout"] = order["timeout"]
        else:
            died.update(code=error.exitcode, signal=error.signal, pid=error.pid)
        if isinstance(error, MemoryLimitExceeded):
            died.update(memory=error.observed, limit=error.limit)
        return {"died": died}

    def _lost(self, report: dict[str, Any], turn: int) -> Lost:
        told = report.get("error") or report["died"]
        over = "died" in report
        error = _as_error(self._case.name, told, over=over)
        kind = _kind_of(error)
        request, count = told["request"], len(self._case.requests)
        where = "" if request is None or count == 1 else f" on request {request + 1} of {count}"
        failure = Failure(
            kind=kind,
            text=f"{error}{where}",
            phase="warm" if told["phase"] in ("loop", "way") else told["phase"],
            request=request,
            process=self.number,
            pid=told.get("pid") or self._pid,
            hash_seed=self.hash_seed,
            turn=turn,
            began=time.time(),
            traceback=told.get("traceback", ""),
        )
        if over:
            self.close()
        return Lost(failure, error, over=over, in_loops=told["phase"] == "loop")


def _as_error(name: str, told: dict[str, Any], *, over: bool) -> AgentError:
    if "ended" in told:
        return _of_program(name, told["ended"])
    if not over:
        about = {"exc_type": told["type"], "exc_str": told["text"]}
        kind = StartError if told["phase"] == "start" else AgentFailure
        return kind(agent=name, remote_traceback=told["traceback"], **about)
    if "timeout" in told:
        if told["phase"] == "start":
            late = f"was not ready within {told['timeout']:g} s"
            return StartError(agent=name, phase="ready", exc_type="TimeoutError", exc_str=late)
        return RequestTimeout(agent=name, timeout=told["timeout"], ran=True)
    code, signal, pid = told["code"], told.get("signal"), told.get("pid")
    about = {"agent": name, "exitcode": code, "signal": signal, "pid": pid}
    if "memory" in told:
        return MemoryLimitExceeded(observed=told["memory"], limit=told["limit"], **about)
    return AgentCrashed(may_have_executed=True, **about)


def _of_program(name: str, code: int) -> AgentError:
    if code < 0:
        return CommandCrashed(agent=name, exitcode=code, may_have_executed=True)
    return CommandFailed(agent=name, code=code)


def _kind_of(error: AgentError) -> str:
    match error:
        case CommandFailed(code=code):
            return f"exit {code}"
        case RequestTimeout():
            return "timeout"
        case MemoryLimitExceeded():
            return "memory"
        case AgentCrashed(signal=str(signal)):
            return signal
        case AgentCrashed(exitcode=code):
            return "died" if code is None else f"exit {code}"
        case StartError(exc_type=kind) | AgentFailure(exc_type=kind):
            return kind.rpartition(".")[2]
    return type(error).__name__


def _about(case: Case, refused: str) -> str:
    """The text, with the name of the program where it is missing."""
    return (
        refused
        if case.app.rpartition(":")[0] in refused and case.app
        else f"{case.name}: {refused}"
    )


def new_seed() -> int:
    """A hash seed."""
    return random.SystemRandom().randrange(1, _SEEDS)
