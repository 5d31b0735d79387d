"""What tests with real processes share: orchestrators that get closed, gates to agents, programs.

No test waits for a time. A `Gate` is how a test and an agent in another process wait for each
other; `watched` is how a test waits for processes that are not its children.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import procorch
from procorch import AgentOrchestrator, OrchestratedHandle

PATIENCE = 90.0  # seconds that a test waits for what must come, on however busy a machine


class Gate:
    """A named pipe between a test and the workers.

    `tell` and `wait` are for the worker: plain functions that a factory may refer to. The gate
    itself stays here.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._seen = b""
        self.tell, self.wait = _ends(str(path))

    def line(self) -> str:
        """The next line that a worker tells, waiting for it."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._seen:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"no line came through the gate in {PATIENCE:g} s")
            self._seen += os.read(self._fd, 4096)
        line, _, self._seen = self._seen.partition(b"\n")
        return line.decode()

    def told(self) -> list[str]:
        """The lines that workers have told and nobody has taken."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._seen += os.read(self._fd, 4096)
        *lines, self._seen = self._seen.split(b"\n")
        return [line.decode() for line in lines]

    def open(self, times: int = 1) -> None:
        """Let ``times`` waits go on."""
        os.write(self._fd, b"." * times)

    def close(self) -> None:
        os.close(self._fd)


def _ends(path: str) -> tuple[Callable[..., None], Callable[[], None]]:
    def tell(text: object = "") -> None:
        import os

        fd = os.open(path, os.O_WRONLY)
        os.write(fd, f"{text}\n".encode())  # at once, so lines of several workers never mix
        os.close(fd)

    def wait() -> None:
        import os

        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 1)  # ends, too, when the test has gone and closed its side
        os.close(fd)

    return tell, wait


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[[], Gate]]:
    """Make gates."""
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate(tmp_path / f"gate-{len(gates)}"))
        return gates[-1]

    yield make
    for each in gates:
        each.close()


@pytest.fixture
def orchestrator() -> Iterator[Callable[..., AgentOrchestrator]]:
    """Make orchestrators; what is still running at the end of the test is aborted."""
    made: list[AgentOrchestrator] = []

    def make(**settings: Any) -> AgentOrchestrator:
        made.append(AgentOrchestrator(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close(drain=False)


@pytest.fixture
def start(
    orchestrator: Callable[..., AgentOrchestrator],
) -> Callable[..., OrchestratedHandle]:
    """Start one agent, called "a", under an orchestrator of its own."""

    def begin(
        factory: Callable[[], Any], *, supervisor: Any = None, **settings: Any
    ) -> OrchestratedHandle:
        orch = orchestrator(supervisor=supervisor)
        orch.add_agent("a", factory, **settings)
        return orch.spawn("a")

    return begin


class Watched:
    """Processes, anybody's children, held by pidfd: no number is mistaken for another."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._fds = {os.pidfd_open(pid): pid for pid in pids}

    def alive(self, within: float) -> list[int]:
        """The processes that have not ended ``within`` seconds."""
        deadline = time.monotonic() + within
        left = dict(self._fds)
        while left:
            ready = select.select(list(left), [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                break
            for fd in ready:
                del left[fd]
        return list(left.values())

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    """Watch processes by their pids, which have to be alive."""
    made: list[Watched] = []

    def watch(*pids: int) -> Watched:
        made.append(Watched(pids))
        return made[-1]

    yield watch
    for each in made:
        each.close()


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in an interpreter of its own and wait for its end.

    Args:
        how: "file", "-c" or "stdin".
    """

    def run(
        source: str, *args: str, how: str = "file", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable]
        if how == "file":
            script = tmp_path / "script.py"
            script.write_text(source)
            command += [str(script), *args]
        elif how == "-c":
            command += ["-c", source, *args]
        else:
            options["input"] = source
            command += ["-", *args]
        options = {"env": host_environment(), "cwd": tmp_path, "timeout": PATIENCE} | options
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code in an interpreter of its own; it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(source: str, **options: Any) -> subprocess.Popen[str]:
        script = tmp_path / f"host-{len(started)}.py"
        script.write_text(source)
        started.append(
            subprocess.Popen(
                [sys.executable, str(script)],
                env=host_environment(),
                text=True,
                cwd=tmp_path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def host_environment() -> dict[str, str]:
    """The environment in which another interpreter finds the procorch under test."""
    found = str(Path(procorch.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": found}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module where programs and workers find it. Each version is a second younger: that is
    how Python knows that its bytecode is of an older one."""
    monkeypatch.syspath_prepend(tmp_path)
    ages: dict[str, int] = {}

    def to_disk(name: str, text: str) -> None:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        ages[name] = ages.get(name, 0) + 1
        os.utime(path, (1e9 + ages[name], 1e9 + ages[name]))
        importlib.invalidate_caches()

    return to_disk


@pytest.fixture
def load(
    write: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], ModuleType]:
    """Writes a module and imports it in this process."""

    def loaded(name: str, text: str) -> ModuleType:
        write(name, text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return loaded
