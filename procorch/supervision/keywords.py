"""The settings of an agent as keywords, for completion in editors and for type checkers.

`settings.FIELDS` checks each value. The text below a keyword is its help, in editors and in
``docs/reference/settings.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, Protocol, TypedDict

from procorch.supervision.budgets import Budget
from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.shared_limit import Limit
from procorch.supervision.throttle import Throttle

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
LinkKind = Literal["record", "stop", "restart"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Answers = Literal["python", "json"]
Placement = Literal["spread", "pack"]


class PathLike(Protocol):
    """A ``Path``, or anything else that is a path."""

    def __fspath__(self) -> str:
        """The path as text."""
        ...


class WorkerSettings(TypedDict, total=False):
    """The settings for which `run_batch` has no argument of its own; see `Settings`."""

    restart: Restart
    """Which ends of its process are followed by a new one. "transient": abnormal ones, when the
    policy says RESTART; "permanent": normal ones, too; "temporary": none (N5, OTP)."""
    max_restarts: int
    """Consecutive restarts without a success in between (N2)."""
    backoff: Backoff
    """The delay between restarts; by default its cap fits the ``intensity``."""
    intensity: Intensity | None
    """The limit of restarts in a sliding window, for the children of this agent as a group, or for
    an agent without children; None: no limit."""
    strategy: Strategy
    """Which of its children are restarted when one of them fails (N5)."""
    link: LinkKind
    """What its parent's end or restart means for it (N4)."""
    significant: bool
    """Its end may shut down its parent, see ``auto_shutdown``."""
    auto_shutdown: AutoShutdown
    """Whether the end of any, or of all, significant children stops this agent and its other
    children (OTP)."""
    shutdown: Shutdown
    """The times of the ladder that ends a request or a process."""
    start_timeout: float | str
    """Seconds from the start of a process until it is ready (N9). With ``backend="ray"`` as many
    may pass before, until it is placed on a node."""
    request_timeout: float | str | None
    """Seconds that a request may take, including its wait in the queue; None: no limit."""
    heartbeat_timeout: float | str | None
    """Seconds that a busy agent may go without progress before it counts as hung and is killed
    (N12); None: never."""
    address_space_limit: int | str | None
    """Bytes of address space the kernel grants the worker (RLIMIT_AS): more is a ``MemoryError`` in
    its code, exactly; None: no limit."""
    max_requests: int | None
    """Requests after which the process is replaced, between two requests; None: never."""
    max_age: float | str | None
    """Seconds after which the process is replaced, between two requests; None: never."""
    max_memory: int | str | None
    """Bytes of memory; a process that used more during a request is replaced after that request,
    and not killed (`memory_limit` does that); None: no limit."""
    recycle_jitter: float
    """The largest part, 0 to 1, of ``max_requests``, ``max_age`` and ``max_memory`` by which a
    process is replaced early. It is drawn for each process, so that replicas which started together
    are not replaced together."""
    env: Mapping[str, str]
    """Variables added to the worker's environment."""
    cwd: str | PathLike | None
    """Its working directory; None: the parent's."""
    priority: int
    """Added to its nice value, 0 to 19."""
    cpus: Collection[int] | str | None
    """The processors that the worker and all that it starts may use, as numbers or as text such as
    ``"0-3,8"``. Each must be one that the program itself may use. None: all of those."""
    resources: Mapping[str, float]
    """What the agent needs of a node, with ``backend="ray"``: "num_cpus" (1 if it is not given),
    "num_gpus" (parts of one are possible), "memory" in bytes, and resources of your own by their
    names. The agent waits, in the state WAITING, until a node has all of it free."""
    placement: Placement | None
    """Where it is placed, with ``backend="ray"``. "spread": on a node where few others are; "pack":
    where others are already; None: as `RayBackend` says."""
    output: str | PathLike
    """Where the output of the worker and its child processes (descriptors 1 and 2) goes.
    "inherit": standard output is the parent's own; standard error is passed on to the parent's, and
    its last 64 KiB are remembered (``handle.output()``, ``stderr_tail``). "capture": both are
    remembered and not passed on. A path (with a slash, or a ``Path``): both are remembered and
    appended to that file (made with mode 0600)."""
    channel_buffer: int
    """Requests that may wait in the queue; further senders wait until there is room."""
    prefetch: int | Literal["auto"]
    """Requests that the worker may have at a time. It works on one; the others wait in the worker,
    which saves the time to send them. A death, an error or an end of the worker puts them back into
    the queue. "auto": as many as take 1 ms together, by the slowest of the last 32, at most 16; if
    one takes longer, those behind it are taken back for other replicas. A number fixes it, and
    other replicas cannot take what waits in the worker."""
    concurrency: int
    """Requests that one process of an asynchronous agent runs at once, 1 to 128, as tasks of one
    event loop. A death ends all of them; an error, a timeout or a cancellation ends its own only.
    ``heartbeat_timeout`` is about the event loop then, which must not be blocked."""
    client_retries: bool
    """Whether the clients of LLM libraries may try a request again by themselves. False in a batch
    that has ``retries``: only one layer is to try again, or their numbers multiply."""
    charge_requests: bool
    """Whether a death during a request is charged to the request and not counted as a restart of
    the agent (pools)."""


