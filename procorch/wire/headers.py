"""The heads of frames: what the other side needs to know without opening the body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from procorch.wire.payload import Buffer


class Surroundings(Struct, frozen=True, array_like=True):
    """What a worker takes over from the program, as it is when the worker is started.

    Bytes, because the system's texts need not be valid Unicode. ``folder``: b"" if it has none any
    more; ``umask``: None if it is not known; ``limits``: number, soft and hard limit.
    """

    environ: list[tuple[bytes, bytes]]
    folder: bytes
    argv: list[bytes]
    umask: int | None
    limits: list[tuple[int, int, int]]
    authkey: bytes
    multiprocess_authkey: bytes | None


class InitHead(Struct, frozen=True, array_like=True):
    """Parent to worker, once; the body is the factory, and the checkpoint from byte ``checkpoint``
    on (-1: there is none)."""

    name: str
    generation: int
    sys_path: list[str]
    max_message: int
    checkpoint: int = -1
    env: dict[str, str] = {}
    cwd: str | None = None
    nice: int = 0
    address_space: int | None = None
    seed: str = ""
    """What `Context.seed` is derived from, besides agent, generation and request."""
    instance: int = 0
    """Which of several of that name it is: for a seed outside requests, and for `ps`."""
    surroundings: Surroundings | None = None
    """None: the worker keeps its own."""
    waits: bool = False
    """After an error nothing is begun before PROCEED comes: the policy decides first."""
    weigh: int | None = None
    """Tell with each reply how much memory was used, exactly where that is above so many bytes."""
    client_retries: bool = True
    """What `Context.client_retries` says."""


class RequestHead(Struct, frozen=True, array_like=True):
    """Parent to worker; ``text``: the body is a string to be delivered as a user message.

    ``remaining`` is the time in seconds until the deadline: the clocks of two processes need not
    agree, their durations do. ``stream``: pieces of the answer are wanted as they come.
    """

    text: bool
    remaining: float | None
    chunk: bool = False
    """The body is several items, see `several`."""
    stream: bool = False
    whole: bool = False
    """A chunk is not given back in the middle because it takes long."""


class ResourceUse(Struct, frozen=True, array_like=True):
    """What a request used in the worker: seconds, bytes, counts.

    ``used`` is the memory that the limits count; 0: nobody asked (`InitHead.weigh`).
    """

    wall: float
    cpu_user: float
    cpu_system: float
    peak_rss: int
    page_faults: int
    used: int = 0


class ReplyHead(Struct, frozen=True, array_like=True):
    """Worker to parent: the request succeeded; the body is what the agent returned."""

    resources: ResourceUse


class ErrorHead(Struct, frozen=True, array_like=True):
    """Worker to parent: the request failed. The error as plain data; the body holds the original
    exception where the worker has proven that it loads again, else it is empty."""

    error: dict[str, Any]
    resources: ResourceUse | None = None


class AskHead(Struct, frozen=True, array_like=True):
    """Worker to parent: a question to agent ``name``; the body is the message."""

    name: str
    text: bool
    remaining: float | None


class DeltaHead(Struct, frozen=True, array_like=True):
    """Worker to parent: the body is text. ``confirm``: the number of the `ANSWER` that the worker
    waits for before it goes on, 0: it does not wait."""

    confirm: int


class AnswerErrorHead(Struct, frozen=True, array_like=True):
    """Parent to worker: why a question has no answer; error and body as for `ErrorHead`."""

    error: dict[str, Any]


encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
decode_init: Callable[[Buffer], InitHead] = msgspec.msgpack.Decoder(InitHead).decode
decode_request: Callable[[Buffer], RequestHead] = msgspec.msgpack.Decoder(RequestHead).decode
decode_reply: Callable[[Buffer], ReplyHead] = msgspec.msgpack.Decoder(ReplyHead).decode
decode_ask: Callable[[Buffer], AskHead] = msgspec.msgpack.Decoder(AskHead).decode
decode_delta: Callable[[Buffer], DeltaHead] = msgspec.msgpack.Decoder(DeltaHead).decode
decode_answer_error: Callable[[Buffer], AnswerErrorHead]
decode_answer_error = msgspec.msgpack.Decoder(AnswerErrorHead).decode
decode_error: Callable[[Buffer], ErrorHead] = msgspec.msgpack.Decoder(ErrorHead).decode
