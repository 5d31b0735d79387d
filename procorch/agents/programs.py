"""Recognises programs as agents without loading what runs them: most agents are none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from procorch.agents.command import Command


def is_command(made: object) -> TypeGuard[Command[Any]]:
    """Whether an agent is made of a program: whether it is what `procorch.command` returns."""
    module = sys.modules.get("procorch.agents.command")  # without it there is no such object
    return module is not None and isinstance(made, module.Command)
