"""``procorch runs``: the batches that there are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal

import click

from procorch.cli import streams
from procorch.cli.verb import Verb


@click.command("runs", cls=Verb)
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="PROCORCH_FOLDER", required=False,
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="One JSON object a run.",
)  # fmt: skip
def command(folder: Path | None, as_json: bool) -> int:
    """List the batches that there are.

    FOLDER is where to look, .procorch without it.
    """
    from procorch.cli import screen
    from procorch.cli.places import HOME, journals

    folder = HOME if folder is None else folder
    found = [_look(path) for path in journals(folder)]
    if as_json:
        for each in found:
            streams.emit(json.dumps(each))
        return 0
    if not found:
        streams.note(f"no runs in {folder}")
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    justify: Literal["left", "right"]
    for header in ("run", "state", "ok", "failed", "of", "begun", "factory"):
        justify = "right" if header in ("ok", "failed", "of") else "left"
        table.add_column(header, justify=justify, overflow="fold")
    for each in found:
        at = each["at"]
        when = "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
        state = each["state"].partition(":")[0]
        # A name is enough for the other verbs, where the folder is the usual one.
        run = Path(each["run"]).stem if folder == HOME else each["run"]
        values = (run, state, each["ok"], each["failed"], each["total"], when)
        table.add_row(*("" if value is None else str(value) for value in values), each["factory"])
    screen.stdout().print(table)
    for each in found:
        state, _, why = each["state"].partition(": ")
        if state == "unreadable":  # the reason names the file
            streams.note(f"unreadable: {why}")
        elif why:
            streams.note(f"running: {each['run']}, {why}")
    return 0


def _look(path: Path) -> dict[str, Any]:
    from procorch.batch.errors import JournalError
    from procorch.batch.reader import Reader

    try:
        with Reader(path) as journal:
            header, (ok, failed) = journal.header(), journal.counts()
            state, gone = journal.state(), journal.gone()
    except JournalError as error:
        return {
            "run": str(path), "state": f"unreadable: {error}", "ok": None, "failed": None,
            "gone": None, "total": None, "at": None, "factory": "",
        }  # fmt: skip
    return {
        "run": str(path), "state": state, "ok": ok, "failed": failed,
        "gone": gone, "total": header.get("total"), "at": header.get("at"),
        "factory": header.get("factory", ""),
    }  # fmt: skip
