"""``procorch events``: what has happened to the agents, from the history of the daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.params import duration
from procorch.cli.verb import Verb

_USUAL = 50
"""Events that are printed where nothing says how many."""
_KNOWN = frozenset(("type", "agent", "instance", "generation", "at", "time"))


@click.command("events", cls=Verb)
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with events to come, until Ctrl-C.")
@click.option("-n", "--last", type=click.IntRange(min=0), default=_USUAL, show_default=True,
              metavar="N", help="The last N events.")  # fmt: skip
@click.option("--since", type=duration(least="0s"), metavar="DURATION",
              help="Only events that are not older: 90s, 10m, 2h.")  # fmt: skip
@link.folder_option
@link.json_option("One JSON object an event.")
@link.answer_option
def command(
    names: tuple[str, ...],
    follow: bool,
    last: int,
    since: float | None,
    folder: Path | None,
    as_json: bool,
    timeout: float,
) -> int:
    """Print what has happened, and with -f what happens.

    NAME is a name, a pattern or 'GROUP:*'. Each line has the time, the agent and its instance, the
    event, and its details. The daemon keeps events over its restarts.
    """
    begin = None if since is None else time.time() - since
    with link.linked(folder, timeout) as daemon:
        for event in daemon.events(*names, follow=follow, last=last, since=begin):
            if as_json:
                form.emit_json(event)
            else:
                streams.emit(line(event))
    return 0


def line(event: dict[str, Any]) -> str:
    """An event in one line."""
    who = f"{event['agent']}/{event['instance']}" if event["agent"] else "daemon"
    known = (
        f"{name}={_value(value)}"
        for name, value in event.items()
        if name not in _KNOWN and value not in (None, [])
    )
    words = " ".join((f"{who}  {event['type']}", *known))
    return f"{form.moment(event['time'])}  {words}"


def _value(value: Any) -> str:
    """A figure of an event; an error is its text."""
    if isinstance(value, dict) and "message" in value:
        return f"{value['type']}: {form.line_of(str(value['message']))}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return form.line_of(str(value))
