"""Taking errors apart and putting them together, for copy and pickle.

The state is put back by a setter and not by arguments: a constructor is never called, an error may
be part of a circle, and a subclass may have its own ``__setstate__``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

_Error = TypeVar("_Error", bound=BaseException)

DEPTH = 8
"""Causes of causes that are followed; a chain may be a circle."""


def blank(cls: type[_Error]) -> _Error:
    """An instance whose constructor did not run, `__new__` of user's classes included."""
    for base in cls.__mro__:
        new = base.__dict__.get("__new__")
        if new is not None and not isinstance(new, staticmethod):
            return cast(_Error, new(cls))
    raise TypeError(f"{cls!r} is no exception")


def parts_of(error: BaseException) -> dict[str, Any]:
    """All that makes up an error beside its class."""
    return {
        "args": error.args,
        "state": error.__getstate__(),
        "notes": list(getattr(error, "__notes__", ())),
        "cause": error.__cause__,
        "suppressed": error.__suppress_context__,
    }


def fill(error: _Error, parts: dict[str, Any]) -> _Error:
    """Put what `parts_of` gave into a blank error, and return it."""
    put = partial(object.__setattr__, error)  # a frozen dataclass may be an error, too
    put("args", parts["args"])
    state = parts["state"]
    if type(error).__setstate__ is not BaseException.__setstate__:
        error.__setstate__(state)
    else:
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        error.__dict__.update(attributes or {})
        for name, value in (slots or {}).items():
            put(name, value)
    if parts["notes"]:
        put("__notes__", parts["notes"])
    put("__cause__", parts["cause"])
    put("__suppress_context__", parts["suppressed"])
    return error


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    """Set ``error.__cause__``, also where the class refuses to set attributes (a frozen dataclass,
    a ``__setattr__`` of its own)."""
    vars(BaseException)["__cause__"].__set__(error, cause)


def add_note(error: BaseException, note: str) -> None:
    """``error.add_note(note)``, or nothing where the class refuses to set attributes."""
    with suppress(Exception):
        error.add_note(note)


def pack(
    cause: BaseException | None,
    own: type[BaseException],
    stand_in: Callable[[BaseException], BaseException],
) -> Any:
    """A cause as it is pickled: our own as they are; of others, for each link, a pickle of its own.

    An exception of other code may refuse to be pickled, or to be loaded, so each travels with one
    that takes its place.

    Args:
        own: the base of those that are pickled as they are.
        stand_in: makes what takes the place of another.
    """
    links: list[tuple[bytes, BaseException]] = []
    while cause is not None and not isinstance(cause, own) and len(links) < DEPTH:
        links.append((_dump(cause) or b"", stand_in(cause)))
        cause = cause.__cause__
    return links, cause if isinstance(cause, own) else None


def restore(error: BaseException, parts: dict[str, Any]) -> None:
    """Put a pickled error together, its cause included."""
    links, cause = parts["cause"]
    for data, stand_in in reversed(links):
        loaded = _load(data)
        link = stand_in if loaded is None else loaded
        set_cause(link, cause)
        cause = link
    fill(error, parts | {"cause": cause})


def _dump(error: BaseException) -> bytes | None:
    """A pickle of an exception, or None unless it has just been proven to load again."""
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
