"""Requests to the agents of a daemon."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from procorch.daemon.client.dialog import Dialog
from procorch.daemon.client.pieces import RemoteStream, Row
from procorch.daemon.client.remote import RemoteResult, result_of
from procorch.units import seconds

MOST_SUBMITTED = 32
"""Connections of one client for requests that were submitted; the daemon takes 64 altogether."""


class Sender:
    """Sends requests to a daemon, and has the threads of those that nobody waits for yet.

    Args:
        folder: that of the daemon.
        timeout: seconds within which it has to say that it is there.
    """

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(MOST_SUBMITTED, "procorch-client")

    def send(
        self,
        name: str,
        message: Any,
        timeout: float | str | None,
        began: Callable[[int], object] | None = None,
    ) -> Row:
        """Send a request and wait for its row."""
        args = send_args(name, message, timeout)
        return _row(Dialog(self._folder, self._timeout), args, began)

    def stream(self, name: str, message: Any, timeout: float | str | None) -> RemoteStream:
        """Send a request whose answer is read piece by piece."""
        args = send_args(name, message, timeout)
        return RemoteStream(Dialog(self._folder, self._timeout), "stream", args)

    def submit(self, name: str, message: Any, timeout: float | str | None) -> Future[RemoteResult]:
        """Send a request on a thread.

        The future is not marked as running, so it can be cancelled until it has its outcome.
        """
        args = send_args(name, message, timeout)
        future: Future[RemoteResult] = Future()
        dialogs: list[Dialog] = []

        def abort(_: object) -> None:
            if future.cancelled():
                for dialog in dialogs:
                    dialog.abort()

        def run() -> None:
            if future.cancelled():
                return
            try:
                dialogs.append(Dialog(self._folder, self._timeout))
                abort(None)  # it may have been cancelled meanwhile
                result = result_of(_row(dialogs[0], args, None))
            except BaseException as error:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
            else:
                if future.set_running_or_notify_cancel():
                    future.set_result(result)

        future.add_done_callback(abort)
        self._threads.submit(run)
        return future

    def close(self) -> None:
        """Wait for requests that were submitted, and end the threads."""
        self._threads.shutdown()


class RemoteHandle:
    """An agent of a daemon. `DaemonClient.handle` makes one.

    Attributes:
        name: of the agent.

    Example:
        >>> greeter = connect("/srv/agents").handle("greeter")
        >>> greeter.send_message("hello", timeout="10s").text
    """

    def __init__(self, sender: Sender, name: str) -> None:
        self._sender = sender
        self.name: str = name

    def send_message(self, text: str, *, timeout: float | str | None = None) -> RemoteResult:
        """Send text as a user message and wait for the answer.

        Args:
            timeout: seconds for the request, its wait in the queue included; default: the agent's
                ``request_timeout``.

        Raises:
            AgentError: the request failed.
            DaemonError: it could not be sent.
            TypeError: ``text`` is no text.
        """
        must_be_text(text)
        return self.send(text, timeout=timeout)

    def send(self, request: Any, *, timeout: float | str | None = None) -> RemoteResult:
        """Like `send_message`, for anything that JSON can hold."""
        return result_of(self._sender.send(self.name, request, timeout))

    def submit(self, request: Any, *, timeout: float | str | None = None) -> Future[RemoteResult]:
        """Send a request without waiting for the answer.

        Cancelling the future cancels the request, also while it runs. At most 32 requests of a
        client are at the daemon at a time; the others wait here.
        """
        return self._sender.submit(self.name, request, timeout)

    def stream(self, request: Any, *, timeout: float | str | None = None) -> RemoteStream:
        """Send a request and read the answer while it comes."""
        return self._sender.stream(self.name, request, timeout)


def send_args(name: str, message: Any, timeout: float | str | None) -> Row:
    """The arguments of ``send`` and ``stream``."""
    limit = None if timeout is None else seconds(timeout, "timeout")
    return {"name": name, "message": message, "timeout": limit}


def must_be_text(text: object) -> None:
    """Refuse what is no text; `RemoteHandle.send` takes it."""
    if not isinstance(text, str):
        raise TypeError(f"send_message() takes text, not {type(text).__name__}; send() takes JSON")


def _row(dialog: Dialog, args: Row, began: Callable[[int], object] | None) -> Row:
    row: Row = {}
    for line in dialog.request("send", args, None):
        if line.began is not None and began is not None:
            began(line.began)
        if line.ok:
            row = line.value
    return row
