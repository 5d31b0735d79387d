"""Whole pickles by value, and pieces: definitions that are pickled once for many messages."""

from __future__ import annotations

import io
import sys
import threading
from types import FunctionType
from typing import Any, NamedTuple

from procorch.wire.byvalue import changes, module_replica
from procorch.wire.byvalue.changes import Check
from procorch.wire.byvalue.pickler import BufferCallback, ByValue, Mode

__all__ = ["Mode", "dumps", "reduce_piece"]


def dumps(
    obj: Any,
    mode: Mode,
    *,
    checks: list[Check] | None = None,
    buffer_callback: BufferCallback | None = None,
) -> bytes:
    """Return the pickle of ``obj``, by value where a name would not do.

    Args:
        checks: gets the bindings that the pickle was made from.
        buffer_callback: as for ``pickle.dumps``.

    Raises:
        Exception: whatever pickle, dill or the object raise; nothing is wrapped here.
    """
    file = io.BytesIO()
    try:
        ByValue(file, mode, reduce_piece, checks, buffer_callback).dump(obj)
    except RecursionError:
        if mode is not Mode.DEFINITION:
            raise
        # Functions that use functions that use functions: a dozen Python frames for each, which
        # take memory only, no C stack.
        file = io.BytesIO()
        with _room_for_recursion:
            ByValue(file, mode, reduce_piece, checks, buffer_callback).dump(obj)
    return file.getvalue()


class _Piece(NamedTuple):
    """One definition and all it needs, kept while the bindings hold that it was made from."""

    made_at: int
    data: bytes
    checks: tuple[Check, ...]


_pieces: dict[str, _Piece] = {}  # by token
_MOST_PIECES = 512
changes.cache(_pieces)


def reduce_piece(obj: type | FunctionType) -> tuple[Any, ...]:
    """Return what pickle needs to rebuild a class or named function elsewhere, once."""
    token = module_replica.give_token(obj)
    piece = _pieces.get(token)
    if piece is None or not all(check.holds() for check in piece.checks):
        checks: list[Check] = []
        data = dumps(obj, Mode.DEFINITION, checks=checks)
        piece = _Piece(changes.count(), data, tuple(checks))
        if len(_pieces) >= _MOST_PIECES:
            _pieces.clear()
        _pieces[token] = piece
    return module_replica.load_piece, (token, piece.made_at, piece.data)


class _RoomForRecursion:
    """A higher recursion limit while any thread needs it."""

    _DEEPEST = 50_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._usual = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._usual = sys.getrecursionlimit()
                sys.setrecursionlimit(max(self._usual, self._DEEPEST))
            self._users += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                sys.setrecursionlimit(self._usual)


_room_for_recursion = _RoomForRecursion()
