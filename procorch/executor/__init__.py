"""An executor of the standard library's interface over a pool of agents.

`AgentExecutor` is loaded when it is first used: a worker needs `call` alone, and each of them would
load half of procorch.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from procorch.executor.agent_executor import AgentExecutor as AgentExecutor


def __getattr__(name: str) -> Any:
    if name != "AgentExecutor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from procorch.executor.agent_executor import AgentExecutor

    return AgentExecutor
