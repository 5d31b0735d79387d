"""The interface of launchers: the orchestrator does not know where a worker runs.

A `Launcher` starts processes and reports about them to a `Sink`, always on the thread that owns the
monitor's loop. One test suite runs with each launcher (``tests/process/test_launchers.py``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from enum import Enum
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.launch.spec import Code as Code
from procorch.launch.spec import Spec as Spec
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Parts

Stream: TypeAlias = Literal["stdout", "stderr"]
"""The output streams of a worker: descriptors 1 and 2."""


class Caps(Struct, frozen=True):
    """What a launcher's processes support.

    Args:
        signals: they can be signalled.
        exit_status: their exit status is known.
        fd_passing: descriptors can be sent to them.
        remote: they may run on another machine.
        direct: a caller may read a worker's socket itself (`WorkerProcess.detach_reader`).
    """

    signals: bool
    exit_status: bool
    fd_passing: bool
    remote: bool
    direct: bool


class Where(Struct, frozen=True):
    """Where a worker runs.

    ``host``: the address of its machine. ``node``: the id of that node of a cluster; None: it runs
    on this machine.
    """

    pid: int
    host: str = "localhost"
    node: str | None = None


class Figures(Struct, frozen=True):
    """What a worker on another machine uses: seconds of processor time, bytes of memory."""

    cpu: float = 0.0
    rss: int = 0
    peak_rss: int = 0


class Cause(Enum):
    """How a worker ended."""

    EXIT = "exit"
    SIGNAL = "signal"
    LOST = "lost"
    UNPLACED = "unplaced"
    START_FAILED = "start failed"


class ExitInfo(Struct, frozen=True):
    """How a worker ended.

    Args:
        code: its exit code; None: a signal ended it, or the code is unknown.
        signal: name of the signal that ended it.
        maybe_alive: contact to it was lost, and it may still run.
        started: the last request it began; 0: none. ``begun``: all of them, where several run.
        item: if that was a chunk, how many of its items it had begun.
        last_stack: the stacks that its fault handler wrote.
        detail: further facts, as text; for START_FAILED the reason.
        peak_rss: the most memory in bytes that it held during its last request, or in the last
            0.1 s before that began; None: unknown.
        overrun: the memory in bytes above which it was killed where it runs; None: it was not.
        reason: for START_FAILED on a cluster the kind of the `ClusterError`; "": another failure.
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
    overrun: int | None = None
    reason: str = ""
    begun: tuple[int, ...] = ()


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
        """Stop watching ``fd``; no effect if it is not watched."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, ``delay`` seconds from now."""
        ...


class WorkerProcess(Protocol):
    """One worker."""

    @property
    def spec(self) -> Spec:
        """What it was started with."""
        ...

    @property
    def where(self) -> Where | None:
        """Where it runs; None until that is known."""
        ...

    def send(self, kind: Kind, request: int, head: bytes, body: Parts) -> None:
        """Send a frame. This never blocks, and does not raise if the worker has ended.

        If no descriptor can be passed, a large body is sent as bytes (`payload.spread`).
        """
        ...

    def detach_reader(self) -> int:
        """Let a waiting caller `read` the socket, as the owner of the loop each time.

        Returns:
            The descriptor to poll; -1: the caller cannot read it now, or ever.
        """
        ...

    def read(self) -> bool:
        """Read its frames in place of the monitor; False: the monitor reads it again."""
        ...

    def attach_reader(self) -> None:
        """Let the monitor read the socket again; idempotent."""
        ...

    def leave_reader(self) -> None:
        """The same within some milliseconds, or as soon as something is sent to the worker. The
        worker has nothing to do, and the next caller may detach the socket again."""
        ...

    @property
    def figures(self) -> Figures | None:
        """What it uses, if it runs on another machine; None: this machine knows."""
        ...

    @property
    def progress(self) -> int:
        """A count that changes when the worker makes progress (N12)."""
        ...

    def cancel(self, request: int, *, force: bool) -> None:
        """End ``request`` but not the worker: by a flag, or with ``force`` by an exception."""
        ...

    def revoke(self, request: int) -> None:
        """Tell the worker not to begin ``request``; no effect if it has begun."""
        ...

    @property
    def gives_back(self) -> bool:
        """Whether `take_back` works with this worker, which is ready."""
        ...

    def take_back(self, number: int) -> int:
        """Take back the first ``number`` requests that were sent to the worker and have not begun.

        Returns:
            The number of the last one that it has begun, or is about to begin. The worker begins
            none of those after it. For each of the others it sends its answer, or that it has not
            begun.
        """
        ...

    @property
    def started(self) -> int:
        """The last request that the worker has begun; 0: none, or it has ended."""
        ...

    @property
    def item(self) -> int:
        """If that request is a chunk, how many of its items the worker has begun."""
        ...

    @property
    def begun(self) -> tuple[int, ...]:
        """The requests that a worker which runs several has begun and not answered."""
        ...

    def dump_stacks(self) -> None:
        """Have the worker write the stacks of its threads, for the report of its exit."""
        ...

    def show_stacks(self, patience: float, told: Callable[[str], None]) -> None:
        """Have the worker write the stacks of its threads, and go on; no report of its exit has
        them.

        Args:
            patience: seconds to wait for them.
            told: called once with the text; empty: it wrote none, or is stopped by a signal.
        """
        ...

    def kill(self, signum: signal.Signals) -> None:
        """Signal the worker and all its descendants, as far as they can be reached; idempotent."""
        ...


class Sink(Protocol):
    """Receives the reports of a launcher, on the thread that owns the loop."""

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        """The worker exists."""
        ...

    def on_waiting(self, process: WorkerProcess, why: str, *, connected: bool) -> None:
        """The worker is not placed yet (`Caps.remote`), and why; reported whenever that changes,
        before `on_started`. ``connected``: the launcher has reached the cluster."""
        ...

    def on_node(self, where: Where, *, joined: bool, why: str) -> None:
        """A node has joined the cluster, or was lost, and why. ``where`` has no pid."""
        ...

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        """The worker sent a frame."""
        ...

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        """The worker or a child process of it wrote ``data``. Output that was written before a
        frame is reported before that frame.

        Returns:
            Seconds to pause before the stream is read again; 0: no pause. After a pause this is
            called again with ``b""``.
        """
        ...

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        """The worker's socket is unusable, and the worker may still run."""
        ...

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        """The worker has ended: reported exactly once, after everything it wrote."""
        ...


class Launcher(Protocol):
    """Starts workers."""

    @property
    def caps(self) -> Caps:
        """What its workers support."""
        ...

    def open(self, loop: Watcher, sink: Sink) -> None:
        """Called once, before all other methods, on the monitor thread."""
        ...

    def start(self, spec: Spec) -> WorkerProcess:
        """Begin to start a worker; returns at once.

        Raises:
            OSError: the system refused (descriptors, processes, memory).
        """
        ...

    def retire(self, release: int) -> None:
        """No worker of ``release`` is left and none will be started: give up what was loaded for
        it. Returns at once."""
        ...

    def close(self) -> None:
        """Release the launcher's own resources; no worker is left."""
        ...
