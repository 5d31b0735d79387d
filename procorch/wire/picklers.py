"""Three picklers, the fastest first.

``pickle.dumps`` does for what workers can import. The same, asked at every class and function, is
for a pickle that would refer to a module that workers cannot import. dill's is for what pickle
refuses. dill is imported when it is first needed, never with this module.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from procorch.errors import Aborted, RequestTimeout
from procorch.wire.byvalue import inherited, selection

_SEPARATE_FROM = 16 * 1024  # bytes; a smaller buffer is cheaper inside the pickle

# Raised by a signal in a worker's main thread to end a request (N8), not by what is encoded.
SIGNALLED = (Aborted, RequestTimeout)
_FINAL = (RecursionError, MemoryError, *SIGNALLED)  # no other pickler does better

_Keep = Callable[[pickle.PickleBuffer], bool]


class _ByValueNeeded(Exception):
    """Something that this pickler cannot save was met."""


def attempt(
    dumps: Callable[[Any, _Keep], bytes], obj: Any
) -> tuple[bytes, list[pickle.PickleBuffer]] | None:
    """Return what a pickler makes of ``obj``; None if the next one has to try."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        return dumps(obj, keep_large(buffers)), buffers
    except _FINAL:
        raise
    except Exception:
        return None


def keep_large(buffers: list[pickle.PickleBuffer]) -> _Keep:
    """Return a callback that keeps large buffers out of the pickle."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _SEPARATE_FROM:
            return True
        buffers.append(buffer)
        return False

    return keep


def pickle_plainly(obj: Any, keep: _Keep) -> bytes:
    """Pickle ``obj`` as pickle does, whatever it refers to."""
    return pickle.dumps(obj, 5, buffer_callback=keep)


class _References(pickle.Pickler):
    """The C pickler, for what is names and data through and through."""

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is FunctionType or issubclass(kind, type):
            if not selection.by_reference(obj) and (
                kind is FunctionType or selection.can_be_rebuilt(obj)
            ):
                return self.by_value(obj)
        elif kind in selection.NAMED_ONLY and not selection.by_reference(obj):
            raise _ByValueNeeded
        elif inherited.refusal(obj) is not None:
            raise _ByValueNeeded  # which says why not
        elif (proxy := inherited.proxy(obj)) is not None:
            return proxy
        return NotImplemented

    def by_value(self, obj: Any) -> Any:
        raise _ByValueNeeded


class _Shared(pickle.Pickler):
    """For messages with objects of ``multiprocessing``. It raises at what only children of that may
    get, though it pickles, and gives proxies the key of their manager."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type):
            return NotImplemented
        if (why := inherited.refusal(obj)) is not None:
            raise TypeError(why)
        proxy = inherited.proxy(obj)
        return NotImplemented if proxy is None else proxy


def pickle_shared(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pickle a message that has objects of ``multiprocessing`` in it, or raise (`_Shared`)."""
    file, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Shared(file, 5, buffer_callback=keep_large(buffers)).dump(obj)
    return file.getvalue(), buffers


class _Pieces(_References):
    """The same; classes and named functions that workers cannot import become pieces."""

    def by_value(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType) and not selection.is_named(obj):
            raise _ByValueNeeded
        from procorch.wire.byvalue import definition_cache

        return definition_cache.reduce_piece(obj)


def pickle_references(obj: Any, keep: _Keep) -> bytes:
    """Pickle what workers can import, by reference; raise at anything else."""
    file = io.BytesIO()
    _References(file, 5).dump(obj)
    return file.getvalue()


def pickle_with_definitions(obj: Any, keep: _Keep) -> bytes:
    """Pickle ``obj`` with the classes and named functions that workers cannot import."""
    file = io.BytesIO()
    _Pieces(file, 5, buffer_callback=keep).dump(obj)
    return file.getvalue()


def pickle_with_dill(obj: Any, keep: _Keep, *, upward: bool) -> bytes:
    """Pickle ``obj`` with dill's help; ``upward``: from a worker to its parent."""
    from procorch.wire.byvalue import definition_cache

    mode = definition_cache.Mode.UP if upward else definition_cache.Mode.DOWN
    return definition_cache.dumps(obj, mode, buffer_callback=keep)


def pickle_definition(obj: Any) -> bytes:
    """Pickle a factory with dill's help."""
    from procorch.wire.byvalue import definition_cache

    return definition_cache.dumps(obj, definition_cache.Mode.DEFINITION)


def may_refer_to_ours(obj: Any, data: bytes) -> bool:
    """Whether the pickle ``data`` of ``obj`` may refer to what only this process has."""
    return any_may_refer_to_ours((obj,), data)


def any_may_refer_to_ours(objs: Sequence[Any], data: bytes) -> bool:
    """The same for the pickles of several objects, one after the other in ``data``."""
    kinds = set(map(type, objs))
    for kind in (list, tuple):
        if kind in kinds:
            kinds |= {type(obj[0]) for obj in objs if type(obj) is kind and obj}
    # All are asked for the effect, too: a module seen for the first time is one that `refers`
    # looks for.
    known = [selection.importable(kind.__module__) for kind in kinds]
    return not all(known) or selection.refers(data)
