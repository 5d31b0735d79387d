"""What a context of `multiprocessing` means here."""

from __future__ import annotations

from typing import Any

_METHODS = {"spawn": "spawn", "fork": "zygote", "forkserver": "zygote"}


def start_method(context: Any) -> str:
    """The way of starting workers that comes closest to that of a context.

    Raises:
        TypeError: it is no context.
    """
    ask = getattr(context, "get_start_method", None)
    if not callable(ask):
        raise TypeError(
            "mp_context must be a context of multiprocessing (multiprocessing.get_context()), not "
            f"{type(context).__name__}; an initializer is given as initializer=..."
        )
    return _METHODS[ask()]
