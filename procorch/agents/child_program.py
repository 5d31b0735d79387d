"""A program that runs for one request: it is started, fed, read, and ended with all that it left.

It has a process group of its own, so that it can be ended together with what it starts, and without
the worker. These rules keep a program from living on, and the worker from waiting for ever:

* A request may be interrupted at any place of the agent's code (`worker.interrupts`), but not in
  this module. So no interrupt can come between the start of a program and the moment at which
  `ChildProgram` knows it. The exception is `wait_for_program`, which only waits.
* The program has ended when its pidfd says so, not when its pipes are closed: what it has left
  behind may hold them open. What it had written by then is in the pipes, and is read.
* The rest of its group is killed before it is reaped. Until then no other group can have its
  number. A process that has left the group lives until the worker ends.
* Pipes are read and written as they become ready, so neither a program that does not read its input
  nor one that writes more than a pipe holds can block both sides.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 16
"""Bytes that are read at once."""
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores them, and a program would inherit that."""

Sink = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program has ended.

    Args:
        code: its exit code, or the negative number of the signal that ended it.
        cpu_user, cpu_system: seconds, its own children included that it has waited for.
        peak_rss: bytes of the largest of these processes.
    """

    code: int
    cpu_user: float
    cpu_system: float
    peak_rss: int


_LOOK = 0.1
"""Seconds between two looks whether a program is to stop."""


def wait_for_program(poll: select.poll, most: int | None = None) -> list[tuple[int, int]]:
    """Wait until something is ready, at most so many milliseconds. An interrupt of the request may
    be raised here."""
    return poll.poll(most)


class ChildProgram:
    """One program.

    Args:
        path: its file.
        argv: its arguments, the name of the program first.
        env: its environment.
        stdin: what it gets on standard input; None: its input is empty.
        on_stdout, on_stderr: called with what it writes. What they raise, `run` raises.
    """

    def __init__(
        self, path: str, argv: Sequence[str], env: Mapping[str, str], stdin: bytes | None,
        on_stdout: Sink, on_stderr: Sink,
    ) -> None:  # fmt: skip
        self.pid: int | None = None
        self._what = path, list(argv), env
        self._stdin = None if stdin is None else memoryview(stdin)
        self._sinks = (on_stdout, on_stderr)
        self._open: set[int] = set()
        self._input = self._pidfd = -1
        self._outputs: dict[int, Sink] = {}
        self._poll = select.poll()
        self._ended = False
        self._reaped = False

    def start(self) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        actions: list[tuple[Any, ...]] = []
        if self._stdin is None:
            actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
        else:
            stdin, self._input = self._pipe()
            actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
            self._watch(self._input, select.POLLOUT)
        for number, sink in enumerate(self._sinks, 1):
            output, theirs = self._pipe()
            actions.append((os.POSIX_SPAWN_DUP2, theirs, number))
            self._outputs[output] = sink
            self._watch(output, select.POLLIN)
        path, argv, env = self._what
        self.pid = os.posix_spawn(
            path, argv, env, file_actions=actions, setpgroup=0, setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )  # fmt: skip
        for fd in self._open - {self._input, *self._outputs}:
            self._close(fd)
        self._pidfd = os.pidfd_open(self.pid)
        self._open.add(self._pidfd)
        self._watch(self._pidfd, select.POLLIN)

    def run_until(self, stopped: Callable[[], bool], look: float = _LOOK) -> bool:
        """Feed and read it until it has ended, or is to stop.

        Args:
            stopped: whether it is to stop.
            look: seconds after which that is asked again, at the latest.

        Returns:
            Whether it has ended.
        """
        while not self._ended and not stopped():
            self._turn(wait_for_program(self._poll, round(look * 1000)))
        return self._ended

    def run(self) -> Ended:
        """Feed and read it until it has ended."""
        while not self._ended:
            self._turn(wait_for_program(self._poll))
        ended = self._reap()
        self._drain()
        return ended

    def end(self, grace: float, *, keep: bool = False) -> None:
        """Release everything. A program that still runs is ended with its group: SIGTERM, then
        SIGKILL.

        Args:
            grace: seconds in between.
            keep: what it writes meanwhile is passed on, and not dropped.
        """
        try:
            if self.pid is not None and not self._reaped:
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)
                until = time.monotonic() + grace
                while not self._ended and (left := until - time.monotonic()) > 0:
                    self._turn(self._poll.poll(left * 1000), drop=not keep)
                self._reap()
        finally:
            for fd in list(self._open):
                self._close(fd)

    def _turn(self, ready: list[tuple[int, int]], *, drop: bool = False) -> None:
        for fd, _ in ready:
            if fd == self._pidfd:
                self._ended = True
            elif fd == self._input:
                self._feed()
            else:
                self._read(fd, _drop if drop else self._outputs[fd])

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def _watch(self, fd: int, events: int) -> None:
        os.set_blocking(fd, False)
        self._poll.register(fd, events)

    def _close(self, fd: int) -> None:
        with suppress(KeyError):
            self._poll.unregister(fd)
        self._outputs.pop(fd, None)
        self._open.discard(fd)
        os.close(fd)

    def _feed(self) -> None:
        assert self._stdin is not None
        try:
            self._stdin = self._stdin[os.write(self._input, self._stdin[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not read its input, or not all of it
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._close(self._input)
            self._input = -1

    def _read(self, fd: int, sink: Sink) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if data:
            sink(data)
        else:
            self._close(fd)

    def _signal(self, number: signal.Signals) -> None:
        assert self.pid is not None
        for send in (os.killpg, os.kill):  # a program may have left the group that it was given
            with suppress(ProcessLookupError, PermissionError):
                send(self.pid, number)

    def _reap(self) -> Ended:
        """Kill what is left of its group, and reap the program."""
        assert self.pid is not None
        self._signal(signal.SIGKILL)
        _, status, used = os.wait4(self.pid, 0)
        self._reaped = True
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024)

    def _drain(self) -> None:
        """Read what it has left in its pipes; a process that holds them may go on writing."""
        for fd, sink in list(self._outputs.items()):
            left = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
            while left > 0 and fd in self._outputs:
                left -= CHUNK
                self._read(fd, sink)


def _drop(data: bytes) -> None:
    """Take what does not count any more."""
