"""The descriptors and memory that a worker and its parent share."""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Self

from procorch.launch.base import Stream
from procorch.launch.output_pipes import standard_output
from procorch.wire.status import StatusPage

_SEND_BUFFER = 1 << 20
"""Bytes of a large frame that may be on their way. The system limits it (net.core.wmem_max)."""


class Endpoints:
    """What a worker and its parent share: a socket pair, a status page, pipes for its output.

    A context manager: the end of the block closes the worker's ends, and an exception the parent's
    as well.

    Args:
        capture: the standard output gets a pipe as well; else it is that of this process.

    Attributes:
        passed: the worker's descriptors: socket, status page, standard output, standard error.
        pipes: the parent's ends of its output.
    """

    def __init__(self, *, capture: bool) -> None:
        self.passed: list[int] = []
        self.pipes: dict[Stream, int] = {}
        self.ours: socket.socket
        self.ours, theirs = socket.socketpair()
        for end in (self.ours, theirs):
            end.setblocking(True)  # `socket.setdefaulttimeout` may say otherwise
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.passed.append(theirs.detach())
        try:
            self.passed.append(StatusPage.create())
            self.page: StatusPage = StatusPage(self.passed[1])
        except OSError:
            self.ours.close()
            self._close_theirs()
            raise
        try:
            if capture:
                self._pipe("stdout")
            else:
                self.passed.append(standard_output())
            self._pipe("stderr")
        except OSError:
            self._close_ours()
            self._close_theirs()
            raise

    def _pipe(self, stream: Stream) -> None:
        self.pipes[stream], theirs = os.pipe2(os.O_CLOEXEC)
        self.passed.append(theirs)

    def _close_theirs(self) -> None:
        for fd in self.passed:
            os.close(fd)

    def _close_ours(self) -> None:
        self.ours.close()
        self.page.close()
        for fd in self.pipes.values():
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._close_theirs()
        if error is not None:
            self._close_ours()
