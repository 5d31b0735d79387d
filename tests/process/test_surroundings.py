"""What a worker takes over from the program: as it is when the worker is started, every time."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOrchestrator, DefaultSupervisor, OrchestratedHandle

PATIENCE = 90.0
Orchestrator = Callable[..., AgentOrchestrator]


@pytest.fixture(params=["zygote", "spawn"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PROCORCH_START_METHOD", request.param)
    return str(request.param)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o22)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.fixture
def files() -> Iterator[Callable[[int], None]]:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_CORE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_CORE, before)


def surroundings() -> Any:
    def handle(_: Any) -> dict[str, Any]:
        import sys

        mask = os.umask(0)
        os.umask(mask)
        return {
            "variables": {key: value for key, value in os.environ.items() if key[:5] == "TRIAL"},
            "folder": os.getcwd(),
            "argv": sys.argv,
            "path": sys.path[-1],
            "umask": mask,
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        }

    return handle


def test_a_worker_has_todays_surroundings_at_the_first_start_and_at_a_restart(
    method: str,
    orchestrator: Orchestrator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    umask: Callable[[int], int],
    files: Callable[[int], None],
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    path = sys.path
    for name in "ab":
        orch.add_agent(name, surroundings)

    def change(number: int) -> dict[str, Any]:
        folder = tmp_path / f"folder-{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("TRIAL", f"value {number}")
        monkeypatch.delenv(f"TRIAL_{number - 1}", raising=False)
        monkeypatch.setenv(f"TRIAL_{number}", "\udcff")
        monkeypatch.setattr(sys, "argv", ["program", f"--number={number}"])
        monkeypatch.setattr(sys, "path", [*path, f"/nowhere/{number}"])
        umask(0o70 + number)
        files(number * 4096)
        return {
            "variables": {"TRIAL": f"value {number}", f"TRIAL_{number}": "\udcff"},
            "folder": str(folder),
            "argv": ["program", f"--number={number}"],
            "path": f"/nowhere/{number}",
            "umask": 0o70 + number,
            "core": number * 4096,
        }

    def seen_by(handle: OrchestratedHandle) -> Any:
        return handle.deliver("x", timeout=PATIENCE).result().output

    first = change(1)
    handle = orch.spawn("a")
    assert seen_by(handle) == first
    second = change(2)
    assert seen_by(orch.spawn("b")) == second  # The zygote is as old as the first worker.
    assert seen_by(handle) == first
    third = change(3)
    crash = handle.deliver("x", timeout=PATIENCE)
    crash.result()
    handle.restart()
    assert seen_by(handle) == third


def test_a_folder_that_is_gone_stops_no_worker(
    method: str, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", lambda: lambda message: os.getpid())
    handle = orch.spawn("a")
    folder.rmdir()
    first = handle.deliver("x", timeout=PATIENCE).result().output
    handle.restart()
    assert handle.deliver("x", timeout=PATIENCE).result().output != first


def test_what_a_preloaded_module_has_changed_stays(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "changes_things.py").write_text("import os\nos.environ['TRIAL'] = 'by a module'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("TRIAL", raising=False)
    orch = orchestrator(
        supervisor=DefaultSupervisor(), start_method="zygote", preload=["changes_things"]
    )
    orch.add_agent("a", lambda: lambda message: os.environ.get("TRIAL"))
    handle = orch.spawn("a")
    assert handle.deliver("x", timeout=PATIENCE).result().output == "by a module"
    handle.restart()
    assert handle.deliver("x", timeout=PATIENCE).result().output == "by a module"


MANAGER = """
import multiprocessing, os, signal
from procorch import AgentOrchestrator, DefaultSupervisor

