"""`reload`: the next release takes over instance by instance, or nothing changes (N19)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from procorch import (
    AgentOrchestrator,
    AgentStopped,
    Backoff,
    DefaultSupervisor,
    PluginError,
    Reloaded,
    ReloadError,
    ReloadFailed,
    Reloading,
    Shutdown,
    StartError,
)
from procorch.api.rolling import RollingChange
from procorch.supervision.notices import BackingOff
from tests.process.conftest import PATIENCE, Gate

Make = Callable[..., AgentOrchestrator]
Write = Callable[[str, str], None]
Load = Callable[[str, str], ModuleType]

CODE = """
import os, time

VERSION = {version!r}

def factory():
    {first}

    def handle(x):
        if x == "die":
            os.kill(os.getpid(), 9)
        return VERSION, os.getpid()

    return handle
"""
QUICK = Shutdown(cooperate=0.05, interrupt=0.05, grace=1.0, terminate=0.2, kill=5.0)


def code(version: int, first: str = "pass") -> str:
    return CODE.format(version=version, first=first)


@pytest.fixture(autouse=True)
def zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORCH_START_METHOD", "zygote")


def zygotes() -> set[int]:
    """The zygotes of this process, without their branches."""
    return {
        each.pid for each in psutil.Process().children() if "zygote" in " ".join(each.cmdline())
    }


def wait_for_the_end_of(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            assert select.select([fd], [], [], 30)[0], f"process {pid} is left"
            os.close(fd)


@pytest.mark.parametrize("replace", ["start_first", "stop_first"])
def test_requests_over_reloads_are_answered_without_an_error(
    replace: Any, orchestrator: Make, write: Write, load: Load
) -> None:
    module = load("steady", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory, instances=2)
    handle = orch.spawn("a")
    seen: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            seen.append(handle.deliver("go").result().output[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for version in (2, 3):
            write("steady", code(version))
            assert orch.reload(replace=replace) == version
            assert handle.deliver("go").result().output[0] == version
    finally:
        over.set()
        asking.join()
    assert set(seen) <= {1, 2, 3}
    assert handle.info().release == 3
    assert handle.info().restarts == 0


def test_the_old_process_finishes_its_request_and_the_new_one_takes_over(
    orchestrator: Make, load: Load, write: Write, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = (
        f"def factory():\n    return lambda x: x == 'work' and (open({str(fifo)!r}).read(), {{}})\n"
    )
    module = load("busy", text.format(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    stream = orch.monitor("a", requests=False)
    old = handle.pid
    working = handle.deliver("work")
    write("busy", text.format(2))
    reloading = threading.Thread(target=orch.reload)
    reloading.start()
    events = iter(stream)
    assert next(events).as_dict()["release"] == 2  # Reloading
    waiting = handle.deliver("work")
    assert handle.pid == old
    with open(fifo, "w") as file:
        file.write("old")
    assert working.result().output == ("old", 1)
    with open(fifo, "w") as file:
        file.write("new")
    assert waiting.result().output in (("new", 1), ("new", 2))
    reloading.join()
    last = handle.deliver("work")
    with open(fifo, "w") as file:
        file.write("last")
    assert last.result().output == ("last", 2)
    assert handle.pid != old
    assert not psutil.pid_exists(old or 0)


def test_broken_code_changes_nothing(orchestrator: Make, load: Load, write: Write) -> None:
    module = load("fragile", code(1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    before, pid = zygotes(), handle.pid
    events = orch.events()
    for text, reason in (
        ("def broken(:\n", "SyntaxError"),
        (code(2, "1 / 0"), "ZeroDivisionError"),
    ):
        write("fragile", text)
        with pytest.raises(ReloadError, match="the one before serves on") as caught:
            orch.reload("a")
        assert (caught.value.agent, caught.value.instance) == ("a", 0)
        assert reason in caught.value.remote_traceback
        assert isinstance(caught.value.__cause__, StartError)
        assert handle.deliver("go").result().output == (1, pid)
    info = handle.info()
    assert (info.release, info.generation, info.restarts) == (1, 1, 0)
    handle.deliver("die").exception()
    assert handle.deliver("go").result().output[0] == 1
    wait_for_the_end_of(zygotes() - before)
    write("fragile", code(4))
    assert orch.reload("a") == 4
    assert handle.deliver("go").result().output[0] == 4
    told = []
    for event in events:
        if isinstance(event, Reloading | Reloaded | ReloadFailed):
            told.append((type(event), event.release))
            if isinstance(event, Reloaded):
                break
    failures = [(Reloading, 2), (ReloadFailed, 2), (Reloading, 3), (ReloadFailed, 3)]
    assert told == [*failures, (Reloading, 4), (Reloaded, 4)]


@pytest.mark.parametrize("replace", ["start_first", "stop_first"])
def test_instances_that_were_replaced_go_back_when_a_later_one_fails(
    replace: Any, orchestrator: Make, load: Load, write: Write, tmp_path: Path
) -> None:
    module = load("later", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory, instances=3)
    handle = orch.spawn("a")
    count = tmp_path / "count"
    third = f"open({str(count)!r}, 'a').write('.'); assert os.path.getsize({str(count)!r}) < 3"
    write("later", code(2, third))
    with pytest.raises(ReloadError, match="AssertionError") as caught:
        orch.reload(replace=replace)
    assert caught.value.instance == 2
    assert {handle.deliver("go").result().output[0] for _ in range(12)} == {1}
    assert [row.release for row in handle.info().instances] == [1, 1, 1]
    assert count.read_text() == "..."


def test_state_goes_over_by_checkpoint_and_the_old_process_has_ended_by_then(
    orchestrator: Make, load: Load, write: Write
) -> None:
    text = """
