"""What the parent, its bridge and the relays tell each other (docs/how-to/cluster.md).

The head of each message is one of these, and its body is the payload, if it has one. The bridge
passes most of them on without reading them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

# ---- from the parent to the bridge


class Connect(Struct, frozen=True):
    """The first argument of the bridge: which cluster, and how."""

    address: str
    lease: float
    runtime_env: dict[str, Any]
    version: str


class Begin(Struct, frozen=True, tag="begin"):
    """Place a worker and start it; the body is the factory with the checkpoint.

    ``spread``: place it where few others are. The rest is as in `launch.base.Spec`.
    """

    name: str
    key: int
    generation: int
    init_head: bytes
    resources: dict[str, float]
    spread: bool
    memory_limit: int | None
    max_frame: int
    preload: tuple[str, ...]


# ---- from the parent to a relay


class Send(Struct, frozen=True, tag="send"):
    """A frame for the worker; the body is that of the frame."""

    kind: int
    request: int
    head: bytes


class Cancel(Struct, frozen=True, tag="cancel"):
    """See `WorkerProcess.cancel`; ``signal``: have the worker look at once."""

    request: int
    force: bool
    signal: bool = True


class DumpStacks(Struct, frozen=True, tag="dump"):
    """See `WorkerProcess.dump_stacks`."""


class ShowStacks(Struct, frozen=True, tag="show"):
    """See `WorkerProcess.show_stacks`; `Stacks` with the same ``number`` is the answer."""

    number: int
    patience: float


class Kill(Struct, frozen=True, tag="kill"):
    """See `WorkerProcess.kill`."""

    signal: int


# ---- from a relay to the parent


class Started(Struct, frozen=True, tag="started"):
    """The worker exists."""

    pid: int
    host: str
    node: str


class FromWorker(Struct, frozen=True, tag="frame"):
    """A frame of the worker, with what its status page says; the body is that of the frame."""

    kind: int
    request: int
    generation: int
    head: bytes
    started: int
    item: int
    progress: int


class Output(Struct, frozen=True, tag="output"):
    """The body was written on that stream, "stdout" or "stderr"."""

    stream: str


class Broken(Struct, frozen=True, tag="broken"):
    """See `Sink.on_broken`."""

    what: str


class Stacks(Struct, frozen=True, tag="stacks"):
    """The answer to `ShowStacks`; the text is the body."""

    number: int


class Seen(Struct, frozen=True, tag="seen"):
    """How the worker is: its status page, and seconds of processor time and bytes of memory."""

    started: int
    item: int
    progress: int
    cpu: float = 0.0
    rss: int = 0
    peak_rss: int = 0


class Ended(Struct, frozen=True, tag="ended"):
    """The last message about a worker: `launch.base.ExitInfo`, and of which kind of `ClusterError`
    a failed start is."""

    cause: str
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


# ---- from the bridge to the parent


class Connected(Struct, frozen=True, tag="connected"):
    """The bridge belongs to the cluster; ``address`` is that of its control plane."""

    address: str


class Refused(Struct, frozen=True, tag="refused"):
    """The bridge cannot use the cluster, and exits; ``reason`` is that of a `ClusterError`."""

    reason: str
    text: str


class Waiting(Struct, frozen=True, tag="waiting"):
    """A worker is not placed yet, and why."""

    why: str


class NodeChange(Struct, frozen=True, tag="node"):
    """A node has joined the cluster or was lost."""

    joined: bool
    node: str
    host: str
    why: str = ""


class Alive(Struct, frozen=True, tag="alive"):
    """The bridge works."""


Command = Begin | Send | Cancel | DumpStacks | ShowStacks | Kill
Report = (
    Started | FromWorker | Output | Broken | Stacks | Seen | Ended | Connected | Refused | Waiting
    | NodeChange | Alive
)  # fmt: skip
encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
decode_connect: Callable[[bytes], Connect] = msgspec.msgpack.Decoder(Connect).decode
decode_command: Callable[[bytes], Command] = msgspec.msgpack.Decoder(Command).decode
decode_report: Callable[[bytes], Report] = msgspec.msgpack.Decoder(Report).decode
