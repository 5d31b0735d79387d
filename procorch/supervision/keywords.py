"""The settings of an agent as keywords: what editors complete and type checkers check.

`settings.FIELDS` has the check of each. The texts below a keyword are its help, in editors and in
``docs/settings.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypedDict

from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.throttle import Throttle

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
LinkKind = Literal["record", "stop", "restart"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]


class PathLike(Protocol):
    """A ``Path``, or anything else that is a path."""

    def __fspath__(self) -> str:
        """The path as text."""
        ...


class WorkerSettings(TypedDict, total=False):
    """The settings that batches have no arguments of their own for; see `Settings`."""

    restart: Restart
    """Which ends of its process are followed by a new one. "transient": abnormal ones, when the
    policy says RESTART; "permanent": normal ones, too; "temporary": none (N5, OTP)."""
    max_restarts: int
    """Consecutive restarts without a success in between (N2)."""
    backoff: Backoff
    """The delay between restarts; by default its cap fits the ``intensity``."""
    intensity: Intensity | None
    """Restarts in a sliding window, for the group this agent heads; None: no limit."""
    strategy: Strategy
    """Which of its children are restarted when one of them fails (N5)."""
    link: LinkKind
    """What its parent's end or restart means for it (N4)."""
    significant: bool
    """Its own end may shut down its parent, see ``auto_shutdown``."""
    auto_shutdown: AutoShutdown
    """Whether the end of any, or of all, significant children stops this agent and its other
    children (OTP)."""
    shutdown: Shutdown
    """The times of the ladder that ends a request or a process."""
    start_timeout: float | str
    """Seconds from the start of a process until it is ready (N9)."""
    request_timeout: float | str | None
    """Seconds a request may take, waiting in the queue included; None: any."""
    heartbeat_timeout: float | str | None
    """Seconds that a busy agent may go without progress before it counts as hung and is killed
    (N12); None: never."""
    address_space_limit: int | str | None
    """Bytes of address space the kernel grants the worker (RLIMIT_AS): more is a ``MemoryError`` in
    its code, exactly; None: no limit."""
    max_requests: int | None
    """Requests after which the process is replaced, between two; None: never."""
    max_age: float | str | None
    """Seconds after which it is replaced, likewise."""
    max_memory: int | str | None
    """Bytes, counted likewise; a process that used more in a request is replaced after it. It is
    not killed for it (`memory_limit` does that); None: no matter."""
    recycle_jitter: float
    """The largest part of ``max_requests``, ``max_age`` and ``max_memory`` that a process is
    replaced early by, drawn for each, so that replicas which began together do not all go together;
    0 to 1."""
    env: Mapping[str, str]
    """Variables added to the worker's environment."""
    cwd: str | PathLike | None
    """Its working directory; None: the parent's."""
    priority: int
    """Added to its nice value, 0 to 19."""
    output: str | PathLike
    """What becomes of what the worker, and what it starts, writes on descriptors 1 and 2.
    "inherit": standard output is the parent's own; standard error is passed on to the parent's, and
    its last 64 KiB are remembered (``handle.output()``, ``stderr_tail``). "capture": both are
    remembered and not passed on. A path (with a slash, or a ``Path``): both are remembered and
    appended to that file (made with mode 0600)."""
    channel_buffer: int
    """Requests that may wait in the queue before senders have to."""
    prefetch: int
    """Requests that the worker may have at a time, 1 to 64. It works on one and has the others at
    hand when it is done, which saves their way to it. They wait there as they would in the queue (a
    death, an error or an end gives them back to it), but for other replicas they are out of reach.
    """
    charge_requests: bool
    """A death in the middle of a request is the request's fault and not counted against the agent
    (pools)."""


class Settings(WorkerSettings, total=False):
    """Settings of an agent. Durations are seconds or text such as ``"30s"``, sizes are bytes or
    text such as ``"512M"``."""

    memory_limit: int | str | None
    """Bytes of memory that the worker and all its descendants may hold together: anonymous and
    shared memory and what of it is swapped out, each page once; mapped files do not count. They are
    killed when a sample shows more (one every 50 ms: a short peak may pass unseen); None: no limit.
    """
    retries: int
    """How often a request whose worker died is tried again (N3)."""
    allowed_failures: int
    """Workers a request may kill; one more and it is a `PoisonRequest`."""
    rate: float | str | None
    """Requests that all instances behind one queue may begin in a second, or text such as
    ``"10/s"``, ``"600/m"``, ``"0.5/s"``; they are spread evenly. None: any number."""
    throttle: Throttle | None
    """What becomes of a request whose service asks for a pause (N23): the queue waits, the request
    is tried again so many times, load comes back step by step. With no ``retries`` the request
    fails, and the queue waits unless the policy ends or replaces the agent. None: the error is like
    any other. ``Throttle()`` in pools and batches."""
