"""The tests of the seed (`mod tests`), one for one, under their own names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from procorch import (
    Aborted,
    AgentError,
    AgentOrchestrator,
    DefaultSupervisor,
    ModelThrottled,
    OrchestratedHandle,
    PluginError,
    SupervisorAction,
)

Make = Callable[..., AgentOrchestrator]


def not_called() -> None:
    raise AssertionError("not called")


def test_add_agent_and_names() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("beta", not_called)
    orch.add_agent("alpha", not_called)

    assert orch.names() == ["beta", "alpha"]
    assert list(orch) == ["beta", "alpha"]


def test_contains_registered() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("a", not_called)
    assert orch.contains("a")
    assert not orch.contains("b")
    assert "a" in orch
    assert "b" not in orch
    assert len(orch) == 1


def test_parent_child_hierarchy() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("parent", not_called)
    orch.add_child("child1", "parent", not_called)
    orch.add_child("child2", "parent", not_called)

    assert orch.parent_of("child1") == "parent"
    assert orch.parent_of("child2") == "parent"
    assert orch.parent_of("parent") is None

    assert orch.children_of("parent") == ("child1", "child2")
    assert orch.children_of("child1") == ()


def test_add_child_missing_parent_panics() -> None:
    orch = AgentOrchestrator()
    with pytest.raises(ValueError, match=r"^parent agent 'missing' not registered$"):
        orch.add_child("child", "missing", not_called)
    assert orch.names() == []


def test_add_agent_duplicate_name_panics() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("alpha", not_called)
    with pytest.raises(ValueError, match=r"^agent 'alpha' already registered$"):
        orch.add_agent("alpha", not_called)
    assert orch.names() == ["alpha"]


def test_duplicate_child_registration_preserves_existing_hierarchy() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("parent1", not_called)
    orch.add_agent("parent2", not_called)
    orch.add_child("child", "parent1", not_called)

    with pytest.raises(ValueError, match="already registered"):
        orch.add_child("child", "parent2", not_called)

    assert orch.parent_of("child") == "parent1"
    assert orch.children_of("parent1") == ("child",)
    assert orch.children_of("parent2") == ()


def test_duplicate_top_level_registration_preserves_child_link() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("parent", not_called)
    orch.add_child("child", "parent", not_called)

    with pytest.raises(ValueError, match="already registered"):
        orch.add_agent("child", not_called)

    assert orch.parent_of("child") == "parent"
    assert orch.children_of("parent") == ("child",)


def test_spawn_unregistered_agent_errors() -> None:
    orch = AgentOrchestrator()
    with pytest.raises(PluginError, match="orchestrator") as caught:
        orch.spawn("nonexistent")
    assert "agent not registered: nonexistent" in str(caught.value)
    assert caught.value.name == "orchestrator"


def test_default_supervisor_retryable_restarts() -> None:
    supervisor = DefaultSupervisor()
    assert supervisor.max_restarts == 3

    assert supervisor.on_agent_error("test", ModelThrottled()) is SupervisorAction.RESTART
    assert supervisor.on_agent_error("test", Aborted()) is SupervisorAction.STOP


def test_supervisor_action_variants() -> None:
    assert [action.name for action in SupervisorAction] == ["RESTART", "STOP", "ESCALATE"]


def test_orchestrator_debug_format() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("planner", not_called)
    text = repr(orch)
    assert "AgentOrchestrator" in text
    assert "planner" in text
    assert "supervisor" in text
    assert "channel_buffer" in text


def test_with_supervisor_sets_policy() -> None:
    orch = AgentOrchestrator()
    assert orch.with_supervisor(DefaultSupervisor(7)) is orch
    assert "DefaultSupervisor(max_restarts=7)" in repr(orch)


def test_with_channel_buffer_sets_size() -> None:
    orch = AgentOrchestrator()
    assert orch.with_channel_buffer(64) is orch
    assert "channel_buffer=64" in repr(orch)


def test_with_max_restarts_sets_default(orchestrator: Make) -> None:
    """Captured when an agent is registered: what comes later concerns later agents."""

    def fails_always():
        import procorch

        def handle(messages):
            raise procorch.ModelThrottled("slow down")

        return handle

    orch = orchestrator(supervisor=lambda name, error: SupervisorAction.RESTART)
    assert orch.with_max_restarts(1) is orch
    orch.add_agent("one", fails_always)
    orch.with_max_restarts(0)
    orch.add_agent("none", fails_always)

    assert [requests_survived(orch.spawn(name)) for name in ("one", "none")] == [1, 0]


def requests_survived(handle: OrchestratedHandle) -> int:
    """How many failing requests the agent was restarted after."""
    count = 0
    while True:
        with pytest.raises(AgentError) as caught:
            handle.send_message("hi")
        if not isinstance(caught.value, ModelThrottled):
            return count - 1
        count += 1


def test_default_impl() -> None:
    orch = AgentOrchestrator()
    assert orch.names() == []
    assert "supervisor=None" in repr(orch)
    assert "channel_buffer=32" in repr(orch)


def test_custom_supervisor_policy() -> None:
    class AlwaysEscalate:
        def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
            return SupervisorAction.ESCALATE

    supervisor = AlwaysEscalate()
    assert AgentOrchestrator(supervisor=supervisor).names() == []
    assert supervisor.on_agent_error("x", ModelThrottled()) is SupervisorAction.ESCALATE


def test_grandchild_hierarchy() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("root", not_called)
    orch.add_child("mid", "root", not_called)
    orch.add_child("leaf", "mid", not_called)

    assert orch.parent_of("leaf") == "mid"
    assert orch.parent_of("mid") == "root"
    assert orch.parent_of("root") is None

    assert orch.children_of("root") == ("mid",)
    assert orch.children_of("mid") == ("leaf",)
    assert orch.children_of("leaf") == ()
    assert orch.children_of("unknown") is None
