"""The inside of a worker that is a thread: `worker.lifecycle` there, and what agents may call.

`sleep` and `die` work in real workers, too, so one agent can be tested in both.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

from procorch.agents import current
from procorch.testing.fake_process import Died, FakeProcess
from procorch.wire.frame import Frame, Kind
from procorch.wire.headers import ResourceUse
from procorch.wire.payload import Parts
from procorch.worker.lifecycle import Worker
from procorch.worker.meter import Meter
from procorch.worker.parent_link import ParentLink

_process: ContextVar[FakeProcess | None] = ContextVar("procorch-testing-process", default=None)


def sleep(seconds: float) -> None:
    """In an agent: do nothing for that long; under a fake clock this is virtual time.

    It ends early, with the usual exception, when the request is cancelled or out of time (N8).

    Raises:
        RuntimeError: it was not called by an agent.

    Args:
        seconds: how long.

    Example:
        >>> def slow():
        ...     def handle(messages):
        ...         sleep(3600)
        ...         return "done"
        ...     return handle
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("slow", slow)
        ...     print(orch.spawn("slow").send_message("hello").text, orch.clock.now())
        done 3600.0
    """
    process = _process.get()
    if process is not None:
        process.wait(lambda: None, process.clock.now() + seconds)
    elif current.installed() is not None:
        time.sleep(seconds)
    else:
        raise RuntimeError("sleep() is for agents; a test lets time pass with clock.advance()")


def die(how: str | int = "SIGKILL") -> None:
    """In an agent: end the worker here and now.

    Args:
        how: the name of a signal, or an exit code.

    Raises:
        RuntimeError: it was not called by an agent.

    Example:
        >>> def mortal():
        ...     return lambda messages: die("SIGKILL")
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("mortal", mortal)
        ...     print(orch.spawn("mortal").submit("hello").exception().signal)
        SIGKILL
    """
    process = _process.get()
    if process is not None:
        process.die(how if isinstance(how, int) else signal.Signals[how])
        process.check()
    elif current.installed() is None:
        raise RuntimeError("die() is for agents; a test ends a worker with launcher.kill()")
    elif isinstance(how, int):
        os._exit(how)
    else:
        os.kill(os.getpid(), signal.Signals[how])
        signal.pause()


def hang(until: str = "cancel") -> None:
    """In an agent of a fake worker: wait for the end.

    Args:
        until: how hard it has to be ended. ``"cancel"``: it returns when its request is cancelled;
            ``"interrupt"``: it takes the exception; ``"SIGTERM"``: as code outside Python does, it
            takes no notice of its request; ``"SIGKILL"``: nor of SIGTERM (which is ignored from now
            on).

    Raises:
        RuntimeError: it was not called by an agent of the fake launcher.
        ValueError: ``until`` is none of the four.

    Example:
        >>> def stuck():
        ...     return lambda messages: hang()
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("stuck", stuck)
        ...     error = orch.spawn("stuck").submit("hello", timeout="30s").exception()
        ...     print(type(error).__name__, orch.clock.now())
        RequestTimeout 30.0
    """
    process = _process.get()
    if process is None:
        raise RuntimeError("hang() needs a worker of the fake launcher")
    if until not in ("cancel", "interrupt", "SIGTERM", "SIGKILL"):
        raise ValueError(f"a hang lasts until cancel, interrupt, SIGTERM or SIGKILL, not {until!r}")
    process.hardened = process.hardened or until == "SIGKILL"
    own = current.current()
    process.wait(
        lambda: True if until == "cancel" and own.cancelled else None,
        stubborn=until.startswith("SIG"),
    )


def live(process: FakeProcess) -> None:
    """The life of a worker's thread."""
    process.ident = threading.get_ident()
    process.main.arrive()
    code: int = 0
    worker: ThreadWorker | None = None
    try:
        _process.set(process)
        first = process.wait(process.next_frame)
        assert first is not None
        worker = ThreadWorker(process, first)
        if worker.start():
            worker.serve()
    except SystemExit as exit:
        code = _status(exit.code)
    except BaseException:
        code = 1  # what Python does of an exception that nobody catches
    finally:
        process.die(code)
        if worker is not None:
            worker.dispose()
        process.main.leave()


