"""Row 13: a program that is killed at a random moment, and what is left of it (nothing)."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import procorch
from tests.faults.conftest import Orphanage
from tests.faults.programs import HIDING

STATES = ("idle", "under load", "during a spawn")

BEFORE = """
import os, signal, sys, threading, time
from procorch import AgentOrchestrator, DefaultSupervisor

state, hides = sys.argv[1], sys.argv[2] == "zygote"

"""
THEN = """
orch = AgentOrchestrator(supervisor=DefaultSupervisor())
orch.add_agent("a", factory)
handles = [orch.spawn("a") for _ in range(3)]
if state == "during a spawn":
    print("ready", flush=True)
    while True:
        handle = orch.spawn("a", wait=False)
        handle.cancel()
        orch.spawn("a").cancel()
if state == "under load":
    handles[0].deliver("stuck")
    handles[1].deliver("stop")
    print("ready", flush=True)
    while True:
        handles[2].deliver(b"x" * 10_000).result()
print("ready", flush=True)
threading.Event().wait()
"""
PROGRAM = BEFORE + HIDING + THEN


def kill_host(state: str, method: str, chance: random.Random, *, within: float = 1.0) -> list[str]:
    """Run a program, kill it at a random moment.

    Returns:
        What of it is still alive ``within`` seconds later.
    """
    orphanage = Orphanage()
    found = str(Path(procorch.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": found, "PROCORCH_START_METHOD": method}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, state, method], env=environment, stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        # Nothing more comes: this waits for a random while, and would see an early end.
        select.select([host.stdout], [], [], chance.uniform(0, 0.05))
        host.kill()
        host.wait()
        return orphanage.empty(within)


def main(trials: int) -> None:
    """Many trials, for ``tox -e soak``."""
    seed = time.time_ns()
    chance = random.Random(seed)
    for trial in range(trials):
        state = STATES[trial % len(STATES)]
        method = ("zygote", "spawn")[trial // len(STATES) % 2]
        left = kill_host(state, method, chance)
        if left:
            raise SystemExit(f"trial {trial} (seed {seed}, {state}, {method}) left {left}")
    print(f"{trials} hosts killed: no survivor after 1 s")