if __name__ == "__main__":
    policy = DefaultSupervisor()
    with multiprocessing.Manager() as manager, AgentOrchestrator(supervisor=policy) as orch:
        seen, calls, lock = manager.dict(), manager.Queue(), manager.Lock()

        def factory():
            seen["factory"] = seen.get("factory", 0) + 1

            def handle(message):
                kind, other = message
                if kind == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                with lock:
                    other.put(kind)
                return seen

            return handle

        orch.add_agent("a", factory)
        handle = orch.spawn("a")
        for number in (1, 2):
            back = handle.deliver((number, calls), timeout=20).result().output
            assert back.copy() == {"factory": number}, back.copy()
            assert calls.get(timeout=20) == number
            if number == 1:
                assert handle.deliver(("die", None), timeout=20).exception() is not None
    print("done")
"""


def test_proxies_of_a_manager_work_everywhere(method: str, run_python: Callable[..., Any]) -> None:
    done = run_python(MANAGER)
    assert done.stdout == "done\n", done.stderr


OWN_KEY = """
import multiprocessing
import multiprocessing.managers
import os
import signal

from procorch import AgentExecutor, AgentPool


class Counter:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n


class Manager(multiprocessing.managers.BaseManager):
    pass


Manager.register("Counter", Counter)


def add(counter):
    return counter.add()


def process_key():
    return bytes(multiprocessing.current_process().authkey)


if __name__ == "__main__":
    key = b"a key of its own"
    with Manager(authkey=key) as local, Manager(("127.0.0.1", 0), authkey=key) as remote:
        for counter in (local.Counter(), remote.Counter()):

            def factory():
                seen = []

                def handle(message):
                    if message is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    seen.append(counter.add() - message.add())
                    return message, seen

                return handle

            with AgentPool(factory, workers=1) as pool:
                for _ in range(2):
                    back, seen = pool.submit(counter).result(20).output
                    assert (back.add() % 3, seen) == (0, [-1])
                    assert pool.submit(None).exception(20) is not None
        once, again = remote.Counter(), remote.Counter()
        with AgentExecutor(1, initializer=add, initargs=(once,)) as executor:
            assert executor.submit(add, once).result(20) == 2
            shared = (manager := multiprocessing.Manager()).dict()
            multiprocessing.current_process().authkey = b"another one"
            assert executor.submit(add, again).result(20) == 1
            assert executor.submit(shared.update, {1: 2}).result(20) is None
            assert executor.submit(lambda: shared.copy()).result(20) == {1: 2}
        with AgentExecutor(1) as executor:
            assert executor.submit(process_key).result(20) == b"another one"
    print("done")
"""


def test_a_manager_may_have_a_key_of_its_own(method: str, run_python: Callable[..., Any]) -> None:
    done = run_python(OWN_KEY)
    assert done.stdout == "done\n", done.stderr


DILLS_KEY = """
import multiprocess
from multiprocess.managers import SyncManager
from procorch import AgentExecutor


def process_key():
    return bytes(multiprocess.current_process().authkey)


if __name__ == "__main__":
    with SyncManager() as manager, AgentExecutor(1) as executor:
        shared = manager.dict()
        assert executor.submit(shared.update, {1: 2}).result(20) is None
        assert executor.submit(process_key).result(20) == process_key()
        assert dict(shared) == {1: 2}
    print("done")
"""


def test_workers_have_the_key_of_a_program_that_uses_multiprocess(
    method: str, run_python: Callable[..., Any]
) -> None:
    done = run_python(DILLS_KEY)
    assert done.stdout == "done\n", done.stderr


def test_a_worker_is_ready_to_hide_secrets_before_its_agent_is_made(
    method: str, orchestrator: Callable[..., AgentOrchestrator]
) -> None:
    """When an error comes, there may be no memory left to make the patterns."""

    def factory() -> Callable[[Any], int]:
        from procorch.errors import redaction

        made: int = redaction.patterns.cache_info().currsize
        return lambda _: made

    orch = orchestrator(start_method=method)
    orch.add_agent("a", factory)
    assert orch.spawn("a").deliver(None).result().output == 1
