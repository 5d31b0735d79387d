"""What is known of each run: its figures, or why it has none.

A *run* executes all requests once and yields a `Run`; one that fails yields a `Failure` and costs
only itself. The runs of one *process* share its memory layout and its hash seed, so they resemble
each other more than runs of different processes do: statistics group them by ``process``. The runs
of two agents with the same ``turn`` were made side by side and form a pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

Record = TypeVar("Record", "Run", "Failure", "Plan")

FORMAT = 2
"""Of the JSON. Files of format 1 (version 0.1) are read as well; newer ones are refused."""


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of all requests, executed once. Times are seconds, sizes are bytes.

    Args:
        wall: the calls alone, summed over the requests, after the warm-up calls (the warm column).
            Where calls are shorter than the clock can tell, the mean of `loops` calls each.
        cpu_user, cpu_system: processor time of the same calls, child processes included.
        peak_rss: resident memory at most during the calls: of the agent's process, or of the
            largest of its child processes where that is more. Memory of several is not summed.
        page_faults: of the agent's process, during the calls.
        start: until the agent was ready, from the wish for its process; None where the process
            had been there before.
        cold: the calls alone as the first ones of their process; None in its later runs.
        cold_cpu: processor time of those calls; None where `cold` is.
        way: what it takes to serialise, send and load the requests and the answers; None where
            an answer cannot be serialised, or the process has told it in an earlier run.
        each: `wall` of each request, in their order; empty in files of version 0.1.
        loops: how many calls of each request `wall` is the mean of.
        process: number of the process among those of this measurement, from 0.
        pid: its process id; 0 in files of version 0.1.
        hash_seed: its ``PYTHONHASHSEED``; None where it was inherited or is not known.
        turn: number of the turn; all agents have a run in each.
        children: child processes that were seen during the calls.
        children_cpu: their processor time, which is part of `cpu_user` and `cpu_system`.
        children_peak_rss: the most memory that one of them held.
        rss_after: resident memory of the agent's process after the run: where it grows from run to
            run, memory leaks. 0 in files of version 0.1.
        began: seconds since the epoch; 0.0 in files of version 0.1.
    """

    wall: float
    cpu_user: float
    cpu_system: float
    peak_rss: int
    page_faults: int
    start: float | None = None
    cold: float | None = None
    cold_cpu: float | None = None
    way: float | None = None
    each: tuple[float, ...] = ()
    loops: int = 1
    process: int = 0
    pid: int = 0
    hash_seed: int | None = None
    turn: int = 0
    children: int = 0
    children_cpu: float = 0.0
    children_peak_rss: int = 0
    rss_after: int = 0
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that has no figures, and why.

    Args:
        kind: a short name to count by: ``SIGABRT``, ``exit 3``, ``timeout``, ``memory``, or the
            type of the exception, as ``ValueError``.
        text: one line for a person.
        phase: when it happened: ``start`` (the agent was made ready), ``cold`` (first calls),
            ``warm`` (later calls).
        request: index of the request; None where none was running.
        process, hash_seed, turn, began: as in `Run`.
        traceback: of the exception in the agent's process; empty without one.
    """

    kind: str
    text: str
    phase: str = "warm"
    request: int | None = None
    process: int = 0
    pid: int = 0
    hash_seed: int | None = None
    turn: int = 0
    began: float = 0.0
    traceback: str = ""


def count_kinds(failures: Iterable[Failure]) -> str:
    """``"2 SIGABRT, 1 timeout"``: the most frequent first; empty without failures."""
    kinds = Counter(failure.kind for failure in failures)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


@dataclass(frozen=True, slots=True)
class Plan:
    """How an agent was measured: two measurements are alike where their plans are.

    Args:
        app: what was named on the command line; empty for a factory of a script.
        python: the interpreter that was named for it; empty for the one that runs procorch.
        params: values of the sweep's parameters, by name.
        runs: how many runs were asked for.
        processes: over how many processes they are distributed.
        warmup_calls: calls of each request in a process before those that count.
        mode: ``executed`` (each process is an interpreter of its own), or ``forked``
            (`fast`: clones of one process, which share its hash seed and what it had loaded).
        cpu: the processors that the processes were pinned to, as ``"2,3"``; empty: not pinned.
        digest: of the requests.
    """

    app: str = ""
    python: str = ""
    params: Mapping[str, Any] | None = None
    runs: int = 0
    processes: int = 0
    warmup_calls: int = 1
    mode: str = "executed"
    cpu: str = ""
    digest: str = ""


def run_from(plain: Mapping[str, Any], number: int, *, fresh: bool, format: int) -> Run:
    """A run that `dataclasses.asdict` made plain, or one of version 0.1.

    Args:
        number: its place among the runs of the measurement.

    Raises:
        KeyError, TypeError: it is damaged.
    """
    if format == 1:
        # In version 0.1 a run was the first call of its process, or one of many in a single one.
        return Run(
            wall=plain["wall"],
            cpu_user=plain["cpu_user"],
            cpu_system=plain["cpu_system"],
            peak_rss=plain["peak_rss"],
            page_faults=plain["page_faults"],
            start=plain["start"] if fresh else None,
            process=number if fresh else 0,
            turn=number,
        )
    return _made(Run, {**plain, "each": tuple(plain["each"])})


def failure_from(plain: Mapping[str, Any]) -> Failure:
    """A failure that `dataclasses.asdict` made plain; raises like `run_from`."""
    return _made(Failure, plain)


def plan_from(plain: Mapping[str, Any]) -> Plan:
    """A plan that `dataclasses.asdict` made plain; raises like `run_from`."""
    return _made(Plan, plain)


def _made(kind: type[Record], plain: Mapping[str, Any]) -> Record:
    # A later version may add fields within one format; this one leaves them out.
    known = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in plain.items() if name in known})


def to_plain(record: Run | Failure | Plan) -> dict[str, Any]:
    """The record as data that JSON can hold."""
    return asdict(record)
