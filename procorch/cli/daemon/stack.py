"""``procorch stack``: where the code of an agent is now."""

from __future__ import annotations

from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import name_argument
from procorch.cli.verb import Verb


@click.command("stack", cls=Verb)
@name_argument
@link.folder_option
@link.json_option()
@link.answer_option
def command(name: str, folder: Path | None, as_json: bool, timeout: float) -> int:
    """Print where the code of an agent is now.

    The stacks of all threads of each of its processes, which go on meanwhile.
    """
    with link.linked(folder, timeout) as daemon:
        stacks = daemon.stack(name)
    if as_json:
        form.emit_json({"name": name, "stacks": list(stacks)})
        return 0
    for each in stacks:
        streams.emit(f"{name}/{each['instance']}, pid {each['pid']}:")
        text = (each["stack"] or "it did not tell its stack in time").rstrip()
        streams.emit("\n".join(f"  {form.visible(line)}" for line in text.splitlines()))
    if not stacks:
        streams.note(f"{name} has no process now")
    return 0
