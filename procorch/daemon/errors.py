"""Errors of the daemon and of those who talk to it::

    DaemonError
    |-- ConfigErrors          the configuration is invalid                exit code 2
    |-- BadRequest            what was asked for makes no sense           2
    |-- NoDaemon              no daemon runs there                        3
    |   `-- DaemonEnding      it is about to end                          3
    |-- UnknownAgent          there is no agent of that name              4
    |-- DaemonUnresponsive    it does not answer                          7
    |-- DaemonBusy            it has as much to do as it takes            1
    |-- FolderError           its folder cannot be used                   2
    |-- NoRelease             there is no release to return to            1
    |-- AccessRefused         it is the daemon of another user            1
    `-- SecretError           a secret of an agent cannot be read         1

Errors of agents are those of `procorch.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

KINDS: dict[str, type[DaemonError]] = {}
"""The classes by name: a client raises the class that the daemon has raised."""


class DaemonError(Exception):
    """Base class of what goes wrong between a daemon and those who talk to it.

    Attributes:
        code: what a command ends with because of it.
        kind: the name of the class that the daemon has raised; another one than this class where
            the client does not know it.

    Example:
        >>> issubclass(NoDaemon, DaemonError), NoDaemon.code
        (True, 3)
    """

    code: int = 1
    kind: str = "DaemonError"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.kind = cls.__name__
        KINDS[cls.__name__] = cls


# The control socket and its clients.


class BadRequest(DaemonError):
    """The daemon was asked for something that it does not know, or with wrong arguments.

    Example:
        >>> BadRequest("no agent is named").code
        2
    """

    code = 2


class NoDaemon(DaemonError):
    """No daemon runs in that folder, or it has ended before it answered.

    Example:
        >>> NoDaemon("no daemon runs in this folder").code
        3
    """

    code = 3


class DaemonEnding(NoDaemon):
    """The daemon is about to end, and begins nothing new.

    Example:
        >>> isinstance(DaemonEnding("the daemon ends"), NoDaemon)
        True
    """


class UnknownAgent(DaemonError):
    """No agent is called that; the text has the name that is most like it.

    Example:
        >>> UnknownAgent("no agent 'sovler'; did you mean 'solver'?").code
        4
    """

    code = 4


class DaemonUnresponsive(DaemonError):
    """There is a daemon, and it did not answer in time.

    Example:
        >>> DaemonUnresponsive("the daemon does not answer").code
        7
    """

    code = 7


class DaemonBusy(DaemonError):
    """The daemon has as many connections as it takes, or does something that comes first.

    Example:
        >>> DaemonBusy("the daemon has 64 connections").code
        1
    """


class AccessRefused(DaemonError):
    """The daemon belongs to another user.

    Example:
        >>> AccessRefused("the daemon belongs to another user").code
        1
    """


# The configuration and secrets. No text of them has the value of a secret.


@dataclass(frozen=True, slots=True)
class Problem:
    """One error of a configuration.

    Args:
        file: the file, as it is shown to the user.
        line: the line, from 1; None: the file as a whole.
        key: the path of the key, such as ``agents.solver.max_restarts``; empty: there is none.
        text: what is wrong, and what to do.
    """

    file: str
    line: int | None
    key: str
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class ConfigErrors(DaemonError):
    """A configuration is invalid: all its errors, each on one line of the text.

    Args:
        problems: the errors, in the order of the files and lines.

    Attributes:
        problems: the same; empty in a client, which has the text alone.

    Example:
        >>> ConfigErrors([]).code
        2
    """

    code = 2
    problems: tuple[Problem, ...] = ()

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[ConfigErrors], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class SecretError(DaemonError):
    """A secret or the ``env_file`` of an agent cannot be read now.

    Args:
        agent: the name of the agent.
        what: the reference of the secret, or the file.
        why: the reason, and what to do.

    Attributes:
        agent, what, why: the same; empty in a client, which has the text alone.
    """

    agent: str = ""
    what: str = ""
    why: str = ""

    def __init__(self, agent: str, what: str, why: str) -> None:
        self.agent, self.what, self.why = agent, what, why
        super().__init__(f"agent {agent!r}: {what}: {why}")

    def __reduce__(self) -> tuple[type[SecretError], tuple[str, str, str]]:
        return type(self), (self.agent, self.what, self.why)


class FileRefused(Exception):
    """A file cannot be read, or others could have written it; the text says what to do."""


class NoRelease(DaemonError):
    """There is no release to return to."""


class FolderError(DaemonError):
    """The folder of the daemon cannot be made or used; the text says what to do."""

    code = 2


def rebuild(kind: str, message: str, code: int) -> DaemonError:
    """The error that a daemon has described: of the same class where there is one here.

    Args:
        kind: the name of its class.
        message: its text.
        code: its exit code.
    """
    cls = KINDS.get(kind, DaemonError)
    error = cls.__new__(cls, message)
    error.args, error.kind, error.code = (message,), kind, code
    return error
