"""Errors as plain data: how they cross the wire.

A pickle that loads badly would take its reader down with it (openai's and litellm's exceptions dump
well and fail to load), so what supervision needs of an error travels as data that msgpack carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from procorch.errors import TREE, AgentCrashed, AgentError, AgentFailure
from procorch.errors.copying import blank, fill, set_cause
from procorch.errors.texts import fit, qualified_name, text_of

_TRANSIENT = (ConnectionError, TimeoutError)
DEPTH = 8
"""Causes of causes that are followed; a chain may be a circle."""
_REMOTE = "remote traceback:\n"


def describe_failure(error: BaseException, *, agent: str | None = None) -> AgentError:
    """Any exception as one of ours, with the formatted traceback in `remote_traceback`.

    One of ours stays the same object, with `agent` filled in. Another one becomes an `AgentFailure`
    with the original as its cause; it is retryable where the original says so (`is_retryable`, an
    attribute or a method) or, where it says nothing, is a `ConnectionError` or `TimeoutError`.
    """
    trace = _traceback(error)
    if isinstance(error, AgentError):
        with suppress(AttributeError):  # a subclass may have made them read-only
            object.__setattr__(error, "agent", error.agent or agent)
            object.__setattr__(error, "remote_traceback", error.remote_traceback or trace)
        return error
    says = _asked(error, "is_retryable")
    failure = AgentFailure(
        agent=agent,
        exc_type=qualified_name(type(error)),
        exc_str=text_of(error),
        remote_traceback=trace,
        retryable=says if isinstance(says, bool) else isinstance(error, _TRANSIENT),
        retry_after=_value("float", _asked(error, "retry_after")),
    )
    for note in _notes(error):
        failure.add_note(note)
    failure.__cause__ = error
    return failure


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


def _to_plain(error: AgentError, depth: int) -> dict[str, Any]:
    cls = next(TREE[c.__name__] for c in type(error).__mro__ if c in TREE.values())
    notes = _notes(error)
    figures = {}
    for name, kind in cls._figures.items():
        value = _asked(error, "is_retryable" if name == "retryable" else name)
        if kind.startswith("tuple"):
            deaths = value if isinstance(value, tuple | list) and depth > 0 else ()
            value = [_to_plain(d, depth - 1) for d in deaths if isinstance(d, AgentCrashed)]
        else:
            value = _value(kind, value)
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
    name, message = _value("str", given.get("class")), _value("str", given.get("message"))
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
            value = _value(kind, value)
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
    if error.remote_traceback and not any(n.startswith(_REMOTE) for n in _notes(error)):
        error.add_note(_REMOTE + error.remote_traceback)
    if isinstance(given.get("cause"), Mapping) and depth > 0:
        error.__cause__ = _from_plain(given["cause"], depth - 1)
    return error


def _value(annotation: str, value: Any) -> Any:
    """`value` as exactly the type annotated, or None where it is something else."""
    kind = annotation.removesuffix(" | None")
    if kind == "str" and isinstance(value, str):
        return fit(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "int" and isinstance(value, int) and -(2**63) <= value < 2**63:
            return int(value)
        if kind == "float" and abs(value) < 1e300:  # false for nan and inf, too
            return float(value)
    return None


def _asked(error: BaseException, name: str) -> Any:
    """An attribute, or what it returns if it is a method; None where asking raises."""
    try:
        value = getattr(error, name, None)
        return value() if callable(value) else value
    except KeyboardInterrupt:
        raise
    except BaseException:  # of a method of the user's
        return None


def _notes(error: BaseException) -> list[str]:
    try:
        notes = getattr(error, "__notes__", ())
    except Exception:
        return []
    notes = notes if isinstance(notes, list | tuple) else ()
    return [fit(note) for note in notes if isinstance(note, str)]


def _traceback(error: BaseException) -> str:
    """The formatted traceback from the user's code on, without procorch's calls above it."""
    import traceback

    start = error.__traceback__
    while start and str(start.tb_frame.f_globals.get("__name__")).startswith("procorch."):
        start = start.tb_next
    try:
        lines = traceback.format_exception(type(error), error, start or error.__traceback__)
    except KeyboardInterrupt:
        raise
    except BaseException:  # of its methods
        return ""
    return fit("".join(lines))


# Causes inside a pickle.


def pack(error: BaseException | None) -> Any:
    """A cause as it is pickled: our own as they are; of others, for each link, a pickle of its own.

    A foreign exception may refuse to be pickled, or to be loaded, so each travels with a plain
    description that takes its place.
    """
    links: list[tuple[bytes, dict[str, Any]]] = []
    while error is not None and not isinstance(error, AgentError) and len(links) < DEPTH:
        links.append((_dump(error) or b"", to_plain(describe_failure(error))))
        error = error.__cause__
    return links, error if isinstance(error, AgentError) else None


def unpack(error: AgentError, parts: dict[str, Any]) -> None:
    """Put a pickled error together, its cause included."""
    links, cause = parts["cause"]
    for data, plain in reversed(links):
        loaded = _load(data)
        link = from_plain(plain) if loaded is None else loaded
        set_cause(link, cause)
        cause = link
    fill(error, parts | {"cause": cause})


def _dump(error: BaseException) -> bytes | None:
    """A pickle of a foreign exception, or None unless it has just been proven to load again."""
    import pickle

    try:
        data = pickle.dumps(error, 5)
    except Exception:
        return None
    return data if type(_load(data)) is type(error) else None


def _load(data: bytes) -> BaseException | None:
    """What `_dump` pickled, or None where it does not load in this process."""
    import pickle

    try:
        error = pickle.loads(data)
    except Exception:
        return None
    return error if isinstance(error, BaseException) else None
