"""P1: one request at a time, the caller waits.

The reference is the least that two processes of Python can do: a bare ``multiprocessing.Pipe`` on
which the same message objects go there and back. What text alone costs on it is shown beside.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import TEXT, answer, answer_in_full, answerer, messages
from procorch import AgentOrchestrator

WARM_UP = 50
"""Requests before the first that counts."""


def timed(call: Callable[[], Any], amount: int) -> Samples:
    """The time of each of ``amount`` calls."""
    times = []
    clock = time.perf_counter
    for _ in range(amount):
        began = clock()
        call()
        times.append(clock() - began)
    return {"time": times}


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """`OrchestratedHandle.send_message`."""
    with AgentOrchestrator() as orchestrator:
        orchestrator.add_agent("answerer", answerer)
        handle = orchestrator.spawn("answerer")
        for _ in range(WARM_UP):
            assert handle.send_message(TEXT).text == TEXT
        yield lambda: timed(lambda: handle.send_message(TEXT), amount)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    while (said := connection.recv()) is not None:
        connection.send(work(said))


@contextmanager
def bare_pipe(amount: int, *, text_alone: bool = False) -> Iterator[Round]:
    """A child that answers on a pipe."""
    ours, theirs = multiprocessing.Pipe()
    work = str if text_alone else answer_in_full
    child = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, work))
    child.start()

    def ping() -> Any:
        ours.send(TEXT if text_alone else messages())
        return ours.recv()

    for _ in range(WARM_UP):
        reply = ping()
        assert reply == TEXT if text_alone else reply.text == answer(messages())
    yield lambda: timed(ping, amount)
    ours.send(None)
    child.join()


PIPE = "bare Pipe"

ROW = Row(
    id="P1",
    work="send_message of 1 KiB, idle agent",
    amount="requests",
    metrics={"time": Metric("s")},
    contenders={
        OURS: Contender(procorch),
        PIPE: Contender(bare_pipe),
        "bare Pipe, text alone": Contender(lambda amount: bare_pipe(amount, text_alone=True)),
    },
    goals=(Goal("times", (PIPE,), target=1.5, stretch=1.0),),
    full=Scale(rounds=25, amount=400),
    quick=Scale(rounds=9, amount=200),
    smoke=Scale(rounds=2, amount=3),
    notes=(
        "The pipe carries a list with a `UserMessage` there and an `AgentResult` back: what the "
        "agent and the caller see with procorch.",
    ),
)
