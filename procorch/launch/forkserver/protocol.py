"""The messages between a zygote and its client, over a socket of the type SOCK_SEQPACKET."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from procorch.wire.headers import Surroundings

MESSAGE = 65536
"""The most bytes of a message."""
PASSED = 4
"""Descriptors that come with a command."""
LAST_WAIT = 5.0
"""Seconds to wait for killed descendants: one in uninterruptible sleep may never end."""


class Start(Struct, frozen=True, tag="start"):
    """To the zygote, with the worker's descriptors (socket, status page, standard output, standard
    error): fork a worker."""

    worker: int


class Branch(Struct, frozen=True, tag="branch"):
    """To the zygote: fork another zygote, which imports modules before it serves.

    With four descriptors: its control socket, memory with a `BranchHead`, and the standard output
    and standard error of the worker that needs it first, for what the modules print.
    """

    worker: int


class Renew(Struct, frozen=True, tag="renew"):
    """To the zygote, without descriptors: end all workers and exit at the time ``until``, unless a
    later `Renew` comes before (`deadline`). ``worker`` is 0."""

    worker: int
    until: float


class BranchHead(Struct, frozen=True, array_like=True):
    """What a branch imports, and the state in which it does so; see `launch.base.Code`."""

    imports: bytes
    sys_path: list[str]
    surroundings: Surroundings
    env: dict[str, str]
    cwd: str | None
    supervisor: int


class Forked(Struct, frozen=True, tag="forked"):
    """From the zygote, with a pidfd: the worker, or branch, exists."""

    worker: int
    pid: int


class Refused(Struct, frozen=True, tag="refused"):
    """From the zygote: the worker could not be forked, and why."""

    worker: int
    why: str


class Ended(Struct, frozen=True, tag="ended"):
    """From the zygote: the worker has ended; ``status`` like ``Popen.returncode``, ``peak_rss`` the
    most memory in bytes that it held at a time since its last request began."""

    worker: int
    status: int
    peak_rss: int


class Renewed(Struct, frozen=True, tag="renewed"):
    """From the zygote: its deadline is ``until`` now."""

    until: float


class Warned(Struct, frozen=True, tag="warned"):
    """From the zygote: a module is not preloaded, and why; workers start without it."""

    module: str
    why: str


class Loaded(Struct, frozen=True, tag="loaded"):
    """From a branch: it has imported its modules and serves."""


class Unfit(Struct, frozen=True, tag="unfit"):
    """From a branch, which then exits: workers cannot be forked from it.

    ``why``: what its modules have started, which no fork can share; "": they could not be imported,
    and a worker that imports them itself reports the error.
    """

    modules: str
    why: str


Command = Start | Branch | Renew
Report = Forked | Refused | Ended | Renewed | Warned | Loaded | Unfit
encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
decode_command: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
decode_head: msgspec.msgpack.Decoder[BranchHead] = msgspec.msgpack.Decoder(BranchHead)
decode_report: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
