"""``procorch status``: the agents and how they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.exits import ExitCode
from procorch.cli.verb import Verb

_EACH = 1.0
"""Seconds between two looks of ``--watch``."""


@click.command("status", cls=Verb)
@names_argument(required=False)
@link.folder_option
@click.option("--check", is_flag=True, help="Exit with 1 when something is not as configured.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@link.json_option()
@link.answer_option
def command(
    names: tuple[str, ...],
    folder: Path | None,
    check: bool,
    watch: bool,
    as_json: bool,
    timeout: float,
) -> int:
    """Show the agents and how they are.

    NAME is a name, a pattern such as 'solver*', or 'GROUP:*'; without any, it shows all. An agent
    with several instances has a row for each of them below its own.

    A mark * stands where an operator has changed something that the file does not say; the lines
    below the table explain it. It lasts until the next reload.

    The exit code is 0 when the daemon has answered. With --check it is 1 when an agent is not as
    configured: not running, or changed by an operator.
    """

    def look() -> dict[str, Any]:
        with link.linked(folder, timeout) as daemon:
            return daemon.status(*names)

    if watch and check:
        raise click.UsageError("--check looks once: leave out --watch")
    if watch:
        _watch(look, as_json)
    status = look()
    _show(status, as_json)
    if not check:
        return ExitCode.DONE
    from procorch.cli.daemon.status_rows import troubles

    found = troubles(status)
    for line in found:
        streams.note(line)
    return ExitCode.SOME_FAILED if found else ExitCode.DONE


def _show(status: dict[str, Any], as_json: bool) -> None:
    from procorch.cli.daemon import status_screen

    if as_json:
        form.emit_json(status)
    elif streams.on_a_terminal():
        from procorch.cli import screen

        console = screen.stdout()
        console.print(status_screen.coloured(status, console.width))
    else:
        streams.emit("\n".join(status_screen.plain(status)))


def _watch(look: Callable[[], dict[str, Any]], as_json: bool) -> None:
    """Show it again and again; ended by Ctrl-C, or by the end of the daemon."""
    from procorch.cli import screen

    console = screen.stdout()
    if as_json or not screen.may_move(console, data_flows=False):
        while True:
            _show(look(), as_json)
            time.sleep(_EACH)
    from rich.live import Live

    from procorch.cli.daemon import status_screen

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(status_screen.coloured(look(), console.width), refresh=True)
            time.sleep(_EACH)
