"""Run a program once: what is measured where a command line was named and no function."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ACTIONS: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores them, and a program would inherit that."""


class Failed(Exception):
    """A program has not succeeded.

    Args:
        code: its exit code, or the negative number of the signal that ended it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run(argv: tuple[str, ...]) -> None:
    """Run it to its end.

    Args:
        argv: its file, and its arguments, its name first.

    Raises:
        Failed: it ended with another exit code than 0, or by a signal.
    """
    pid = os.posix_spawn(argv[0], argv[1:], os.environ, file_actions=_ACTIONS, setsigdef=_SIGNALS)
    _, status = os.waitpid(pid, 0)
    if status:
        raise Failed(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
