"""What goes through Ray: payloads in a form that it can send, and what its errors mean."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from procorch.wire.payload import Content, unpack

_OUT_OF_BAND = 1 << 16
"""Bytes from which a payload is not copied into the message that Ray sends, but beside it. Ray puts
large ones into its object store."""

_SHOWN = 600
"""Characters of a text of Ray that an error shows."""


Message: TypeAlias = tuple[bytes, Any]
"""A message of `messages` and its body, as `portable` has made it."""


class Packet(NamedTuple):
    """What one call of a relay brings, and what its answer does.

    Args:
        messages: with their numbers (`ordering`).
        taken: the number up to which all messages of the other side have come.
        again: the answers to other calls may be lost.
    """

    messages: Iterable[tuple[int, Message]]
    taken: int
    again: bool = False


_Small: TypeAlias = tuple[int, bool, list[tuple[int, bytes, bytes | None]]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Small).decode


def pack(packet: Packet) -> Any:
    """A packet in a form that Ray need not look into: bytes are quicker than its pickler. Payloads
    that are not to be copied are beside them."""
    beside: list[Any] = []
    small: list[tuple[int, bytes, bytes | None]] = []
    for number, (head, body) in packet.messages:
        if isinstance(body, bytes):
            small.append((number, head, body))
        else:
            small.append((number, head, None))
            beside.append(body)
    data = _encode((packet.taken, packet.again, small))
    return (data, beside) if beside else data


def unpacked(given: Any) -> Packet:
    """What `pack` was given."""
    data, beside = (given, ()) if isinstance(given, bytes) else given
    bodies = iter(beside)
    taken, again, small = _decode(data)
    messages = [
        (number, (head, next(bodies) if body is None else body)) for number, head, body in small
    ]
    return Packet(messages, taken, again)


def portable(content: Content) -> Any:
    """A payload in a form that Ray can send."""
    data = unpack(content)
    return bytes(data) if len(data) < _OUT_OF_BAND else pickle.PickleBuffer(data)


def received(body: Any) -> memoryview:
    """A payload that Ray has sent."""
    return memoryview(body).cast("B")


class Failure(NamedTuple):
    """What an error of Ray means for a worker.

    Args:
        reason: of the `ClusterError`.
        text: what happened.
        again: the worker can be placed again, because its node died before it was there.
        relay_alone: the relay has died, and its node is well.
    """

    reason: str
    text: str
    again: bool = False
    relay_alone: bool = False


def explain_call(error: Exception) -> Failure:
    """What an error of a call of a relay means."""
    name, text = type(error).__name__, str(error)
    if "No module named 'procorch" in text:
        return Failure(
            "node",
            "its node has no procorch of its own: install it there in the same version, or send it "
            "with runtime_env (pip or py_modules)",
        )
    if name == "RuntimeEnvSetupError":
        return Failure("node", f"its node could not set up the runtime_env: {_end_of(text)}")
    if "failed to import" in text or "error raised in its creation task" in text:
        return Failure("node", f"its node cannot run procorch: {_end_of(text)}")
    if name == "ActorDiedError":
        node_died = "node has died" in text or "node was terminated" in text.lower()
        return Failure(
            "node", f"Ray reports: {_end_of(text)}", again=node_died, relay_alone=not node_died
        )
    return Failure("node", f"{name}: {_end_of(text)}")


def explain_connection(error: BaseException, address: str, said: str = "") -> tuple[str, str]:
    """Why the cluster cannot be used: the reason for a `ClusterError`, and a text.

    Args:
        said: what Ray has written meanwhile. An error about a token may be only there.
    """
    name, text = type(error).__name__, str(error)
    lower = text.lower()
    if "version mismatch" in lower:
        return "version", f"the Ray cluster at {address} has another version: {_end_of(text)}"
    if "InvalidAuthToken" in said and "token" not in lower:
        where = "the variable RAY_AUTH_TOKEN or the file ~/.ray/auth_token"
        return "token", (
            f"the Ray cluster at {address} refuses the token: it is missing or wrong in {where}"
        )
    if name == "AuthenticationError" or "unauthenticated" in lower or "auth token" in lower:
        return "token", f"the Ray cluster at {address} refuses the token: {_end_of(text)}"
    if "runtime_env" in lower or "runtime env" in lower or name in ("ValueError", "TypeError"):
        return "node", f"the runtime_env cannot be used: {_end_of(text)}"
    if address == "auto":
        return "address", (
            "no Ray cluster runs on this machine; start one with 'ray start --head', or give the "
            "address of one: backend='ray:HOST:PORT'"
        )
    return "address", f"the Ray cluster at {address} does not answer: {name}: {_end_of(text)}"


def _end_of(text: str) -> str:
    """A text of Ray on one line, without most of its traceback."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"... {line[-_SHOWN:]}"
