"""Where the daemon is that a command or a program means: its folder, found from where it stands."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from procorch.daemon.control.protocol import SOCKET
from procorch.daemon.errors import NoDaemon

FILE = "procorch.toml"
PROJECT = "pyproject.toml"
FOLDER = ".procorch"
"""The daemon's folder, if its configuration names no other."""
VARIABLE = "PROCORCH_DIR"


def daemon_folder(dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a daemon: where its socket is.

    Args:
        dir: a folder with a configuration, a configuration file, or the daemon's own folder; None:
            what ``PROCORCH_DIR`` says, or the first folder with a configuration from the current
            one upwards.

    Raises:
        NoDaemon: there is no such folder, or no configuration.
    """
    given = dir if dir is not None else os.environ.get(VARIABLE) or None
    if given is None:
        return _of_configuration(_search(Path.cwd()))
    path = Path(os.path.abspath(given))
    if os.path.isfile(path):
        return _of_configuration(path)
    if not os.path.isdir(path):
        raise NoDaemon(f"no daemon runs in {path}: there is no such folder")
    if os.path.exists(path / SOCKET):
        return path
    file = configuration_in(path)
    if file is not None:
        return _of_configuration(file)
    return path / FOLDER if os.path.isdir(path / FOLDER) else path


def configuration_in(folder: Path) -> Path | None:
    """The configuration file of a folder: procorch.toml, or a pyproject.toml that has one."""
    if os.path.isfile(folder / FILE):  # unlike that of a Path, False where others may not look
        return folder / FILE
    project = folder / PROJECT
    if os.path.isfile(project) and "procorch" in _table(_read(project), "tool"):
        return project
    return None


def _search(start: Path) -> Path:
    for folder in (start, *start.parents):
        file = configuration_in(folder)
        if file is not None:
            return file
    raise NoDaemon(
        f"there is no {FILE} in {start} or above it; `procorch init` writes one, and --dir or "
        f"{VARIABLE} names the folder of a daemon"
    )


def _of_configuration(file: Path) -> Path:
    settings = _read(file)
    if file.name == PROJECT:
        settings = _table(_table(settings, "tool"), "procorch")
    named = _table(settings, "daemon").get("dir")
    text = os.path.expanduser(named if isinstance(named, str) else FOLDER)
    return Path(os.path.abspath(file.parent / text))


def _read(file: Path) -> dict[str, Any]:
    """What a file says; nothing where it is being edited: the daemon runs on meanwhile."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    inside = table.get(name)
    return inside if isinstance(inside, dict) else {}
