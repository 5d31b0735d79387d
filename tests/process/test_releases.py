"""Releases (N19): an agent's code is loaded once, whatever is on disk meanwhile."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from procorch import AgentCrashed, AgentOrchestrator, DefaultSupervisor, Shutdown, StartError

Make = Callable[..., AgentOrchestrator]
Write = Callable[[str, str], None]

VERSIONED = """
VERSION = {version!r}

def factory():
    import os

    def handle(x):
        if x == "die":
            os.kill(os.getpid(), 9)
        return VERSION

    return handle
"""
QUICK = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=0.2, kill=0.5)


@pytest.fixture(autouse=True)
def zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORCH_START_METHOD", "zygote")


def factory_of(name: str) -> Callable[[], Any]:
    """The factory of a module that this process does not import, by its name."""
    module = ModuleType(name)

    def factory() -> Any:
        raise AssertionError

    factory.__module__ = name
    factory.__qualname__ = "factory"
    module.factory = factory  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.PathFinder.find_spec(name)
    assert module.__spec__ is not None
    module.__file__ = module.__spec__.origin
    sys.modules[name] = module
    return factory


def test_a_crash_in_the_middle_of_a_deployment_restarts_on_the_release(
    orchestrator: Make, write: Write, load: Callable[[str, str], ModuleType]
) -> None:
    module = load("deployed", VERSIONED.format(version=1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    assert handle.deliver("go").result().output == 1
    for on_disk in (VERSIONED.format(version=2), "def factory(:\n", ""):
        write("deployed", on_disk)
        assert isinstance(handle.deliver("die").exception(), AgentCrashed)
        assert handle.deliver("go").result().output == 1
    handle.restart()
    assert handle.deliver("go").result().output == 1
    assert handle.generation == 5


def test_modules_that_its_module_imports_belong_to_the_release(
    orchestrator: Make, write: Write, load: Callable[[str, str], ModuleType]
) -> None:
    write("helping", "VALUE = 'old'")
    module = load("helped", "import helping\ndef factory():\n    return lambda x: helping.VALUE")
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    write("helping", "VALUE = 'new'")
    handle.restart()
    assert handle.deliver("go").result().output == "old"


def test_agents_of_one_module_are_forked_from_one_zygote(
    orchestrator: Make, load: Callable[[str, str], ModuleType]
) -> None:
    text = "import os\nPID = os.getpid()\ndef factory():\n    return lambda x: (PID, os.getppid())"
    module = load("shared", text)
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    orch.add_agent("b", module.factory)
    orch.add_agent("other", module.factory, env={"SET": "1"})
    first = orch.spawn("a").deliver("go").result().output
    second = orch.spawn("b").deliver("go").result().output
    other = orch.spawn("other").deliver("go").result().output
    assert first == second
    assert first[0] == first[1]
    assert other[0] == other[1] != first[0]


def test_a_module_is_imported_with_the_settings_of_its_agent(
    orchestrator: Make, load: Callable[[str, str], ModuleType], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "below").mkdir()
    text = """
import os, sys
SEEN = os.environ.get("MODE"), os.getcwd()
os.environ["MODE"] = "changed by the module"
sys.path.append("/of/the/module")

def factory():
    return lambda x: (SEEN, os.environ["MODE"], os.getcwd(), "/of/the/module" in sys.path)
