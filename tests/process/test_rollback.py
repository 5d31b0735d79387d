"""`rollback`: back to the release before the last reload, which was kept (N19)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psutil
import pytest

from procorch import AgentOrchestrator, PluginError, ReloadError, StartError
from tests.process.test_reload import code, wait_for_the_end_of, zygotes

Make = Callable[..., AgentOrchestrator]
Write = Callable[[str, str], None]
Load = Callable[[str, str], ModuleType]


@pytest.fixture(autouse=True)
def zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORCH_START_METHOD", "zygote")


def version(handle: Any) -> int:
    return int(handle.deliver("go").result().output[0])


def root_of(pid: int | None) -> int:
    """The zygote of the release of a worker."""
    branch = psutil.Process(pid).parent()
    assert branch is not None
    return branch.ppid()


def test_an_agent_goes_back_to_the_release_that_was_kept(
    orchestrator: Make, write: Write, load: Load
) -> None:
    module = load("kept", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory, instances=2)
    handle = orch.spawn("a")
    before = zygotes()
    write("kept", code(2))
    orch.reload(keep=True)
    assert version(handle) == 2
    write("kept", "this is no code\n")

    assert orch.rollback() == 1

    assert version(handle) == 1
    assert [row.release for row in handle.info().instances] == [1, 1]
    wait_for_the_end_of(zygotes() - before)
    assert handle.info().restarts == 0
    orch.scale("a", 3)
    handle.stop()
    again = orch.spawn("a")
    assert version(again) == 1
    with pytest.raises(ReloadError, match="there is no release that any agent could go back to"):
        orch.rollback()


def test_a_release_is_kept_until_the_next_reload(
    orchestrator: Make, write: Write, load: Load
) -> None:
    module = load("until", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    handle = orch.spawn("a")
    with pytest.raises(ReloadError, match="no release that agent 'a' could go back to"):
        orch.rollback("a")
    first = zygotes()
    orch.reload(keep=True)
    orch.reload(keep=True)
    wait_for_the_end_of(first)
    second = root_of(handle.pid)
    write("until", "this is no code\n")
    with pytest.raises(ReloadError):
        orch.reload()
    assert orch.rollback() == 2  # a reload that failed has kept it
    wait_for_the_end_of({second})
    write("until", code(4))
    assert orch.reload() == 5
    assert version(handle) == 4
    with pytest.raises(ReloadError, match="was without keep=True"):
        orch.rollback("a")
    with pytest.raises(PluginError, match="not registered: nobody"):
        orch.rollback("nobody")


def test_agents_go_back_on_their_own_or_together(
    orchestrator: Make, write: Write, load: Load
) -> None:
    module = load("several", code(1))
    orch = orchestrator()
    for name in "abc":
        orch.add_agent(name, module.factory)
    handles = {name: orch.spawn(name) for name in "abc"}
    for number in (2, 3):
        write("several", code(number))
        orch.reload("a", keep=True)
    orch.reload("b", keep=True)
    orch.rollback("b")
    assert {name: version(handle) for name, handle in handles.items()} == {"a": 3, "b": 1, "c": 1}
    asyncio.run(orch.rollback_async())
    assert {name: version(handle) for name, handle in handles.items()} == {"a": 2, "b": 1, "c": 1}


def test_agents_that_are_added_go_where_the_others_are(
    orchestrator: Make, write: Write, load: Load
) -> None:
    module = load("adding", code(1))
    orch = orchestrator()
    orch.add_agent("a", module.factory)
    orch.spawn("a")
    write("adding", code(2))
    orch.reload(keep=True)
    orch.add_agent("new", module.factory)
    new = orch.spawn("new")
    orch.rollback()
    assert version(new) == 2
    orch.add_agent("later", module.factory)
    assert version(orch.spawn("later")) == 1


def test_a_release_that_does_not_start_any_more_changes_nothing(
    orchestrator: Make, write: Write, load: Load, tmp_path: Any
) -> None:
    first = f"""
    if os.path.exists({str(tmp_path / "broken")!r}):
        raise ValueError("it worked yesterday")
"""
    module = load("broken", code(1, first))
    orch = orchestrator()
    orch.add_agent("a", module.factory, instances=2)
    handle = orch.spawn("a")
    write("broken", code(2))
    orch.reload(keep=True)
    (tmp_path / "broken").touch()
    with pytest.raises(ReloadError, match="release 1 was given up") as caught:
        orch.rollback(timeout=30)
    assert isinstance(caught.value.__cause__, StartError)
    assert version(handle) == 2
    (tmp_path / "broken").unlink()
    assert orch.rollback(replace="stop_first") == 1
    assert version(handle) == 1


def test_without_a_zygote_there_is_nothing_to_go_back_to(orchestrator: Make) -> None:
    orch = orchestrator(start_method="spawn")
    with pytest.raises(ValueError, match=r"rollback\(\) works with start_method='zygote'"):
        orch.rollback()
