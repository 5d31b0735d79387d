"""``procorch describe``: everything about one agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.events import line as event_line
from procorch.cli.daemon.names import name_argument
from procorch.cli.daemon.status_rows import COLUMNS, rows
from procorch.cli.verb import Verb


@click.command("describe", cls=Verb)
@name_argument
@link.folder_option
@link.json_option()
@link.answer_option
def command(name: str, folder: Path | None, as_json: bool, timeout: float) -> int:
    """Tell everything about one agent: settings, last exits, last events.

    Its state and its processes, what the file says of it (without secrets), its last exits with the
    end of their standard error, and its last events.
    """
    with link.linked(folder, timeout) as daemon:
        found = daemon.describe(name)
    if as_json:
        form.emit_json(found)
    else:
        streams.emit("\n".join(lines(found)))
    return 0


def lines(found: dict[str, Any]) -> Iterator[str]:
    """What is known of the agent, as lines of text."""
    detail = form.line_of(found["detail"] or "")
    error = form.line_of(found["error"] or "")
    yield f"{found['name']}: {found['state']} {detail}".rstrip()
    if error and error not in detail:
        yield f"  error: {error}"
    for text in found["drift"]:
        yield f"  * {text}"
    for row in rows([{**found, "parent": None}]):
        cells = dict(zip(COLUMNS, row.cells, strict=True))
        if row.slot is not None:
            yield f"instance {row.slot}: {cells['STATE']}"
        yield from _pairs({name.lower(): cells[name] for name in COLUMNS[1:] if name != "STATE"})
    yield from ("", "configuration")
    yield from _pairs(found["config"])
    yield from ("", "last exits" if found["exits"] else "no exits yet")
    for each in found["exits"]:
        yield from _exit(each)
    yield from ("", "last events" if found["events"] else "no events yet")
    for each in found["events"]:
        yield f"  {event_line(each)}"


def _pairs(values: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """Names and values, one a line; tables and lists below their names."""
    shown = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    width = max(
        (len(name) for name, value in shown.items() if not isinstance(value, dict)), default=0
    )
    for name, value in shown.items():
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _pairs(value, indent + "  ")
        else:
            yield f"{indent}{name.ljust(width)}  {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return str(value).lower()
    return form.line_of(str(value))


def _exit(each: dict[str, Any]) -> Iterator[str]:
    """One exit: when, which process, why, where, and the end of its standard error."""
    who = f"instance {each['instance']}, generation {each['generation']}"
    if each["pid"] is not None:
        who += f", pid {each['pid']}"
    if each["uptime"] is not None:
        who += f", up {form.duration(each['uptime'])}"
    yield f"  {form.moment(each['time'])}  {who}"
    yield f"      {form.line_of(each['reason'])}"
    if each["place"] and each["place"] not in each["reason"]:
        yield f"      {form.line_of(each['place'])}"
    for text in each["stderr_tail"].splitlines():
        yield f"      | {form.visible(text)}"
