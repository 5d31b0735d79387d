"""How an agent works, as its author says it, and how what cannot work is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from procorch.errors import StartError

if TYPE_CHECKING:
    from procorch.agents.mcp_servers import McpServer
    from procorch.agents.model_turns import TurnContext


@dataclass(frozen=True)
class AgentOptions:
    """How an agent works (seed, `AgentOptions`): the first of these that is set does the work.

    Args:
        handler: `(payload) -> value or awaitable`, called for every request.
        stream_fn: one model turn, a `TurnContext` in, text or content blocks out; a function, a
            generator or an async form of either.
        model: a model of an LLM library, by name or as the library's object, or a whole agent of
            that library; it needs the library's extra (`procorch[llm]` for a name).
        system_prompt: handed to the model with every turn.
        tools: typed callables, sync or async, that the model may call by their names.
        max_turns: how many turns of the model one request may take.
        checkpoint: store the conversation after every answer (`Context.checkpoint`), so that a
            restarted agent goes on with it. Without it a restart is fresh, as in the seed.
        keep_history: whether a request continues the conversation of those before it. False: each
            begins anew, as it should where requests have nothing to do with each other (pools,
            batches).
        output_type: what a `model` has to answer with, a type; None: text.
        model_settings: of a `model`, as its library has them: `{"temperature": 0.2}`.
        usage_limits: of a `model`, for one request: the library's object or a mapping of its
            fields, `{"total_tokens_limit": 5000}`.
        deps: handed to the tools of a `model`, as its library has it.
        approval: names of ``tools`` of a `model` whose calls wait until somebody approves them: the
            answer is a paused result (`AgentResult.pending`).
        tool_errors: what becomes of an exception of one of ``tools``. "tell": the model is told its
            class and text, and goes on; "raise": the request fails with it.
        mcp: MCP servers whose tools a `model` may call, as `Stdio` and `Http`. They are connected
            before the agent is ready, connected again when they are lost, and end with the agent.
        retries: of a `model`, in one request: how often each tool may be called again after a call
            with arguments that are not valid, and how often an answer that is not of the
            ``output_type`` is asked for again. A number for both, or a mapping with "tools",
            "output" or both; None: as the library has it.

    Example:
        >>> options = AgentOptions(system_prompt="You plan trips.", handler=len)
        >>> options.max_turns
        50
    """

    system_prompt: str = ""
    model: Any = None
    tools: Sequence[Callable[..., Any]] = ()
    stream_fn: Callable[[TurnContext], Any] | None = None
    handler: Callable[[Any], Any] | None = None
    max_turns: int = 50
    checkpoint: bool = False
    keep_history: bool = True
    output_type: Any = None
    model_settings: Any = None
    usage_limits: Any = None
    deps: Any = None
    approval: Collection[str] = ()
    tool_errors: Literal["tell", "raise"] = "tell"
    retries: int | Mapping[str, int] | None = None
    mcp: Sequence[McpServer] = ()


OF_THE_AGENT = ("system_prompt", "tools", "output_type", "approval", "tool_errors")
"""Options that a whole agent of a library says itself."""


def tool_name(tool: Callable[..., Any]) -> str:
    """The name by which a model calls a tool."""
    inner = getattr(tool, "func", tool)  # what a functools.partial calls
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name


def refusal(text: str) -> StartError:
    """The error of a product that is no agent; no restart would mend it."""
    return StartError(text, phase="construct", permanent=True)


def by_name(tools: Sequence[Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The tools of an agent by their names.

    Raises:
        StartError: permanent: one cannot be called, or two have one name.
    """
    named: dict[str, Callable[..., Any]] = {}
    for tool in tools:
        if not callable(tool):
            raise refusal(f"a tool is not callable: {described(tool)}")
        name = tool_name(tool)
        if name in named:
            raise refusal(f"two tools are called {name!r}")
        named[name] = tool
    return named


def refuse_wrong(options: AgentOptions) -> None:
    """Refuse values that no agent can have.

    Raises:
        StartError: permanent.
    """
    if options.tool_errors not in ("tell", "raise"):
        raise refusal(f'AgentOptions.tool_errors is "tell" or "raise", not {options.tool_errors!r}')
    given = options.retries
    numbers = given if isinstance(given, Mapping) else {"tools": 0 if given is None else given}
    for name, number in numbers.items():
        if name not in ("tools", "output"):
            raise refusal(f'AgentOptions.retries has "tools" and "output", not {name!r}')
        if type(number) is not int or number < 0:
            raise refusal(f"AgentOptions.retries is no whole number from 0 on: {number!r}")


def refuse_beside_others(options: AgentOptions, *, saves: bool) -> None:
    """Refuse an agent that cannot run several requests at once (``concurrency``).

    Args:
        saves: its object has `load` and `save`.

    Raises:
        StartError: permanent: it is not asynchronous, or keeps one conversation.
    """
    work = options.handler or options.stream_fn
    if work is not None and not _is_async(work):
        name = getattr(work, "__qualname__", None)
        what = described(work) if name is None else f"`{name}`"
        raise refusal(
            f"concurrency is for asynchronous agents, and {what} is no `async def`: it would hold "
            "up the other requests. Make it one, or leave concurrency out"
        )
    if options.checkpoint or saves:
        what = "load() and save()" if saves else "AgentOptions.checkpoint"
        raise refusal(
            f"{what} keeps one conversation, and with concurrency several run at once: use named "
            "conversations without it, or leave concurrency out"
        )


def _is_async(work: object) -> bool:
    """Whether a callable is a coroutine function or an asynchronous generator, or has such a
    ``__call__``."""
    while isinstance(work, partial):
        work = work.func
    return any(
        inspect.iscoroutinefunction(it) or inspect.isasyncgenfunction(it)
        for it in (work, getattr(type(work), "__call__", None))  # noqa: B004
    )


def described(product: object) -> str:
    """What a person would call it: its class by qualified name, None as None."""
    if product is None:
        return "None"
    if isinstance(product, type):
        return f"the class {product.__qualname__}"
    cls = type(product)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return f"an object of type {module}{cls.__qualname__}"
