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

    What differs from the running agents is printed and applied: agents that have not changed keep
    their processes, the others are replaced one process at a time. Code that has changed on disk is
    loaded. The processes of each NAME are replaced even if nothing of theirs has changed. What
    operators have changed by stop, scale and pause is undone.

    An invalid file is refused with all its errors (exit code 2), and nothing is touched. If a new
    process does not start, the reload is given up and the release before serves on (exit code 1).
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

    That release is kept until the next reload or the end of the daemon. The agents whose processes
    were replaced are printed.
    """
    with link.linked(folder) as daemon:
        found = daemon.rollback(timeout=timeout)
    if as_json:
        form.emit_json(found)
        return ExitCode.DONE
    for name in found["names"]:
        streams.emit(name)
    streams.note(f"the release before serves again, as release {found['release']}")
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
