"""The headers of frames: what the receiver needs to know without opening the body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from procorch.wire.payload import Buffer


class Surroundings(Struct, frozen=True, array_like=True):
    """The state of the program that a worker adopts at its start.

    Texts are bytes, because those of the system need not be valid Unicode. ``folder``: the working
    directory, b"" if it was deleted; ``umask``: None: unknown; ``limits``: number, soft and hard
    limit.
    """

    environ: list[tuple[bytes, bytes]]
    folder: bytes
    argv: list[bytes]
    umask: int | None
    limits: list[tuple[int, int, int]]
    authkey: bytes
    multiprocess_authkey: bytes | None


class InitHead(Struct, frozen=True, array_like=True):
    """Parent to worker, once. The body is the factory, followed by the checkpoint from byte
    ``checkpoint`` on (-1: none)."""

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
    """`Context.seed` is derived from it, and from agent, generation and request."""
    instance: int = 0
    """The number of the instance: for a seed outside requests."""
    slot: int = 0
    """Which of its agent's instances it is: the value of `Context.instance`, and for `ps`."""
    surroundings: Surroundings | None = None
    """None: the worker keeps its own state."""
    waits: bool = False
    """After an error the worker begins no request before PROCEED: the policy decides first."""
    weigh: int | None = None
    """Report the used memory with each reply, exactly above this many bytes; None: never."""
    client_retries: bool = True
    """The value of `Context.client_retries`."""
    cpus: tuple[int, ...] | None = None
    """The processors that it may use; None: those of its parent."""
    run: int = 0
    """Of a service: the number of the request that it runs by itself; 0: it is no service."""
    limits: dict[str, int] = {}
    """The limits of services by name, each with how often a refused call is tried again."""
    limit: str | None = None
    """The limit that all calls of this agent count for."""
    budgeted: bool = False
    """A budget pays for its calls."""
    cgroup: str | None = None
    """The folder of the cgroup that it enters; None: it stays in that of its parent."""
    as_json: bool = False
    """Its answers are plain data for JSON, and its errors come without the object raised."""
    concurrency: int = 1
    """How many requests it runs at once."""
    tick: float = 0.0
    """Seconds between two marks of progress by the event loop of a worker that runs several; 0:
    it makes none."""


class TurnHead(Struct, frozen=True, array_like=True):
    """Parent to worker: the request is a turn of the conversation ``name``.

    The body is the message, from byte ``split`` on followed by the turns before: ``stored`` has the
    form of each and its size in bytes. ``kind``: what made their states.
    """

    name: str
    split: int
    stored: list[tuple[str, int]]
    kind: str


class KeptTurnHead(Struct, frozen=True, array_like=True):
    """Worker to parent, before the answer: what is to be stored of a turn.

    The body is its messages, ``count`` of them, from byte ``split`` on followed by the state.
    ``form``: of the state; None: there is none. ``kind``: what made it.
    """

    form: str | None
    kind: str
    count: int
    split: int


class RequestHead(Struct, frozen=True, array_like=True):
    """Parent to worker; ``text``: the body is a string to be delivered as a user message.

    ``remaining``: seconds until the deadline; a duration, because the clocks of two processes may
    differ. ``stream``: the worker sends pieces of the answer.
    """

    text: bool
    remaining: float | None
    chunk: bool = False
    """The body is an `item_list.ItemList`."""
    stream: bool = False
    whole: bool = False
    """The worker does all items of the chunk, however long they take."""
    turn: TurnHead | None = None
    """None: it belongs to no named conversation."""
    trace: str | None = None
    """The value of `Context.traceparent`."""


class ResourceUse(Struct, frozen=True, array_like=True):
    """The resources that a request used in the worker: seconds, bytes, counts.

    ``used``: the memory that limits count; 0: not measured (`InitHead.weigh`).
    """

    wall: float
    cpu_user: float
    cpu_system: float
    peak_rss: int
    page_faults: int
    used: int = 0


class ReplyHead(Struct, frozen=True, array_like=True):
    """Worker to parent: the request succeeded; the body is what the agent returned. ``used``: what
    it has used up of a model (`procorch.wire.used`); None: nothing."""

    resources: ResourceUse
    used: list[int | float] | None = None


class NotBegunHead(Struct, frozen=True, array_like=True):
    """Worker to parent: a request was taken back before it began. ``place``: it was the n-th that
    the worker got."""

    place: int


class ErrorHead(Struct, frozen=True, array_like=True):
    """Worker to parent: the request failed. ``error`` is plain data. The body is the original
    exception if it loads again in the worker, else it is empty. ``used``: what the items of the
    chunk before the failing one have used up of a model; that of the failing one is in ``error``.
    """

    error: dict[str, Any]
    resources: ResourceUse | None = None
    used: list[int | float] | None = None


class AskHead(Struct, frozen=True, array_like=True):
    """Worker to parent: a question to agent ``name``; the body is the message. ``trace``: as in
    `RequestHead`."""

    name: str
    text: bool
    remaining: float | None
    trace: str | None = None
    during: int = 0
    """The request during which it is asked; 0: the one that the worker works on."""


class DeltaHead(Struct, frozen=True, array_like=True):
    """Worker to parent: a piece of an answer; the body is text, or an event of the stream.
    ``confirm``: the number of the ANSWER that the worker waits for; 0: it does not wait."""

    confirm: int
    event: bool = False


class CallHead(Struct, frozen=True, array_like=True):
    """Worker to parent: a call is about to begin during ``request``; ``limit`` counts it, if one
    does."""

    limit: str | None
    request: int | None


class CallEndHead(Struct, frozen=True, array_like=True):
    """Worker to parent: a call has ended.

    ``refused``: the service refused it; ``asked``: the seconds that it asked to wait; ``tokens``
    and ``dollars``: what it used of ``model``, in the order of the fields of `Usage` and `Cost`.
    """

    request: int | None
    refused: bool = False
    asked: float | None = None
    model: str = ""
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)
    dollars: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


class AnswerErrorHead(Struct, frozen=True, array_like=True):
    """Parent to worker: a question failed; error and body as in `ErrorHead`."""

    error: dict[str, Any]


encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
decode_init: Callable[[Buffer], InitHead] = msgspec.msgpack.Decoder(InitHead).decode
decode_request: Callable[[Buffer], RequestHead] = msgspec.msgpack.Decoder(RequestHead).decode
decode_reply: Callable[[Buffer], ReplyHead] = msgspec.msgpack.Decoder(ReplyHead).decode
decode_not_begun: Callable[[Buffer], NotBegunHead]
decode_not_begun = msgspec.msgpack.Decoder(NotBegunHead).decode
decode_kept_turn: Callable[[Buffer], KeptTurnHead]
decode_kept_turn = msgspec.msgpack.Decoder(KeptTurnHead).decode
decode_ask: Callable[[Buffer], AskHead] = msgspec.msgpack.Decoder(AskHead).decode
decode_call: Callable[[Buffer], CallHead] = msgspec.msgpack.Decoder(CallHead).decode
decode_call_end: Callable[[Buffer], CallEndHead] = msgspec.msgpack.Decoder(CallEndHead).decode
decode_delta: Callable[[Buffer], DeltaHead] = msgspec.msgpack.Decoder(DeltaHead).decode
decode_answer_error: Callable[[Buffer], AnswerErrorHead]
decode_answer_error = msgspec.msgpack.Decoder(AnswerErrorHead).decode
decode_error: Callable[[Buffer], ErrorHead] = msgspec.msgpack.Decoder(ErrorHead).decode