"""
    module = load("settled", text)
    monkeypatch.chdir(tmp_path)
    orch = orchestrator()
    orch.add_agent("a", module.factory, env={"MODE": "given"}, cwd="below")
    handle = orch.spawn("a")
    below = str(tmp_path / "below")
    for _ in range(2):
        seen, mode, folder, found = handle.deliver("go").result().output
        assert seen == ("given", below)
        assert (mode, folder, found) == ("changed by the module", below, True)
        monkeypatch.setenv("MODE", "of the program, later")
        handle.restart()


def test_a_module_that_does_not_import_fails_its_agent_alone(
    orchestrator: Make, write: Write, load: Callable[[str, str], ModuleType]
) -> None:
    good = load("healthy", VERSIONED.format(version=1))
    write("broken", "def fall():\n    raise KeyError('the reason')\nfall()\n")
    orch = orchestrator()
    orch.add_agent("good", good.factory)
    orch.add_agent("bad", factory_of("broken"))
    handle = orch.spawn("good")
    with pytest.raises(StartError) as caught:
        orch.spawn("bad")
    assert "KeyError: 'the reason'" in caught.value.remote_traceback
    assert "in fall" in caught.value.remote_traceback
    assert handle.generation == 1
    write("broken", VERSIONED.format(version=7))
    assert orch.spawn("bad").deliver("go").result().output == 7


def test_a_module_that_ends_its_process_fails_its_agent_alone(
    orchestrator: Make, write: Write, load: Callable[[str, str], ModuleType]
) -> None:
    good = load("healthy2", VERSIONED.format(version=1))
    write("deadly", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    orch = orchestrator()
    orch.add_agent("good", good.factory)
    orch.add_agent("bad", factory_of("deadly"))
    handle = orch.spawn("good")
    zygote = psutil.Process(handle.pid).ppid()
    with pytest.raises(StartError, match="killed by SIGSEGV"):
        orch.spawn("bad")
    handle.restart()
    assert handle.generation == 2
    assert psutil.Process(handle.pid).ppid() == zygote


def test_a_module_whose_import_hangs_delays_no_other_agent(
    orchestrator: Make, watched: Callable[..., Any], write: Write,
    load: Callable[[str, str], ModuleType], tmp_path: Path,
) -> None:  # fmt: skip
    good = load("healthy3", VERSIONED.format(version=1))
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    write(
        "hanging",
        f"import os, time\nopen({str(begun)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n",
    )
    orch = orchestrator()
    orch.add_agent("good", good.factory)
    orch.add_agent("bad", factory_of("hanging"), start_timeout=3.0, shutdown=QUICK)
    bad = orch.spawn("bad", wait=False)
    hanging = watched(int(begun.read_text()))
    assert orch.spawn("good").deliver("go").result().output == 1
    assert bad.info().state == "STARTING"
    bad.wait()
    assert "not ready within 3 s" in str(bad.failure())
    assert hanging.alive(within=10) == []


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("threading.Thread(target=time.sleep, args=(600,), daemon=True).start()", "a thread"),
        ("CHILD = subprocess.Popen(['sleep', '600'])", "a process"),
        ("signal.signal(signal.SIGTERM, lambda *a: os._exit(0))", r"a signal \(SIGTERM\)"),
    ],
    ids=["thread", "process", "signal"],
)
def test_what_no_fork_can_share_is_imported_by_each_worker(
    statement: str, why: str, orchestrator: Make, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"import os, signal, subprocess, threading, time\n{statement}\n" + VERSIONED
    write("unfit", text.format(version=1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory_of("unfit"), shutdown=QUICK)
    with caplog.at_level(logging.WARNING, "procorch"):
        handle = orch.spawn("a")
        assert handle.deliver("go").result().output == 1
        write("unfit", text.format(version=2))
        handle.restart()
        assert handle.deliver("go").result().output == 2
    (warning,) = [each.getMessage() for each in caplog.records if "unfit" in each.getMessage()]
    assert "belongs to no release" in warning
    assert pytest.importorskip("re").search(why, warning)


def test_what_a_module_prints_is_output_of_the_agent_that_needed_it(
    orchestrator: Make, load: Callable[[str, str], ModuleType]
) -> None:
    text = "import sys\nprint('to out')\nprint('to err', file=sys.stderr)\n" + VERSIONED
    module = load("printing", text.format(version=1))
    orch = orchestrator()
    orch.add_agent("a", module.factory, output="capture")
    handle = orch.spawn("a")
    handle.deliver("go").result()
    assert handle.output("stdout") == "to out\n"
    assert handle.output("stderr") == "to err\n"


def test_exit_handlers_of_a_module_run_in_its_workers(orchestrator: Make, write: Write) -> None:
    text = "import atexit\natexit.register(print, 'good bye')\n" + VERSIONED
    write("leaving", text.format(version=1))
    orch = orchestrator()
    orch.add_agent("a", factory_of("leaving"), output="capture")
    handle = orch.spawn("a")
    handle.restart()
    handle.stop()
    assert handle.output("stdout") == "good bye\n" * 2


def test_a_factory_by_its_path_belongs_to_a_release(
    orchestrator: Make, tmp_path: Path, write: Write
) -> None:
    from procorch.agents.apps import App

    write("by_path", VERSIONED.format(version=1))
    orch = orchestrator()
    orch.add_agent("a", App.parse(f"{tmp_path}/by_path.py:factory"))
    handle = orch.spawn("a")
    write("by_path", VERSIONED.format(version=2))
    handle.restart()
    assert handle.deliver("go").result().output == 1


def test_services_by_their_names_belong_to_a_release_and_share_its_zygote(
    orchestrator: Make, write: Write, tmp_path: Path
) -> None:
    """One is a plain function, one is async; what ``preload`` names is imported before them."""
    from procorch.agents.apps import App

    def text(version: int) -> str:
        return f"""
