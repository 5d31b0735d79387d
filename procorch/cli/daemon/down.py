"""``procorch down``: the end of the daemon."""

from __future__ import annotations

import os
import select
import time
from contextlib import ExitStack
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.exits import ExitCode
from procorch.cli.params import duration
from procorch.cli.verb import Verb

_MARGIN = 10.0
"""Seconds that the daemon has for the rest, when the time to finish requests is over."""
_LOOK = 0.05
"""Seconds between two looks at the lock of the daemon."""
_LAST_STEPS = 1.0
"""Seconds from the release of its lock to the end of its process, at most."""


@click.command("down", cls=Verb)
@link.folder_option
@click.option("--timeout", type=duration(least="0s"),
              help="Time to finish what runs; else the drain_timeout of the file.")  # fmt: skip
@link.json_option()
def command(folder: Path | None, timeout: float | None, as_json: bool) -> int:
    """End the daemon; what runs finishes first.

    It accepts no new requests, finishes those that run, and ends all agents. It waits until the
    daemon has ended. The exit code is 3 when there is none.
    """
    from procorch.daemon.lock import is_held

    with link.linked(folder) as daemon, ExitStack() as stack:
        row = daemon.status()["daemon"]
        process = _process(row["pid"], stack)
        locked = daemon.folder if is_held(daemon.folder) else None
        daemon.shutdown(timeout=timeout)
        limit = row["drain_timeout"] if timeout is None else timeout
        return _tell(row["pid"], _has_ended(process, locked, limit + _MARGIN), as_json)


def _process(pid: int, stack: ExitStack) -> int | None:
    """A descriptor of a process; None: there is none of that number here.

    The number of a daemon in a container may be that of no process here, or of another one.
    """
    try:
        found = os.pidfd_open(pid)
    except OSError:
        return None
    stack.callback(os.close, found)
    return found


def _has_ended(process: int | None, locked: Path | None, limit: float) -> bool:
    """Whether the daemon has ended within ``limit`` seconds.

    Args:
        process: a descriptor of its process.
        locked: its folder, whose lock it gives back at its end; None: it had none.
    """
    from procorch.daemon.lock import is_held

    poll = select.poll()
    if process is not None:
        poll.register(process, select.POLLIN)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if poll.poll(_LOOK * 1000):
            return True
        if not (is_held(locked) if locked is not None else process is not None):
            poll.poll(_LAST_STEPS * 1000 if process is not None else 0)
            return True
    return False


def _tell(pid: int, ended: bool, as_json: bool) -> int:
    if as_json:
        form.emit_json({"pid": pid, "ended": ended})
    elif ended:
        streams.note(f"the daemon, pid {pid}, has ended")
    if not ended:
        kill = f"kill -9 {pid} ends it" if pid != 1 else "it ends with its container"
        streams.note(f"Error: the daemon, pid {pid}, has not ended in time; {kill}")
    return ExitCode.DONE if ended else ExitCode.TIMED_OUT
