"""The policies of the package, and what is accepted as one."""

from __future__ import annotations

import pytest

from procorch.errors import AgentCrashed, AuthError, ModelThrottled, NetworkError, StartError
from procorch.supervision.policy import (
    DefaultSupervisor,
    PoolSupervisor,
    ServiceSupervisor,
    SupervisorAction,
    checked_policy,
)

RESTART, STOP, ESCALATE = SupervisorAction
PASSING_START = StartError(agent="a", phase="factory", permanent=False)
PERMANENT_START = StartError(agent="a", phase="factory", permanent=True)


@pytest.mark.parametrize(
    ("error", "default", "of_services_and_pools"),
    [
        (AgentCrashed(agent="a"), RESTART, RESTART),
        (PASSING_START, RESTART, RESTART),
        (PERMANENT_START, STOP, STOP),
        (NetworkError("lost"), RESTART, ESCALATE),
        (ModelThrottled("later"), RESTART, ESCALATE),
        (AuthError("no key"), STOP, ESCALATE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.value,
)
def test_what_each_policy_answers(
    error: NetworkError, default: SupervisorAction, of_services_and_pools: SupervisorAction
) -> None:
    assert DefaultSupervisor().on_agent_error("a", error) is default
    for policy in (ServiceSupervisor(), PoolSupervisor()):
        assert policy.on_agent_error("a", error) is of_services_and_pools


@pytest.mark.parametrize("policy", [DefaultSupervisor, ServiceSupervisor, PoolSupervisor])
def test_a_budget_is_a_whole_number(policy: type[DefaultSupervisor]) -> None:
    assert policy(max_restarts=0).max_restarts == 0
    with pytest.raises(ValueError, match="max_restarts"):
        policy(max_restarts=-1)


def test_an_object_with_the_method_or_a_function_is_a_policy() -> None:
    policy = DefaultSupervisor()
    assert checked_policy(policy) is policy
    assert checked_policy(policy.on_agent_error) == policy.on_agent_error
    assert checked_policy(None) is None


def test_a_class_is_no_policy_and_is_told_what_to_give() -> None:
    with pytest.raises(
        TypeError, match=r"not the class DefaultSupervisor: give DefaultSupervisor\("
    ):
        checked_policy(DefaultSupervisor)


def test_anything_else_is_no_policy() -> None:
    with pytest.raises(TypeError, match=r"a method on_agent_error\(name, error\).*, not int"):
        checked_policy(3)
