"""Serialises objects: by pickle, or by dill where pickle fails; large buffers stay outside.

Layout of a body::

    format u8      1 pickle; 2 pickle made with dill (pickle loads both); 3 lost (`payload`);
                   0x80: the first byte of a pickle, which is the whole body (`item_list`)
    buffered u8    0: the pickle is all that follows; 1:
    zero u16, count u32, size of the pickle u64, size of each buffer u64 (network order)
    pickle, then each buffer, every one on a multiple of 64 bytes

Decoding runs code from the body, as pickle does: decode only bodies of your own workers.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, NoReturn

from procorch.errors import SerializationError
from procorch.wire.bulk import LARGE, BulkUnpickler, has_large
from procorch.wire.byvalue import inherited, module_replica, selection
from procorch.wire.byvalue.module_replica import set_role
from procorch.wire.payload import LOST, Buffer
from procorch.wire.pickle_diagnostics import find_unserialisable, say
from procorch.wire.picklers import (
    SIGNALLED,
    Buffers,
    Pickle,
    any_may_refer_to_ours,
    attempt,
    may_refer_to_ours,
    pickle_definition,
    pickle_plainly,
    pickle_references,
    pickle_shared,
    pickle_with_definitions,
    pickle_with_dill,
    references,
)

__all__ = ["decode", "dump_factory", "encode", "load_factory", "set_role"]

PICKLE, DILL = 1, 2

BARE = 0x80
"""The first byte of a body that is only a pickle."""
_PREFIX = {PICKLE: bytes([PICKLE, 0]), DILL: bytes([DILL, 0])}
_TABLE = Struct("!BBHIQ")
_ALIGNMENT = 64
_SIMPLE = frozenset({str, bytes, int, float, bool, type(None)})  # no reference, no buffer inside


def encode(obj: Any, *, what: str, to_parent: bool | None = None) -> list[Buffer]:
    """Return the body of ``obj``: parts to be written one after another.

    Args:
        what: the name of the object in an error ("request", "reply").
        to_parent: whether it goes to the parent; None: yes in a worker, no in any other process. An
            orchestrator inside a worker passes False.

    Raises:
        SerializationError: a part cannot be serialised; the error has the path to it.
    """
    try:
        kind = type(obj)
        if kind in _SIMPLE and (len(obj) < LARGE if kind is str else not has_large(obj)):
            return [_PREFIX[PICKLE], pickle.dumps(obj, 5)]
        upward = module_replica.is_worker() if to_parent is None else to_parent
        made = attempt(pickle_plainly, obj)
        if made is not None and inherited.MARK in references(made[0]):
            made = pickle_shared(obj)
        if made is not None and (upward or not may_refer_to_ours(obj, references(made[0]))):
            return _parts(PICKLE, *made)
        if not upward and (made := attempt(pickle_with_definitions, obj)) is not None:
            return _parts(PICKLE, *made)
        buffers: Buffers = []
        data = pickle_with_dill(obj, buffers, upward=upward)
        return _parts(DILL, data, buffers)
    except SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        _refuse(obj, error, what, "value")


def is_complete(objs: Sequence[Any], data: bytes) -> bool:
    """Whether ``data``, the pickles of ``objs`` by ``pickle.dumps``, is enough for the other side:
    it has no objects of ``multiprocessing`` and nothing that exists in this process only."""
    if inherited.MARK in data:
        return False
    return module_replica.is_worker() or not any_may_refer_to_ours(objs, data)


def decode(view: Buffer, *, what: str = "message") -> Any:
    """Return the object whose body is ``view``.

    Arrays are writable. If the memory of ``view`` is writable they use it, so do not decode one
    view twice.

    Args:
        what: the name of the object in an error.

    Raises:
        SerializationError: the bytes are damaged, or a name in them cannot be loaded here.
    """
    try:
        if view[0] == BARE:
            return _loads(view, ())
        if view[0] not in _PREFIX:
            raise pickle.UnpicklingError(_strange(view))
        if view[1] == 0:
            return _loads(memoryview(view)[2:], ())
        return _loads(*_split(memoryview(view)))
    except SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        raise cannot_load(what, error) from error


def dump_factory(factory: Callable[[], Any]) -> bytes:
    """Return ``factory`` as bytes that `load_factory` turns into it in a worker.

    Closures, lambdas and definitions of modules that workers cannot import are sent by value, the
    rest by reference. If everything is sent by reference, neither side needs dill.

    Raises:
        TypeError: ``factory`` cannot be called.
        SerializationError: a part cannot be serialised; the error has the path from "factory".
    """
    if not callable(factory):
        raise TypeError(
            f"a factory is a callable without arguments, not {factory!r:.60} "
            f"of type {type(factory).__name__}"
        )
    try:
        made = attempt(pickle_references, factory)
        return pickle_definition(factory) if made is None else references(made[0])
    except SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        _refuse(factory, error, "factory", "factory")


def load_factory(data: Buffer) -> Callable[[], Any]:
    """Return the factory that `dump_factory` serialised.

    Raises:
        SerializationError: the bytes are damaged, or a module is missing here.
    """
    try:
        factory = pickle.loads(data)
    except SIGNALLED:
        raise
    except (Exception, SystemExit) as error:
        raise cannot_load("factory", error) from error
    if not callable(factory):
        raise SerializationError(what="factory", reason=f"{type(factory).__name__} is not callable")
    loaded: Callable[[], Any] = factory
    return loaded


# Layout.


def _parts(form: int, data: Pickle, buffers: Buffers) -> list[Buffer]:
    pieces: list[Buffer] = [data] if isinstance(data, bytes) else data
    if not buffers:
        return [_PREFIX[form], *pieces]
    raw = [buffer.raw() for buffer in buffers]
    size = sum(map(len, pieces))
    table = _TABLE.pack(form, 1, 0, len(raw), size)
    table += b"".join(view.nbytes.to_bytes(8) for view in raw)
    parts = [table, bytes(-len(table) % _ALIGNMENT), *pieces]
    for view in raw:
        parts += [bytes(-size % _ALIGNMENT), view]
        size = view.nbytes
    return [part for part in parts if len(part)]


def _split(view: memoryview) -> tuple[memoryview, list[Buffer]]:
    """Split a body with buffers; each size is checked against the length of the body."""
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
        # A small frame is read-only bytes: its arrays get writable memory.
        return parts[0], [bytearray(part) for part in parts[1:]]
    return parts[0], list(parts[1:])


# Loading and refusing.


class _Unpickler(BulkUnpickler):
    """Finds names in a replica of ``__main__``, which is not in ``sys.modules``."""

    def find_class(self, module: str, name: str) -> Any:
        if selection.travels(module):
            return module_replica.look_up(module, name)
        return super().find_class(module, name)


def _loads(data: Buffer, buffers: Sequence[Buffer]) -> Any:
    try:
        if buffers or len(data) >= LARGE:
            return BulkUnpickler(memoryview(data), buffers).load()
        return pickle.loads(data)
    except (AttributeError, ImportError):
        if not module_replica.has_other_homes():
            raise
    return _Unpickler(memoryview(data), buffers).load()


def _strange(view: Buffer) -> str:
    if view[0] == LOST:
        return f"its content was lost on the way: {bytes(view[1:]).decode()}"
    return f"unknown format {view[0]}"


def cannot_load(what: str, error: BaseException) -> SerializationError:
    """The error of a body that does not load."""
    return SerializationError(what=what, reason=f"cannot be loaded: {say(error)}")


def _refuse(obj: Any, error: BaseException, what: str, root: str) -> NoReturn:
    """Raise the error that names the part of ``obj`` that cannot be serialised."""
    path = root
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply (RecursionError)"
    elif isinstance(error, MemoryError):
        reason = "there is not enough memory to serialise it (MemoryError)"
    else:
        path, reason = find_unserialisable(obj, root, say(error))
    if isinstance(error, TypeError | pickle.PicklingError):
        error = error.with_traceback(None)  # its frames are all in picklers
    # "factory closure variable 'sock'" needs no "factory: " in front
    message = f"{path}: {reason}" if path.startswith(what) else ""
    raise SerializationError(message, what=what, path=path, reason=reason) from error
