"""What runs in workers: of procorch, and of its peers."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable, Sequence
from typing import Any

from procorch.messages import AgentResult, UserMessage, to_result, user_text

TEXT = ("The quick brown fox jumps over the lazy dog. " * 23)[:1024]
"""A message of 1 KiB."""

_PID = struct.Struct("=i")


def messages() -> list[UserMessage]:
    """What an agent gets of a `TEXT` that is sent to it."""
    return [user_text(TEXT)]


def answer(said: Sequence[UserMessage]) -> str:
    """An agent that says what it is told."""
    return said[0].text


def answer_in_full(said: Sequence[UserMessage]) -> AgentResult:
    """The same for a peer: what procorch's caller gets is made here."""
    return to_result(answer(said))


def answerer() -> Callable[[Sequence[UserMessage]], str]:
    """Factory of `answer`."""
    return answer


def same(item: Any) -> Any:
    """Give back what comes."""
    return item


def echo() -> Callable[[Any], Any]:
    """Factory of `same`."""
    return same


def double(number: int) -> int:
    """The trivial function."""
    return 2 * number


def doubler() -> Callable[[int], int]:
    """Factory of `double`."""
    return double


def own_pid(_: object = None) -> int:
    """The worker's pid."""
    return os.getpid()


def pid_teller() -> Callable[[object], int]:
    """Factory of `own_pid`."""
    return own_pid


def reply_with_pid(connection: Any) -> None:
    """Answer one question on a pipe."""
    connection.recv()
    connection.send(own_pid())


class Bell:
    """A named pipe by which a worker, whoever started it, says that it is at work and who it is.

    Args:
        path: where the pipe is made.
    """

    def __init__(self, path: str) -> None:
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDWR)

    def wait(self) -> int:
        """The pid of the next worker that rings."""
        pid: int = _PID.unpack(os.read(self._fd, _PID.size))[0]
        return pid

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._fd)


def work_for_ever(path: str) -> None:
    """Ring the bell and be at work until killed."""
    bell = os.open(path, os.O_WRONLY)
    os.write(bell, _PID.pack(os.getpid()))
    os.close(bell)
    while True:
        signal.pause()


def maybe_for_ever(path: str) -> str:
    """`work_for_ever`, or for an empty path nothing at all."""
    if path:
        work_for_ever(path)
    return "done"


def never_done() -> Callable[[str], str]:
    """Factory of `maybe_for_ever`."""
    return maybe_for_ever


DEADLY = 20
"""Of so many numbers one kills its worker: five in a hundred."""


def kills(number: int) -> bool:
    """Whether the number is one of those."""
    return number % DEADLY == DEADLY // 2


def double_or_die(number: int) -> int:
    """`double`, save that some numbers kill the process that gets them."""
    if kills(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return double(number)


def risky_doubler() -> Callable[[int], int]:
    """Factory of `double_or_die`."""
    return double_or_die
