"""``procorch disk`` and ``procorch prune``: what the daemon's folder takes up."""

from __future__ import annotations

from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.verb import Verb


@click.command("disk", cls=Verb)
@link.folder_option
@link.json_option()
@link.answer_option
def disk(folder: Path | None, as_json: bool, timeout: float) -> int:
    """Tell what the daemon's folder takes up.

    For each kind of file: its bytes, and the limit that procorch.toml sets for it.
    """
    with link.linked(folder, timeout) as daemon:
        found = daemon.disk()
    if as_json:
        form.emit_json(found)
        return 0
    for line in lines(found):
        streams.emit(line)
    return 0


def lines(kinds: dict[str, dict[str, int | None]]) -> list[str]:
    """The table: kind, bytes, limit."""
    table = [
        ("KIND", "BYTES", "LIMIT"),
        *((kind, form.size(each["bytes"]), form.size(each["limit"]) or "-")
          for kind, each in kinds.items()),
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        f"{kind.ljust(widths[0])}  {taken.rjust(widths[1])}  {limit.rjust(widths[2])}"
        for kind, taken, limit in table
    ]


@click.command("prune", cls=Verb)
@link.folder_option
@link.json_option()
@link.answer_option
def prune(folder: Path | None, as_json: bool, timeout: float) -> int:
    """Remove logs and history that are beyond their limits.

    The daemon does so by itself from time to time; this does it now. What is within the limits of
    procorch.toml stays.
    """
    with link.linked(folder, timeout) as daemon:
        removed = daemon.prune()
    if as_json:
        form.emit_json({"removed": removed})
        return 0
    for kind, count in removed.items():
        streams.emit(f"{kind}: {form.size(count)} removed")
    return 0


COMMANDS: dict[str, click.Command] = {"disk": disk, "prune": prune}
"""The verbs by name."""
