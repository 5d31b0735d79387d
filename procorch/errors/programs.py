"""Errors of agents whose requests run a program (`procorch.command`)."""

from __future__ import annotations

import signal

from procorch.errors.agents import AgentCrashed
from procorch.errors.base import AgentFailure, known
from procorch.errors.texts import numbered, signal_name

_SHELL = 128
"""A shell gives this plus the number of the signal as exit code, if a signal ended its command."""


@known
class CommandFailed(AgentFailure):
    """A program ended with another exit code than 0, or what it did cannot be used.

    `code` is the exit code; None: the program was not started. `reason` says what is wrong if it is
    not the exit code, such as an output that is no JSON. `command` is the command line without
    credentials, `stderr_tail` the last 4 KiB that the program wrote to standard error.

    Example:
        >>> error = CommandFailed(agent="grep", code=2, command="grep -r needle")
        >>> error.what, error.is_retryable
        ('exit code 2', False)
    """

    _has_place = False  # it was raised by procorch, about what a program did
    code: int | None = None
    reason: str = ""
    command: str = ""
    stderr_tail: str = ""

    @property
    def what(self) -> str:
        """What is wrong in a few words: ``exit code 2``."""
        return self.reason or f"exit code {self.code}{_said_by_a_shell(self.code)}"

    def _describe(self) -> str:
        lines = self.stderr_tail.strip().splitlines()[-1:]
        parts = (f"{self._who()} failed: {self.what}", self.command, *lines)
        return ": ".join(part for part in parts if part)


@known
class UnknownField(AgentFailure):
    """A command names a field that a request does not have; the program was not started.

    Example:
        >>> print(UnknownField("the request has no field 'city'", agent="grep", field="city"))
        agent 'grep': the request has no field 'city'
    """

    _has_place = False
    field: str = ""


@known
class CommandCrashed(AgentCrashed):
    """A signal ended the program of a request; the agent's own process lives.

    `pid` and `signal` are those of the program, `command` is its command line without credentials.

    Example:
        >>> print(CommandCrashed(agent="grep", signal="SIGKILL", command="grep -r x"))
        agent 'grep': its program crashed: SIGKILL: grep -r x
    """

    _has_place = False
    command: str = ""

    def _describe(self) -> str:
        pid = f" (pid {self.pid})" if self.pid else ""
        during = "" if self.request is None else f" on request{numbered(self.request)}"
        who = f"agent '{self.agent}'" if self.agent else "agent"
        return f"{who}: its program{pid} crashed: {self.signal}{during}: {self.command}"


def _said_by_a_shell(code: int | None) -> str:
    number = 0 if code is None else code - _SHELL
    if number not in {each.value for each in signal.Signals}:
        return ""
    return f" (a shell says so of {signal_name(number)})"
