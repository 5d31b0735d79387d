"""R2: an agent on a Ray cluster is killed; until its caller has the error, and what that says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.p4_death import bell, kill
from benchmarks.ray_cluster import ACTOR, actor, agent, cluster
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from procorch import AgentCrashed

_CODE = 7


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """The relay on the node is the parent of the agent, so it has the exit status."""
    with bell() as (path, ringing), cluster() as made, agent(made) as handle:

        def once() -> Samples:
            times, known = [], []
            for _ in range(amount):
                future = handle.deliver(("maybe_for_ever", path))
                times.append(kill(ringing.wait(), future.exception))
                error = handle.deliver(("exit", _CODE), retries=0).exception()
                assert isinstance(error, AgentCrashed)
                known.append(float(error.exitcode == _CODE))
                handle.deliver(("pid",)).result()
            return {"time": times, "exit status known": known}

        yield once


@contextmanager
def ray(amount: int) -> Iterator[Round]:
    """A new actor for each kill: one that may be restarted has no error for its caller."""
    with bell() as (path, ringing), cluster() as made:

        def once() -> Samples:
            times, known = [], []
            for _ in range(amount):
                for code in (None, _CODE):
                    with actor(made) as (library, given):
                        if code is None:
                            call = given.maybe_for_ever.remote(path)
                            told = partial(_error, library, call)
                            times.append(kill(ringing.wait(), told))
                        else:
                            error = _error(library, given.exit.remote(code))
                            known.append(float(getattr(error, "exitcode", None) == code))
            return {"time": times, "exit status known": known}

        yield once


def _error(library: Any, call: Any) -> Exception:
    try:
        library.get(call)
    except library.exceptions.RayError as error:
        found: Exception = error
        return found
    raise AssertionError("the actor has answered")


ROW = Row(
    id="R2",
    work="SIGKILL of an agent on a Ray cluster until its caller has the error",
    amount="kills",
    metrics={"time": Metric("s"), "exit status known": Metric("", better="high")},
    contenders={OURS: Contender(procorch, "ray"), ACTOR: Contender(ray, "ray")},
    goals=(
        Goal("within", target=0.050, metric="time"),
        Goal("times", (ACTOR,), target=1.0, metric="time"),
    ),
    full=Scale(rounds=5, amount=3),
    quick=Scale(rounds=2, amount=2),
    smoke=Scale(rounds=1, amount=1),
    notes=(
        "A process that ends with exit code 7: 1 means that the caller's error has the code. The "
        "error of an actor has a text with possible causes.",
    ),
)
