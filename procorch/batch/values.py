"""Values as the journal keeps them: JSON if that is exact, else a pickle.

Any tool can read JSON, and SQLite itself can. Values that JSON would change (a tuple, a set, an
object, ``nan``) are pickled, so a value that is read always equals the value that was written.
"""

from __future__ import annotations

import hashlib
import math
import pickle
from typing import Any

import msgspec

from procorch.batch import class_loading

_DEPTH = 64
"""Values that are nested deeper than this are pickled."""
_LARGEST = 2**63


def pack(value: Any) -> str | bytes:
    """A value as JSON text or as a pickle.

    Raises:
        Exception: whatever pickling raises.
    """
    if is_plain(value):
        return msgspec.json.encode(value).decode()
    data = _pickled(value)
    if data is not None:
        return data
    import dill  # heavy, and rarely needed

    packed: bytes = dill.dumps(value, 5, recurse=True)
    return packed


def _pickled(value: Any) -> bytes | None:
    """A pickle; None if dill is needed, which also has the better error."""
    try:
        data = pickle.dumps(value, 5)
    except Exception:
        return None
    # Definitions of the script itself: a pickle would only name them, and could not be loaded.
    return None if b"__main__" in data else data


def unpack(data: str | bytes) -> Any:
    """The value that `pack` got.

    Raises:
        UnreadableValue: a class that the pickle refers to is not to be found here, as a rule.
    """
    return msgspec.json.decode(data) if isinstance(data, str) else class_loading.load(data)


def is_plain(value: Any, depth: int = _DEPTH) -> bool:
    """Whether JSON gives back exactly this value."""
    kind = type(value)
    if value is None or kind is bool:
        return True
    if kind is str:
        return _is_text(value)
    if kind is int:
        return bool(-_LARGEST <= value < _LARGEST)
    if kind is float:
        return math.isfinite(value)
    if depth and kind is list:
        return all(is_plain(each, depth - 1) for each in value)
    if depth and kind is dict:
        return all(
            type(key) is str and _is_text(key) and is_plain(each, depth - 1)
            for key, each in value.items()
        )
    return False


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def digest(value: Any, *more: object) -> bytes:
    """A hash of a value and of ``more`` values, the same in every process."""
    try:
        data = msgspec.json.encode(value, order="deterministic")
    except Exception:
        try:
            data = pickle.dumps(value, 5)
        except Exception:
            # The value cannot be sent to a worker either, and that will be its outcome.
            data = repr(type(value)).encode()
    hashed = hashlib.blake2b(data, digest_size=16)
    for each in more:
        hashed.update(repr(each).encode())
    return hashed.digest()
