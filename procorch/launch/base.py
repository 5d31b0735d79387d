"""The launcher seam: the orchestrator never knows where a worker lives.

A `Launcher` starts processes and reports about them to a `Sink`; everything happens on the monitor
thread. One contract test suite runs over every launcher (``tests/process/test_launchers.py``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol, TypeAlias

from procorch.errors import AgentError
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Parts

Stream: TypeAlias = Literal["stdout", "stderr"]
"""What a worker writes by descriptor: 1 and 2."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What a launcher's processes can do; what they cannot is said, never hidden.

    ``direct``: a caller may read what its worker sends (`WorkerProcess.detach_reader`).
    """

    signals: bool
    exit_status: bool
    fd_passing: bool
    remote: bool
    direct: bool


@dataclass(frozen=True, slots=True)
class Where:
    """Where a worker lives."""

    pid: int
    host: str = "localhost"
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What to start: instance ``key`` in its ``generation``, and the first frame for it.

    ``capture``: its standard output is to be captured as its standard error always is, and is not
    this program's own.
    """

    key: int
    generation: int
    name: str
    init_head: bytes = field(repr=False)
    factory: bytes = field(repr=False)
    capture: bool = False


class Cause(Enum):
    """Why a worker is gone."""

    EXIT = "exit"
    SIGNAL = "signal"
    LOST = "lost"
    UNPLACED = "unplaced"
    START_FAILED = "start failed"


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a worker ended.

    Args:
        started: the last request it began; 0: none.
        item: if that was a chunk, how many of its items it had begun.
        last_stack: what its fault handler wrote.
        detail: what is known beyond that; for START_FAILED the reason.
        peak_rss: the most memory in bytes that it held at a time during its last request, or in
            the last 0.1 s before that began; None: nobody knows.
    """

    cause: Cause
    code: int | None = None
    signal: str | None = None
    maybe_alive: bool = False
    started: int = 0
    item: int = 0
    last_stack: str | None = None
    detail: str | None = None
    peak_rss: int | None = None


class Watcher(Protocol):
    """The part of the monitor's loop that a launcher may use."""

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``fd`` is readable."""
        ...

    def watch_writable(self, fd: int, callback: Callable[[], None]) -> None:
        """Also call ``callback`` when ``fd``, which is watched, is writable."""
        ...

    def unwatch_writable(self, fd: int) -> None:
        """Watch ``fd`` for reading only."""
        ...

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``; unknown ones are fine."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, ``delay`` seconds from now."""
        ...


class WorkerProcess(Protocol):
    """One worker."""

    @property
    def spec(self) -> Spec:
        """What was started."""
        ...

    @property
    def where(self) -> Where | None:
        """Where it lives; None until that is known."""
        ...

    def send(self, kind: Kind, request: int, head: bytes, body: Parts) -> None:
        """Send a frame; never blocks, and never raises because the worker is gone.

        Where no descriptor can be passed a large body goes as `payload.spread` has it.
        """
        ...

    def detach_reader(self) -> int:
        """Leave it to a waiting caller to `read`; its turn has to be held for each call.

        Returns:
            The descriptor to poll; -1: it cannot be lent now, or ever.
        """
        ...

    def read(self) -> bool:
        """Read what it has sent, in place of the monitor; False: not the caller's any more."""
        ...

    def attach_reader(self) -> None:
        """The monitor reads again; idempotent."""
        ...

    @property
    def progress(self) -> int:
        """A count that moves whenever the worker does (N12)."""
        ...

    def cancel(self, request: int, *, force: bool) -> None:
        """Have ``request`` end and the worker live: by a flag, or by an exception in its code."""
        ...

    def revoke(self, request: int) -> None:
        """``request`` need not be begun; if it was, nothing happens."""
        ...

    @property
    def started(self) -> int:
        """The last request that the worker has begun; 0: none, or it is gone."""
        ...

    @property
    def item(self) -> int:
        """If that is a chunk, how many of its items it has begun."""
        ...

    def dump_stacks(self) -> None:
        """Have the worker write down where its threads are, for the exit that is to follow."""
        ...

    def kill(self, signum: signal.Signals) -> None:
        """Signal the worker and all its descendants, as far as they can be reached; idempotent."""
        ...


class Sink(Protocol):
    """Who is told; on the monitor thread only."""

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        """The worker exists."""
        ...

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        """The worker sent a frame."""
        ...

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        """The worker, or what it has started, wrote ``data``; all it wrote before a frame comes
        before that frame.

        Returns:
            Seconds to pause before more of this stream is read; 0: none. After a pause this is
            called without data, and asked again.
        """
        ...

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        """The worker's stream is unusable while it may live on."""
        ...

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        """The worker is gone: exactly once, last, after everything it wrote."""
        ...


class Launcher(Protocol):
    """Starts workers."""

    @property
    def caps(self) -> Caps:
        """What its workers can do."""
        ...

    def open(self, loop: Watcher, sink: Sink) -> None:
        """Called once on the monitor thread, before everything else."""
        ...

    def start(self, spec: Spec) -> WorkerProcess:
        """Begin to start a worker; returns at once.

        Raises:
            OSError: the system refused (descriptors, processes, memory).
        """
        ...

    def close(self) -> None:
        """No worker is left; release what the launcher itself holds."""
        ...
