"""Objects to bytes and back: pickle where it can, dill where it cannot, large buffers beside it.

Layout of a body::

    format u8      1 pickle, 2 made with dill's help (pickle loads both); 3 it was lost (`payload`)
    buffered u8    0: the pickle is all that follows; 1:
    zero u16, count u32, size of the pickle u64, size of each buffer u64 (network order)
    pickle, then each buffer, every one on a multiple of 64 bytes

Three picklers are tried, the fastest first: ``pickle.dumps``, which does for what workers can
import; the same asked at every class and function, where that pickle would refer to a module that
workers cannot import; dill's, where pickle refuses. dill is imported when it is first needed, never
with this module.

What arrives runs code (pickle does): decode only what a worker of one's own has sent.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from struct import Struct
from types import FunctionType
from typing import Any, NoReturn

from procorch.errors import Aborted, RequestTimeout, SerializationError
from procorch.wire.byvalue import inherited, module_replica, selection
from procorch.wire.byvalue.module_replica import set_role
from procorch.wire.payload import LOST, Buffer
from procorch.wire.pickle_diagnostics import find_culprit, say

__all__ = ["decode", "dump_factory", "encode", "load_factory", "set_role"]

PICKLE, DILL = 1, 2

_PREFIX = {PICKLE: bytes([PICKLE, 0]), DILL: bytes([DILL, 0])}
_TABLE = Struct("!BBHIQ")
_ALIGNMENT = 64
_SEPARATE_FROM = 16 * 1024  # bytes; a smaller buffer is cheaper inside the pickle
_SIMPLE = frozenset({str, bytes, int, float, bool, type(None)})  # no reference, no buffer inside

# Raised by a signal in a worker's main thread to end a request (N8), not by what is encoded.
_SIGNALLED = (Aborted, RequestTimeout)
_FINAL = (RecursionError, MemoryError, *_SIGNALLED)  # no other pickler does better

_Keep = Callable[[pickle.PickleBuffer], bool]


def encode(obj: Any, *, what: str, to_parent: bool | None = None) -> list[Buffer]:
    """Return the body of ``obj``: parts to be written one after another.

    Args:
        what: what is encoded ("request", "reply"), for the error.
        to_parent: which way it goes; None means up from a worker and down from any other process.
            An orchestrator inside a worker says False.

    Raises:
        SerializationError: with the path to the part that cannot be serialised.
    """
    try:
        if type(obj) in _SIMPLE:
            return [_PREFIX[PICKLE], pickle.dumps(obj, 5)]
        upward = module_replica.is_worker() if to_parent is None else to_parent
        made = _try(_pickle, obj)
        if made is not None and inherited.MARK in made[0]:
            made = _pickle_shared(obj)
        if made is not None and (upward or not _is_about_ours(obj, made[0])):
            return _parts(PICKLE, *made)
        if not upward and (made := _try(_pickle_with_pieces, obj)) is not None:
            return _parts(PICKLE, *made)
        buffers: list[pickle.PickleBuffer] = []
        data = _pickle_with_dill(obj, _keeper(buffers), upward=upward)
        return _parts(DILL, data, buffers)
    except _SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        _refuse(obj, error, what, "value")


def decode(view: Buffer, *, what: str = "message") -> Any:
    """Return the object whose body is ``view``.

    Arrays are writable. They lie in the memory of ``view`` if that is writable, and then it is
    theirs: do not decode one view twice.

    Args:
        what: what an error calls it.

    Raises:
        SerializationError: the bytes are damaged, or what they name does not load here.
    """
    try:
        if view[0] not in _PREFIX:
            raise pickle.UnpicklingError(_strange(view))
        if view[1] == 0:
            return _loads(memoryview(view)[2:], ())
        return _loads(*_split(memoryview(view)))
    except _SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        raise _cannot_load(what, error) from error


def dump_factory(factory: Callable[[], Any]) -> bytes:
    """Return ``factory`` as bytes that `load_factory` turns into it in a worker.

    Closures, lambdas and what is defined in a module that workers cannot import go by value, the
    rest by reference; where all of it goes by reference neither side needs dill.

    Raises:
        TypeError: ``factory`` cannot be called.
        SerializationError: with the path to what cannot be serialised, ``factory`` being its root.
    """
    if not callable(factory):
        raise TypeError(
            f"a factory is a callable without arguments, not {factory!r:.60} "
            f"of type {type(factory).__name__}"
        )
    try:
        made = _try(_pickle_references, factory)
        return _pickle_definition(factory) if made is None else made[0]
    except _SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        _refuse(factory, error, "factory", "factory")


def load_factory(data: Buffer) -> Callable[[], Any]:
    """Return the factory that `dump_factory` serialised.

    Raises:
        SerializationError: the bytes are damaged, or a module that they need is missing here.
    """
    try:
        factory = pickle.loads(data)
    except _SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        raise _cannot_load("factory", error) from error
    if not callable(factory):
        raise SerializationError(what="factory", reason=f"{type(factory).__name__} is not callable")
    loaded: Callable[[], Any] = factory
    return loaded


# Picklers.


class _ByValueNeeded(Exception):
    """Something that this pickler cannot save was met."""


def _try(
    dumps: Callable[[Any, _Keep], bytes], obj: Any
) -> tuple[bytes, list[pickle.PickleBuffer]] | None:
    """Return what a pickler makes of ``obj``; None if the next one has to try."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        return dumps(obj, _keeper(buffers)), buffers
    except _FINAL:
        raise
    except Exception:
        return None


