"""Random kills under load, with an account of every request.

Each request writes its number down when the agent has it, so that what the errors claim can be held
against what was executed.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from procorch import (
    AgentCrashed,
    AgentError,
    AgentOrchestrator,
    OrchestratedHandle,
    SupervisorAction,
)
from procorch.api.info import AgentInfo
from procorch.supervision.limits import Backoff

UNKNOWN, ANSWERED, CRASHED, NOT_BEGUN = range(4)
HANG = 90.0  # seconds without an outcome
WINDOW = 24  # requests under way
MOST = 8_000_000  # requests that can be accounted for


@dataclass
class Report:
    """What became of it all."""

    kills: int = 0
    requests: int = 0
    answered: int = 0
    crashed: int = 0
    lost: int = 0
    duplicated: int = 0
    hung: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rss_growth: int = 0
    left: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether everything holds."""
        return not (self.lost or self.duplicated or self.hung or self.wrong)


def run(
    kills: int,
    log: Path,
    *,
    workers: int = 4,
    seed: int = 0,
    lull: float = 0.02,
    warm: int = 0,
) -> Report:
    """Kill workers at random moments while requests are under way.

    Args:
        log: a file for what was executed; it is created.
        lull: the longest time between two kills, in seconds.
        warm: kills before the memory is looked at for the first time.
    """
    written = str(log)

    def factory() -> Any:
        import os
        import time

        fd = os.open(written, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def handle(number: int) -> int:
            os.write(fd, b"%d\n" % number)
            end = time.monotonic() + number % 7 / 1000
            while time.monotonic() < end:
                pass
            return number

        return handle

    report = Report()
    outcomes = bytearray(b"\1") * MOST  # touched now: it must not look like growth later
    outcomes[:] = bytes(MOST)
    chance = random.Random(seed)
    here = psutil.Process()
    memory = [0]
    answered, over = threading.Event(), threading.Event()
    began = time.monotonic()

    with AgentOrchestrator(supervisor=lambda name, error: SupervisorAction.RESTART) as orch:
        backoff = Backoff(initial=0, cap=0)
        orch.add_agent("a", factory, max_restarts=10**9, backoff=backoff, instances=workers)
        handle = orch.spawn("a")
        killer = threading.Thread(
            target=_kill, args=(kills, handle, chance, lull, report, answered, over)
        )
        before = _holdings(here)
        killer.start()
        under_way: deque[tuple[int, Any]] = deque()
        number = 0
        while not over.is_set() or under_way:
            while not over.is_set() and len(under_way) < WINDOW:
                under_way.append((number, handle.deliver(number)))
                number += 1
            if _account(*under_way.popleft(), outcomes, report):
                answered.set()
            if not memory[0] and report.kills >= warm:
                memory[0] = here.memory_info().rss
        killer.join()
        report.requests = number
        handle.restart()  # all are there again
        after = _holdings(here)
        report.rss_growth = here.memory_info().rss - memory[0]
        report.left = {name: after[name] - before[name] for name in after}
    report.seconds = time.monotonic() - began
    _audit(log, outcomes, report)
    return report


def _kill(
    kills: int,
    handle: OrchestratedHandle,
    chance: random.Random,
    lull: float,
    report: Report,
    answered: threading.Event,
    over: threading.Event,
) -> None:
    never = threading.Event()
    killed: dict[int, int] = {}  # by slot, the last generation: what is kept must not grow
    try:
        while report.kills < kills:
            row = chance.choice(handle.info().instances)
            # A zombie takes signals, too.
            if killed.get(row.slot) != row.generation and _kill_one(handle, row):
                killed[row.slot] = row.generation
                report.kills += 1
                # However slow the machine: there is to be load, not only deaths.
                answered.clear()
                answered.wait(HANG)
            never.wait(chance.uniform(0, lull))
    finally:
        over.set()


def _kill_one(handle: OrchestratedHandle, row: AgentInfo) -> bool:
    """Kill a worker; by pidfd, and only if it is one: its number may be another's by now."""
    pid = row.pid
    if pid is None:
        return False
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        now = handle.info().instances[row.slot]
        if pid != now.pid or psutil.Process().pid not in _ancestors(pid):
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    finally:
        os.close(fd)
    return True


def _ancestors(pid: int) -> set[int]:
    return {process.pid for process in psutil.Process(pid).parents()}


def _account(number: int, reply: Any, outcomes: bytearray, report: Report) -> bool:
    """Whether it was answered."""
    try:
        error = reply.exception(HANG)
    except TimeoutError:
        report.hung += 1
        return False
    if outcomes[number] != UNKNOWN:
        report.duplicated += 1
    if error is None:
        outcomes[number] = ANSWERED
        report.answered += 1
        if reply.result().output != number:
            report.wrong.append(f"{number} was answered with {reply.result().output}")
    elif type(error) is AgentCrashed:
        outcomes[number] = CRASHED if error.may_have_executed else NOT_BEGUN
        report.crashed += 1
    else:
        assert isinstance(error, AgentError)
        report.wrong.append(f"{number}: {error!r}")
    return error is None


def _audit(log: Path, outcomes: bytearray, report: Report) -> None:
    """Hold what was executed against the outcomes."""
    executed = bytearray(report.requests)
    for line in log.read_bytes().split():
        number = int(line)
        report.duplicated += executed[number]
        executed[number] = 1
    for number in range(report.requests):
        outcome = outcomes[number]
        if outcome == UNKNOWN or (outcome == ANSWERED and not executed[number]):
            report.lost += 1
        if outcome == NOT_BEGUN and executed[number]:
            report.wrong.append(f"{number} was executed, and its error denied it")


def _holdings(here: psutil.Process) -> dict[str, int]:
    children = here.children(recursive=True)
    zombies = [each for each in children if _is_zombie(each)]
    return {
        "descriptors": here.num_fds(),
        "threads": here.num_threads(),
        "zombies": len(zombies),
        "processes": len(children) - len(zombies),
    }


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
