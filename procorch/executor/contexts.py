"""What programs hand to an executor in the belief that its workers are children by fork."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
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


def initializer_of(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
    """An initializer and its arguments as they can be sent to workers.

    ``tqdm.contrib.concurrent`` has workers share the lock of its progress bars, which only a fork
    of this process inherits. Here each worker gets a lock of its own: the bars of this process,
    which show the progress of the calls, need none of the workers'.
    """
    bars = getattr(initializer, "__self__", None)
    if not isinstance(bars, type) or getattr(initializer, "__name__", "") != "set_lock":
        return initializer, initargs
    if not any(base.__module__.partition(".")[0] == "tqdm" for base in bars.__mro__):
        return initializer, initargs
    return partial(_set_own_lock, bars), ()


def _set_own_lock(bars: Any) -> None:
    bars.set_lock(threading.RLock())
