"""The keeper of the agents without a process: what happens between its look and a start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from procorch.daemon.member import member_of
from procorch.daemon.specs import AgentSpec
from procorch.daemon.tree import Tree


class Orchestrator:
    """Notes what is started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def spawn(self, name: str, parent: Any, *, wait: bool) -> Any:
        self.started.append(name)
        return SimpleNamespace(name=name)

    def remove(self, name: str) -> None:
        pass


class Registrar:
    """Calls a function when the first agent is about to start."""

    def __init__(self) -> None:
        self.at_the_start: Callable[[], None] = lambda: None

    def add(self, spec: AgentSpec) -> None:
        pass

    def renew(self, spec: AgentSpec, size: int) -> None:
        if spec.name == "first":
            self.at_the_start()


@pytest.mark.parametrize("change", ["stopped", "removed", "scaled to 0"])
def test_an_agent_is_not_started_when_that_has_changed_in_the_last_moment(change: str) -> None:
    """The keeper has found both due, and starts the first one."""
    orchestrator, registrar, over = Orchestrator(), Registrar(), threading.Event()
    tree: Any = Tree(
        orchestrator,  # type: ignore[arg-type]
        registrar,  # type: ignore[arg-type]
        {},
        failed=lambda member: None,
        changed=over.set,
    )

    def meanwhile() -> None:
        if change == "stopped":
            tree.stop(["second"], None)
        elif change == "removed":
            tree.remove("second", None)
        else:
            tree.member("second").size = 0

    registrar.at_the_start = meanwhile
    for name in ("first", "second"):
        tree.add(AgentSpec(name=name, kind="agent", factory="agents:make"))
    tree.begin()
    try:
        assert over.wait(30)
        assert orchestrator.started == ["first"]
    finally:
        tree.close()


def test_an_agent_is_ready_when_all_of_its_instances_are() -> None:
    member = member_of(AgentSpec(name="a", kind="agent", factory="agents:make", instances=2), {})
    member.begin(SimpleNamespace())  # type: ignore[arg-type]
    member.became_ready(0, 1.0)
    assert (member.ready, member.phase) == (False, "starting")
    member.became_ready(1, 2.0)
    assert (member.ready, member.phase) == (True, "running")
