"""Loads pickles whose classes may be missing; such an object keeps its fields by name.

An agent may return objects of its own module, and a program that reads the journal may not have
that module. So the folder of the app is searched, too. A class that cannot be imported is replaced
by a `StandIn`, which accepts whatever the pickle has of the object.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from collections.abc import Iterator
from typing import Any

from procorch.agents.json_form import StandIn

_KNOWN = sys.stdlib_module_names | {"dill", "msgspec", "numpy", "procorch"}


class UnreadableValue(Exception):
    """A value cannot be loaded here; the text says why."""


class _Lenient(pickle.Unpickler):
    """Replaces what cannot be imported.

    Args:
        own: import the classes of the app; False: only those of Python and of some libraries.
    """

    def __init__(self, data: bytes, *, own: bool) -> None:
        super().__init__(io.BytesIO(data))
        self._own = own

    def find_class(self, module: str, name: str) -> Any:
        if self._own or module.partition(".")[0] in _KNOWN:
            try:
                # What a module prints while it is imported does not belong to standard output.
                with contextlib.redirect_stdout(sys.stderr):
                    return super().find_class(module, name)
            except (Exception, SystemExit):  # an app may raise anything while it is imported
                pass
        return type(name.rpartition(".")[2], (StandIn,), {"__module__": module})


def load(data: bytes) -> Any:
    """The value that was pickled.

    Raises:
        UnreadableValue: a class that the pickle refers to is not to be found here, as a rule.
    """
    try:
        return pickle.loads(data)
    except Exception as error:
        raise _unreadable(error) from error


def load_anyhow(data: bytes, folder: str | None) -> Any:
    """The same, with a `StandIn` for each object whose class cannot be loaded.

    Args:
        folder: where the app was when the value was written.

    Raises:
        UnreadableValue: it is no pickle at all, or calls what cannot be found.
    """
    try:
        with findable(folder):
            return _Lenient(data, own=True).load()
    except Exception:
        # A class may have changed, and refuse the state of its old objects.
        try:
            return _Lenient(data, own=False).load()
        except Exception as error:
            raise _unreadable(error) from error


@contextlib.contextmanager
def findable(folder: str | None) -> Iterator[None]:
    """Import modules from this folder as well, within the block."""
    if folder is None or folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # an app may have changed the path itself
            sys.path.remove(folder)


def _unreadable(error: Exception) -> UnreadableValue:
    return UnreadableValue(f"the value cannot be loaded here: {type(error).__name__}: {error}")
