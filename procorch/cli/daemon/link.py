"""The way to the daemon: the options that name it, and its errors as exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from procorch.cli.exits import ExitCode, Refused
from procorch.cli.params import duration

if TYPE_CHECKING:
    from procorch.daemon.client.client import DaemonClient

Decorator: TypeAlias = Callable[[Any], Any]

ANSWER = 10.0
"""Seconds in which the daemon has to answer what it knows without waiting."""

folder_option: Decorator = click.option(
    "-C", "--dir", "folder", type=click.Path(path_type=Path), metavar="DIR",
    help="The folder with procorch.toml, or the daemon's own; without it, the current one or the "
    "first above it that has a procorch.toml.",
)  # fmt: skip
answer_option: Decorator = click.option(
    "--timeout", type=duration(least="10ms"), default="10s", show_default=True,
    help="Time for the daemon to answer.",
)  # fmt: skip


def json_option(text: str = "One JSON object.") -> Decorator:
    """The option ``--json`` of a verb."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def limit_option(text: str) -> Decorator:
    """The option ``--timeout`` of a verb that waits for something."""
    return click.option("--timeout", type=duration(least="10ms"), help=text)


@contextmanager
def linked(folder: Path | None, answer: float = ANSWER) -> Iterator[DaemonClient]:
    """A client of the daemon of a folder, whose errors are told as a verb tells them.

    Args:
        folder: the folder with the configuration, or that of the daemon; None: found from here.
        answer: seconds in which it has to say that it is there, and to answer what it knows.

    Raises:
        Refused: with the exit code that says what kind of error it is.
    """
    from procorch.daemon.client.client import DaemonClient
    from procorch.daemon.client.places import daemon_folder

    with told_errors(), DaemonClient(daemon_folder(folder), answer) as client:
        yield client


@contextmanager
def told_errors() -> Iterator[None]:
    """Have errors of the daemon end the verb, in one line and with their exit code."""
    from procorch.daemon.errors import ConfigErrors, DaemonError
    from procorch.errors import AgentError

    try:
        yield
    except ConfigErrors as error:
        raise Refused(f"the configuration has errors:\n{error}", error.code) from None
    except DaemonError as error:
        raise Refused(str(error), error.code) from None
    except AgentError as error:
        raise Refused(str(error), ExitCode.SOME_FAILED) from None
