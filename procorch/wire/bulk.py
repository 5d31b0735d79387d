"""Pickles of large ``bytes``, ``bytearray`` and ``str``, without copies of them.

These classes are part of a pickle, and ``pickle.dumps`` copies them into it. A pickler that writes
to a file hands large ones to ``write`` as they are instead, and an unpickler that reads from a file
has it fill the memory of the new object. So the format is that of any pickle.
"""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Iterable
from itertools import islice
from typing import Any

from procorch.wire.pages import prefer_huge
from procorch.wire.payload import Buffer

LARGE = 1 << 20
"""Bytes from which an object is not copied into its pickle."""

_CLASSES = frozenset({bytes, bytearray, str})
_DEPTH, _WIDTH = 3, 16  # how far `has_large` looks, since it does so for each message

_TEXT = b"\x80\x05\x8d"  # protocol 5; a text follows, its length in 8 bytes before it
_STOP = b"."

_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
_utf8.restype = ctypes.c_void_p
_utf8.argtypes = (ctypes.py_object, ctypes.POINTER(ctypes.c_ssize_t))


class Parts(list[Buffer]):
    """A file for a pickler: what was written to it, in order."""

    write = list.append

    def without_large(self) -> bytes:
        """All but the large objects: what may refer to classes and functions."""
        return b"".join(part for part in self if len(part) < LARGE)


def has_large(obj: Any, depth: int = _DEPTH) -> bool:
    """Whether ``obj`` is large, or a list, tuple or dictionary with such an object near its start.

    An object that is not found is copied, and that is all.
    """
    kind = type(obj)
    if kind in _CLASSES:
        return len(obj) >= LARGE
    inside: Iterable[Any]
    if kind is dict:
        inside = obj.values()
    elif kind is list or kind is tuple:
        inside = obj
    else:
        return False
    return depth > 0 and any(has_large(each, depth - 1) for each in islice(inside, _WIDTH))


class _Text(ctypes.Array[ctypes.c_char]):
    """The characters of an ASCII text, where they are."""

    _type_, _length_ = ctypes.c_char, 0


def pickle_large(data: bytes | str) -> Parts:
    """The pickle of one large object. Bytes, and a text in ASCII, are not copied."""
    parts = Parts()
    if isinstance(data, str) and data.isascii():
        return _pickle_ascii(data)
    pickle.Pickler(parts, 5).dump(data)
    return parts


def _pickle_ascii(text: str) -> Parts:
    kind: Any = type("_Characters", (_Text,), {"_length_": len(text)})
    characters = kind.from_address(_utf8(text, ctypes.byref(ctypes.c_ssize_t())))
    characters.text = text  # as long as somebody has a view of them
    head = _TEXT + len(text).to_bytes(8, "little")
    return Parts([head, memoryview(characters).cast("B"), _STOP])


def is_fixed(part: Buffer) -> bool:
    """Whether nobody can change the content of ``part``."""
    return type(part) is bytes or (
        type(part) is memoryview and (type(part.obj) is bytes or isinstance(part.obj, _Text))
    )


class Source:
    """A file for an unpickler, which fills large objects on huge pages.

    Args:
        view: the pickle.
    """

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def read(self, size: int) -> memoryview:
        """The next bytes."""
        at, self._at = self._at, self._at + size
        return self._view[at : self._at]

    def readline(self) -> bytes:
        """A line, which only pickles of an old protocol have."""
        raise pickle.UnpicklingError("a pickle of protocol 0")

    def readinto(self, memory: memoryview) -> int:
        """Fill the memory of a new object."""
        prefer_huge(memory)
        came = self.read(len(memory))
        memory[: len(came)] = came
        return len(came)