class CommonSettings(WorkerSettings, total=False):
    """The settings of an agent that pools and executors take as well; see `Settings`."""

    memory_limit: int | str | None
    """Bytes of memory that the worker and all its descendants may hold together: anonymous and
    shared memory and what of it is swapped out, each page once; mapped files do not count. They are
    killed when a sample shows more (one every 50 ms: a short peak may pass unseen), and at once
    where each worker can have a cgroup of its own; None: no limit.
    """
    retries: int
    """How often a request whose worker died is tried again (N3)."""
    allowed_failures: int
    """Workers that a request may kill; one more makes it fail with `PoisonRequest`."""
    rate: float | str | None
    """Requests that all instances behind one queue may begin in a second, or text such as
    ``"10/s"``, ``"600/m"``, ``"0.5/s"``; they are spread evenly. None: any number."""
    throttle: Throttle | None
    """What happens when the service of a request asks for a pause (N23): the queue waits, the
    request is tried again up to ``retries`` times, and the load comes back step by step. With
    ``retries=0`` the request fails, and the queue waits unless the policy ends or replaces the
    agent. None: the error is treated like any other. Pools and batches use ``Throttle()``."""
    limit: str | Limit | None
    """The limit that the calls of this agent count for, by the name that was declared with
    `AgentOrchestrator.limit`, or the `Limit` itself (N23). None: an agent of an LLM library uses
    the limit with the name of its model's provider, if one was declared."""
    budget: Budget | None
    """What it may use of models, in dollars or tokens: for a request, for it and the agents below
    it (its team), and for a day. A call of a model that begins after that fails with
    `BudgetExceeded`. None: any amount."""


class Settings(CommonSettings, total=False):
    """Settings of an agent. Durations are seconds or text such as ``"30s"``, sizes are bytes or
    text such as ``"512M"``.

    Example:
        >>> settings: Settings = {"max_restarts": 5, "memory_limit": "512M"}
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", ScriptedAgent(), **settings)
    """

    answers: Answers
    """What a caller gets. "python": the objects that the agent returns or raises. "json": the
    worker makes plain data for JSON of what it returns, by the rules of `--json` of a batch, and
    sends errors without the object that was raised, so the caller loads no class of the agent.
    Messages, usage and cost of an `AgentResult` stay. Pools and batches do not have it."""
    instances: int
    """How many instances of the agent run behind its queue, each in a process of its own; a request
    goes to the first that is free. `scale` changes the number. Pools and batches have ``workers``
    in its place."""
