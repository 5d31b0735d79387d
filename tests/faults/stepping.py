"""Kills a process before each system call that changes a file, one process after the other.

A kill at a random moment rarely meets the few microseconds in which a file is half made. Here the
work is done by a child that the kernel stops at each system call, and the n-th child is killed at
its n-th call that changes something. Linux only, on x86-64 or arm64. The program forks, so it must
have no threads: run it as a process of its own.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import shutil
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_GOOD_AND_EXITKILL = 0x100001
_ENTRY = 1
# write, pwrite64, openat, ftruncate, rename(at(2)), link(at), unlink(at), mkdir(at), fallocate
_CHANGES = {
    "x86_64": {1, 18, 257, 77, 82, 264, 316, 86, 265, 87, 263, 83, 258, 285},
    "aarch64": {64, 68, 56, 46, 38, 276, 37, 35, 34, 47},
}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def main(module: str, prepare: str, work: str, check: str, folder: str) -> None:
    """Print, as JSON, the number of kills and what ``check`` has found wrong.

    Args:
        module: has three functions of a folder. ``prepare`` fills it, ``work`` is killed, and
            ``check`` does what the next process would do, and returns what is wrong or None.
    """
    functions = importlib.import_module(module)
    before = Path(folder, "before")
    before.mkdir()
    _child(getattr(functions, prepare), before)
    wrong: dict[int, Any] = {}
    kills, over = 0, False
    while not over:
        here = shutil.copytree(before, Path(folder, "now"))
        over = _ends_before(kills + 1, getattr(functions, work), here)
        found = _child(getattr(functions, check), here)
        if found is not None:
            wrong[kills] = found
        shutil.rmtree(here)
        kills += not over
    print(json.dumps({"kills": kills, "wrong": wrong}))


def _child(run: Callable[[Path], str | None], folder: Path) -> str | None:
    """What a function returns, or its error, from a process of its own."""
    answer, end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            text = run(folder)
        except BaseException:
            text = traceback.format_exc()
        os.write(end, json.dumps(text)[:60_000].encode())
        os._exit(0)
    os.close(end)
    with open(answer, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return json.loads(data)


def _ends_before(change: int, work: Callable[[Path], Any], folder: Path) -> bool:
    """Kill a child before its n-th change; returns whether it had no such change."""
    pid = os.fork()
    if not pid:
        if _libc.ptrace(_TRACEME, 0, None, None):
            os._exit(3)
        os.kill(os.getpid(), signal.SIGSTOP)
        work(folder)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise SystemExit("this machine does not let a process be traced")
    _libc.ptrace(_SETOPTIONS, pid, None, _GOOD_AND_EXITKILL)
    while change:
        _libc.ptrace(_SYSCALL, pid, None, None)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            if status:
                raise SystemExit(f"the work ended with {status}")
            return True
        change -= _is_change(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _is_change(pid: int) -> bool:
    """Whether a child that was stopped is about to make a call that changes something."""
    info = ctypes.create_string_buffer(88)
    if _libc.ptrace(_GET_SYSCALL_INFO, pid, len(info), ctypes.byref(info)) <= 0:
        raise SystemExit("this kernel does not say which call it is (Linux 5.3 does)")
    kind, number = struct.unpack_from("<B23xQ", info)
    return kind == _ENTRY and number in _CHANGES


if __name__ == "__main__":
    main(*sys.argv[1:])