import os
from procorch import current

def factory():
    before, parent = current().restored or (0, 0)
    alive = parent and os.path.exists(f"/proc/{{parent}}")

    def handle(x):
        current().checkpoint((before + 1, os.getpid()))
        return {}, before, alive

    return handle
"""
    module = load("remembering", text.format(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    assert handle.deliver("go").result().output == (1, 0, 0)
    write("remembering", text.format(2))
    orch.reload()
    assert handle.deliver("go").result().output == (2, 1, False)


STORING = """
from procorch import current

class Agent:
    def __init__(self):
        self.restored = current().restored
        {first}

    def handle(self, x):
        current().checkpoint(x)
        return self.restored

    def close(self):
        {last}

factory = Agent
"""


@pytest.mark.parametrize("replace", ["start_first", "stop_first"])
def test_a_checkpoint_of_a_new_process_that_does_not_start_is_dropped(
    replace: Any, orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("storing", STORING.format(first="pass", last="pass"))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    handle.deliver(["old"]).result()
    write("storing", STORING.format(first="current().checkpoint(['new']); 1 / 0", last="pass"))
    with pytest.raises(ReloadError, match="ZeroDivisionError"):
        orch.reload(replace=replace)
    handle.restart()
    assert handle.deliver(["old"]).result().output == ["old"]


def test_the_checkpoint_of_the_new_process_stays_when_the_old_one_stores_its_own(
    orchestrator: Make, load: Load, write: Write
) -> None:
    last = "current().checkpoint(['too late'])"
    module = load("storing_late", STORING.format(first="pass", last=last))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    write("storing_late", STORING.format(first="current().checkpoint(['new'])", last="pass"))
    orch.reload()
    write("storing_late", STORING.format(first="pass", last="pass"))
    orch.reload(replace="start_first")
    assert handle.deliver(["newer"]).result().output == ["new"]


def test_a_process_that_crashes_during_a_reload_is_followed_by_the_new_release(
    orchestrator: Make, load: Load, write: Write, tmp_path: Path
) -> None:
    module = load("crashing", code(1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    write("crashing", code(2, f"open({str(fifo)!r}).read()"))
    reloading = threading.Thread(target=orch.reload)
    reloading.start()
    with open(fifo, "w"):  # the new process builds its agent
        handle.deliver("die").exception()
        waiting = handle.deliver("go")
    assert waiting.result().output[0] == 2
    reloading.join()
    assert (handle.generation, handle.info().release) == (2, 2)


HOLDING = """
import os
from procorch import current

def factory():
    {first}

    def handle(x):
        if x == "die":
            os.kill(os.getpid(), 9)
        return current().ask("b", x)

    return handle
