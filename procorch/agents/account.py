"""What was used of models during a request, by other agents and by agents in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from procorch.messages import AgentResult

_account: ContextVar[list[AgentResult] | None] = ContextVar("procorch-account", default=None)
"""Where what others have answered is noted; tasks and threads begun inside share it."""


@contextmanager
def account() -> Iterator[list[AgentResult]]:
    """Note the answers of other agents in this block, and of agents in this process, for what they
    have used. An account inside another is its own; its owner enters the sum in the outer one."""
    noted: list[AgentResult] = []
    token = _account.set(noted)
    try:
        yield noted
    finally:
        with suppress(ValueError):  # a coroutine that the collector closes, wherever it is
            _account.reset(token)


def enter(answer: object) -> None:
    """Note an answer in the account that is open, if there is one."""
    noted = _account.get()
    if noted is not None and isinstance(answer, AgentResult):
        noted.append(answer)
