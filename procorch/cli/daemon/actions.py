"""``procorch start, stop, restart, pause, resume, reset``: the same thing done to some agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.exits import ExitCode
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.client.client import DaemonClient

_NAMES = "NAME is a name, a pattern such as 'solver*', or 'GROUP:*' for all of a group."


def tell(rows: Sequence[dict[str, Any]], as_json: bool) -> int:
    """Print what became of each agent.

    Args:
        rows: ``{"name", "result", "error"}`` each.

    Returns:
        The exit code.
    """
    failed = [row for row in rows if row["result"] == "failed"]
    if as_json:
        form.emit_json({"agents": list(rows)})
    else:
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            streams.emit(f"{row['name'].ljust(width)}  {row['result']}")
        for row in failed:
            streams.note(f"{row['name']}: {form.visible(str(row['error']))}")
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def _verb(
    name: str,
    about: str,
    act: Callable[[DaemonClient, tuple[str, ...], float | None], Sequence[dict[str, Any]]],
    limit: str | None,
) -> click.Command:
    def command(
        names: tuple[str, ...], folder: Path | None, as_json: bool, timeout: float | None
    ) -> int:
        answer = timeout if limit is None and timeout is not None else link.ANSWER
        with link.linked(folder, answer) as daemon:
            return tell(act(daemon, names, timeout), as_json)

    command.__doc__ = f"{about}\n\n{_NAMES}"
    limited = link.answer_option if limit is None else link.limit_option(limit)
    for decorate in (
        link.json_option("One JSON object with a row for each agent."),
        limited, link.folder_option, names_argument(required=True),
    ):  # fmt: skip
        command = decorate(command)
    return click.command(name, cls=Verb)(command)


COMMANDS: dict[str, click.Command] = {
    "start": _verb(
        "start",
        "Start agents that do not run.\n\nIt waits until they are ready. The exit code is 1 when "
        "one could not start.",
        lambda daemon, names, timeout: daemon.start(*names, timeout=timeout),
        "Time for them to be ready; without it, as long as their starts take.",
    ),
    "stop": _verb(
        "stop",
        "Stop agents; they stay stopped until start or reload.\n\nThey finish their requests "
        "first. Agents with a link to them (link) stop, too. The exit code is 1 when one did not "
        "stop.",
        lambda daemon, names, timeout: daemon.stop(*names, timeout=timeout),
        "Time to finish what they do; then it is ended.",
    ),
    "restart": _verb(
        "restart",
        "Replace the processes of agents, one by one.\n\nA process finishes its request first. "
        "Each new process is ready before the next one starts. Agents that do not run start. "
        "The exit code is 1 when one has no new process.",
        lambda daemon, names, timeout: daemon.restart(*names, timeout=timeout),
        "Time for requests to be finished and new processes to be ready; without it, as long as "
        "that takes.",
    ),
    "pause": _verb(
        "pause",
        "Let agents begin no further request; requests wait.\n\nThey finish what they do. "
        "The pause lasts until resume or reload.",
        lambda daemon, names, timeout: daemon.pause(*names),
        None,
    ),
    "resume": _verb(
        "resume",
        "Let paused agents begin requests again.",
        lambda daemon, names, timeout: daemon.resume(*names),
        None,
    ),
    "reset": _verb(
        "reset",
        "Start agents that have failed again, their restarts not counted.",
        lambda daemon, names, timeout: daemon.reset(*names),
        None,
    ),
}
"""The verbs by name."""
