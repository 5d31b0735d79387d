"""What every launcher promises to the monitor (``launch.base``), tested on each of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procorch.clock import REAL
from procorch.errors import AgentError
from procorch.errors.plain_data import from_plain
from procorch.launch.base import Cause, ExitInfo, Launcher, Spec, Stream, Where, WorkerProcess
from procorch.launch.forkserver.client import ZygoteLauncher
from procorch.launch.spawn import SpawnLauncher
from procorch.runtime.loop import Loop
from procorch.supervision.timers import Timers
from procorch.wire import codec, headers
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import unpack

MAX_FRAME = 10 << 20
PATIENCE = 90.0  # seconds
LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "spawn": lambda: SpawnLauncher(MAX_FRAME),
    "zygote": lambda: ZygoteLauncher(MAX_FRAME, [], sys.path),
}


class Told:
    """A sink that remembers, and the part of a monitor that a launcher needs."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self._timers: Timers[str] = Timers()
        self.loop: Loop[Callable[[], None]] = Loop(REAL, self._timers)
        self.events: list[tuple[Any, ...]] = []
        self.started: list[WorkerProcess] = []
        self.ended: set[int] = set()
        self._keys = 0
        launcher.open(self.loop, self)

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        self.events.append(("started", process.spec.key, where))

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        self.events.append(("frame", process.spec.key, frame))

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        self.events.append(("output", process.spec.key, stream, data))
        return 0.0

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        self.events.append(("broken", process.spec.key, error))

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        assert process.spec.key not in self.ended, "told of one exit twice"
        self.ended.add(process.spec.key)
        self.events.append(("exit", process.spec.key, exit))

    def on_waiting(self, process: WorkerProcess, why: str, *, connected: bool) -> None:
        pass  # a moment without a node is no news here

    def on_node(self, where: Where, *, joined: bool, why: str) -> None:
        pass

    def turn(self, deadline: float) -> None:
        """One round of the loop, which waits until ``deadline`` at most."""
        self._timers.arm("deadline", deadline)
        self.loop.wait(lambda: None, lambda: None)

    def start(
        self, factory: Callable[[], Any], *, generation: int = 1, capture: bool = False
    ) -> WorkerProcess:
        self._keys += 1
        head = headers.InitHead(f"agent-{self._keys}", generation, sys.path, MAX_FRAME)
        spec = Spec(
            self._keys,
            generation,
            f"agent-{self._keys}",
            headers.encode(head),
            codec.dump_factory(factory),
            capture,
        )
        process = self.launcher.start(spec)
        self.started.append(process)
        return process

    def ready(self, factory: Callable[[], Any]) -> WorkerProcess:
        process = self.start(factory)
        assert self.frame(process).kind is Kind.READY
        return process

    def request(self, process: WorkerProcess, number: int, value: Any) -> None:
        head = headers.encode(headers.RequestHead(False, None))
        process.send(Kind.REQUEST, number, head, codec.encode(value, what="request"))

    def until(self, kind: str, process: WorkerProcess) -> tuple[Any, ...]:
        """Run the loop until something of that kind is told of the process; take it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for index, event in enumerate(self.events):
                if event[:2] == (kind, process.spec.key):
                    return self.events.pop(index)
            assert time.monotonic() < deadline, f"no {kind!r}; told: {self.events}"
            self.turn(deadline)

    def frame(self, process: WorkerProcess) -> Frame:
        return self.until("frame", process)[2]

    def exit(self, process: WorkerProcess) -> ExitInfo:
        return self.until("exit", process)[2]

    def told_of(self, process: WorkerProcess) -> list[str]:
        return [event[0] for event in self.events if event[1] == process.spec.key]

    def end_all(self) -> None:
        """Kill all workers and wait for their exits."""
        for process in self.started:
            process.kill(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while len(self.ended) < len(self.started):
            assert time.monotonic() < deadline, f"still there; told: {self.events}"
            self.turn(deadline)

    def close(self) -> None:
        self.end_all()
        self.launcher.close()
        self.loop.close()


@pytest.fixture(params=LAUNCHERS)
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    sink = Told(LAUNCHERS[request.param]())
    yield sink
    sink.close()


@pytest.fixture
def obeying() -> Callable[[], Any]:
    """An agent that ends as it is told, and returns everything else."""

    def factory():
        import os
        import signal
        import sys

        def handle(x):
            match x:
                case ("signal", name):
                    os.kill(os.getpid(), getattr(signal, name))
                case ("_exit", code):
                    os._exit(code)
                case ("exit", code):
                    sys.exit(code)
            return x

        return handle

    return factory


def test_a_start_is_told_with_its_place_and_then_the_worker_speaks(
    told: Told, obeying: Any
) -> None:
    process = told.start(obeying)
    where = told.until("started", process)[2]
    assert process.where == where
    assert where.pid != os.getpid()
    assert told.told_of(process) == []
    frame = told.frame(process)
    assert (frame.kind, frame.generation) == (Kind.READY, 1)


def test_frames_go_both_ways_in_order_whatever_their_size(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    values = ["", "x" * 100, b"x" * 100_000, b"y" * 5_000_000, list(range(1000))]
    for number, value in enumerate(values, start=1):
        told.request(process, number, value)  # all at once: more than a socket holds
    for number, value in enumerate(values, start=1):
        frame = told.frame(process)
        assert (frame.kind, frame.request, frame.generation) == (Kind.REPLY, number, 1)
        assert codec.decode(unpack(frame.body)) == value
    assert process.progress > 0


def test_every_frame_has_the_generation_of_its_worker(told: Told, obeying: Any) -> None:
    process = told.start(obeying, generation=7)
    assert told.frame(process).generation == 7
    told.request(process, 1, "hi")
    assert told.frame(process).generation == 7


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
        (("_exit", 0), Cause.EXIT, 0, None),
        (("_exit", 7), Cause.EXIT, 7, None),
        (("exit", 3), Cause.EXIT, 3, None),
        (("signal", "SIGKILL"), Cause.SIGNAL, None, "SIGKILL"),
        (("signal", "SIGSEGV"), Cause.SIGNAL, None, "SIGSEGV"),
        (("signal", "SIGTERM"), Cause.SIGNAL, None, "SIGTERM"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
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
    told.request(process, 51, ("_exit", 1))
    deadline = time.monotonic() + PATIENCE
    while "exit" not in told.told_of(process):
        assert time.monotonic() < deadline
        told.turn(deadline)
    assert told.told_of(process) == ["frame"] * 50 + ["exit"]

    process.send(Kind.STOP, 0, b"", [])
    process.kill(signal.SIGKILL)
    process.cancel(1, force=True)
    process.dump_stacks()
    other = told.ready(obeying)  # the loop has gone round
    told.until("started", other)
    assert told.told_of(process) == ["frame"] * 50 + ["exit"]


def test_what_a_worker_writes_is_told_by_stream_and_before_its_frames_and_exit(told: Told) -> None:
    def factory():
        import os

        def handle(x):
            os.write(1, f"out {x}\n".encode())
            os.write(2, f"err {x}\n".encode())
            if x == 3:
                os._exit(0)
            return x

        return handle

    process = told.start(factory, capture=True)
    for number in (1, 2, 3):
        told.request(process, number, number)
    deadline = time.monotonic() + PATIENCE
    while "exit" not in told.told_of(process):
        assert time.monotonic() < deadline
        told.turn(deadline)
    written = {"stdout": b"", "stderr": b""}
    replies = 0
    for event in told.events:
        if event[0] == "output":
            written[event[2]] += event[3]
        elif event[0] == "frame" and event[2].kind is Kind.REPLY:
            replies += 1
            assert written["stdout"].startswith(b"out 1\n" if replies == 1 else b"out 1\nout 2\n")
    assert replies == 2
    assert told.told_of(process)[-1] == "exit"
    assert written["stdout"] == b"out 1\nout 2\nout 3\n"
    assert written["stderr"] == b"err 1\nerr 2\nerr 3\n"


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


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_kill_reaches_what_the_worker_started(
    told: Told, gate: Any, watched: Any, signum: signal.Signals
) -> None:
    begun = gate()
    tell = begun.tell

    def factory():
        import os
        import signal

        def handle(x):
            for own_session in (False, True):
                if os.fork() == 0:
                    if own_session:
                        os.setsid()
                    tell(os.getpid())
                    while True:
                        signal.pause()
            signal.pause()

        return handle

    process = told.ready(factory)
    told.request(process, 1, "go")
    descendants = watched(int(begun.line()), int(begun.line()))
    process.kill(signum)
    assert told.exit(process).signal == signum.name
    assert descendants.alive(within=5) == []


def test_a_stopped_worker_can_be_terminated(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    assert process.where is not None
    os.kill(process.where.pid, signal.SIGSTOP)
    process.kill(signal.SIGTERM)
    assert told.exit(process).signal == "SIGTERM"


def test_a_worker_has_the_usual_signals_whatever_this_process_ignores_and_blocks(
    told: Told, obeying: Any
) -> None:
    ignored = (signal.SIGTERM, signal.SIGCHLD)
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in ignored}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
    try:
        process = told.start(obeying)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for signum, handler in before.items():
            signal.signal(signum, handler)
    assert told.frame(process).kind is Kind.READY
    told.request(process, 1, ("signal", "SIGTERM"))
    assert told.exit(process).signal == "SIGTERM"


def test_what_a_worker_starts_gets_none_of_its_descriptors(told: Told) -> None:
    def factory():
        import subprocess

        command = ["ls", "-l", "/proc/self/fd"]
        return lambda x: subprocess.run(command, close_fds=False, capture_output=True).stdout

    process = told.ready(factory)
    told.request(process, 1, "go")
    listing = codec.decode(told.frame(process).body).decode()
    assert "pipe:" in listing
    assert "socket:" not in listing
    assert "procorch" not in listing


def test_sending_never_blocks_whatever_the_worker_does(told: Told, obeying: Any) -> None:
    process = told.ready(obeying)
    assert process.where is not None
    os.kill(process.where.pid, signal.SIGSTOP)
    sent = threading.Event()

    def send() -> None:
        for number in range(1, 6):
            told.request(process, number, b"x" * 2_000_000)
        sent.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert sent.wait(PATIENCE)
    sender.join()
    os.kill(process.where.pid, signal.SIGCONT)
    assert [told.frame(process).request for _ in range(5)] == [1, 2, 3, 4, 5]


def test_a_worker_that_talks_nonsense_is_told_as_broken_and_its_exit_still_comes(
    told: Told,
) -> None:
    def factory():
        import os
        import socket

        def handle(x):
            for name in os.listdir("/proc/self/fd"):
                try:
                    channel = socket.socket(fileno=os.dup(int(name)))
                except OSError:
                    continue
                channel.send(b"this is not a frame, is it?")
            return x

        return handle

    process = told.ready(factory)
    told.request(process, 1, "go")
    error = told.until("broken", process)[2]
    assert "this is not a frame" in str(error)
    process.send(Kind.STOP, 0, b"", [])  # harmless
    process.kill(signal.SIGKILL)
    assert told.exit(process).signal == "SIGKILL"


def test_a_frame_above_the_limit_is_refused_by_its_header(told: Told) -> None:
    def factory():
        import socket

        def handle(x):
            send = socket.socket.send
            huge = (
                b"pO\x01\x04" + (1).to_bytes(4) + (1).to_bytes(8) + bytes(4) + (1 << 40).to_bytes(8)
            )
            socket.socket.send = lambda sock, data, *flags: send(sock, huge) and len(data)
            return x

        return handle

    process = told.ready(factory)
    told.request(process, 1, "go")
    assert str(1 << 40) in str(told.until("broken", process)[2])
    process.kill(signal.SIGKILL)
    told.exit(process)


def test_many_workers_start_and_end_at_once(told: Told, obeying: Any) -> None:
    processes = [told.start(obeying) for _ in range(8)]
    for number, process in enumerate(processes, start=1):
        told.request(process, number, ("_exit", number))
    assert [told.exit(process).code for process in processes] == list(range(1, 9))
