"""Three picklers, the fastest first.

1. ``pickle.dumps``, for objects of modules that workers can import.
2. The same with a hook for each class and function, if a pickle would refer to a module that
   workers cannot import.
3. dill, for objects that pickle refuses. dill is imported when it is first needed.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeAlias

from procorch.errors import Aborted, RequestTimeout
from procorch.wire.bulk import BulkPickler, Parts, has_large
from procorch.wire.byvalue import inherited, selection

_SEPARATE_FROM = 16 * 1024  # bytes; a smaller buffer is cheaper inside the pickle

# A signal raises these in a worker's main thread to end a request (N8); the object does not.
SIGNALLED = (Aborted, RequestTimeout)
_FINAL = (RecursionError, MemoryError, *SIGNALLED)  # no other pickler would succeed

Pickle: TypeAlias = bytes | Parts
Buffers: TypeAlias = list[pickle.PickleBuffer]


class _ByValueNeeded(Exception):
    """The object has a part that this pickler cannot serialise."""


def attempt(dumps: Callable[[Any, Buffers], Pickle], obj: Any) -> tuple[Pickle, Buffers] | None:
    """Return the pickle of ``obj`` and its buffers; None if the next pickler has to try."""
    buffers: Buffers = []
    try:
        return dumps(obj, buffers), buffers
    except _FINAL:
        raise
    except Exception:
        return None


def keep_large(buffers: Buffers) -> Callable[[pickle.PickleBuffer], bool]:
    """Return a callback that keeps large buffers out of the pickle."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _SEPARATE_FROM:
            return True
        buffers.append(buffer)
        return False

    return keep


def pickle_plainly(obj: Any, buffers: Buffers) -> Pickle:
    """Pickle ``obj`` without checks of its references; large objects in it are not copied."""
    if not has_large(obj):
        return pickle.dumps(obj, 5, buffer_callback=keep_large(buffers))
    pickler = BulkPickler(keep_large(buffers))
    pickler.dump(obj)
    buffers += reversed(pickler.texts)
    return pickler.parts


def references(data: Pickle) -> bytes:
    """The part of a pickle that may refer to classes and functions."""
    return data if isinstance(data, bytes) else data.without_large()


class _References(pickle.Pickler):
    """The C pickler, for objects that consist of data and importable names."""

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
            raise _ByValueNeeded  # a later pickler has the reason
        elif (proxy := inherited.proxy(obj)) is not None:
            return proxy
        return NotImplemented

    def by_value(self, obj: Any) -> Any:
        raise _ByValueNeeded


class _Shared(pickle.Pickler):
    """For messages with objects of ``multiprocessing``. It refuses those that only child processes
    of that package may get, and gives proxies the key of their manager."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type):
            return NotImplemented
        if (why := inherited.refusal(obj)) is not None:
            raise TypeError(why)
        proxy = inherited.proxy(obj)
        return NotImplemented if proxy is None else proxy


def pickle_shared(obj: Any) -> tuple[Pickle, Buffers]:
    """Pickle a message that contains objects of ``multiprocessing``; see `_Shared`."""
    parts, buffers = Parts(), Buffers()
    _Shared(parts, 5, buffer_callback=keep_large(buffers)).dump(obj)
    return parts, buffers


class _Pieces(_References):
    """Like `_References`, but sends definitions that workers cannot import by value."""

    def by_value(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType) and not selection.is_named(obj):
            raise _ByValueNeeded
        from procorch.wire.byvalue import definition_cache

        return definition_cache.reduce_piece(obj)


def pickle_references(obj: Any, _buffers: Buffers) -> bytes:
    """Pickle by reference what workers can import; raise for anything else."""
    file = io.BytesIO()
    _References(file, 5).dump(obj)
    return file.getvalue()


def pickle_with_definitions(obj: Any, buffers: Buffers) -> Pickle:
    """Pickle ``obj`` with the classes and named functions that workers cannot import."""
    parts = Parts()
    _Pieces(parts, 5, buffer_callback=keep_large(buffers)).dump(obj)
    return parts


def pickle_with_dill(obj: Any, buffers: Buffers, *, upward: bool) -> bytes:
    """Pickle ``obj`` with dill's help; ``upward``: from a worker to its parent."""
    from procorch.wire.byvalue import definition_cache

    mode = definition_cache.Mode.UP if upward else definition_cache.Mode.DOWN
    return definition_cache.dumps(obj, mode, buffer_callback=keep_large(buffers))


def pickle_definition(obj: Any) -> bytes:
    """Pickle a factory with dill's help."""
    from procorch.wire.byvalue import definition_cache

    return definition_cache.dumps(obj, definition_cache.Mode.DEFINITION)


def may_refer_to_ours(obj: Any, data: bytes) -> bool:
    """Whether the pickle ``data`` of ``obj`` may refer to modules of this process only."""
    return any_may_refer_to_ours((obj,), data)


def any_may_refer_to_ours(objs: Sequence[Any], data: bytes) -> bool:
    """The same for the pickles of several objects, one after the other in ``data``."""
    kinds = set(map(type, objs))
    for kind in (list, tuple):
        if kind in kinds:
            kinds |= {type(obj[0]) for obj in objs if type(obj) is kind and obj}
    # Each call counts: it registers a module that is seen for the first time, for `refers`.
    known = [selection.importable(kind.__module__) for kind in kinds]
    return not all(known) or selection.refers(data)