def _status(code: object) -> int:
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


class ThreadWorker(Worker):
    """`Worker` in a thread: with virtual time, and without what belongs to a process.

    ``env``, ``cwd``, ``priority`` and ``address_space_limit`` are the test's own and stay as they
    are; what a request costs is nothing but time.
    """

    def __init__(self, process: FakeProcess, first: Frame) -> None:
        parent = _ParentLink(process)
        super().__init__(
            parent, process.page, _NoMeter(process.clock.now), first, process.clock.now
        )
        self._process = process
        process.look = lambda frame: self.gate.look(0, frame)

    def _settle_in(self) -> None:
        current.lend(self._context)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return _VirtualLoop(self._process)

    def dispose(self) -> None:
        """Close the event loop, whatever state the worker's end has left it in."""
        if self._loop is not None and not self._loop.is_closed():
            for task in asyncio.all_tasks(self._loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._loop.close()


class _NoMeter(Meter):
    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing is asked of the system."""
        self._clock = clock

    def begin(self, *, at_once: bool) -> float:
        self._began = self._clock()
        return self._began

    def resources(self) -> ResourceUse:
        return ResourceUse(self._clock() - self._began, 0.0, 0.0, 0, 0)


class _ParentLink(ParentLink):
    """The line of a worker whose parent is in the same process."""

    def __init__(self, process: FakeProcess) -> None:
        self._process = process
        self._numbers = itertools.count(1)

    def send(self, kind: Kind, number: int, head: bytes, body: Parts = ()) -> None:
        self._process.say(kind, number, head, body)

    def await_answer(self, number: int) -> Frame | None:
        try:
            return self.answer(number)
        except BaseException:
            self.forget(number)
            raise

    def confirmed(self, number: int) -> None:
        self.answer(number)

    def close(self) -> None:
        """There is nothing to close: who waits for an answer dies with the worker."""

    has_frame = False

    def next_request(self) -> Frame | None:
        return self._process.wait(self._process.next_frame)

    def _receive(self, answer: int | None) -> Frame | None:
        assert answer is not None
        return self._process.wait(lambda: self._process.answer(answer))


class _Selector(selectors.DefaultSelector):
    """Waits in virtual time for what other threads hand to the event loop."""

    def __init__(self, process: FakeProcess) -> None:
        super().__init__()
        self._process = process

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        look = super().select
        ready = look(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        until = None if timeout is None else self._process.clock.now() + timeout
        # The gate sees the event loop's own frame, as a signal handler would.
        return self._process.wait(lambda: look(0) or None, until, frame=sys._getframe(1)) or []


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time: ``asyncio.sleep`` takes none of ours."""

    def __init__(self, process: FakeProcess) -> None:
        super().__init__(_Selector(process))
        self._process = process

    def time(self) -> float:
        return self._process.clock.now()

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self._process.main.wake()
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """A thread for each call, which takes turns with the others (``asyncio.to_thread``)."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        sleeper = self._process.clock.sleeper(f"a thread of agent {self._process.spec.name!r}")
        outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            sleeper.arrive()
            try:
                if outcome.set_running_or_notify_cancel():
                    _settle(outcome, func, args)
            finally:
                sleeper.leave()

        # Asked to before it can be done, so the loop is woken before the thread has left.
        waiting = asyncio.wrap_future(outcome, loop=self)
        threading.Thread(target=run, name="procorch-fake-helper", daemon=True).start()
        sleeper.queue()
        return waiting


def _settle(
    outcome: concurrent.futures.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    try:
        result = func(*args)
    except BaseException as error:
        if not isinstance(error, Died):  # there is no loop any more to tell
            outcome.set_exception(error)
    else:
        outcome.set_result(result)


__all__ = ["Died", "ThreadWorker", "die", "hang", "live", "sleep"]
