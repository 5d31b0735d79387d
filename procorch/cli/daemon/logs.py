"""``procorch logs``: what agents have written on standard output and error."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.params import duration
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.client.client import DaemonClient

_HUES = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green")
_USUAL = 100
"""Lines that are printed where nothing says how many."""


@click.command("logs", cls=Verb)
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with lines to come, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N",
              help="The last N lines; 100 without --since, else all.")  # fmt: skip
@click.option("--since", type=duration(least="0s"), metavar="DURATION",
              help="Only lines that are not older: 90s, 10m, 2h.")  # fmt: skip
@click.option("--rotate", is_flag=True, help="Begin new log files now, and print nothing else.")
@link.folder_option
@link.json_option("One JSON object a line.")
@link.answer_option
def command(
    names: tuple[str, ...],
    follow: bool,
    lines: int | None,
    since: float | None,
    rotate: bool,
    folder: Path | None,
    as_json: bool,
    timeout: float,
) -> int:
    """Print the output of agents.

    NAME is a name, a pattern or 'GROUP:*', or 'daemon' for the daemon's own log; without any, it
    prints all, in the order of their lines. Each line begins with the agent's name and the number
    of its instance.
    """
    if rotate:
        if names or follow or lines is not None or since is not None:
            raise click.UsageError("--rotate is about all files: give it alone")
        return _rotate(folder, as_json, timeout)
    with link.linked(folder, timeout) as daemon:
        _print(daemon, names, follow, lines, since, as_json)
    return 0


def _rotate(folder: Path | None, as_json: bool, timeout: float) -> int:
    with link.linked(folder, timeout) as daemon:
        made = daemon.rotate()
    if as_json:
        form.emit_json({"rotated": list(made)})
    else:
        for name in made:
            streams.emit(name)
        streams.note(f"{form.counted(len(made), 'log file')} rotated")
    return 0


def _print(
    daemon: DaemonClient,
    names: tuple[str, ...],
    follow: bool,
    lines: int | None,
    since: float | None,
    as_json: bool,
) -> None:
    last = _USUAL if lines is None and since is None else lines
    begin = None if since is None else time.time() - since
    written = daemon.logs(*names, follow=follow, last=last, since=begin)
    if as_json:
        for line in written:
            form.emit_json(line)
    elif streams.on_a_terminal():
        _print_coloured(written)
    else:
        for line in written:
            streams.emit(f"{label(line)} | {line['text']}")


def label(line: dict[str, Any]) -> str:
    """Who has written a line: ``solver/0``; ``daemon`` for the daemon itself."""
    return f"{line['agent']}/{line['instance']}" if line["generation"] else str(line["agent"])


def _print_coloured(written: Iterable[dict[str, Any]]) -> None:
    from rich.text import Text

    from procorch.cli import screen

    console = screen.stdout()
    hues: dict[str, str] = {}
    width = 0
    for line in written:
        who = label(line)
        width = max(width, len(who))
        hue = hues.setdefault(line["agent"], _HUES[len(hues) % len(_HUES)])
        text = Text.from_ansi(form.visible(line["text"]))
        if line["stream"] == "stderr":
            text.stylize_before("red")
        console.print(Text.assemble((f"{who.ljust(width)} | ", hue), text), soft_wrap=True)
