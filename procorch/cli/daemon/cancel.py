"""``procorch cancel``: a request that is not wanted any more."""

from __future__ import annotations

from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.exits import UnknownName
from procorch.cli.verb import Verb


@click.command("cancel", cls=Verb)
@click.argument("request", metavar="ID", type=click.IntRange(min=0))
@link.folder_option
@link.json_option()
@link.answer_option
def command(request: int, folder: Path | None, as_json: bool, timeout: float) -> int:
    """Cancel a request.

    ID is its number, as status shows it under CURRENT and send --json prints it. A request that
    runs learns of it, and ends at the latest some seconds later. The exit code is 4 when there is
    no request of that number, or it has its outcome already.
    """
    with link.linked(folder, timeout) as daemon:
        cancelled = daemon.cancel(request)
    if as_json:
        form.emit_json({"id": request, "cancelled": cancelled})
        return 0 if cancelled else UnknownName.exit_code
    if not cancelled:
        raise UnknownName(f"no request {request} waits or runs; it may have ended already")
    streams.note(f"request {request} is being cancelled")
    return 0
