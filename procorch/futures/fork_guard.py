"""Agents belong to the process that started them; a fork of it has no part in them (N21).

It has none of our threads, so whoever waited there would wait for ever, and a lock may be held for
ever. Hence every public call looks here before it does anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from procorch.errors import AgentStopped


def is_ours(owner: int, pid: Callable[[], int] = os.getpid) -> bool:
    """Whether this process is the one that made it; also while the interpreter takes its modules
    down, when a finalizer may ask (hence ``pid``)."""
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