def _keeper(buffers: list[pickle.PickleBuffer]) -> _Keep:
    """Return a callback that keeps large buffers out of the pickle."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _SEPARATE_FROM:
            return True
        buffers.append(buffer)
        return False

    return keep


def _pickle(obj: Any, keep: _Keep) -> bytes:
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


def _pickle_shared(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    file, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Shared(file, 5, buffer_callback=_keeper(buffers)).dump(obj)
    return file.getvalue(), buffers


class _Pieces(_References):
    """The same; classes and named functions that workers cannot import become pieces."""

    def by_value(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType) and not selection.is_named(obj):
            raise _ByValueNeeded
        from procorch.wire.byvalue import definition_cache

        return definition_cache.reduce_piece(obj)


def _pickle_references(obj: Any, keep: _Keep) -> bytes:
    file = io.BytesIO()
    _References(file, 5).dump(obj)
    return file.getvalue()


def _pickle_with_pieces(obj: Any, keep: _Keep) -> bytes:
    file = io.BytesIO()
    _Pieces(file, 5, buffer_callback=keep).dump(obj)
    return file.getvalue()


def _pickle_with_dill(obj: Any, keep: _Keep, *, upward: bool) -> bytes:
    from procorch.wire.byvalue import definition_cache

    mode = definition_cache.Mode.UP if upward else definition_cache.Mode.DOWN
    return definition_cache.dumps(obj, mode, buffer_callback=keep)


def _pickle_definition(obj: Any) -> bytes:
    from procorch.wire.byvalue import definition_cache

    return definition_cache.dumps(obj, definition_cache.Mode.DEFINITION)


def _is_about_ours(obj: Any, data: bytes) -> bool:
    """Whether the pickle ``data`` of ``obj`` may refer to what only this process has."""
    kind = type(obj)
    if (kind is list or kind is tuple) and obj:
        kind = type(obj[0])
    # Asked for its effect too: a module seen for the first time is one that `refers` looks for.
    return not selection.importable(kind.__module__) or selection.refers(data)


# Layout.


def _parts(form: int, data: bytes, buffers: list[pickle.PickleBuffer]) -> list[Buffer]:
    if not buffers:
        return [_PREFIX[form], data]
    raw = [buffer.raw() for buffer in buffers]
    table = _TABLE.pack(form, 1, 0, len(raw), len(data))
    table += b"".join(view.nbytes.to_bytes(8) for view in raw)
    parts: list[Buffer] = [table]
    contents: list[Buffer] = [data, *raw]
    for part in contents:
        if gap := -len(parts[-1]) % _ALIGNMENT:
            parts.append(bytes(gap))
        parts.append(part)
    return parts


def _split(view: memoryview) -> tuple[memoryview, list[Buffer]]:
    """Take a body with buffers apart; every size is checked against what is there."""
    _, _, zero, count, size = _TABLE.unpack_from(view)
    if zero or view[1] != 1 or count * 8 > len(view):
        raise pickle.UnpicklingError("damaged table of buffers")
    at = _TABLE.size
    sizes = [size]
    for _ in range(count):
        sizes.append(int.from_bytes(view[at : at + 8]))
        at += 8
    parts: list[memoryview] = []
    for each in sizes:
        at += -at % _ALIGNMENT
        if at + each > len(view):
            raise pickle.UnpicklingError("truncated")
        parts.append(view[at : at + each])
        at += each
    if view.readonly:
        # A small frame is bytes: the arrays in it get memory that may be written.
        return parts[0], [bytearray(part) for part in parts[1:]]
    return parts[0], list(parts[1:])


# Loading and refusing.


class _Unpickler(pickle.Unpickler):
    """Finds names of a ``__main__`` that is not the one in ``sys.modules``: see `mirror.homes`."""

    def find_class(self, module: str, name: str) -> Any:
        if selection.travels(module):
            return module_replica.look_up(module, name)
        return super().find_class(module, name)


def _loads(data: memoryview, buffers: Sequence[Buffer]) -> Any:
    try:
        return pickle.loads(data, buffers=buffers)
    except (AttributeError, ImportError):
        if not module_replica.has_other_homes():
            raise
    return _Unpickler(io.BytesIO(data), buffers=buffers).load()


def _strange(view: Buffer) -> str:
    if view[0] == LOST:
        return f"its content was lost on the way: {bytes(view[1:]).decode()}"
    return f"unknown format {view[0]}"


def _cannot_load(what: str, error: BaseException) -> SerializationError:
    return SerializationError(what=what, reason=f"cannot be loaded: {say(error)}")


def _refuse(obj: Any, error: BaseException, what: str, root: str) -> NoReturn:
    """Raise the error that names the part of ``obj`` that cannot be serialised."""
    path = root
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply (RecursionError)"
    elif isinstance(error, MemoryError):
        reason = "there is not enough memory to serialise it (MemoryError)"
    else:
        path, reason = find_culprit(obj, root, say(error))
    if isinstance(error, TypeError | pickle.PicklingError):
        error = error.with_traceback(None)  # a hundred frames of picklers that say nothing
    # "factory closure variable 'sock'" needs no "factory: " in front
    message = f"{path}: {reason}" if path.startswith(what) else ""
    raise SerializationError(message, what=what, path=path, reason=reason) from error
