"""What the daemon and its clients say to each other: lines of JSON over a Unix socket.

The daemon begins with ``{"hello": {"version", "pid"}}``. A client sends one request a line, and
waits for its answer::

    {"verb": "status", "args": {"names": ["web-*"]}, "version": "0.1.0"}
    {"ok": true, "value": {...}}
    {"ok": false, "error": {"type": "UnknownAgent", "message": "...", "code": 4}}

Verbs that stream answer with any number of ``{"item": ...}`` and then ``{"end": ...}``, or an error
as above. ``{"began": 12}`` says the number of the agent's request, for ``cancel``. A line of a
client is limited in size and depth before anything decodes it; nothing is ever unpickled.
"""

from __future__ import annotations

import logging
import re
from itertools import accumulate
from typing import Any

import msgspec

from procorch import __version__
from procorch.daemon.errors import BadRequest, DaemonError
from procorch.errors import AgentError
from procorch.errors.plain_data import to_plain
from procorch.errors.texts import text_of

SOCKET = "control.sock"
"""The name of the socket in the daemon's folder."""
LINE_LIMIT = 1 << 20
"""Bytes of a request."""
ANSWER_LIMIT = 16 << 20
"""Bytes of a line of the daemon."""
DEPTH_LIMIT = 64
"""Lists and objects inside each other in a request."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)  # matches whatever follows a "
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_log = logging.getLogger("procorch")


class Request(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a client asks for.

    Attributes:
        verb: one of the table of verbs.
        args: its arguments, still as JSON: the verb says what they have to be.
        version: of the client's procorch.
    """

    verb: str
    args: msgspec.Raw = msgspec.Raw(b"{}")
    version: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request failed.

    Attributes:
        type: the class of the error.
        message: its text, without credentials.
        code: what a command ends with because of it.
        plain: an `AgentError` as plain data.
    """

    type: str
    message: str
    code: int
    plain: dict[str, Any] | None = None


class Hello(msgspec.Struct, frozen=True):
    """The daemon's first line: its version of procorch and its process id."""

    version: str
    pid: int


class Line(msgspec.Struct, frozen=True):
    """A line of the daemon; exactly one of the fields but ``ok`` is set."""

    ok: bool | None = None
    hello: Hello | None = None
    began: int | None = None
    value: Any = msgspec.UNSET
    item: Any = msgspec.UNSET
    end: Any = msgspec.UNSET
    error: Problem | None = None


_encode = msgspec.json.encode
_request = msgspec.json.Decoder(Request)
_line = msgspec.json.Decoder(Line)


def request_line(verb: str, args: dict[str, Any]) -> bytes:
    """A request of this client, as a line.

    Raises:
        BadRequest: JSON cannot hold the arguments, or they are too large or too deep.
    """
    try:
        line = _encode({"verb": verb, "args": args, "version": __version__})
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"{verb}: this cannot be sent as JSON: {text_of(error)}") from error
    _check(line)
    return line + b"\n"


def read_request(line: bytes) -> Request:
    """The request of a line.

    Raises:
        BadRequest: it is none; the text says why.
    """
    _check(line)
    try:
        return _request.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"this is not a request: {error}") from None


def read_args(verb: str, args: msgspec.Raw, kind: type[Any]) -> Any:
    """The arguments of a request, checked.

    Raises:
        BadRequest: they are not what the verb takes.
    """
    try:
        return msgspec.json.decode(args, type=kind, strict=True)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"{verb}: {error}") from None


def read_line(line: bytes) -> Line:
    """A line of the daemon.

    Raises:
        DaemonError: it is not one of the protocol.
    """
    try:
        return _line.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DaemonError(f"the daemon's answer cannot be read: {error}") from None


def hello_line(pid: int) -> bytes:
    """The first line of a connection."""
    return _encode({"hello": Hello(__version__, pid)}) + b"\n"


def began_line(request: int) -> bytes:
    """The number of the agent's request."""
    return _encode({"began": request}) + b"\n"


def value_line(value: Any) -> bytes:
    """The answer of a verb that does not stream."""
    return _answer({"ok": True, "value": value})


def item_line(item: Any) -> bytes:
    """One item of a verb that streams."""
    return _answer({"item": item})


def end_line(value: Any) -> bytes:
    """The end of a verb that streams."""
    return _answer({"end": value})


def error_line(error: BaseException) -> bytes:
    """A failure, as a line."""
    return _encode({"ok": False, "error": problem_of(error)}) + b"\n"


def problem_of(error: BaseException) -> Problem:
    """An error as a client is told of it; what should not happen is logged with its traceback."""
    text = text_of(error)
    if isinstance(error, DaemonError):
        return Problem(error.kind, text, error.code)
    if isinstance(error, AgentError):
        return Problem(type(error).__name__, text, 1, to_plain(error))
    if isinstance(error, ValueError):
        return Problem(BadRequest.kind, text, BadRequest.code)
    if not isinstance(error, OSError):
        _log.error("the daemon could not answer a request", exc_info=error)
        text = f"the daemon could not do this: {type(error).__name__}: {text} (see its log)"
    return Problem(type(error).__name__, text, DaemonError.code)


def _answer(message: dict[str, Any]) -> bytes:
    try:
        line = _encode(message)
    except (TypeError, ValueError, RecursionError) as error:
        raise DaemonError(f"the answer cannot be sent as JSON: {text_of(error)}") from error
    if len(line) >= ANSWER_LIMIT:
        raise DaemonError(
            f"the answer is {len(line)} bytes long, and the daemon sends at most {ANSWER_LIMIT}"
        )
    return line + b"\n"


def _check(line: bytes) -> None:
    if len(line) > LINE_LIMIT:
        raise too_large()
    if _is_deep(line):
        raise BadRequest(f"a request has at most {DEPTH_LIMIT} lists and objects inside each other")


def too_large() -> BadRequest:
    """The refusal of a line that is too large."""
    return BadRequest(f"a request is at most {LINE_LIMIT} bytes long, and this one is longer")


def _is_deep(line: bytes) -> bool:
    if line.count(b"[") + line.count(b"{") <= DEPTH_LIMIT:
        return False
    brackets = _STRING.sub(b"", line).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > DEPTH_LIMIT
