"""``procorch up``: the daemon, in the foreground or in the background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form
from procorch.cli.daemon.link import folder_option, json_option, limit_option, told_errors
from procorch.cli.daemon.places import config_file, file_option
from procorch.cli.exits import ExitCode, Refused
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.specs import Config


class _Up(Verb):
    """Standard output is the daemon's own: the lines of agents go there."""

    separates = False


@click.command("up", cls=_Up)
@file_option
@folder_option
@click.option("-d", "--detach", is_flag=True, help="In the background; ends when all are ready.")
@click.option(
    "--watch", is_flag=True, help="Reload when the file, or the code of an agent, changes."
)
@click.option("-q", "--quiet", is_flag=True, help="Do not print the output of agents.")
@limit_option("With -d: time for all to be ready; without it, as long as their starts take.")
@json_option("Lines of output as JSON objects; with -d, one JSON object.")
def command(
    file: Path | None,
    folder: Path | None,
    detach: bool,
    watch: bool,
    quiet: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Start the daemon, in the foreground or with -d in the background.

    It starts the agents of the configuration and keeps them alive, until Ctrl-C, SIGTERM or
    procorch down. SIGHUP is procorch reload. In the foreground it prints each line that an agent
    writes, with the agent's name in front.

    With -d the exit code is 0 when all agents are ready, and 1 when one of them could not start;
    the daemon stays then, and so do the other agents. With --timeout it is 6 when they were not
    ready in time; the daemon goes on starting them.

    The exit code is 2 when the configuration has errors, and 1 when a daemon runs in its folder
    already.
    """
    from procorch.daemon.config import loading as config

    if timeout is not None and not detach:
        raise click.UsageError("--timeout is for --detach: in the foreground nothing is waited for")
    with told_errors():
        loaded = config.load(config_file(file, folder))
        if detach:
            return _detach(loaded, watch, timeout, as_json)
        from procorch.daemon import life

        echo: Any = None if quiet else "json" if as_json else "text"
        return life.run(loaded, watch=watch, echo=echo)


def _detach(loaded: Config, watch: bool, timeout: float | None, as_json: bool) -> int:
    from procorch.daemon.lock import make_folder
    from procorch.daemon.readiness_pipe import start_in_background

    folder = loaded.daemon.dir
    make_folder(folder)
    arguments = ["--quiet", "--file", str(loaded.file), *(["--watch"] if watch else [])]
    pid, told = start_in_background(arguments, folder / "up.err", timeout)
    if "exit" in told:
        raise Refused(told["error"].removeprefix("Error: "), told["exit"] or ExitCode.SOME_FAILED)
    if as_json:
        form.emit_json({"pid": pid, "ready": told["ready"], "failed": told["failed"]})
    elif "late" in told:
        streams.note(f"the daemon runs, pid {pid}; not all agents are ready yet: procorch status")
    else:
        state = "all agents are ready" if told["ready"] else "not all agents could be started"
        streams.note(f"the daemon runs, pid {pid}; {state}")
        for name, error in told["failed"].items():
            streams.note(f"{name}: {form.visible(error)}")
    if "late" in told:
        return ExitCode.TIMED_OUT
    return ExitCode.DONE if told["ready"] else ExitCode.SOME_FAILED
