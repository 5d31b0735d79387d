"""How commands end (design 6.2)."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

import click


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    SOME_FAILED = 1
    """Some items failed, or the work could not be done."""
    USAGE = 2
    """Wrong usage or configuration; nothing has begun."""
    NO_DAEMON = 3
    """No daemon runs in that folder."""
    UNKNOWN = 4
    """There is nothing of that name."""
    HALTED = 5
    """The halt policy has ended the work."""
    TIMED_OUT = 6
    """What was waited for did not happen in time."""
    NO_ANSWER = 7
    """The daemon is there, but does not answer."""
    HUNG_UP = 129
    """SIGHUP, as a terminal sends it when it is closed. A batch can be resumed."""
    INTERRUPTED = 130
    """Ctrl-C. A batch can be resumed."""
    TERMINATED = 143
    """SIGTERM. A batch can be resumed."""


MEANINGS = {
    ExitCode.DONE: "It was done; all items succeeded.",
    ExitCode.SOME_FAILED: "Some items or a request have failed, or it could not be done.",
    ExitCode.USAGE: "Wrong usage, input or configuration; nothing has begun.",
    ExitCode.NO_DAEMON: "No daemon runs in that folder.",
    ExitCode.UNKNOWN: "There is nothing of that name.",
    ExitCode.HALTED: "`--halt`, `--budget` or a limit of `--fail-if` has ended it.",
    ExitCode.TIMED_OUT: "What was waited for did not happen in time.",
    ExitCode.NO_ANSWER: "The daemon is there, but does not answer.",
    ExitCode.HUNG_UP: "SIGHUP, as a terminal sends it when it is closed. A batch can be resumed.",
    ExitCode.INTERRUPTED: "Ctrl-C. A batch can be resumed.",
    ExitCode.TERMINATED: "SIGTERM. A batch can be resumed.",
}
"""What the docs say of each."""


class Misconfigured(click.ClickException):
    """The command line is fine, but something that it needs is missing or wrong."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class UnknownName(click.ClickException):
    """Nothing is called that."""

    exit_code: ClassVar[int] = ExitCode.UNKNOWN


class Refused(click.ClickException):
    """What a daemon, or the way to it, has refused.

    Args:
        message: the text for people.
        code: the exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # of this error alone
