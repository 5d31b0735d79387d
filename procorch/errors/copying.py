"""Taking errors apart and putting them together, for copy and pickle.

The state is put back by a setter and not by arguments: a constructor is never called, an error may
be part of a circle, and a subclass may have its own ``__setstate__``.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from procorch.errors import AgentError

_Error = TypeVar("_Error", bound="AgentError")


def blank(cls: type[_Error]) -> _Error:
    """An instance whose constructor did not run, `__new__` of user's classes included."""
    for base in cls.__mro__:
        new = base.__dict__.get("__new__")
        if new is not None and not isinstance(new, staticmethod):
            return cast(_Error, new(cls))
    raise TypeError(f"{cls!r} is no exception")


def parts_of(error: AgentError) -> dict[str, Any]:
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
