"""Isolated measurement: an agent runs in a process of its own, and the process is what is measured.

What disturbs one run disturbs no other: each has a fresh process (or, on request, the same warm
one), the peak of the memory is that of the very request, and agents that are compared take turns
(A B A B), so that a machine that becomes slower becomes so for all of them.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from procorch.bench.comparison import Comparison as Comparison
from procorch.bench.measurement import Measurement as Measurement
from procorch.bench.records import Failure as Failure
from procorch.bench.records import Run as Run
from procorch.bench.stats import Statistics as Statistics
from procorch.handle import OrchestratedHandle
from procorch.orchestrator import AgentOrchestrator
from procorch.units import whole

Factory = Callable[[], Any]
_ONCE = (None,)


def measure(
    factory: Factory,
    requests: Iterable[Any] = _ONCE,
    *,
    runs: int = 20,
    warmup: int = 1,
    fresh: bool = True,
    name: str | None = None,
    on_run: Callable[[str, Run], None] | None = None,
    timeout: float | str | None = None,
    **settings: Any,
) -> Measurement:
    """Measure an agent: what its requests cost, in a process of their own.

    Args:
        factory: see `AgentOrchestrator.add_agent`.
        requests: sent one after the other in each run, unchanged.
        runs: how many runs count.
        warmup: runs before those that do not count: they fill the caches of the machine and, where
            not ``fresh``, of the process.
        fresh: a new process for each run; False: one for all.
        name: what the measurement is called; None: the factory's name.
        on_run: called with the name and each run that counts, as it is done.
        timeout: seconds a request may take.
        settings: of the agent, see `procorch.supervision.settings.AgentSettings`.

    Raises:
        AgentError: a request failed, or the agent does not start; nothing is left behind.
        ValueError: no requests, or no runs.
    """
    named = {name or _name_of(factory): factory}
    measured = measure_together(
        named,
        requests,
        runs=runs,
        warmup=warmup,
        fresh=fresh,
        on_run=on_run,
        timeout=timeout,
        **settings,
    )
    return next(iter(measured.values()))


def compare(
    a: Measurement | Factory, b: Measurement | Factory, requests: Iterable[Any] = _ONCE, **how: Any
) -> Comparison:
    """Compare two measurements, or two agents, which are measured in turn (A B A B).

    Args:
        requests: what both agents get.
        how: see `measure`.

    Raises:
        TypeError: a measurement and an agent: they would not have been measured in turn.
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
    factories: Mapping[str, Factory],
    requests: Iterable[Any] = _ONCE,
    *,
    runs: int = 20,
    warmup: int = 1,
    fresh: bool = True,
    on_run: Callable[[str, Run], None] | None = None,
    timeout: float | str | None = None,
    **settings: Any,
) -> dict[str, Measurement]:
    """Measure several agents in turn; else like `measure`.

    Args:
        factories: the agents by name.
    """
    whole(runs, "runs", least=1)
    whole(warmup, "warmup")
    if isinstance(requests, str | bytes):
        raise TypeError(f"requests must be a list of requests, not {type(requests).__name__}")
    sent = list(requests)
    if not sent:
        raise ValueError("there are no requests to measure")
    found: dict[str, list[Run]] = {name: [] for name in factories}
    before = _load()
    with AgentOrchestrator() as orchestrator:
        for name, factory in factories.items():
            orchestrator.add_agent(name, factory, **settings)
        warm = {} if fresh else {name: orchestrator.spawn(name) for name in factories}
        for number in range(warmup + runs):
            for name in factories:
                run = _run(orchestrator, name, warm.get(name), sent, timeout)
                if number >= warmup:
                    found[name].append(run)
                    if on_run is not None:
                        on_run(name, run)
    machine, notes = _machine(), _notes(before)
    return {
        name: Measurement(name, tuple(done), len(sent), fresh, machine, notes)
        for name, done in found.items()
    }


def _run(
    orchestrator: AgentOrchestrator,
    name: str,
    warm: OrchestratedHandle | None,
    requests: list[Any],
    timeout: float | str | None,
) -> Run:
    began = time.perf_counter()
    agent = orchestrator.spawn(name) if warm is None else warm
    start = time.perf_counter() - began if warm is None else None
    metrics = []
    for request in requests:
        result = agent.deliver(request, timeout=timeout).result()
        assert result.metrics is not None
        metrics.append(result.metrics)
    if warm is None:
        agent.stop()
    return Run(
        wall=sum(each.wall for each in metrics),
        cpu_user=sum(each.cpu_user for each in metrics),
        cpu_system=sum(each.cpu_system for each in metrics),
        peak_rss=max(each.peak_rss for each in metrics),
        page_faults=sum(each.page_faults for each in metrics),
        start=start,
    )


def _name_of(factory: Factory) -> str:
    return str(getattr(factory, "__name__", type(factory).__name__))


def _machine() -> dict[str, Any]:
    return {
        "python": f"{sys.implementation.name} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def _load() -> float:
    return os.getloadavg()[0]


def _notes(load: float) -> tuple[str, ...]:
    cores = os.cpu_count() or 1
    if load <= cores:
        return ()
    return (f"the machine was busy: {load:.1f} processes wanted its {cores} cores",)
