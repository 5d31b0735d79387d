"""What a daemon sends piece by piece: events, lines of output, the text of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, TypeAlias

from msgspec import UNSET

from procorch.daemon.client.dialog import Dialog
from procorch.daemon.client.remote import RemoteResult, closed_too_early, result_of
from procorch.daemon.errors import DaemonError

Row: TypeAlias = dict[str, Any]


class Items(Iterator[Any]):
    """An iterator of rows, and a context manager that ends it.

    Raises `NoDaemon` when the daemon ends. `close` may be called from any thread.
    """

    def __init__(self, dialog: Dialog, verb: str, args: Row) -> None:
        self._dialog = dialog
        self._lines = dialog.request(verb, args, None)
        self._closed = False
        self._end: Any = UNSET

    def __next__(self) -> Any:
        try:
            for line in self._lines:
                if line.item is not UNSET:
                    return line.item
                if line.end is not UNSET:
                    self._end = line.end
        except (DaemonError, OSError):
            if not self._closed:
                raise
        raise StopIteration

    def close(self) -> None:
        """End it; the daemon is told so."""
        self._closed = True
        self._dialog.abort()
        self._dialog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RemoteStream(Items):
    """The text of an answer as it arrives; `result` is the whole of it.

    If the request fails, its error is raised after all pieces that had arrived. Leaving it as a
    context manager before its end cancels the request.

    Example:
        >>> with connect("/srv/agents").handle("greeter").stream("hello") as pieces:
        ...     for piece in pieces:
        ...         print(piece, end="")
    """

    def __next__(self) -> str:
        try:
            piece: str = super().__next__()
        except StopIteration:
            if self._end is not UNSET:
                result_of(self._end)
            raise
        return piece

    def result(self) -> RemoteResult:
        """The result; what was not read of the answer is passed over.

        Raises:
            AgentError: the request failed.
            DaemonError: the stream was closed before its end.
        """
        for _ in self:
            pass
        if self._end is UNSET:
            raise closed_too_early()
        return result_of(self._end)