import asyncio, os, sys, time
import procorch

LOADED = os.getpid()

def said(kind):
    first = list(sys.modules).index("heavy") < list(sys.modules).index("looping")
    print(kind, {version}, LOADED == os.getppid(), first, flush=True)
    procorch.current().ready()

def plain():
    said("plain")
    while not procorch.current().cancelled:
        time.sleep(0.005)

async def tasks():
    said("async")
    while not procorch.current().cancelled:
        await asyncio.sleep(0.005)
"""

    write("heavy", "")
    write("looping", text(1))
    orch = orchestrator()
    for name in ("plain", "tasks"):
        run = replace(App.parse(f"{tmp_path}/looping.py:{name}"), preload=("heavy",))
        orch.add_service(name, run, says_ready=True, output="capture")
    plain, tasks = orch.spawn("plain"), orch.spawn("tasks")
    write("looping", text(2))
    plain.restart()

    assert plain.output("stdout") == "plain 1 True True\n" * 2
    assert tasks.output("stdout") == "async 1 True True\n"
    parents = {psutil.Process(handle.pid).ppid() for handle in (plain, tasks)}
    assert len(parents) == 1
    orch.reload("plain")
    assert plain.output("stdout").splitlines()[-1] == "plain 2 True True"


def test_a_module_to_preload_that_does_not_import_is_named(
    orchestrator: Make, write: Write, tmp_path: Path
) -> None:
    from procorch.agents.apps import App

    write("by_path", VERSIONED.format(version=1))
    orch = orchestrator()
    app = replace(App.parse(f"{tmp_path}/by_path.py:factory"), preload=("no_such_module",))
    orch.add_agent("a", app)
    with pytest.raises(StartError, match="preload: 'no_such_module' does not import"):
        orch.spawn("a")


def test_a_zygote_that_dies_takes_its_release_along_and_says_so(
    orchestrator: Make, load: Callable[[str, str], ModuleType], write: Write,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    module = load("lost", VERSIONED.format(version=1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    branch = psutil.Process(handle.pid).parent()
    assert branch is not None
    root = branch.parent()
    assert root is not None
    stream = orch.monitor("a")
    branch.kill()
    crash = next(event for event in stream if type(event).__name__ == "Crashed")
    assert f"its zygote (pid {branch.pid}) was killed by SIGKILL" in str(crash.error)
    assert handle.deliver("go").result().output == 1
    write("lost", VERSIONED.format(version=2))
    root.send_signal(signal.SIGKILL)
    crash = next(event for event in stream if type(event).__name__ == "Crashed")
    assert f"its zygote (pid {root.pid}) was killed by SIGKILL" in str(crash.error)
    with caplog.at_level(logging.WARNING, "procorch"):
        assert handle.deliver("go").result().output == 2
    assert "the zygote of release 1 has died" in caplog.text
