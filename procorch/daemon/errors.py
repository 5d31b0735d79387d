"""Errors of the daemon and of those who talk to it::

    DaemonError
    |-- BadRequest            what was asked for makes no sense           exit code 2
    |-- NoDaemon              no daemon runs there                        3
    |   `-- DaemonEnding      it is about to end                          3
    |-- UnknownAgent          there is no agent of that name              4
    |-- DaemonUnresponsive    it does not answer                          7
    |-- DaemonBusy            it has as many connections as it takes      7
    `-- AccessRefused         it is the daemon of another user            1

Errors of agents are those of `procorch.errors`.
"""

from __future__ import annotations

KINDS: dict[str, type[DaemonError]] = {}
"""The classes by name: a client raises the class that the daemon has raised."""


class DaemonError(Exception):
    """Base class of what goes wrong between a daemon and those who talk to it.

    Attributes:
        code: what a command ends with because of it.
        kind: the name of the class that the daemon has raised; another one than this class where
            the client does not know it.
    """

    code: int = 1
    kind: str = "DaemonError"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.kind = cls.__name__
        KINDS[cls.__name__] = cls


# The control socket and its clients.


class BadRequest(DaemonError):
    """The daemon was asked for something that it does not know, or with wrong arguments."""

    code = 2


class NoDaemon(DaemonError):
    """No daemon runs in that folder, or it has ended before it answered."""

    code = 3


class DaemonEnding(NoDaemon):
    """The daemon is about to end, and begins nothing new."""


class UnknownAgent(DaemonError):
    """No agent is called that; the text has the name that is most like it."""

    code = 4


class DaemonUnresponsive(DaemonError):
    """There is a daemon, and it did not answer in time."""

    code = 7


class DaemonBusy(DaemonError):
    """The daemon has as many connections, or as much to do, as it takes."""

    code = 7


class AccessRefused(DaemonError):
    """The daemon belongs to another user."""


def rebuild(kind: str, message: str, code: int) -> DaemonError:
    """The error that a daemon has described: of the same class where there is one here.

    Args:
        kind: the name of its class.
        message: its text.
        code: its exit code.
    """
    cls = KINDS.get(kind, DaemonError)
    if cls.__str__ is not DaemonError.__str__:  # its text is made of more than is known here
        cls = DaemonError
    error = cls.__new__(cls, message)
    error.args, error.kind, error.code = (message,), kind, code
    return error
