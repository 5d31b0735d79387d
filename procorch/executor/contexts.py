"""Arguments of executors that assume forked workers, and what they become here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

_METHODS = {"spawn": "spawn", "fork": "zygote", "forkserver": "zygote"}


def start_method(context: Any) -> str:
    """The start method that corresponds to a context of `multiprocessing`.

    Raises:
        TypeError: ``context`` is no such context.
    """
    ask = getattr(context, "get_start_method", None)
    if not callable(ask):
        raise TypeError(
            "mp_context must be a context of multiprocessing (multiprocessing.get_context()), not "
            f"{type(context).__name__}; an initializer is given as initializer=..."
        )
    return _METHODS[ask()]


def initializer_of(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
    """An initializer and its arguments in a form that can be sent to workers.

    ``tqdm.contrib.concurrent`` shares the lock of its progress bars with the workers, which only
    forked processes can inherit. Here each worker gets a lock of its own. That is enough: only this
    process shows the progress of the calls.
    """
    bars = getattr(initializer, "__self__", None)
    if not isinstance(bars, type) or getattr(initializer, "__name__", "") != "set_lock":
        return initializer, initargs
    if not any(base.__module__.partition(".")[0] == "tqdm" for base in bars.__mro__):
        return initializer, initargs
    return partial(_set_own_lock, bars), ()


def _set_own_lock(bars: Any) -> None:
    bars.set_lock(threading.RLock())
