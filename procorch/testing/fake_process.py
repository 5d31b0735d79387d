"""A worker that is a thread of the test, behind the seam of `launch.base`.

Real are the frames, their encoding and decoding, the codec, the status page, and the worker's own
code (`worker.lifecycle`). In place of a process there is a thread that can be told to die: its end
is reported as the launcher's contract wants it, once and last, and what the thread says or does
afterwards reaches nobody. It is torn out of wherever it waits.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol, TypeVar

from procorch.errors import ProtocolError
from procorch.launch.base import Cause, ExitInfo, Figures, Sink, Spec, Where
from procorch.testing.clock import FakeClock
from procorch.testing.virtual_scheduler import Sleeper
from procorch.wire.frame import Decoder, Frame, Kind, gather
from procorch.wire.payload import Buffer, Parts, spread
from procorch.wire.status import FLAG, RAISE, StatusPage

T = TypeVar("T")

_ANSWERS = (Kind.ANSWER, Kind.ANSWER_ERROR)
_EOF_PATIENCE = 1.0
"""Seconds from the end of a worker's stream to the conclusion that it lives on without one."""


class Died(SystemExit):
    """Raised in the threads of a worker that is dead: nothing else may be done there.

    A ``SystemExit`` because the worker's code lets that pass wherever it comes from.
    """


class Host(Protocol):
    """What a process needs of its launcher."""

    @property
    def sink(self) -> Sink:
        """Who is told."""
        ...

    def later(self, call: Callable[[], None]) -> None:
        """Have ``call`` made on the monitor thread; from any thread, in order."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        ...

    def begins(self, process: FakeProcess) -> None:
        """In the worker: it begins a request."""
        ...

    def ignores(self, name: str, signum: signal.Signals) -> bool:
        """Whether that agent's workers ignore that signal."""
        ...


class _Stream:
    """Bytes of one direction: what is written comes out as frames."""

    def __init__(self, max_frame: int) -> None:
        self._decoder = Decoder(max_frame)

    def carry(self, *parts: Buffer) -> Iterator[Frame]:
        for part in parts:
            left = memoryview(part).cast("B")
            while len(left):
                room = self._decoder.writable()
                count = min(len(room), len(left))
                room[:count] = left[:count]
                yield from self._decoder.wrote(count)
                left = left[count:]
        if self._decoder.error is not None:
            raise self._decoder.error


class _Page(StatusPage):
    """A status page that says so when a request begins."""

    __slots__ = ("_begins",)

    def __init__(self, begins: Callable[[], None]) -> None:
        fd = self.create()
        super().__init__(fd)
        os.close(fd)
        self._begins = begins

    def start(self, request: int) -> None:
        super().start(request)
        self._begins()


