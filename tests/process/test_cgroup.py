"""A cgroup of its own for a worker with a memory limit, where the system delegates one.

The folders here that are no cgroups show which one is chosen and what is done with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOrchestrator, MemoryLimitExceeded
from procorch.launch import cgroup
from procorch.launch.cgroup import Cgroup, Cgroups, delegated
from procorch.launch.death import has_ended

MIB = 1 << 20
METHODS = pytest.mark.parametrize("method", ["zygote", "spawn"])
Orchestrator = Callable[..., AgentOrchestrator]


class Machine:
    """Folders like those of a machine with this process in the cgroup ``/main``."""

    def __init__(self, folder: Path) -> None:
        self.top = folder / "top"
        self.proc = folder / "proc"
        self.proc.mkdir()
        self.proc.joinpath("mountinfo").write_text(
            f"22 1 0:21 / /proc rw - proc proc rw\n31 22 0:26 / {self.top} rw - cgroup2 none rw\n"
        )
        self.fill(self.top)
        self.live_in("/main")

    def fill(self, folder: Path, **files: str) -> Path:
        folder.mkdir(exist_ok=True)
        usual = {"type": "domain", "procs": "", "controllers": "cpu memory\n"}
        for name, text in {**usual, "subtree_control": "", **files}.items():
            (folder / f"cgroup.{name}").write_text(text)
        return folder

    def live_in(self, path: str) -> None:
        (self.top / path[1:]).mkdir(exist_ok=True)
        (self.proc / "cgroup").write_text(f"4:memory:/old\n0::{path}\n")

    def delegated(self) -> Path | None:
        return delegated(self.proc)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ---- which one


def test_beside_this_program_in_the_topmost_cgroup_of_a_container(machine: Machine) -> None:
    assert machine.delegated() == machine.top
    assert (machine.top / "cgroup.subtree_control").read_text() == "+memory"


def test_a_controller_that_is_there_already_is_left_alone(machine: Machine) -> None:
    machine.fill(machine.top, subtree_control="cpu memory\n")
    assert machine.delegated() == machine.top
    assert (machine.top / "cgroup.subtree_control").read_text() == "cpu memory\n"


def test_a_program_in_the_topmost_cgroup_itself_is_not_moved(machine: Machine) -> None:
    machine.live_in("/")
    assert machine.delegated() is None


def test_the_root_of_the_machine_is_delegated_to_nobody(machine: Machine) -> None:
    (machine.top / "cgroup.type").unlink()
    assert machine.delegated() is None


def test_what_a_systemd_manages_is_its_own(machine: Machine) -> None:
    (machine.top / "init.scope").mkdir()
    assert machine.delegated() is None


def test_a_folder_further_below_counts_if_systemd_has_marked_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = machine.fill(machine.top / "my.service")
    machine.live_in("/my.service/main")
    assert machine.delegated() is None
    marks = {(service, "user.delegate"): b"1"}
    monkeypatch.setattr(os, "getxattr", lambda *of: marks[of])
    assert machine.delegated() == service


def test_without_the_controller_there_is_none(machine: Machine) -> None:
    machine.fill(machine.top, controllers="cpu hugetlb\n")
    assert machine.delegated() is None


def test_what_cannot_be_written_is_not_delegated(machine: Machine) -> None:
    (machine.top / "cgroup.procs").unlink()
    assert machine.delegated() is None


def test_a_worker_with_a_limit_makes_no_cgroup_beside_its_own(machine: Machine) -> None:
    """Its limit would not hold for the worker in there."""
    machine.live_in("/procorch-12-1")
    assert machine.delegated() is None


@pytest.mark.parametrize("place", ["4:memory:/old\n", "0::/../main\n", ""])
def test_a_place_that_is_not_shown_is_not_delegated(machine: Machine, place: str) -> None:
    (machine.proc / "cgroup").write_text(place)
    assert machine.delegated() is None


def test_a_mount_that_shows_a_part_is_read_as_such(machine: Machine) -> None:
    part = f"31 22 0:26 /pod/one {machine.top} rw - cgroup2 cgroup2 rw\n"
    (machine.proc / "mountinfo").write_text(part)
    assert machine.delegated() is None, "this process is elsewhere"
    (machine.proc / "cgroup").write_text("0::/pod/one/main\n")
    assert machine.delegated() == machine.top


# ---- what is done with it


def test_the_limit_and_the_common_end_are_set(tmp_path: Path) -> None:
    made = Cgroup(tmp_path / "a", 100 * MIB)
    assert (made.path / "memory.max").read_text() == str(100 * MIB)
    assert (made.path / "memory.oom.group").read_text() == "1"
    made.end()
    assert (made.path / "cgroup.kill").read_text() == "1"


def test_only_a_kill_for_this_limit_is_an_overrun(tmp_path: Path) -> None:
    made = Cgroup(tmp_path / "a", 100 * MIB)
    assert made.overrun() is None
    events = made.path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\noom_group_kill 0\n")
    assert made.overrun() is None
    events.write_text("max 9\noom 0\noom_kill 1\n")  # the machine had no memory left
    assert made.overrun() is None
    events.write_text("max 9\noom 1\noom_kill 1\n")
    assert made.overrun() == 100 * MIB
    (made.path / "memory.peak").write_text(f"{101 * MIB}\n")
    assert made.overrun() == 101 * MIB


def test_a_refusal_of_the_kernel_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "delegated", lambda: tmp_path)

    def refuse(*args: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert Cgroups().make(100 * MIB) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_has_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "delegated", lambda: tmp_path)
    gone, mine, other = (
        tmp_path / name for name in (f"procorch-{1 << 23}-1", f"procorch-{os.getpid()}-x", "main")
    )
    for each in (gone, mine, other):
        each.mkdir()
    made = Cgroups().make(100 * MIB)
    assert made is not None
    assert {*tmp_path.iterdir()} == {mine, other, made.path}


# ---- with real workers


def places() -> Any:
    def handle(item):
        import subprocess
        import sys

        code = "print(open('/proc/self/cgroup').read(), flush=True); import time; time.sleep(600)"
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        place = list(iter(child.stdout.readline, "\n"))
        with open("/proc/self/cgroup") as file:
            return [file.read().splitlines()[-1], place[-1].strip()], child.pid

    return handle


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path | None]:
    """A cgroup for the test, without a controller; None: this system gives none to this user."""
    found: Path | None = None
    try:
        found = cgroup._place(Path("/proc/self"))[1] / f"procorch-test-{os.getpid()}"
        found.mkdir()
    except (OSError, ValueError):
        found = None
    monkeypatch.setattr(cgroup, "delegated", lambda: found)
    monkeypatch.setattr(cgroup, "_LIMIT_FILE", "cgroup.max.descendants")
    yield found
    if found is not None:
        found.rmdir()


@METHODS
def test_a_worker_and_its_children_are_in_its_cgroup_and_end_with_it(
    orchestrator: Orchestrator, real: Path | None, method: str
) -> None:
    orch = orchestrator(start_method=method)
    orch.add_agent("a", places, memory_limit="500M")
    handle = orch.spawn("a")
    first, child = handle.deliver(0).result().output
    pidfd = os.pidfd_open(child)
    if real is None:
        mine = Path("/proc/self/cgroup").read_text().splitlines()[-1]
        assert first == [mine, mine]
    else:
        (folder,) = [each for each in real.iterdir() if each.is_dir()]
        assert first[0] == first[1]
        assert first[0].endswith(f"/{real.name}/{folder.name}")
        assert (folder / "cgroup.max.descendants").read_text().strip() == str(500 * MIB)
    handle.restart()
    second, _ = handle.deliver(0).result().output
    assert (first != second) == (real is not None)
    orch.close()
    if real is not None:
        assert has_ended(pidfd, 10)
        assert [each for each in real.iterdir() if each.is_dir()] == []
    os.close(pidfd)


def test_a_kill_by_the_kernel_for_the_limit_has_its_name(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "delegated", lambda: tmp_path)

    def factory():
        import os
        import pathlib
        import signal

        def handle(folder):
            (own,) = pathlib.Path(folder).iterdir()
            assert (own / "cgroup.procs").read_text() == "0"
            (own / "memory.peak").write_text("104861696\n")
            (own / "memory.events").write_text("oom 1\noom_kill 2\n")
            os.kill(os.getpid(), signal.SIGKILL)

        return handle

    orch = orchestrator()
    orch.add_agent("a", factory, memory_limit="100M", retries=0)
    error = orch.spawn("a").deliver(str(tmp_path)).exception(30)
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.limit, error.observed, error.signal) == (100 * MIB, 104861696, "SIGKILL")


@METHODS
def test_the_kernel_keeps_the_limit_where_it_is_delegated_and_samples_do_elsewhere(
    orchestrator: Orchestrator, method: str
) -> None:
    def factory():
        import threading

        def handle(size):
            if size:
                kept = b"x" * size
                threading.Event().wait()
                return len(kept)
            with open("/proc/self/cgroup") as file:
                return file.read()

        return handle

    orch = orchestrator(start_method=method)
    orch.add_agent("a", factory, memory_limit="100M", retries=0)
    handle = orch.spawn("a")
    place = handle.deliver(0).result().output
    parent = delegated()
    if parent is None:
        assert place == Path("/proc/self/cgroup").read_text()
    else:
        folder = parent / place.splitlines()[-1].rpartition("/")[2]
        assert (folder / "memory.max").read_text().strip() == str(100 * MIB)
    error = handle.deliver(300 * MIB).exception(30)
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit == 100 * MIB
