"""The worker that guards a measured process: starts it, passes orders on, notices how it ends.

A guard is a worker of procorch, so whatever the measured process does, procorch ends it and all
that it has started. There are two kinds with the same orders: `Guard` executes an interpreter that
is measured, `Fork` is measured itself, as a fork of the zygote.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from procorch.bench.inside import BOOT, meter
from procorch.bench.inside import __file__ as _inside
from procorch.bench.inside.main import PAGE, PHASES, receive, send
from procorch.bench.inside.subject import Subject

_LOOK = 0.05
"""Seconds between two looks at the memory of a process that has a limit."""
_LOOP_ROOM = 1.0
"""Seconds that inner loops get beside the time of one call."""

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

Order = dict[str, Any]
Report = dict[str, Any]


class Fork:
    """Is measured itself: the orders are performed in this worker."""

    def __init__(self) -> None:
        self._subject = Subject(lambda phase, index: None)

    def handle(self, order: Order) -> Report:
        """Perform one order."""
        began = time.perf_counter()
        report = self._subject.perform(order)
        if order["do"] == "load":
            report["seconds"] = time.perf_counter() - began
        return report


class Guard:
    """Executes an interpreter and has it perform the orders."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def handle(self, order: Order) -> Report:
        """Perform one order; a report of ``died`` says how the measured process has ended."""
        began = time.perf_counter()
        if order["do"] == "load":
            self._open(order)
        report = self._ask(order)
        if order["do"] == "load":
            report["seconds"] = time.perf_counter() - began
        if order["do"] == "close":
            self._end()
        return report

    def _open(self, order: Order) -> None:
        """Execute the interpreter."""
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("procorch-bench")
        os.ftruncate(memory, PAGE)
        self._page = mmap.mmap(memory, PAGE)
        env = dict(os.environ)
        if order["hash_seed"] is not None:
            env["PYTHONHASHSEED"] = str(order["hash_seed"])
        directory = os.path.dirname(_inside)
        descriptors = (theirs.fileno(), memory)
        self._process = subprocess.Popen(
            [*order["python"], "-c", BOOT, directory, *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=order["stdout"],
            env=env,
            pass_fds=descriptors,
        )
        theirs.close()
        os.close(memory)
        self._socket = ours
        self._death = os.pidfd_open(self._process.pid)
        self._poll = select.poll()
        for fd in (ours.fileno(), self._death):
            self._poll.register(fd, select.POLLIN)

    def _ask(self, order: Order) -> Report:
        if self._process is None:
            return {"died": {"code": None, "phase": "start", "request": None}}
        try:
            send(self._socket.fileno(), order)
            self._process.send_signal(signal.SIGCONT)
            why = self._wait(order["timeout"], order["memory_limit"])
            report = None if why else self._receive()
        except OSError:  # it died while the order was written
            why, report = {}, None
        if report is not None:
            if order["pause"]:
                self._process.send_signal(signal.SIGSTOP)
            return report
        phase, request = PHASES[self._page[0]], int.from_bytes(self._page[1:8], "big")
        process = self._process
        if why:
            process.kill()
        code = process.wait()
        self._end()
        at = {"phase": phase, "request": None if phase == "start" else request}
        return {"died": {"code": code, "pid": process.pid, **at, **(why or {})}}

    def _receive(self) -> Report | None:
        """The report; None where the process has died before all of it was written.

        A child that it has forked may hold its end of the socket, which then has no end of file.
        """
        fd = self._socket.fileno()
        os.set_blocking(fd, False)
        try:
            return receive(fd, lambda: fd in dict(self._poll.poll()))
        finally:
            os.set_blocking(fd, True)

    def _wait(self, timeout: float | None, limit: int | None) -> dict[str, Any] | None:
        """Wait for the report or the end; why it has to be killed, where it has to be."""
        looks = [] if limit is None else [_LOOK]
        if timeout is not None:
            looks.append(max(timeout / 4, 1e-3))
        pause = int(min(looks) * 1000) + 1 if looks else None
        seen, since = self._page[8:16], time.monotonic()
        while not self._poll.poll(pause):
            if limit is not None and (resident := _resident()) > limit:
                return {"memory": resident, "limit": limit}
            now = time.monotonic()
            if self._page[8:16] != seen:
                seen, since = self._page[8:16], now
            elif timeout is not None:
                looping = PHASES[self._page[0]] == "loop"
                if now - since > timeout + looping * _LOOP_ROOM:
                    return {"timeout": timeout}
        return None

    def _end(self) -> None:
        """End the process and whatever it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        self._socket.close()
        os.close(self._death)
        try:
            process.wait(_LOOP_ROOM)  # its exit handlers run
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        while below := meter.descendants():  # this worker adopts what loses its parent
            for pid in map(int, below):
                _kill(pid)


def _kill(pid: int) -> None:
    # It may have ended, or its own parent has still to be killed.
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _resident() -> int:
    """Bytes of the measured process and its children, mapped files left out."""
    total = 0
    for pid in meter.descendants():
        with suppress(OSError, IndexError):  # it has ended
            pages = Path(f"/proc/{pid}/statm").read_text().split()
            total += (int(pages[1]) - int(pages[2])) * _PAGE_SIZE
    return total
