"""What `launch.base` promises to the monitor, on the fake launcher and on a real one alike.

One agent for both: it ends by `procorch.testing.die` and waits by `procorch.testing.sleep`,
which do in a real worker for real what they do in a fake one in appearance. What only processes can
do is tested in ``tests/process/test_launchers.py``.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procorch.agents.current import current
from procorch.errors import RequestCancelled
from procorch.errors.plain_data import from_plain
from procorch.launch.base import Cause, Launcher
from procorch.launch.spawn import SpawnLauncher
from procorch.testing import FakeClock, FakeLauncher, die, sleep
from procorch.wire import codec, headers
from procorch.wire.frame import Kind
from procorch.wire.payload import unpack
from tests.process.test_launchers import MAX_FRAME, Told

LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "fake": lambda: FakeLauncher(FakeClock(), MAX_FRAME),
    "spawn": lambda: SpawnLauncher(MAX_FRAME),
}


@pytest.fixture(params=LAUNCHERS)
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    sink = Told(LAUNCHERS[request.param]())
    yield sink
    sink.close()


@pytest.fixture
def obeying() -> Callable[[], Any]:
    """An agent that does as it is told, and returns everything else.

    A function within a function travels by value, so that workers need not import this module.
    """

    def factory() -> Any:
        def handle(x: Any) -> Any:
            match x:
                case ("die", how):
                    die(how)
                case ("exit", code):
                    sys.exit(code)
                case "wait":
                    current().checkpoint("begun")
                    sleep(3600)
                case "wait twice":
                    current().checkpoint("begun")
                    try:
                        sleep(3600)
                    finally:
                        current().checkpoint("interrupted")
                        sleep(3600)
            return x

        return handle

    return factory


def test_a_start_is_told_with_its_place_and_then_the_worker_speaks(
    told: Told, obeying: Any
) -> None:
    process = told.start(obeying, generation=7)
    where = told.until("started", process)[2]
    assert process.where == where
    frame = told.frame(process)
    assert (frame.kind, frame.generation) == (Kind.READY, 7)


def test_frames_go_both_ways_in_order_whatever_their_size(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    values = ["", "x" * 100, b"x" * 100_000, b"y" * 5_000_000, list(range(1000))]
    for number, value in enumerate(values, start=1):
        told.request(process, number, value)
    for number, value in enumerate(values, start=1):
        frame = told.frame(process)
        assert (frame.kind, frame.request, frame.generation) == (Kind.REPLY, number, 1)
        assert codec.decode(unpack(frame.body)) == value
    assert process.progress > 0


def test_a_worker_that_is_told_to_stop_exits_with_code_0(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    process.send(Kind.STOP, 0, b"", [])
    info = told.exit(process)
    assert (info.cause, info.code, info.signal) == (Cause.EXIT, 0, None)


def test_a_factory_that_fails_is_told_and_then_the_exit(told: Told) -> None:
    process = told.start(lambda: 1 / 0)
    frame = told.frame(process)
    assert frame.kind is Kind.FAILED_START
    assert "ZeroDivisionError" in str(from_plain(headers.decode_error(frame.head).error))
    assert told.exit(process).cause is Cause.EXIT


@pytest.mark.parametrize(
    ("request_", "cause", "code", "signal_"),
    [
        (("die", 0), Cause.EXIT, 0, None),
        (("die", 7), Cause.EXIT, 7, None),
        (("exit", 3), Cause.EXIT, 3, None),
        (("exit", "why"), Cause.EXIT, 1, None),
        (("die", "SIGKILL"), Cause.SIGNAL, None, "SIGKILL"),
        (("die", "SIGSEGV"), Cause.SIGNAL, None, "SIGSEGV"),
        (("die", "SIGTERM"), Cause.SIGNAL, None, "SIGTERM"),
    ],
)
def test_an_exit_says_how_and_what_the_worker_had_begun(
    told: Told, obeying: Any, request_: Any, cause: Cause, code: int | None, signal_: str | None
) -> None:
    process = told.ready(obeying)
    told.request(process, 41, "done")
    told.frame(process)
    told.request(process, 42, request_)
    info = told.exit(process)
    assert (info.cause, info.code, info.signal) == (cause, code, signal_)
    assert info.started == 42
    assert not info.maybe_alive


def test_the_exit_comes_once_and_last_after_all_that_was_written(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    told.until("started", process)
    for number in range(1, 51):
        told.request(process, number, "x" * 10_000)
    told.request(process, 51, ("die", 1))
    info = told.exit(process)
    assert info.started == 51
    assert told.told_of(process) == ["frame"] * 50

    process.send(Kind.STOP, 0, b"", [])
    process.kill(signal.SIGKILL)
    process.cancel(1, force=True)
    process.dump_stacks()
    other = told.ready(obeying)  # the loop has gone round
    told.until("started", other)
    assert told.told_of(process) == ["frame"] * 50


def test_kill_may_be_repeated(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    for _ in range(5):
        process.kill(signal.SIGTERM)
        process.kill(signal.SIGKILL)
    assert told.exit(process).signal in ("SIGTERM", "SIGKILL")
    process.kill(signal.SIGKILL)
    assert "exit" not in told.told_of(process)


def test_a_worker_may_be_killed_before_it_runs(told: Told, obeying: Any) -> None:
    process = told.start(obeying)
    process.kill(signal.SIGKILL)
    assert told.exit(process).signal == "SIGKILL"
    assert "frame" not in told.told_of(process)


def test_a_request_can_be_ended_and_the_worker_live(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    told.request(process, 1, "wait")
    assert told.frame(process).kind is Kind.CHECKPOINT
    process.cancel(1, force=True)
    frame = told.frame(process)
    assert (frame.kind, frame.request) == (Kind.ERROR, 1)
    error = from_plain(headers.decode_error(frame.head).error)
    assert isinstance(error, RequestCancelled)
    told.request(process, 2, "next")
    assert told.frame(process).kind is Kind.REPLY


def test_a_cancel_of_another_request_ends_nothing(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    told.request(process, 1, "first")
    told.frame(process)
    process.cancel(1, force=True)
    told.request(process, 2, "second")
    assert codec.decode(told.frame(process).body) == "second"


def test_the_stacks_come_with_the_exit(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    told.request(process, 1, "wait twice")
    told.frame(process)
    process.dump_stacks()
    process.cancel(1, force=True)
    told.frame(process)  # the interrupt has come, so the stacks were written before it
    process.kill(signal.SIGTERM)
    info = told.exit(process)
    assert info.signal == "SIGTERM"
    assert info.last_stack is not None
    assert "in handle" in info.last_stack


def test_many_workers_start_and_end_at_once(told: Told, obeying: Any) -> None:
    processes = [told.start(obeying) for _ in range(8)]
    for number, process in enumerate(processes, start=1):
        told.request(process, number, ("die", number))
    assert [told.exit(process).code for process in processes] == list(range(1, 9))