"""


def test_a_permit_of_a_new_process_that_does_not_start_comes_back(
    orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("permitted", HOLDING.format(first="pass"))
    orch = orchestrator()
    orch.limit("service", concurrent=1)
    orch.add_agent("a", module.factory)
    orch.spawn("a")
    write("permitted", HOLDING.format(first="current().limit('service').__enter__(); 1 / 0"))
    with pytest.raises(ReloadError, match="ZeroDivisionError"):
        orch.reload()
    assert orch.limits()["service"].under_way == 0


def answerer(asked: Gate, answer: Gate) -> Callable[[], Any]:
    """An agent that says who has asked, and waits for the test before it answers."""
    tell, wait = asked.tell, answer.wait

    def factory() -> Any:
        def handle(x: list[str]) -> str:
            tell(x[0])
            wait()
            return f"answer to {x[0]}"

        return handle

    return factory


def test_the_death_of_the_old_process_takes_nothing_from_the_new_one(
    orchestrator: Make, load: Load, write: Write, gate: Callable[[], Gate]
) -> None:
    asked, answer = gate(), gate()
    module = load("taken", HOLDING.format(first="pass"))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.limit("service", concurrent=1)
    orch.add_agent("a", module.factory)
    orch.add_agent("b", answerer(asked, answer))
    handle, _ = orch.spawn("a"), orch.spawn("b")
    first = "with current().limit('service'): current().ask('b', ['the new one'])"
    write("taken", HOLDING.format(first=first))
    reloading = threading.Thread(target=orch.reload)
    reloading.start()
    assert asked.line() == "the new one"
    handle.deliver("die").exception()
    assert orch.limits()["service"].under_way == 1
    answer.open()
    reloading.join()
    assert (handle.generation, handle.info().release) == (2, 2)
    assert orch.limits()["service"].under_way == 0


def test_both_processes_of_an_instance_may_ask_at_the_same_time(
    orchestrator: Make, load: Load, write: Write, gate: Callable[[], Gate]
) -> None:
    asked, answer = gate(), gate()
    module = load("asking", HOLDING.format(first="pass"))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    orch.add_agent("b", answerer(asked, answer), instances=2)
    handle, _ = orch.spawn("a"), orch.spawn("b")
    old = handle.deliver(["the old one"])
    assert asked.line() == "the old one"
    write("asking", HOLDING.format(first="current().ask('b', ['the new one'])"))
    reloading = threading.Thread(target=orch.reload)
    reloading.start()
    assert asked.line() == "the new one"
    answer.open(2)
    assert old.result(PATIENCE).output == "answer to the old one"
    reloading.join()
    assert handle.info().release == 2


def test_an_agent_that_waits_for_its_restart_is_reloaded_at_once(
    orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("waiting", code(1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", module.factory, backoff=Backoff(initial=600, cap=600, reset_after=1200))
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    for _ in range(2):  # the first restart comes at once
        handle.deliver("die").exception()
    next(event for event in stream if isinstance(event, BackingOff))
    waiting = handle.deliver("go")
    write("waiting", code(2))
    orch.reload()
    assert waiting.result().output[0] == 2


@pytest.fixture
def with_one_more(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """A reload calls a function when all instances that it has found are replaced."""

    def install(add: Callable[[], None]) -> None:
        replace = RollingChange.run

        def run(change: Any) -> None:
            replace(change)
            monkeypatch.setattr(RollingChange, "run", replace)
            add()

        monkeypatch.setattr(RollingChange, "run", run)

    return install


def test_an_instance_that_is_added_at_the_last_moment_is_replaced(
    orchestrator: Make, load: Load, write: Write, with_one_more: Any
) -> None:
    module = load("added", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    write("added", code(2))
    with_one_more(lambda: orch.scale("a", 2))
    orch.reload()
    assert [row.release for row in handle.info().instances] == [2, 2]
    orch.scale("a", 3)
    assert [row.release for row in handle.info().instances] == [2, 2, 2]


def test_an_instance_that_is_added_at_the_last_moment_may_end_the_reload(
    orchestrator: Make, load: Load, write: Write, with_one_more: Any, tmp_path: Path
) -> None:
    module = load("added_badly", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    count = tmp_path / "count"
    second = f"open({str(count)!r}, 'a').write('.'); assert os.path.getsize({str(count)!r}) < 2"
    write("added_badly", code(2, second))
    with_one_more(lambda: orch.scale("a", 2))
    with pytest.raises(ReloadError) as caught:
        orch.reload()
    assert caught.value.instance == 1
    assert [row.release for row in handle.info().instances] == [1, 1]
    orch.scale("a", 3)
    assert [row.release for row in handle.info().instances] == [1, 1, 1]


def test_a_second_reload_at_the_same_time_is_refused(
    orchestrator: Make, load: Load, write: Write, tmp_path: Path
) -> None:
    module = load("twice", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    write("twice", code(2, f"open({str(fifo)!r}).read()"))
    reloading = threading.Thread(target=orch.reload)
    reloading.start()
    with open(fifo, "w"), pytest.raises(ReloadError, match="another reload is under way"):
        orch.reload("a")
    reloading.join()
    assert handle.info().release == 2


def test_a_reload_that_takes_too_long_is_given_up(
    orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("slow", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory, shutdown=QUICK)
    handle = orch.spawn("a")
    pid = handle.pid
    write("slow", code(2, "time.sleep(600)"))
    with pytest.raises(ReloadError, match="not done within 1 s"):
        orch.reload(timeout=1)
    assert handle.deliver("go").result().output == (1, pid)
    with pytest.raises(ReloadError, match="not done within 1 s"):
        orch.reload(timeout=1, replace="stop_first")
    assert handle.deliver("go").result().output[0] == 1


def test_a_close_ends_a_reload(
    orchestrator: Make, load: Load, write: Write, tmp_path: Path
) -> None:
    module = load("closing", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory, shutdown=QUICK)
    orch.spawn("a")
    begun = tmp_path / "fifo"
    os.mkfifo(begun)
    write("closing", code(2, f"open({str(begun)!r}).read(); time.sleep(600)"))
    errors: list[BaseException] = []

    def reload() -> None:
        try:
            orch.reload()
        except AgentStopped as error:
            errors.append(error)

    reloading = threading.Thread(target=reload)
    reloading.start()
    begun.write_text("go")
    orch.close()
    reloading.join()
    assert len(errors) == 1
    with pytest.raises(AgentStopped):
        orch.reload()


def test_a_crash_after_a_reload_stays_on_the_new_release(
    orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("deployed2", code(1))
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    before = zygotes()
    write("deployed2", code(2))
    orch.reload()
    write("deployed2", "half a file (")
    handle.deliver("die").exception()
    assert handle.deliver("go").result().output[0] == 2
    wait_for_the_end_of(before)


def test_one_agent_is_reloaded_and_others_are_not(
    orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("one_of_two", code(1))
    orch = orchestrator()
    for name in ("a", "b", "later"):
        orch.add_agent(name, module.factory)
    a, b = orch.spawn("a"), orch.spawn("b")
    pid = b.pid
    write("one_of_two", code(2))
    assert orch.reload("a") == 2
    assert orch.reload("later") == 3
    assert a.deliver("go").result().output[0] == 2
    assert b.deliver("go").result().output == (1, pid)
    assert orch.spawn("later").deliver("go").result().output[0] == 2
    assert [orch.handle(name).info().release for name in ("a", "b", "later")] == [2, 1, 3]
    a.scale(2)
    assert [row.release for row in a.info().instances] == [2, 2]


def test_reload_without_blocking_the_event_loop(
    orchestrator: Make, load: Load, write: Write
) -> None:
    module = load("of_a_task", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    write("of_a_task", code(2))

    async def main() -> Any:
        release, _ = await asyncio.gather(orch.reload_async(), handle.deliver("go"))
        return release, (await handle.deliver("go")).output[0]

    assert asyncio.run(main()) == (2, 2)


def test_what_cannot_be_reloaded_is_refused(
    orchestrator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch = orchestrator()
    with pytest.raises(PluginError, match="not registered: a"):
        orch.reload("a")
    with pytest.raises(ValueError, match=r"replace='after'; known: start_first, stop_first"):
        orch.reload(replace="after")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        orch.reload(timeout=-1)
    with pytest.raises(ValueError, match=r"each process loads what is on disk: use restart\(\)"):
        orchestrator(start_method="spawn").reload()


def test_a_service_is_stopped_before_its_next_release_runs(
    orchestrator: Make, load: Load, write: Write, tmp_path: Path
) -> None:
    text = """
from procorch import current

def run():
    with open({path!r}, "a") as file:
        file.write("begins {version}\\n")
        file.flush()
        while not current().cancelled:
            current().progress()
        file.write("ends {version}\\n")
"""
    path = tmp_path / "told"
    module = load("serving", text.format(path=str(path), version=1))
    orch = orchestrator()
    orch.add_service("s", module.run)
    handle = orch.spawn("s")
    write("serving", text.format(path=str(path), version=2))
    orch.reload(replace="start_first")
    handle.stop()
    assert path.read_text().split("\n") == ["begins 1", "ends 1", "begins 2", "ends 2", ""]
