"""Runs a row: all contenders opened, then their rounds in turn."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

from benchmarks.figures import Outcome, all_series, judge
from benchmarks.host import ContenderFailed, Host
from benchmarks.rows import Row, Samples, Scale


def run(row: Row, scale: Scale, patience: float, step: Callable[[], None]) -> Outcome:
    """Measure a row.

    A contender that fails is left out from then on, and the outcome says why; the others go on.

    Args:
        patience: seconds a contender may take for a round.
        step: called after every round of every contender, also of one that has failed.
    """
    began = time.monotonic()
    left_out = absent(row)
    found: dict[str, list[Samples]] = {}
    hosts: list[Host] = []

    def attempt(host: Host, what: Callable[[Host], None]) -> None:
        if host.contender not in left_out:
            try:
                what(host)
            except ContenderFailed as failure:
                left_out[host.contender] = str(failure)

    def one_round(host: Host) -> None:
        found[host.contender].append(host.round())

    try:
        for name in row.contenders:
            if name not in left_out:
                hosts.append(Host(row.id, name, scale.amount, patience))
                found[name] = []
        for host in hosts:
            attempt(host, Host.opened)
        for _ in range(scale.rounds):
            for host in hosts:
                attempt(host, one_round)
                step()
        for host in hosts:
            attempt(host, Host.close)
    finally:
        for host in hosts:
            host.kill()
    for name in left_out:
        found.pop(name, None)
    series = all_series(row, found)
    return Outcome(
        id=row.id,
        work=row.work,
        amount=row.amount,
        rounds=scale.rounds,
        size=scale.amount,
        seconds=time.monotonic() - began,
        series=series,
        verdicts=[judge(goal, row.metrics[goal.metric], series) for goal in row.goals],
        left_out=left_out,
        notes=list(row.notes),
    )


def absent(row: Row) -> dict[str, str]:
    """The contenders whose package is not installed, with the reason."""
    return {
        name: f"no module {contender.needs}"
        for name, contender in row.contenders.items()
        if contender.needs is not None and importlib.util.find_spec(contender.needs) is None
    }


def steps(row: Row, scale: Scale) -> int:
    """How often `run` will call its ``step``."""
    return (len(row.contenders) - len(absent(row))) * scale.rounds
