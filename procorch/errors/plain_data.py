"""Errors as plain data: how they cross the wire.

A pickle that loads badly would take its reader down with it (openai's and litellm's exceptions dump
well and fail to load), so what supervision needs of an error travels as data that msgpack carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from procorch.errors.agents import AgentCrashed
from procorch.errors.base import (
    TREE,
    AgentError,
    AgentFailure,
    describe_failure,
    note_remote_traceback,
)
from procorch.errors.copying import DEPTH, blank, restore
from procorch.errors.foreign import as_kind, ask, notes_of, wait_of
from procorch.errors.texts import qualified_name, text_of


def to_plain(error: AgentError) -> dict[str, Any]:
    """An error as str, int, float, bool, None, list and dict: what msgpack can carry.

    A user's subclass becomes its nearest class of the tree and its name a note. Never raises, and
    leaves out what has not the type that its annotation promises.
    """
    return _to_plain(error, DEPTH)


def from_plain(mapping: dict[str, Any]) -> AgentError:
    """The error that `to_plain` described; never raises, whatever it is given.

    A class that is unknown here becomes an `AgentFailure` that names it. The remote traceback is
    added as a note, so that an uncaught error shows where in the worker it came from.
    """
    return _from_plain(mapping, DEPTH)


def to_json(error: AgentError) -> dict[str, Any]:
    """An error for people and programs that read JSON (docs/reference/events.md).

    ``type``: its class; ``message``: its text; ``details``: its figures, without those that say
    nothing; ``cause``: the error behind it in the same form, or None.
    """
    plain = to_plain(error)
    details = {
        name: [to_json(from_plain(each)) for each in value] if isinstance(value, list) else value
        for name, value in plain["figures"].items()
        if value not in ("", [])
    }
    cause = to_json(from_plain(plain["cause"])) if "cause" in plain else None
    return {
        "type": plain["class"],
        "message": text_of(error),
        "details": details,
        "cause": cause,
    }


def _to_plain(error: AgentError, depth: int) -> dict[str, Any]:
    cls = next(TREE[c.__name__] for c in type(error).__mro__ if c in TREE.values())
    notes = notes_of(error)
    figures = {}
    for name, kind in cls._figures.items():
        value = ask(error, "is_retryable" if name == "retryable" else name)
        if kind.startswith("tuple"):
            deaths = value if isinstance(value, tuple | list) and depth > 0 else ()
            value = [_to_plain(d, depth - 1) for d in deaths if isinstance(d, AgentCrashed)]
        else:
            value = wait_of(error) if name == "retry_after" else as_kind(kind, value)
        if value is not None:
            figures[name] = value
    if cls is type(error):
        message = text_of(error, BaseException.__str__)
    else:
        message = text_of(error)
        notes.append(f"exc_type: {qualified_name(type(error))}")
    plain = {"class": cls.__name__, "message": message, "figures": figures, "notes": notes}
    cause = error.__cause__
    if cause is not None and depth > 0 and not isinstance(cause, AgentError):
        # The original of a failure has been described by it already.
        cause = None if isinstance(error, AgentFailure) else describe_failure(cause)
    if isinstance(cause, AgentError) and depth > 0:
        plain["cause"] = _to_plain(cause, depth - 1)
    return plain


def _from_plain(mapping: Any, depth: int) -> AgentError:
    given: Mapping[Any, Any] = mapping if isinstance(mapping, Mapping) else {}
    name, message = as_kind("str", given.get("class")), as_kind("str", given.get("message"))
    known = TREE.get(name or "")
    error = blank(known or AgentFailure)
    figures = given.get("figures")
    for key, kind in error._figures.items():
        value = figures.get(key) if isinstance(figures, Mapping) else None
        if kind.startswith("tuple"):
            items = value if isinstance(value, list) and depth > 0 else ()
            errors = [_from_plain(item, depth - 1) for item in items]
            value = tuple(e for e in errors if isinstance(e, AgentCrashed))
        else:
            value = as_kind(kind, value)
        if value is not None:
            setattr(error, key, value)
    if known is None and isinstance(error, AgentFailure):
        error.exc_type, error.exc_str = error.exc_type or name or "", error.exc_str or message or ""
    elif message:
        error.args, error.message = (message,), message
    notes = given.get("notes")
    for note in notes if isinstance(notes, list) else ():
        if isinstance(note, str):
            error.add_note(note)
    note_remote_traceback(error)
    if isinstance(given.get("cause"), Mapping) and depth > 0:
        error.__cause__ = _from_plain(given["cause"], depth - 1)
    return error


def unpack(error: AgentError, parts: dict[str, Any]) -> None:
    """Put an error together that version 0.1 has pickled: plain data stands in for its causes."""
    links, cause = parts["cause"]
    restore(error, parts | {"cause": ([(data, from_plain(plain)) for data, plain in links], cause)})
