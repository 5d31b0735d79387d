"""``procorch reload`` and ``procorch rollback``: from one release to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.exits import ExitCode
from procorch.cli.verb import Verb

_LIMIT = "Time for each new process to be ready; then the reload is given up."
_MARKS = {"added": "+", "removed": "-"}
_WORDS = {
    "rolling": "processes replaced one by one", "restart": "stopped and started again",
    "live": "applied to what runs", "undone": "as the file says again",
}  # fmt: skip


@click.command("reload", cls=Verb)
@names_argument(required=False)
@link.folder_option
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@link.limit_option(_LIMIT)
@link.json_option()
def reload(
    names: tuple[str, ...], folder: Path | None, dry_run: bool, timeout: float | None, as_json: bool
) -> int:
    """Read the configuration again and apply what has changed.

    It prints and applies what differs from the running agents: agents that have not changed keep
    their processes, the others get new ones, one process at a time. It loads code that has changed
    on disk. Each NAME gets new processes even if nothing of it has changed. It undoes what
    operators have changed by stop, scale and pause.

    It refuses an invalid file with all its errors (exit code 2), and touches nothing. If a new
    process does not start, the release before serves on (exit code 1).
    """
    with link.linked(folder) as daemon:
        found = daemon.reload(*names, dry_run=dry_run, timeout=timeout)
    if as_json:
        form.emit_json(found)
        return ExitCode.DONE
    for line in lines(found["changes"]):
        streams.emit(line)
    if not found["changes"]:
        streams.note(f"nothing differs from what runs; release {found['release']} serves on")
    elif found["applied"]:
        streams.note(f"release {found['release']} serves")
    else:
        streams.note("nothing was changed (--dry-run)")
    return ExitCode.DONE


@click.command("rollback", cls=Verb)
@link.folder_option
@link.limit_option(_LIMIT)
@link.json_option()
def rollback(folder: Path | None, timeout: float | None, as_json: bool) -> int:
    """Return to the release before the last reload.

    The daemon keeps that release until the next reload or its own end. It prints the agents that
    have new processes.
    """
    with link.linked(folder) as daemon:
        found = daemon.rollback(timeout=timeout)
    if as_json:
        form.emit_json(found)
        return ExitCode.DONE
    for name in found["names"]:
        streams.emit(name)
    streams.note(f"release {found['release']} serves again")
    return ExitCode.DONE


def lines(changes: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each agent that changes: a mark, its name, how, and the keys."""
    width = max((len(each["name"]) for each in changes), default=0)
    return [_line(each["name"].ljust(width), each["change"], each["keys"]) for each in changes]


def _line(name: str, change: str, keys: Sequence[str]) -> str:
    line = f"{_MARKS.get(change, '~')} {name}  {_WORDS.get(change, change)}"
    return f"{line}: {', '.join(keys)}" if keys else line


COMMANDS: dict[str, click.Command] = {"reload": reload, "rollback": rollback}
"""The verbs by name."""
