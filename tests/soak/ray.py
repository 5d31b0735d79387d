"""What takes minutes on a Ray cluster: ``tox -e soak-ray``, or ``python tests/soak/ray.py``.

100 random kills of agents, relays, the bridge and nodes of a local cluster, while requests are
under way. Prints figures; exits with 1 if a request has not exactly one outcome, if an error says
that a request was not executed which was, or if anything is left on any node.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from procorch import (
    AgentCrashed,
    AgentOrchestrator,
    Backoff,
    OrchestratedHandle,
    RayBackend,
    SupervisorAction,
)
from procorch.demo.cluster import LocalCluster, is_alive
from tests.ray.nodes import bridges, relays, what_is_left

INSTANCES, NODES = 4, 3
HANG = 120.0  # seconds without an outcome
UNDER_WAY = 8  # requests at a time
KINDS = ("agent", "agent", "agent", "relay", "relay", "bridge", "node")


@dataclass
class Report:
    """What became of it all."""

    kills: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    answered: int = 0
    crashed: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)


def run(kills: int, log: Path, seed: int) -> Report:
    """Kill at random while requests are under way."""
    report, chance = Report(), random.Random(seed)
    written, over, answered = str(log), threading.Event(), threading.Event()

    def factory() -> Any:
        import os
        import time

        fd = os.open(written, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def handle(number: int) -> int:
            os.write(fd, b"%d\n" % number)
            time.sleep(number % 7 / 100)
            return number

        return handle

    with LocalCluster(NODES, cpus=INSTANCES) as cluster, cluster.entered():
        with AgentOrchestrator(
            supervisor=lambda name, error: SupervisorAction.RESTART,
            backend=RayBackend(cluster.address, spread=True),
        ) as orch:
            backoff = Backoff(initial=0, cap=0)
            orch.add_agent("a", factory, max_restarts=10**9, backoff=backoff, instances=INSTANCES)
            handle = orch.spawn("a")
            arguments = (kills, cluster, handle, chance, report, answered, over)
            killer = threading.Thread(target=_kill, args=arguments)
            killer.start()
            outcomes: dict[int, Any] = {}
            under_way: list[tuple[int, Any]] = []
            while not over.is_set() or under_way:
                while not over.is_set() and len(under_way) < UNDER_WAY:
                    under_way.append((report.requests, handle.deliver(report.requests)))
                    report.requests += 1
                number, reply = under_way.pop(0)
                outcomes[number] = _account(number, reply, report)
                if outcomes[number] is None:
                    answered.set()
            killer.join()
        began = time.monotonic()
        report.wrong += [f"left: {each}" for each in what_is_left(cluster, began + 30)]
    report.wrong += [f"left: {each}" for each in bridges() if is_alive(each)]
    _audit(log, outcomes, report)
    return report


def _kill(
    kills: int,
    cluster: LocalCluster,
    handle: OrchestratedHandle,
    chance: random.Random,
    report: Report,
    answered: threading.Event,
    over: threading.Event,
) -> None:
    try:
        while report.kills.total() < kills:
            kind = chance.choice(KINDS)
            if kind == "node":
                cluster.kill(chance.choice(cluster.nodes[1:]))
                cluster.add()
            else:
                found = {
                    "agent": lambda: [
                        psutil.Process(row.pid) for row in handle.info().instances if row.pid
                    ],
                    "relay": lambda: [each for node in cluster.nodes for each in relays(node)],
                    "bridge": bridges,
                }
                try:
                    chance.choice(found[kind]()).kill()
                except (IndexError, psutil.NoSuchProcess):
                    continue
            report.kills[kind] += 1
            # However slow the machine: there is to be work, not only deaths.
            answered.clear()
            if not answered.wait(HANG):
                report.wrong.append(f"no answer for {HANG:g} s after a {kind} was killed")
                return
    finally:
        over.set()


def _account(number: int, reply: Any, report: Report) -> AgentCrashed | None:
    try:
        error = reply.exception(HANG)
    except TimeoutError:
        report.wrong.append(f"{number} has no outcome")
        return None
    if error is None:
        report.answered += 1
        if reply.result().output != number:
            report.wrong.append(f"{number} was answered with {reply.result().output}")
        return None
    if not isinstance(error, AgentCrashed):
        report.wrong.append(f"{number}: {error!r}")
        return None
    report.crashed += 1
    report.lost += error.lost
    return error


def _audit(log: Path, outcomes: dict[int, Any], report: Report) -> None:
    """Hold what was executed against the outcomes."""
    executed = Counter(int(line) for line in log.read_bytes().split())
    for number, error in outcomes.items():
        if executed[number] > 1:
            report.wrong.append(f"{number} was executed {executed[number]} times")
        if error is None and not executed[number]:
            report.wrong.append(f"{number} was answered and not executed")
        if error is not None and executed[number] and not error.may_have_executed:
            report.wrong.append(f"{number} was executed, and its error denied it")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        report = run(options.kills, Path(directory) / "executed", options.seed)
    kinds = ", ".join(f"{number} {kind}s" for kind, number in sorted(report.kills.items()))
    print(
        f"{report.kills.total()} kills ({kinds}) in {time.monotonic() - began:.0f} s; "
        f"{report.requests} requests: {report.answered} answered, {report.crashed} crashed, "
        f"{report.lost} of them lost; {len(report.wrong)} wrong",
        flush=True,
    )
    for line in report.wrong[:20]:
        print(line)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
