"""``procorch doctor``: what this machine offers."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from procorch.cli import streams
from procorch.cli.daemon import form
from procorch.cli.daemon.link import folder_option, json_option
from procorch.cli.daemon.places import config_file
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.doctor import Finding


@click.command("doctor", cls=Verb)
@folder_option
@json_option()
def command(folder: Path | None, as_json: bool) -> int:
    """Tell what this machine offers to a daemon.

    Python and kernel, the file system of the daemon's folder, limits, systemd, cgroups, shared
    memory and installed extras: each with what it means, and what to do where it is in the way. It
    needs no daemon. The exit code is 0, also with warnings.
    """
    from procorch.daemon.doctor import examine

    found = examine(_folder_of_daemon(folder))
    if as_json:
        rows = [
            {"name": each.name, "level": each.level, "text": each.text, "advice": each.advice}
            for each in found
        ]
        form.emit_json({"findings": rows})
        return ExitCode.DONE
    _tell(found)
    return ExitCode.DONE


def _folder_of_daemon(folder: Path | None) -> Path:
    from procorch.daemon.config import loading as config
    from procorch.daemon.errors import ConfigErrors

    try:
        return config.load(config_file(None, folder)).daemon.dir
    except (Misconfigured, ConfigErrors):  # `check` tells; the machine is the same
        return ((folder or Path()) / ".procorch").resolve()


def _tell(found: list[Finding]) -> None:
    from rich.text import Text

    from procorch.cli import screen

    console = screen.stdout()
    width = max(len(each.name) for each in found)
    room = console.width - width - 8 if streams.on_a_terminal() else 10_000
    for each in found:
        told = textwrap.wrap(each.text, max(room, 20))
        advice = textwrap.wrap(each.advice, max(room, 20))
        colour = "green" if each.level == "ok" else "yellow"
        level = (f"{each.level.ljust(4)}  ", colour)
        console.print(Text.assemble(level, f"{each.name.ljust(width)}  {told[0]}"), soft_wrap=True)
        for line in told[1:]:
            console.print(f"{' ' * (width + 8)}{line}", soft_wrap=True)
        for line in advice:
            console.print(Text(f"{' ' * (width + 8)}{line}", style="bold"), soft_wrap=True)
    warned = sum(each.level == "warn" for each in found)
    streams.note("no warnings" if not warned else form.counted(warned, "warning"))
