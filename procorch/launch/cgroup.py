"""A control group of its own for a worker with a memory limit, where the system has delegated one.

The kernel allows a memory limit only in a cgroup whose parent has no processes in it. This program
is never moved. So the workers get cgroups beside its own, and only if that parent is delegated:
either systemd says so, or it is the topmost one that a container shows, see
docs/explanation/processes.md. If the kernel refuses anything, the worker runs without a cgroup of
its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

_PREFIX = "procorch-"
_LIMIT_FILE = "memory.max"
_NUMBERS = itertools.count(1)
_LAST_WAIT = 1.0
"""Seconds in which killed processes have to be gone, so that their cgroup can be removed."""


class Cgroup:
    """The cgroup of one worker and its descendants.

    Args:
        path: the folder to be made.
        limit: bytes of memory that they may have together.

    Raises:
        OSError: the kernel refuses.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._limit = limit
        self._ended = False
        path.mkdir()
        try:
            (path / _LIMIT_FILE).write_text(str(limit))
            with contextlib.suppress(OSError):  # not before Linux 4.19
                (path / "memory.oom.group").write_text("1")
        except OSError:
            self.end()
            raise

    def overrun(self) -> int | None:
        """Bytes that they had when the kernel killed them above the limit; None: it did not."""
        try:
            lines = (self.path / "memory.events").read_text().splitlines()
            counts = dict(line.split() for line in lines)
        except (OSError, ValueError):
            return None
        # Where another cgroup or the machine has no memory left, `oom_kill` rises without `oom`.
        if counts.get("oom", "0") == "0" or counts.get("oom_kill", "0") == "0":
            return None
        try:
            return int((self.path / "memory.peak").read_text())
        except (OSError, ValueError):  # not before Linux 5.19
            return self._limit

    def end(self) -> None:
        """The worker has ended: kill what it has left behind, and remove the cgroup."""
        self._ended = True
        with contextlib.suppress(OSError):  # not before Linux 5.14
            (self.path / "cgroup.kill").write_text("1")
        self.is_gone()

    def is_gone(self) -> bool:
        """Whether it has ended and is removed. That needs another call if a process in it is still
        dying."""
        if self._ended:
            with contextlib.suppress(OSError):
                self.path.rmdir()
        return self._ended and not self.path.exists()


class Cgroups:
    """The cgroups of one orchestrator's workers."""

    def __init__(self) -> None:
        self._parent: Path | None = None
        self._has_looked = False
        self._made: list[Cgroup] = []

    def make(self, limit: int) -> Cgroup | None:
        """Make a cgroup with a memory limit in bytes; None: it cannot be had here."""
        if not self._has_looked:
            self._has_looked = True
            self._parent = delegated()
            if self._parent is not None:
                _tidy(self._parent)
        if self._parent is None:
            return None
        self._made = [each for each in self._made if not each.is_gone()]
        try:
            made = Cgroup(self._parent / f"{_PREFIX}{os.getpid()}-{next(_NUMBERS)}", limit)
        except OSError:
            return None
        self._made.append(made)
        return made

    def close(self) -> None:
        """Remove all of them; no worker is left."""
        for each in self._made:
            each.end()
        until = time.monotonic() + _LAST_WAIT
        while any(not each.is_gone() for each in self._made) and time.monotonic() < until:
            time.sleep(0.01)


def delegated(proc: Path = Path("/proc/self")) -> Path | None:
    """The cgroup beside whose child, this program's own cgroup, others with a memory limit may be
    made; None: there is none.

    Args:
        proc: where the kernel describes this process.
    """
    try:
        top, own = _place(proc)
        parent = own.parent
        # A worker with a cgroup must not make others beside it: its limit would not hold for them.
        if own == top or own.name.startswith(_PREFIX) or not _is_ours(parent, top):
            return None
        if "memory" not in (parent / "cgroup.controllers").read_text().split():
            return None
        control = parent / "cgroup.subtree_control"
        if "memory" not in control.read_text().split():
            control.write_text("+memory")  # refused if there are processes in it
    except (OSError, ValueError):
        return None
    return parent


def _place(proc: Path) -> tuple[Path, Path]:
    """Where the cgroups are mounted, and the one that this process is in.

    Raises:
        ValueError: they are not, or it is not below what is mounted.
    """
    lines = (proc / "cgroup").read_text().splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), "")
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            root, top = before.split()[3:5]
            below = Path(own).relative_to(root)
            if ".." in below.parts:
                break
            return Path(top), top / below
    raise ValueError("no cgroup of version 2")


def _is_ours(parent: Path, top: Path) -> bool:
    """Whether a cgroup is delegated to this program. For root, all of them are writable."""
    return (
        (parent / "cgroup.type").exists()  # else it is the root of the machine
        and not (parent / "init.scope").exists()  # a systemd manages it
        and (parent == top or _is_marked(parent))
        and all(
            os.access(each, os.W_OK)
            for each in (parent, parent / "cgroup.procs", parent / "cgroup.subtree_control")
        )
    )


def _is_marked(parent: Path) -> bool:
    """Whether systemd has marked it as delegated."""
    try:
        return os.getxattr(parent, "user.delegate") == b"1"
    except OSError:
        return False


def _tidy(parent: Path) -> None:
    """Remove the cgroups of programs that were killed; the kernel keeps those that are in use."""
    for each in parent.glob(f"{_PREFIX}*-*"):
        pid = each.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                each.rmdir()
