"""The agent of the demo: executes candidate programs in its own process."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Any

from procorch.demo.humaneval import Candidate


def solver() -> Callable[[Candidate], None]:
    """The factory: runs in each worker, once for every process."""
    _detach()
    return execute


def execute(candidate: Candidate) -> None:
    """Run one candidate in names of its own; it passes by returning.

    Raises:
        BaseException: whatever the program raised, an ``AssertionError`` of its test as a rule.
    """
    names: dict[str, Any] = {"__name__": "candidate"}
    exec(compile(candidate.program, candidate.id, "exec"), names)


def _detach() -> None:
    """Keep the programs off the terminal and off the disk: what they print is not the demo's
    output, and what they crash with is no core file."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
