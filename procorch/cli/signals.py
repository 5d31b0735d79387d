"""What SIGINT, SIGTERM and SIGHUP do to a command.

A batch finishes what is under way, for a limited time where nobody sits at a keyboard, and a second
signal ends it. Any other command ends as it does after Ctrl-C. Handlers are installed for all of
this, because the default dispositions do nothing to process 1 of a container.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator

from procorch.cli import streams
from procorch.cli.exits import ExitCode

_MARGIN = 4.0
"""Seconds for what follows the end of the grace: workers are ended (3.2 s when their code ignores
every request to end), the journal is closed. With 25 s of grace that is less than the 30 s which a
container gets."""


class Signalled(KeyboardInterrupt):
    """A signal other than SIGINT ends this command.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: BaseException | None) -> ExitCode:
    """The exit code of a command that was ended by `Signalled`, or else by Ctrl-C."""
    return _code(error.number if isinstance(error, Signalled) else signal.SIGINT)


def _code(number: int) -> ExitCode:
    return ExitCode(128 + number)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise `Signalled`, as SIGINT raises ``KeyboardInterrupt``."""

    def handle(number: int, frame: object) -> None:
        raise Signalled(number)

    with _handled(handle, (signal.SIGTERM, signal.SIGHUP)):
        yield


@contextlib.contextmanager
def _handled(
    handle: Callable[[int, object], None], numbers: tuple[signal.Signals, ...]
) -> Iterator[None]:
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                # `nohup` has it ignored, which is to stay so.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Drain:
    """How a batch is ended by signals.

    Args:
        stop: ends the batch; True: without waiting for what is under way. Safe in a handler.
        grace: seconds that the batch may take to finish what is under way, after SIGTERM or SIGHUP.
            After Ctrl-C it may take as long as it likes: whoever has pressed it can do so again.
    """

    def __init__(self, stop: Callable[[bool], None], grace: float) -> None:
        self.code: ExitCode | None = None
        """The exit code of the first signal; None: there was none."""
        self._stop = stop
        self._grace = grace
        self._times = self._told = 0
        self._hurry_at: float | None = None
        self._limits: queue.SimpleQueue[float | None] = queue.SimpleQueue()

    def handle(self, number: int, frame: object) -> None:
        """The handler. It prints nothing: it may have come in the middle of printing."""
        self._times += 1
        if self.code is None:
            self.code = _code(number)
        if self._times > 1:
            self._hurry()
        else:
            self._stop(False)
            if number != signal.SIGINT:
                self._hurry_at = time.monotonic() + self._grace
                self._limits.put(self._grace + _MARGIN)

    def look(self) -> None:
        """Say what was not said yet, and end the batch when its time is over; called often."""
        if self._hurry_at is not None and time.monotonic() >= self._hurry_at:
            self._hurry()
        while self._told < min(self._times, 2):
            self._told += 1
            streams.note(f"\nprocorch: {self._news()}")

    def _news(self) -> str:
        if self._told > 1:
            return "ending"
        soon = "finishing what is under way"
        if self.code == ExitCode.INTERRUPTED:
            return f"{soon}; Ctrl-C again ends it"
        return f"{soon}, for at most {self._grace:g} s; a second signal ends it"

    def _hurry(self) -> None:
        self._hurry_at = None
        self._stop(True)
        self._limits.put(_MARGIN)

    def _limit(self) -> None:
        """On a thread of its own: end the process when its main thread does not.

        That one may be held up by what nothing interrupts, such as a pipe that nobody reads.
        """
        end_at: float | None = None
        while True:
            try:
                left = None if end_at is None else max(0.0, end_at - time.monotonic())
                limit = self._limits.get(timeout=left)
            except queue.Empty:
                os._exit(self.code or ExitCode.SOME_FAILED)
            if limit is None:
                return
            until = time.monotonic() + limit
            end_at = until if end_at is None else min(end_at, until)


@contextlib.contextmanager
def draining(stop: Callable[[bool], None], grace: float) -> Iterator[Drain]:
    """Have the three signals end a batch, see `Drain`, until the block is left."""
    drain = Drain(stop, grace)
    limiter = threading.Thread(target=drain._limit, name="procorch-signals", daemon=True)
    limiter.start()
    try:
        with _handled(drain.handle, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
            yield drain
    finally:
        drain._limits.put(None)
        limiter.join()
