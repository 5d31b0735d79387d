"""Where the configuration is."""

from __future__ import annotations

from pathlib import Path

import click

from procorch.cli.daemon.link import Decorator
from procorch.cli.exits import Misconfigured
from procorch.cli.params import files

FILE = "procorch.toml"
"""What the configuration is usually called."""

file_option: Decorator = click.option(
    "-f", "--file", type=click.Path(path_type=Path), metavar="FILE", shell_complete=files,
    help="The configuration; without it, procorch.toml, or pyproject.toml with [tool.procorch].",
)  # fmt: skip


def config_file(file: Path | None, folder: Path | None) -> Path:
    """The configuration that is meant.

    Args:
        file: as it was given; None: it is looked for.
        folder: the folder that has it, or the file itself; None: the first of the current folder
            and those above it that has one.

    Raises:
        Misconfigured: there is none.
    """
    from procorch.daemon.client.places import configuration_in

    if file is not None:
        return file
    if folder is not None and folder.is_file():
        return folder
    here = Path.cwd()
    for each in (here, *here.parents) if folder is None else (folder,):
        found = configuration_in(each)
        if found is not None:
            return found
    where = f"{here} or above it" if folder is None else str(folder)
    raise Misconfigured(f"there is no {FILE} in {where}; `procorch init` writes one")
