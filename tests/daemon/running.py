"""A real daemon for tests: its folder, its process, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

import procorch
from procorch import DaemonClient

AGENTS = """
import os, time

def echo():
    def handle(messages):
        text = messages[-1].text if isinstance(messages, list) else messages
        if text == "pid":
            return str(os.getpid())
        if text == "die":
            os._exit(7)
        if text == "raise":
            raise ValueError("no such thing")
        print("heard", text, flush=True)
        return f"{text}!"
    return handle

def consumer():
    from procorch import current
    worker = current()
    while not worker.cancelled:
        worker.progress()
        time.sleep(0.02)
"""
"""The module ``agents.py`` of most tests."""

PROGRAM = ("-m", "procorch")
_MARK = "PROCORCH_TESTS_DAEMON"
"""A variable by which the processes of a daemon are found, wherever they are in the tree."""


class RunningDaemon:
    """A daemon that runs in the foreground of a process of its own.

    Args:
        folder: has ``procorch.toml``, and the modules of agents.
        arguments: of ``procorch up``.
        env: further variables of its environment.
        umask: that it is started with; -1: that of the tests.
        program: arguments of Python that begin the command.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        umask: int = -1,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.folder = folder
        mark = uuid.uuid4().hex
        self._mark = f"{_MARK}={mark}".encode()
        self.process = subprocess.Popen(
            [sys.executable, *program, "up", *arguments],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, **(env or {}), _MARK: mark}, start_new_session=True,
            umask=umask,
        )  # fmt: skip

    def connect(self) -> DaemonClient:
        """A client, as soon as the daemon listens; its agents are ready."""
        client = self.listening()
        answer = client.wait_ready(timeout=30)
        assert answer["ready"], client.status()
        return client

    def listening(self) -> DaemonClient:
        """A client, as soon as the daemon listens."""
        said = []
        for line in self.lines():
            said.append(line)
            if "listens" in line:
                return procorch.connect(self.folder)
        raise AssertionError(f"it has ended with {self.process.wait()}: {''.join(said)}")

    def lines(self) -> Iterator[str]:
        """Lines of its output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:  # noqa: UP028 (`yield from` would close the file)
            yield line

    def end(self, signum: int = signal.SIGTERM) -> int:
        """Signal it, and wait for its exit code."""
        self.process.send_signal(signum)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        self.process.communicate(timeout=30)
        return self.process.returncode

    def descendants(self) -> list[psutil.Process]:
        """All processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def alive(self) -> list[psutil.Process]:
        """All processes that came from it and have not ended, also those without a parent."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if self._mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    found.append(process)
        return found


@contextlib.contextmanager
def running(
    folder: Path,
    toml: str,
    *arguments: str,
    agents: str = AGENTS,
    env: dict[str, str] | None = None,
    umask: int = -1,
    program: Sequence[str] = PROGRAM,
) -> Iterator[RunningDaemon]:  # fmt: skip
    """A daemon with a configuration; it and all of its processes are gone afterwards."""
    (folder / "procorch.toml").write_text(toml)
    (folder / "agents.py").write_text(agents)
    daemon = RunningDaemon(folder, *arguments, env=env, umask=umask, program=program)
    try:
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.communicate(timeout=30)
        assert psutil.wait_procs(daemon.alive(), timeout=10)[1] == []
