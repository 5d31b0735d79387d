"""How a daemon in the background tells the command that has started it that it is ready."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from procorch.daemon.errors import FolderError

VARIABLE = "_PROCORCH_READY_FD"
"""Names the descriptor of the pipe; it is taken out of the environment at once."""


class ReadinessPipe:
    """The end of the pipe that the daemon has; without a pipe nothing is told."""

    def __init__(self) -> None:
        number = os.environ.pop(VARIABLE, "")
        self._fd: int | None = int(number) if number.isdecimal() else None
        if self._fd is not None:
            os.set_inheritable(self._fd, False)

    def tell(self, news: dict[str, Any]) -> None:
        """Tell it once; later calls have no effect."""
        if self._fd is None:
            return
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more
            os.write(self._fd, json.dumps(news).encode() + b"\n")
        self.close()

    def close(self) -> None:
        """Close the pipe."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def start_in_background(
    arguments: list[str], errors: Path, timeout: float | None
) -> tuple[int, dict[str, Any]]:
    """Start a daemon that outlives this process, and wait until it is ready or has failed.

    Args:
        arguments: of ``procorch up``, without ``-d``.
        errors: a file for what the daemon writes when it cannot start, or when Python itself fails.
        timeout: seconds to wait; None: as long as it takes.

    Returns:
        Its pid, and what it told: ``{"ready": bool, "failed": {name: error}}``, or
        ``{"exit": code, "error": text}`` if it has ended, or with a key "late" if it has told
        nothing within ``timeout``.

    Raises:
        FolderError: the file cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        log = os.open(errors, flags, 0o600)
    except OSError as error:
        raise FolderError(f"cannot write {errors}: {error.strerror}") from None
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "procorch", "up", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            pass_fds=(write_end,), env={**os.environ, VARIABLE: str(write_end)},
        )  # fmt: skip
    finally:
        os.close(write_end)
        os.close(log)
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        if timeout is not None and not select.select([pipe], [], [], timeout)[0]:
            return process.pid, {"ready": False, "failed": {}, "late": True}
        line = pipe.readline()
    if line:
        found: dict[str, Any] = json.loads(line)
        return process.pid, found
    code = process.wait()
    return process.pid, {"exit": code, "error": errors.read_text("utf-8", "replace").strip()}
