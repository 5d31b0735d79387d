"""LLM libraries whose agents and models are recognised, and conversations with those.

A library is known by the module of a type. Its adapter is loaded by name when an agent needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from procorch.agents.options import AgentOptions, described, refusal
from procorch.errors import AgentError
from procorch.errors.texts import original, qualified_name, text_of
from procorch.messages import AgentMessage, AgentResult

if TYPE_CHECKING:
    from procorch.agents.mcp_servers import McpServer, McpServers, McpTool

_MCP = "procorch.agents.adapters.mcp_supervision"
_INSTALL = "pip install 'procorch[{extra}]'"


class Library(NamedTuple):
    """An LLM library whose agents are recognised by the module of their type.

    `mark` is a name that the library's root module has: a package of the user's own that happens to
    be called the same has it not.
    """

    extra: str
    adapter: str
    mark: str


LIBRARIES: Mapping[str, Library] = {
    "pydantic_ai": Library("llm", "procorch.agents.adapters.pydantic_ai", "RunContext"),
    "agents": Library("openai-agents", "procorch.agents.adapters.openai_agents", "function_tool"),
}


class Conversation(Protocol):
    """What an agent that talks to a model keeps between its requests.

    `history` is all that was said, in a form of the conversation's own. It is replaced by the agent
    when an answer is complete, and never changed in place: so a request that fails, whatever the
    reason, leaves the conversation as it was.
    """

    history: Any

    @property
    def messages(self) -> Sequence[AgentMessage]:
        """All that was said, as messages."""
        ...

    async def respond(self, messages: list[AgentMessage], history: Any) -> tuple[AgentResult, Any]:
        """Say more after a history, and get the answer and the history that it ends."""
        ...

    def from_messages(self, messages: Sequence[AgentMessage]) -> Any:
        """The history of a conversation in which these were said."""
        ...

    async def resume(
        self, decisions: Mapping[str, bool | str], history: Any
    ) -> tuple[AgentResult, Any]:
        """Go on where calls of tools wait for these decisions; else like `respond`."""
        ...

    def ready(self) -> Any:
        """Connect what the library's agent needs: an awaitable, or None."""
        ...

    def close(self) -> Any:
        """End it: an awaitable, or None."""
        ...

    def save(self, history: Any) -> Any:
        """A history, for `load` in another process."""
        ...

    def load(self, state: Any) -> Any:
        """The history that was saved."""
        ...


def library_of(product: object) -> Library | None:
    """The library that a type or one of its bases comes from; no library is imported for this."""
    for cls in type(product).__mro__:
        root = cls.__module__.partition(".")[0]
        library = LIBRARIES.get(root)
        if library is not None and hasattr(sys.modules.get(root), library.mark):
            return library
    return None


def connect_servers(servers: Sequence[McpServer], taken: Collection[str]) -> McpServers:
    """Connect the MCP servers of an agent.

    Args:
        taken: names of tools that the agent has otherwise.

    Raises:
        StartError: a server cannot be connected (`McpServerError`), or the package that does it is
            missing.
    """
    from procorch.agents.mcp_servers import Http, Stdio  # few agents have any

    if isinstance(servers, Stdio | Http) or not isinstance(servers, Sequence):
        raise refusal(f"AgentOptions.mcp is a list of servers, not {described(servers)}")
    for server in servers:
        if not isinstance(server, Stdio | Http):
            raise refusal(f"AgentOptions.mcp has Stdio(...) and Http(...), not {described(server)}")
    try:
        adapter = import_module(_MCP)
    except ImportError as missing:
        install = _INSTALL.format(extra="mcp")
        raise refusal(f"MCP servers need the package mcp: {install} ({missing})") from missing
    return cast("McpServers", adapter.connect(servers, taken))


def open_conversation(options: AgentOptions, tools: Sequence[McpTool] = ()) -> Conversation:
    """The conversation of a model that needs an LLM library, whose adapter is loaded here.

    Args:
        tools: those of MCP servers.
    """
    model = options.model
    if model is None:
        install = _INSTALL.format(extra=LIBRARIES["pydantic_ai"].extra)
        raise refusal(
            "AgentOptions has neither handler nor stream_fn, and no model, which needs an LLM "
            f"library: {install}"
        )
    library = LIBRARIES["pydantic_ai"] if isinstance(model, str) else library_of(model)
    if library is None:
        raise refusal(
            f"AgentOptions.model is {described(model)}, of no LLM library that is known "
            f"({', '.join(LIBRARIES)}): give a name, or a stream_fn that calls it"
        )
    what = f"the model {model!r}" if isinstance(model, str) else described(model)
    try:
        adapter = import_module(library.adapter)
    except ImportError as missing:
        install = _INSTALL.format(extra=library.extra)
        raise refusal(f"{what} needs an LLM library: {install} ({missing})") from missing
    try:
        return cast("Conversation", adapter.open_conversation(options, tools))
    except AgentError:
        raise
    except Exception as error:
        why = original(qualified_name(type(error)), text_of(error))
        raise refusal(f"{what} cannot be used{why}") from error
