"""Isolated measurement: an agent runs in a process of its own, and the process is what is measured.

Each process is an interpreter that was executed for it, with a hash seed of its own; agents that
are compared take turns (A B A B), so that a machine that becomes slower becomes so for all of them.
A run that fails is a result: the others keep their figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Unpack

from procorch.bench.amounts import MAX_TIME, PROCESSES, Amounts, until_precise
from procorch.bench.cases import NotMeasurable as NotMeasurable
from procorch.bench.cases import of_factory
from procorch.bench.comparison import Comparison as Comparison
from procorch.bench.machine import read_cpus
from procorch.bench.measurement import Measurement as Measurement
from procorch.bench.records import Failure as Failure
from procorch.bench.records import Run as Run
from procorch.bench.session import OnRun, Session, as_conditions
from procorch.bench.stats import Statistics as Statistics
from procorch.supervision.keywords import CommonSettings
from procorch.units import seconds, share, whole

Factory = Callable[[], Any]
_ONCE = (None,)


def measure(
    factory: Callable[..., Any],
    requests: Iterable[Any] = _ONCE,
    *,
    name: str | None = None,
    **how: Any,
) -> Measurement:
    """Measure an agent, or a plain function: what its requests cost, in processes of their own.

    Args:
        factory: see `AgentOrchestrator.add_agent`; or a function, which gets the requests. What it
            returns tells which it is.
        requests: sent one after the other in each run; each call gets a copy of its own.
        name: what the measurement is called; None: the factory's name.
        how: see `measure_together`.

    Raises:
        AgentError: no run succeeded; nothing is left behind. Single runs that fail are in
            `Measurement.failures`.
        ValueError: no requests, or no runs.

    Example:
        >>> print(measure(lambda: sorted, requests=[[3, 1, 2]], runs=20))
    """
    return next(
        iter(measure_together({name or _name_of(factory): factory}, requests, **how).values())
    )


def compare(
    a: Measurement | Callable[..., Any],
    b: Measurement | Callable[..., Any],
    requests: Iterable[Any] = _ONCE,
    **how: Any,
) -> Comparison:
    """Compare two measurements, or two agents, which are measured in turn (A B A B).

    Args:
        a, b: two `Measurement`, or two factories of agents; ``b`` is given in units of ``a``.
        requests: what both agents get.
        how: see `measure_together`.

    Raises:
        AgentError: no run of either succeeded.
        TypeError: a measurement and an agent: they would not have been measured in turn.

    Example:
        >>> print(compare(lambda: sorted, lambda: list, requests=[[3, 1, 2]]))
    """
    if isinstance(a, Measurement) and isinstance(b, Measurement):
        return Comparison(a, b)
    if isinstance(a, Measurement) or isinstance(b, Measurement):
        raise TypeError("compare() takes two measurements or two factories, not one of each")
    names = [_name_of(a), _name_of(b)]
    if names[0] == names[1]:
        names = [f"{names[0]} (a)", f"{names[1]} (b)"]
    measured = measure_together(dict(zip(names, (a, b), strict=True)), requests, **how)
    first, second = measured.values()
    return Comparison(first, second, in_turn=True)


def measure_together(
    factories: Mapping[str, Callable[..., Any]],
    requests: Iterable[Any] = _ONCE,
    *,
    runs: int = 20,
    warmup: int = 1,
    fresh: bool = True,
    processes: int = PROCESSES,
    warmup_calls: int = 1,
    loops: int | None = None,
    until: float | str | None = None,
    max_time: float | str = MAX_TIME,
    fast: bool = False,
    cpu: str | None = None,
    function: bool | None = None,
    on_run: OnRun | None = None,
    timeout: float | str | None = None,
    **settings: Unpack[CommonSettings],
) -> dict[str, Measurement]:
    """Measure several agents in turn.

    Args:
        factories: the agents by name.
        requests: sent one after the other in each run; each call gets a copy of its own.
        runs: how many runs count.
        warmup: runs before those that do not count: they fill the caches of the machine and, where
            not ``fresh``, of the process.
        fresh: new processes; False: one for all runs.
        processes: over how many processes the runs are distributed, at most one a run. Each is an
            interpreter that was executed for it, and has a hash seed of its own.
        warmup_calls: calls of each request in a process before those that count. The first of them
            is in `Measurement.cold`. With 0 each run is the first call of its process.
        loops: calls whose mean is the figure of a run; None: as many as it takes for a run of 5 ms.
        until: make as many runs as it takes for a 95 % interval as narrow as give or take this,
            ``"2%"`` or 0.02: of the time, or of several programs of the ratio to the first.
        max_time: end after so many seconds even so; only with ``until``.
        fast: processes are forks of one that has procorch loaded. They start sooner, share a hash
            seed and a memory layout, and what procorch has imported costs them nothing.
        cpu: processors for the measured processes, as ``"0"`` or ``"2-3"``; None: any.
        function: True: what is given is called itself, and is no factory; False: it is a factory.
        on_run: called with the name and each `Run` that counts, or its `Failure`, as it is done.
        timeout: seconds that one call may take.
        settings: of the agent, see `procorch.supervision.keywords.Settings`. What the agent
            prints on standard output is dropped, unless ``output`` says otherwise.

    Raises:
        AgentError: no run of any agent succeeded; nothing is left behind.
        ValueError: no requests, or no runs; or a program cannot be measured (`NotMeasurable`).
    """
    whole(runs, "runs", least=1)
    whole(warmup, "warmup")
    whole(processes, "processes", least=1)
    whole(warmup_calls, "warmup_calls")
    if loops is not None:
        whole(loops, "loops", least=1)
    if isinstance(requests, str | bytes):
        raise TypeError(f"requests must be a list of requests, not {type(requests).__name__}")
    sent = list(requests)
    if not sent:
        raise ValueError("there are no requests to measure")
    if warmup_calls == 0 and fresh:
        processes = runs  # only the first call of a process is a cold one
    kind = "" if function is None else "function" if function else "factory"
    session = Session(
        [of_factory(name, factory, sent, kind) for name, factory in factories.items()],
        until_precise(
            Amounts(runs, warmup, processes, warmup_calls, loops or 0, fresh),
            None if until is None else share(until, "until"),
            seconds(max_time, "max_time"),
        ),
        as_conditions(
            fast=fast,
            timeout=None if timeout is None else seconds(timeout, "timeout"),
            cpus=() if cpu is None else read_cpus(cpu),
            settings=settings,
        ),
        on_run,
    )
    session.execute()
    if session.error is not None:
        raise session.error
    return {measured.name: measured for measured in session.measurements()}


def _name_of(factory: Callable[..., Any]) -> str:
    return str(getattr(factory, "__name__", type(factory).__name__))
