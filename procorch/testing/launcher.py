"""The launcher of `procorch.testing`: workers are threads, and they die when they are told to."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable

from procorch.errors import AgentError
from procorch.launch.base import (
    Caps,
    ExitInfo,
    Sink,
    Spec,
    Stream,
    Watcher,
    Where,
    WorkerProcess,
)
from procorch.testing.clock import FakeClock
from procorch.testing.fake_process import FakeProcess
from procorch.testing.fake_worker import live
from procorch.wire.frame import Frame, Kind

_FIRST_PID = 1 << 30
"""Above every process id that Linux gives out: a signal to it can hit nobody."""


class FakeLauncher:
    """Starts no process at all. It is a `procorch.launch.base.Launcher`, with a remote control.

    The remote control is for the test's thread. A worker is named by its agent (the latest live one
    is meant) or by its pid; one that is not there raises `LookupError`. What is done to it has had
    its consequences when the call returns, as far as they take no time.

    Args:
        clock: the time of its workers.
        max_frame: the largest frame accepted from a worker, in bytes.

    Raises:
        LookupError: by its remote control: no such worker is alive.

    Example:
        >>> with TestOrchestrator(supervisor=DefaultSupervisor()) as orch:
        ...     orch.add_agent("solver", ScriptedAgent())
        ...     agent = orch.spawn("solver")
        ...     orch.launcher.kill("solver")
        ...     print(agent.generation)
        2
    """

    caps: Caps = Caps(signals=True, exit_status=True, fd_passing=False, remote=False, direct=False)

    def __init__(self, clock: FakeClock, max_frame: int = 1 << 30) -> None:
        self._clock = clock
        self._max_frame = max_frame
        self._pids = itertools.count(_FIRST_PID)
        self._living: dict[int, FakeProcess] = {}
        self._threads: list[threading.Thread] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._bell = -1
        self._ringing = threading.Lock()
        self._starts: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self._ignored: dict[str, set[signal.Signals]] = {}
        self._deaths: list[tuple[str, int, signal.Signals, bool]] = []
        self._refusals: dict[str, deque[str]] = {}

    # ---- the remote control

    def kill(self, worker: str | int, signal: str = "SIGKILL") -> None:
        """Send a signal, with the effect that it has on a process by default (stop, go on, die)."""
        signum = _signal(signal)
        self._do(worker, lambda process: process.kill(signum))

    def exit(self, worker: str | int, code: int = 0) -> None:
        """Have the worker exit with that code."""
        self._do(worker, lambda process: process.die(code))

    def hang(self, worker: str | int) -> None:
        """Have the worker hang: it takes notice of SIGCONT and of the signals that end it alone.

        One that is merely stopped, by ``kill(worker, "SIGSTOP")``, is continued to write its stack.
        """
        self._do(worker, FakeProcess.hang)

    def drop(self, worker: str | int) -> None:
        """Cut the worker's stream in the middle of a frame; it lives on and hears nothing."""
        self._do(worker, FakeProcess.cut)

    def ignore(self, name: str, *signals: str) -> None:
        """Have workers of that name, the present one included, ignore these signals from now on.

        One that ignores SIGKILL is as good as stuck in the kernel.
        """
        self._ignored[name] = {_signal(each) for each in signals}

    def die_at(
        self, name: str, request: int, signal: str = "SIGKILL", *, each_worker: bool = False
    ) -> None:
        """Have the worker die when it has begun its request of that number.

        Args:
            request: counted from 1 over all workers of that name, since the beginning.
            each_worker: counted anew for each worker, all of which die so.
        """
        self._deaths.append((name, request, _signal(signal), each_worker))

    def fail_start(self, name: str, times: int = 1, reason: str = "told to fail") -> None:
        """Have the next starts of that name fail as if the system refused them a process."""
        self._refusals.setdefault(name, deque()).extend([reason] * times)

    def alive(self) -> list[str]:
        """The names of the live workers, in order of their starts."""
        return [process.spec.name for process in list(self._living.values())]

    def starts(self, name: str) -> int:
        """How many workers of that name have been asked for."""
        return self._starts[name]

    def _do(self, worker: str | int, act: Callable[[FakeProcess], None]) -> None:
        inside = self._clock.is_inside()
        if not inside:
            self._clock.settle()
        living = [
            each
            for each in list(self._living.values())
            if worker in (each.spec.name, each.where.pid)
        ]
        if not living:
            raise LookupError(f"no worker of {worker!r} is alive; alive: {self.alive()}")
        self.later(lambda: act(living[-1]))
        if not inside:
            self._clock.settle()

    # ---- see `launch.base.Launcher`

    def open(self, loop: Watcher, sink: Sink) -> None:
        """See `Launcher.open`."""
        self._loop = loop
        self.sink: _Forgetting = _Forgetting(sink, self._living)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.watch(self._bell, self._answer_bell)

    def start(self, spec: Spec) -> FakeProcess:
        """See `Launcher.start`."""
        self._starts[spec.name] += 1
        refusals = self._refusals.get(spec.name)
        if refusals:
            raise OSError(refusals.popleft())
        where = Where(next(self._pids))
        process = FakeProcess(spec, where, self, self._clock, self._max_frame)
        name = f"procorch-fake-{spec.name}"
        thread = threading.Thread(target=live, args=[process], name=name, daemon=True)
        thread.start()
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        self._living[where.pid] = process
        self.sink.on_started(process, where)
        process.main.queue()
        process.send(Kind.INIT, 0, spec.init_head, [spec.factory])
        return process

    def retire(self, release: int) -> None:
        """See `Launcher.retire`: it loads nothing."""

    def close(self) -> None:
        """See `Launcher.close`; one that has outlived its SIGKILL ends here."""
        for process in list(self._living.values()):
            process.die(signal.SIGKILL)
        self._loop.unwatch(self._bell)
        with self._ringing:
            os.close(self._bell)
            self._bell = -1

    def join(self, timeout: float) -> None:
        """Wait in real time for the threads of workers that have ended."""
        for thread in self._threads:
            thread.join(timeout)

    # ---- for its processes, see `process.Host`

    def later(self, call: Callable[[], None]) -> None:
        """See `process.Host`."""
        self._calls.append(call)
        with self._ringing:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _answer_bell(self) -> None:
        os.eventfd_read(self._bell)
        while self._calls:
            self._calls.popleft()()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """See `process.Host`."""
        self._loop.call_later(delay, callback)

    def begins(self, process: FakeProcess) -> None:
        """See `process.Host`."""
        name = process.spec.name
        self._begun[name] += 1
        for victim, number, signum, each_worker in self._deaths:
            count = process.requests if each_worker else self._begun[name]
            if victim == name and count == number:
                process.die(signum)

    def ignores(self, name: str, signum: signal.Signals) -> bool:
        """See `process.Host`."""
        return signum in self._ignored.get(name, ())


class _Forgetting:
    """The sink, and the launcher's own note of who is alive."""

    def __init__(self, sink: Sink, living: dict[int, FakeProcess]) -> None:
        self._living = living
        self.on_started: Callable[[WorkerProcess, Where], None] = sink.on_started
        self.on_waiting: Callable[..., None] = sink.on_waiting
        self.on_node: Callable[..., None] = sink.on_node
        self.on_frame: Callable[[WorkerProcess, Frame], None] = sink.on_frame
        self.on_output: Callable[[WorkerProcess, Stream, bytes], float] = sink.on_output
        self.on_broken: Callable[[WorkerProcess, AgentError], None] = sink.on_broken
        self._on_exit = sink.on_exit

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        if process.where is not None:
            self._living.pop(process.where.pid, None)
        self._on_exit(process, exit)


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals[name]
    except KeyError:
        raise ValueError(f"{name!r} is not the name of a signal, such as 'SIGSEGV'") from None
