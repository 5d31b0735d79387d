"""A systemd unit for a daemon: ready when its agents are, reloaded by ``systemctl reload``.

Quoting follows systemd.syntax(7) and systemd.service(5): ``%`` begins a specifier everywhere, ``$``
a variable in arguments, and words with other characters are quoted as in C.
"""

from __future__ import annotations

import math
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

_MARGIN = 15
"""Seconds from the end of ``drain_timeout`` until systemd kills what is left."""
_START = 300
"""Seconds in which the agents have to become ready."""
_WATCHDOG = 30
"""Seconds without a sign of life after which systemd restarts the daemon."""
_NOTIFY_RELOAD, _SUBGROUP = 253, 254
"""The first versions of systemd with ``Type=notify-reload`` and ``DelegateSubgroup``."""
_PLAIN = re.compile(r"[A-Za-z0-9_@+,./:=-]+")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def unit(config: Path, drain_timeout: float, *, user: bool = False, systemd: int | None) -> str:
    """The text of a unit file.

    Args:
        config: the configuration, an absolute path.
        drain_timeout: seconds from SIGTERM to the end of the daemon.
        user: for the user's own service manager (``systemctl --user``).
        systemd: its version; None: it is not known, and what all versions have is used.

    Raises:
        ValueError: a path cannot stand in a unit.
    """
    known = 0 if systemd is None else systemd
    program = [sys.executable, "-m", "procorch"]
    start = [*program, "up", "--quiet", "--file", str(config)]
    reload = [*program, "reload", "--dir", str(config)]
    service = {
        "Type": "notify-reload" if known >= _NOTIFY_RELOAD else "notify",
        **({} if user else _account()),
        "WorkingDirectory": _value(str(config.parent)),
        "Environment": quoted(f"PATH={_path()}", variables=False),
        "ExecStart": command_line(start),
        "ExecReload": command_line(reload),
        "KillMode": "mixed",
        "TimeoutStartSec": str(_START),
        "TimeoutStopSec": str(math.ceil(drain_timeout) + _MARGIN),
        "WatchdogSec": str(_WATCHDOG),
        "Restart": "on-failure",
        "RestartSec": "2",
        "Delegate": "yes",
        **({"DelegateSubgroup": "main"} if known >= _SUBGROUP else {}),
        "OOMPolicy": "continue",
        "UMask": "0077",
    }
    if service["Type"] == "notify-reload":
        del service["ExecReload"]  # systemd sends SIGHUP, and waits until the daemon is ready again
    lines = [
        "[Unit]",
        f"Description=procorch daemon of {_value(str(config))}",
        *([] if user else ["Wants=network-online.target", "After=network-online.target"]),
        "",
        "[Service]",
        *(f"{name}={value}" for name, value in service.items()),
        "",
        "[Install]",
        f"WantedBy={'default.target' if user else 'multi-user.target'}",
    ]
    return "\n".join(lines) + "\n"


def command_line(words: list[str]) -> str:
    """A command line of a unit; its first word is the program, an absolute path.

    Raises:
        ValueError: a word cannot stand in a unit.
    """
    # systemd replaces variables in arguments only, so `$` is doubled in those alone.
    return " ".join(quoted(word, variables=number > 0) for number, word in enumerate(words))


def quoted(word: str, *, variables: bool) -> str:
    """One word of a setting whose value is split into words.

    Args:
        variables: ``$`` begins a variable there.

    Raises:
        ValueError: it has a character that a unit cannot hold.
    """
    text = _value(word)
    if variables:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _value(text: str) -> str:
    """The value of a setting that is not split into words."""
    if not text.isprintable():
        raise ValueError(f"{text!r} has a character that cannot stand in a systemd unit")
    return text.replace("%", "%%")


def _account() -> dict[str, str]:
    """The user that the service runs as; root needs no mention."""
    uid = os.geteuid()
    if uid == 0:
        return {}
    try:
        return {"User": pwd.getpwuid(uid).pw_name}
    except KeyError:  # it has no name
        return {"User": str(uid)}


def _path() -> str:
    """Where programs are looked for: those of the virtual environment first."""
    own = Path(sys.executable).parent
    return _PATH if str(own) in _PATH.split(":") else f"{own}:{_PATH}"


def version() -> int | None:
    """The version of systemd on this machine; None: there is none."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"systemd (\d+)", done.stdout)
    return None if found is None else int(found[1])
