"""What `multiprocessing` hands to its own children only, and what to use instead.

A worker is no child of ``multiprocessing``. Most of these objects refuse to be pickled and say so
in terms of inheritance; a connection does not refuse: its pickle is the number of a descriptor,
which means something else in a worker. The proxies that a manager makes can be sent, with its key.
"""

from __future__ import annotations

import sys
from typing import Any

MARK = b"multiprocess"
"""In a pickle that refers to any class of these libraries."""

_LIBRARIES = ("multiprocessing", "multiprocess")  # the latter is dill's variant
_INSTEAD = {
    "synchronize": "use multiprocessing.Manager().{name}(), which can be sent",
    "sharedctypes": "use multiprocessing.Manager().{name}(), which can be sent, or SharedMemory",
    "heap": "use multiprocessing.Manager().Value() or Array(), which can be sent, or SharedMemory",
    "queues": "use multiprocessing.Manager().Queue(), which can be sent, or return the values",
    "connection": "use multiprocessing.Manager().Queue(), which can be sent, or return the values",
    "managers": "send what it made, such as Manager().dict(), and not the manager",
    "pool": "make it inside the agent, or use a procorch.AgentPool in this program",
    "process": "a process belongs to the one that started it: send what the agent needs of it",
}
_ONLY = {"managers": "BaseManager", "pool": "Pool", "process": "BaseProcess"}
"""The one class of a module that is meant, where others may be sent: proxies, results, errors."""

_NAMES = {"Synchronized": "Value", "SynchronizedArray": "Array", "SynchronizedString": "Array"}


def refusal(obj: Any) -> str | None:
    """Why ``obj`` cannot be sent to another process; None: it is none of these objects."""
    for cls in type(obj).__mro__:
        library, _, module = getattr(cls, "__module__", "").partition(".")
        if library in _LIBRARIES and module in _INSTEAD:
            if cls.__name__ != _ONLY.get(module, cls.__name__):
                continue
            name = _NAMES.get(cls.__name__, cls.__name__.lstrip("_"))
            instead = _INSTEAD[module].format(name=name)
            return f"a {library} {name} reaches only processes that inherit it; {instead}"
    return None


def proxy(obj: Any) -> tuple[Any, ...] | None:
    """How the proxy that a manager has made is pickled; None: it is none.

    By itself it takes its manager's key to a child of ``multiprocessing`` alone. Others would try
    the key of their process, which need not be the same.
    """
    for library in _LIBRARIES:
        managers = sys.modules.get(f"{library}.managers")
        if managers is not None and issubclass(type(obj), managers.BaseProxy):
            made = obj.__reduce__()
            if made[0] is not managers.RebuildProxy or not obj._authkey:
                return None  # It is pickled in a way of its own.
            make, token, serializer, more = made[1]
            return made[0], (make, token, serializer, {**more, "authkey": bytes(obj._authkey)})
    return None
