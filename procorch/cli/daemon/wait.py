"""``procorch wait --ready``: until agents are ready."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.exits import ExitCode
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.client.client import DaemonClient

_EVERY = 0.1
"""Seconds between two looks for a daemon that is about to start."""


@click.command("wait", cls=Verb)
@names_argument(required=False)
@click.option("--ready", is_flag=True, help="Until they are ready to take requests.")
@link.folder_option
@link.limit_option("Time to wait; without it, as long as it takes.")
@link.json_option()
def command(
    names: tuple[str, ...], ready: bool, folder: Path | None, timeout: float | None, as_json: bool
) -> int:
    """Wait until agents are ready.

    NAME is a name, a pattern or 'GROUP:*'; without any, it waits for all agents that are to run.
    With --timeout it also waits for a daemon that is about to start.

    The exit code is 6 when they were not ready in time; it prints those that are missing.
    """
    if not ready:
        raise click.UsageError("say what to wait for: --ready")
    end = None if timeout is None else time.monotonic() + timeout
    with link.linked(folder) as daemon:
        if end is not None:
            _until_it_listens(daemon, end)
            timeout = max(0.0, end - time.monotonic())
        found = daemon.wait_ready(*names, timeout=timeout)
    if as_json:
        form.emit_json(found)
    elif not found["ready"]:
        streams.note(f"not ready: {', '.join(found['waiting'])}")
    return ExitCode.DONE if found["ready"] else ExitCode.TIMED_OUT


def _until_it_listens(daemon: DaemonClient, end: float) -> None:
    """Wait for a daemon until ``end``, in monotonic seconds; raises `NoDaemon` then."""
    from procorch.daemon.errors import NoDaemon

    while True:
        try:
            daemon.ping()
            return
        except NoDaemon:
            if time.monotonic() >= end:
                raise
        time.sleep(_EVERY)
