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
    """Wrong usage or configuration; nothing was begun."""
    UNKNOWN = 4
    """There is nothing of that name."""
    HALTED = 5
    """The halt policy has ended the work."""
    HUNG_UP = 129
    """SIGHUP, as a terminal sends it when it is closed. A batch can be resumed."""
    INTERRUPTED = 130
    """Ctrl-C. A batch can be resumed."""
    TERMINATED = 143
    """SIGTERM. A batch can be resumed."""


class Misconfigured(click.ClickException):
    """The command line is fine, but something that it needs is missing or wrong."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class UnknownName(click.ClickException):
    """Nothing is called that."""

    exit_code: ClassVar[int] = ExitCode.UNKNOWN
