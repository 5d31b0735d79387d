"""Pickles with large ``bytes``, ``bytearray`` and ``str``, of which no copy is made.

``pickle.dumps`` copies these objects into the pickle. A pickler that writes to a file hands large
bytes to ``write`` as they are, and an unpickler that reads from a file lets it fill the memory of
the new object. A text has no such way, so a large one is stored beside the pickle, as arrays are.
"""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar, cast

from procorch.wire.pages import allocate, prefer_huge
from procorch.wire.payload import STREAMED, Buffer, pack
from procorch.wire.payload import Parts as Parcel

LARGE = 1 << 20
"""Bytes from which an object is not copied into its pickle."""

_CLASSES = frozenset({bytes, bytearray, str})
_DEPTH, _WIDTH = 3, 16  # how far `has_large` looks, since it does so for each message

_api = ctypes.pythonapi
_utf8 = _api.PyUnicode_AsUTF8AndSize  # of an ASCII text: where its characters are
_utf8.restype = ctypes.c_void_p
_utf8.argtypes = (ctypes.py_object, ctypes.c_void_p)
_new_text = _api.PyUnicode_New
_new_text.restype = ctypes.py_object
_new_text.argtypes = (ctypes.c_ssize_t, ctypes.c_uint32)


class Parts(list[Buffer]):
    """A file for a pickler: what was written to it, in order."""

    write: ClassVar[Callable[..., None]] = list.append

    def without_large(self) -> bytes:
        """All but the large objects: what may refer to classes and functions."""
        return b"".join(part for part in self if len(part) < LARGE)


def has_large(obj: Any, depth: int = _DEPTH) -> bool:
    """Whether ``obj`` is large, or a list, tuple or dictionary with such an object near its start.

    An object that is not found is copied into the pickle.
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


class BulkPickler(pickle.Pickler):
    """Writes large objects without copying them.

    Args:
        keep: gets the buffers that are stored beside the pickle, see ``buffer_callback``.

    Attributes:
        parts: the pickle.
        texts: the characters of large texts, to be stored beside the pickle in reverse order,
            behind all other buffers: the pickle counts them from the end.
    """

    def __init__(self, keep: Callable[[pickle.PickleBuffer], bool]) -> None:
        self.parts: Parts = Parts()
        self.texts: list[pickle.PickleBuffer] = []
        self._known: dict[int, int] = {}
        super().__init__(self.parts, 5, buffer_callback=keep)

    def persistent_id(self, obj: Any) -> int | None:
        """The number of a large text; None: the pickle contains the object."""
        if type(obj) is not str or len(obj) < LARGE or not obj.isascii():
            return None
        number = self._known.get(id(obj))
        if number is None:
            self.texts.append(pickle.PickleBuffer(_characters(obj)))
            number = self._known[id(obj)] = len(self.texts)
        return number


class _Characters(ctypes.Array[ctypes.c_char]):
    """The characters of an ASCII text, where they are."""

    _type_, _length_ = ctypes.c_char, 0


def _characters(text: str) -> Any:
    kind: Any = type("_Characters", (_Characters,), {"_length_": len(text)})
    characters = kind.from_address(_utf8(text, None))
    characters.text = text  # as long as somebody has a view of them
    return characters


def is_fixed(part: Buffer) -> bool:
    """Whether nobody can change the content of ``part``."""
    whole = part.obj if type(part) is memoryview else part
    return type(whole) is bytes or isinstance(whole, _Characters)


def keep(parts: Sequence[Buffer]) -> Parcel:
    """A body that may wait in a queue: changes that are made to its objects do not change it.

    Without memory a large one is returned unchanged, as by `pack`.
    """
    if sum(map(len, parts)) < STREAMED:
        return pack(parts)
    loose = sum(len(part) for part in parts if not is_fixed(part))
    if not loose:
        return parts
    try:
        left = allocate(loose)
    except (OSError, MemoryError):
        return parts
    kept: list[Buffer] = []
    for part in parts:
        if not is_fixed(part):
            size = len(part)
            left[:size] = part
            part, left = left[:size], left[size:]
        kept.append(part)
    return kept


class BulkUnpickler(pickle.Unpickler):
    """Loads what `BulkPickler` has written; large objects get memory on huge pages.

    Args:
        data: the pickle.
        buffers: what was stored beside it.
    """

    def __init__(self, data: memoryview, buffers: Sequence[Buffer]) -> None:
        super().__init__(cast(Any, _Source(data)), buffers=buffers)
        self._buffers = buffers
        self._texts: dict[int, str] = {}

    def persistent_load(self, number: int) -> str:
        """The text of that number."""
        if number not in self._texts:
            self._texts[number] = _text(self._buffers[-number])
        return self._texts[number]


def _text(characters: Buffer) -> str:
    size = len(characters)
    text: str = _new_text(size, 127)
    memory = memoryview((ctypes.c_char * size).from_address(_utf8(text, None))).cast("B")
    prefer_huge(memory)
    memory[:] = characters
    return text


class _Source:
    """A file that `BulkUnpickler` reads."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def read(self, size: int) -> memoryview:
        """The next bytes."""
        at, self._at = self._at, self._at + size
        return self._view[at : self._at]

    def readline(self) -> bytes:
        """The next line; few pickles have any."""
        rest = self._view[self._at :]
        size = next((n for n, byte in enumerate(rest, 1) if byte == 10), len(rest))
        return bytes(self.read(size))

    def readinto(self, memory: memoryview) -> int:
        """Fill the memory of a new object."""
        prefer_huge(memory)
        came = self.read(len(memory))
        memory[: len(came)] = came
        return len(came)