class FakeProcess:
    """One worker; see `launch.base.WorkerProcess`. Its thread is `testing.worker`'s business.

    Attributes:
        page: its status page.
        requests: how many it has begun.
        look: in the worker's main thread: see whether a request is to end; may raise.
        frozen: it does nothing at all (SIGSTOP).
        hung: nor when it is continued to write its stack.
        hardened: it ignores SIGTERM.
    """

    figures: Figures | None = None

    def __init__(
        self, spec: Spec, where: Where, host: Host, clock: FakeClock, max_frame: int
    ) -> None:
        self.spec = spec
        self.where = where
        self.clock = clock
        self.page: _Page = _Page(self._begin)
        self.requests: int = 0
        self.look: Callable[[FrameType | None], None] | None = None
        self.frozen: bool = False
        self.hung: bool = False
        self.hardened: bool = False
        self.main: Sleeper = clock.sleeper(f"agent {spec.name!r}")
        self.ident: int | None = None
        self._host = host
        self._down = _Stream(1 << 40)
        self._up = _Stream(max_frame)
        self._answers: dict[int, Frame] = {}
        self._frames: deque[Frame] = deque()
        self._waiting = {self.main}
        self._ending = threading.Lock()
        self._over = False
        self._disconnected = False
        self._stack: str | None = None

    # ---- on the monitor thread

    def detach_reader(self) -> int:
        """See `WorkerProcess.detach_reader`: it has no socket."""
        return -1

    def read(self) -> bool:
        """See `WorkerProcess.read`."""
        return False

    def leave_reader(self) -> None:
        """See `WorkerProcess.leave_reader`."""

    attach_reader = leave_reader

    @property
    def progress(self) -> int:
        """See `WorkerProcess.progress`."""
        return self.page.progress

    def send(self, kind: Kind, request: int, head: bytes, body: Parts) -> None:
        """See `WorkerProcess.send`."""
        if self._over or self._disconnected or kind is Kind.CANCEL:  # requests run one by one here
            return
        for frame in self._down.carry(
            *gather(kind, self.spec.generation, request, head, spread(body))
        ):
            if frame.kind in _ANSWERS:
                self._answers[frame.request] = frame
            else:
                self._frames.append(frame)
        self._wake()

    def cancel(self, request: int, *, force: bool) -> None:
        """See `WorkerProcess.cancel`."""
        self.page.aim(request, RAISE if force else FLAG)
        self._wake()

    def revoke(self, request: int) -> None:
        """See `WorkerProcess.revoke`."""
        self.page.aim(request, FLAG)

    gives_back = True
    begun: tuple[int, ...] = ()

    def take_back(self, number: int) -> int:
        """See `WorkerProcess.take_back`."""
        return number if self._over else self.page.take_back(number)

    @property
    def started(self) -> int:
        """See `WorkerProcess.started`."""
        return 0 if self._over else self.page.started

    @property
    def item(self) -> int:
        """See `WorkerProcess.item`."""
        return 0 if self._over else self.page.item

    def dump_stacks(self) -> None:
        """See `WorkerProcess.dump_stacks`."""
        self._stack = self._written_stack() or self._stack
        self.frozen = self.hung  # it is continued for this
        self._wake()

    def show_stacks(self, patience: float, told: Callable[[str], None]) -> None:
        """See `WorkerProcess.show_stacks`."""
        told("" if self.frozen else self._written_stack() or "")

    def _written_stack(self) -> str | None:
        frame = None if self.ident is None else sys._current_frames().get(self.ident)
        if frame is None:
            return None
        lines = [
            f'  File "{at.filename}", line {at.lineno} in {at.name}'
            for at in reversed(traceback.extract_stack(frame))
        ]
        return "\n".join(["Current thread (most recent call first):", *lines, ""])

    def hang(self) -> None:
        """Do nothing any more."""
        self.frozen = self.hung = True

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`: a signal does what it does to a process by default."""
        if signum == signal.SIGSTOP:
            self.frozen = True
        elif not (self._host.ignores(self.spec.name, signum) or self._withstands(signum)):
            if signum != signal.SIGCONT:
                self.die(signum)
            self.frozen = self.hung = False
            self._wake()

    def _withstands(self, signum: signal.Signals) -> bool:
        return self.hardened and signum == signal.SIGTERM

    def cut(self) -> None:
        """Its stream ends in the middle of a frame, and it lives on."""
        self._disconnected = True

        def notice() -> None:
            if not self._over:
                why = "it closed its socket and did not exit"
                self._host.sink.on_broken(self, ProtocolError(why, agent=self.spec.name))

        self._host.call_later(_EOF_PATIENCE, notice)

    # ---- from any thread

    def die(self, how: signal.Signals | int) -> None:
        """It is dead from now on: by a signal, or by exiting with a code."""
        with self._ending:
            if self._over:
                return
            self._over = True
        known = {
            "started": self.page.started,
            "item": self.page.item,
            "last_stack": self._stack,
        }
        if isinstance(how, signal.Signals):
            info = ExitInfo(Cause.SIGNAL, signal=how.name, **known)  # type: ignore[arg-type]
        else:
            info = ExitInfo(Cause.EXIT, code=how & 0xFF, **known)  # type: ignore[arg-type]
        self._host.later(lambda: self._host.sink.on_exit(self, info))
        self._wake()

    @property
    def over(self) -> bool:
        """Whether it has died."""
        return self._over

    def _wake(self) -> None:
        for sleeper in list(self._waiting):
            sleeper.wake()

    # ---- in the worker's threads

    def say(self, kind: Kind, number: int, head: bytes, body: Parts) -> None:
        """Send a frame to the parent."""
        self.check()
        data = b"".join(gather(kind, self.spec.generation, number, head, spread(body)))
        self._host.later(lambda: self._hear(data))

    def _hear(self, data: bytes) -> None:
        if self._disconnected:
            return
        try:
            for frame in self._up.carry(data):
                self._host.sink.on_frame(self, frame)
        except ProtocolError as error:
            self._disconnected = True
            self._host.sink.on_broken(self, error)

    def next_frame(self) -> Frame | None:
        """What the parent has sent and is no answer; None: nothing."""
        return self._frames.popleft() if self._frames else None

    def answer(self, number: int) -> Frame | None:
        """The answer to that question, if it is there."""
        return self._answers.pop(number, None)

    def check(self) -> None:
        """Raises `Died` where the worker is dead."""
        if self._over:
            raise Died

    def wait(
        self,
        ready: Callable[[], T | None],
        until: float | None = None,
        *,
        frame: FrameType | None = None,
        stubborn: bool = False,
    ) -> T | None:
        """Wait in virtual time until there is something, at most ``until`` that time.

        Args:
            frame: where the agent's code is, for the gate.
            stubborn: do not look whether the request is to end.

        Raises:
            Died: the worker is dead.
        """
        own = self.clock.sleeper_here()
        sleeper = own or self.clock.sleeper(f"agent {self.spec.name!r}")
        if own is None:
            sleeper.join_in()
        self._waiting.add(sleeper)
        try:
            while True:
                self.check()
                if not self.frozen:
                    if self.look is not None and not stubborn and sleeper is self.main:
                        self.look(frame)
                    found = ready()
                    if found is not None or (until is not None and until <= self.clock.now()):
                        return found
                sleeper.pause(None if self.frozen else until)
        finally:
            if sleeper is not self.main:
                self._waiting.discard(sleeper)
            if own is None:
                sleeper.leave()

    def _begin(self) -> None:
        self.requests += 1
        self._host.begins(self)
        self.check()
