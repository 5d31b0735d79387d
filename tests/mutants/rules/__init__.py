"""Breakages of procorch, room by room.

A rule that nothing guards may be lost by accident, and nobody would see it. So each of these takes
one away; `run.py` applies it to a copy of the package and runs the tests that are named here. The
comment of a group says which promise it breaks.
"""

from __future__ import annotations

from tests.mutants.mutant import AnyMutant
from tests.mutants.rules import (
    agents,
    ahead,
    batch,
    changes,
    cluster,
    conversations,
    daemon,
    deaths,
    executor,
    instances,
    measuring,
    operation,
    pauses,
    programs,
    queue,
    releases,
    restarts,
    several,
    stopping,
    streams,
    trees,
    wire,
    workers,
)

MUTANTS: tuple[AnyMutant, ...] = (
    *agents.MUTANTS,
    *ahead.MUTANTS,
    *batch.MUTANTS,
    *changes.MUTANTS,
    *cluster.MUTANTS,
    *daemon.MUTANTS,
    *conversations.MUTANTS,
    *deaths.MUTANTS,
    *executor.MUTANTS,
    *instances.MUTANTS,
    *measuring.MUTANTS,
    *operation.MUTANTS,
    *pauses.MUTANTS,
    *programs.MUTANTS,
    *queue.MUTANTS,
    *releases.MUTANTS,
    *restarts.MUTANTS,
    *several.MUTANTS,
    *stopping.MUTANTS,
    *streams.MUTANTS,
    *trees.MUTANTS,
    *wire.MUTANTS,
    *workers.MUTANTS,
)
