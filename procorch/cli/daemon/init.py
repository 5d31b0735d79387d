"""``procorch init``: a configuration and an agent to begin with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import first_files, form, link
from procorch.cli.exits import Misconfigured
from procorch.cli.verb import Verb


@click.command("init", cls=Verb)
@click.argument("place", metavar="[DIR]", required=False, envvar="PROCORCH_PLACE",
                type=click.Path(file_okay=False, path_type=Path))  # fmt: skip
@link.json_option()
def command(place: Path | None, as_json: bool) -> int:
    """Write a commented procorch.toml and an agent that works.

    Into DIR, or the current folder; it makes DIR if it is missing. The agent is in agents.py and
    needs no model and no key. It never overwrites files that are there already: then it writes
    nothing, and the exit code is 2.
    """
    folder = Path() if place is None else place
    paths = {folder / name: text for name, text in first_files.FILES.items()}
    there = [str(path) for path in paths if os.path.lexists(path)]
    if there:
        raise Misconfigured(f"{' and '.join(there)} exists already; nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        raise Misconfigured(f"{error.filename} exists already") from None
    except OSError as error:
        raise Misconfigured(f"{error.filename} cannot be written: {error.strerror}") from None
    go = "" if folder == Path() else f"cd {folder} && "
    steps = [
        f"{go}procorch up -d",
        f'procorch send {first_files.AGENT} "hello"',
        "procorch status",
    ]
    if as_json:
        form.emit_json({"files": [str(path) for path in paths], "next": steps})
        return 0
    for path in paths:
        streams.emit(str(path))
    streams.note("\nNext:")
    for step in steps:
        streams.note(f"  {step}")
    return 0
