"""Agents belong to the process that started them, and cannot be used in a fork of it (N21).

A fork has none of the threads of its parent. A call that waited there would never return, and a
lock could be held for ever. So every public call first checks in which process it runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from procorch.errors import AgentStopped


def is_ours(owner: int, pid: Callable[[], int] = os.getpid) -> bool:
    """Whether this process has the id ``owner``.

    Args:
        pid: bound here, because a finalizer may ask at the end of the interpreter, when modules
            have lost their names.
    """
    return pid() == owner


def must_be_ours(owner: int, pid: Callable[[], int] = os.getpid) -> None:
    """Refuse callers in the child of a fork.

    Raises:
        AgentStopped: this process is not the one that started the agents.
    """
    if pid() != owner:
        raise refusal(owner)


def refusal(owner: int) -> AgentStopped:
    """The error of every call in the child of a fork."""
    return AgentStopped(
        f"the agents belong to process {owner}, of which this is a fork; "
        "make an orchestrator of its own here"
    )
