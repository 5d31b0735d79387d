"""``procorch down``: the end of the daemon."""

from __future__ import annotations

import os
import select
from contextlib import closing
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.exits import ExitCode
from procorch.cli.params import duration
from procorch.cli.verb import Verb

_MARGIN = 10.0
"""Seconds that the daemon has for the rest, when the time to finish requests is over."""


@click.command("down", cls=Verb)
@link.folder_option
@click.option("--timeout", type=duration(least="0s"),
              help="Time to finish what runs; else the drain_timeout of the file.")  # fmt: skip
@link.json_option()
def command(folder: Path | None, timeout: float | None, as_json: bool) -> int:
    """End the daemon; what runs is finished first.

    No new requests are accepted, those that run are finished, and all agents end. It waits until
    the daemon has ended. The exit code is 3 when there is none.
    """
    with link.linked(folder) as daemon:
        row = daemon.status()["daemon"]
        try:
            handle = os.pidfd_open(row["pid"])
        except ProcessLookupError:  # it was ending already
            return _tell(row["pid"], True, as_json)
        with closing(os.fdopen(handle)) as process:
            daemon.shutdown(timeout=timeout)
            limit = row["drain_timeout"] if timeout is None else timeout
            return _tell(row["pid"], _has_ended(process.fileno(), limit + _MARGIN), as_json)


def _has_ended(pidfd: int, limit: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(limit * 1000))


def _tell(pid: int, ended: bool, as_json: bool) -> int:
    if as_json:
        form.emit_json({"pid": pid, "ended": ended})
    elif ended:
        streams.note(f"the daemon, pid {pid}, has ended")
    if not ended:
        streams.note(f"Error: the daemon, pid {pid}, has not ended in time; kill -9 {pid} ends it")
    return ExitCode.DONE if ended else ExitCode.TIMED_OUT
