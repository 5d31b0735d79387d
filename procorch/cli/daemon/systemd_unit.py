"""``procorch systemd-unit``: a unit file for the daemon."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.daemon import form
from procorch.cli.daemon.link import folder_option, json_option, told_errors
from procorch.cli.daemon.places import config_file, file_option
from procorch.cli.exits import Misconfigured
from procorch.cli.verb import Verb


@click.command("systemd-unit", cls=Verb)
@file_option
@folder_option
@click.option("--user", is_flag=True, help="For the service manager of the user, not the system's.")
@click.option("--systemd", type=click.IntRange(min=1), metavar="VERSION",
              help="Of the machine that it is for; without it, of this one.")  # fmt: skip
@json_option()
def command(
    file: Path | None, folder: Path | None, user: bool, systemd: int | None, as_json: bool
) -> int:
    """Print a systemd unit for the daemon.

    It starts this Python with the configuration. The service is ready when its agents are;
    systemctl reload reloads; systemctl stop lets what runs finish. The kernel keeps memory limits
    of agents (Delegate). Standard error says what to do with the unit.
    """
    from procorch.daemon import systemd_unit
    from procorch.daemon.config import loading as config

    with told_errors():
        loaded = config.load(config_file(file, folder))
    known = systemd_unit.version() if systemd is None else systemd
    try:
        text = systemd_unit.unit(loaded.file, loaded.daemon.drain_timeout, user=user, systemd=known)
    except ValueError as error:
        raise Misconfigured(str(error)) from None
    place, manager = "/etc/systemd/system/procorch.service", "systemctl"
    if user:
        place, manager = "~/.config/systemd/user/procorch.service", "systemctl --user"
    if as_json:
        form.emit_json({"unit": text, "systemd": known, "place": place})
        return 0
    streams.emit(text, nl=False)
    if known is None:
        streams.note("this machine has no systemd; --systemd VERSION says what the other one has")
    streams.note(
        f"Put it into {place}, then: {manager} daemon-reload && {manager} enable --now procorch"
    )
    if user and shutil.which("loginctl"):
        streams.note("To have it run while you are not logged in: loginctl enable-linger")
    return 0
