"""What counts as an agent, and the one shape that a worker knows: `Agent`.

A factory may return options, an object with a method, a plain callable, or an agent of an LLM
library; `as_agent` makes an `Agent` of it. Whatever cannot be one is refused when the worker
starts, for good (no restart would mend it), with a text that says what came and what may come.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from procorch.errors import StartError
from procorch.messages import AgentMessage, AgentResult
from procorch.turns import TurnContext, as_messages, converse

_ACCEPTED = (
    "a factory returns AgentOptions, an object with prompt(messages) or handle(messages), "
    "or a callable that takes the messages"
)
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
    "pydantic_ai": Library("llm", "procorch.adapters.pydantic_ai", "RunContext"),
    "agents": Library("openai-agents", "procorch.adapters.openai_agents", "function_tool"),
}


@dataclass(frozen=True)
class AgentOptions:
    """How an agent works (seed, `AgentOptions`): the first of these that is set does the work.

    Args:
        handler: `(payload) -> value or awaitable`, called for every request.
        stream_fn: one model turn, a `TurnContext` in, text or content blocks out; a function, a
            generator or an async form of either.
        model: a model of an LLM library, by name or as the library's object; without `handler` and
            `stream_fn` it needs the extra `procorch[llm]`.
        system_prompt: handed to the model with every turn.
        tools: typed callables, sync or async, that the model may call by their names.
        max_turns: how many turns of the model one request may take.
    """

    system_prompt: str = ""
    model: Any = None
    tools: Sequence[Callable[..., Any]] = ()
    stream_fn: Callable[[TurnContext], Any] | None = None
    handler: Callable[[Any], Any] | None = None
    max_turns: int = 50


class Agent:
    """One agent in its worker: keeps the conversation and runs one request at a time.

    Args:
        options: how it works.
        product: the user's own object; its `ready()` and `close()` are called where it has them.

    Raises:
        StartError: permanent, in phase "construct": the options name nothing that can do the work.
    """

    def __init__(self, options: AgentOptions, product: object = None) -> None:
        self.options = options
        self.messages: list[AgentMessage] = []
        self._product = product
        self._tools = _by_name(options.tools)
        for name in ("handler", "stream_fn"):
            given = getattr(options, name)
            if given is not None and not callable(given):
                raise _refusal(f"AgentOptions.{name} is not callable: {_a(given)}")
        if type(options.max_turns) is not int or options.max_turns < 1:
            raise _refusal(f"AgentOptions.max_turns is not 1 or more: {options.max_turns!r}")
        if options.handler is None and options.stream_fn is None:
            raise _no_library(options.model)

    def respond(self, payload: Any) -> Any:
        """Run one request.

        Args:
            payload: what was sent: a list of messages, or any object.

        Returns:
            What the agent returned: any value, an `AgentResult`, or an awaitable of either.
        """
        if self.options.handler is not None:
            return self.options.handler(payload)
        return self._converse(payload)

    @property
    def responder(self) -> Callable[[Any], Any]:
        """What `respond` calls: without the way there, for very many requests at once."""
        return self.options.handler or self._converse

    def ready(self) -> Any:
        """What the user's `ready()` returned, a value or an awaitable; None without one (N12)."""
        return self._call("ready")

    def close(self) -> Any:
        """What the user's `close()` returned, a value or an awaitable; None without one."""
        return self._call("close")

    def _call(self, name: str) -> Any:
        method = getattr(self._product, name, None)
        return method() if callable(method) else None

    async def _converse(self, payload: Any) -> AgentResult:
        options = self.options
        assert options.stream_fn is not None
        history = [*self.messages, *as_messages(payload)]
        context = TurnContext(options.system_prompt, (), tuple(options.tools), options.model)
        result = await converse(options.stream_fn, context, self._tools, history, options.max_turns)
        # Only now: a request that fails or is cancelled leaves the conversation as it was.
        self.messages = [*history, *result.messages]
        return result


def as_agent(product: object) -> Agent:
    """Make an `Agent` of what a factory returned (contract 1.4, in its order).

    Args:
        product: options, a library's agent, an object with `prompt` or `handle`, or a callable.

    Raises:
        StartError: permanent, in phase "construct": the product is none of these; its text names
            the type that was returned and what may be.
    """
    if isinstance(product, Agent):
        return product
    if isinstance(product, AgentOptions):
        return Agent(product)
    library = _library_of(product)
    if library is not None:
        raise _refusal(
            f"the factory returned {_a(product)}, which needs the adapter {library.adapter} "
            f"({_INSTALL.format(extra=library.extra)}): not supported yet by this version; "
            "until then wrap its call in a function (messages) -> result"
        )
    methods = (getattr(product, name, None) for name in ("prompt", "handle"))
    method = next(filter(callable, methods), None)
    if isinstance(product, type):
        # A plain callable (`str`, say), but not the class of an agent in place of an instance.
        if method is None and not issubclass(product, Agent | AgentOptions):
            return Agent(AgentOptions(handler=product))
    elif method is not None:
        return Agent(AgentOptions(handler=method), product)
    elif callable(product):
        return Agent(AgentOptions(handler=product), product)
    raise _refusal(f"the factory returned {_a(product)}{_hint(product)}; {_ACCEPTED}")


def _library_of(product: object) -> Library | None:
    """The library that a type or one of its bases comes from; no library is imported for this."""
    for cls in type(product).__mro__:
        root = cls.__module__.partition(".")[0]
        library = LIBRARIES.get(root)
        if library is not None and hasattr(sys.modules.get(root), library.mark):
            return library
    return None


def _no_library(model: object) -> StartError:
    library = LIBRARIES["pydantic_ai"]
    what = f"the model {model!r}" if isinstance(model, str) else f"a model ({_a(model)})"
    if model is None:
        what = "AgentOptions has neither handler nor stream_fn, and a model"
    return _refusal(
        f"{what} needs an LLM library ({_INSTALL.format(extra=library.extra)}), whose adapter "
        f"{library.adapter} is not supported yet by this version: give AgentOptions a stream_fn"
    )


def _by_name(tools: Sequence[Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    named: dict[str, Callable[..., Any]] = {}
    for tool in tools:
        if not callable(tool):
            raise _refusal(f"a tool is not callable: {_a(tool)}")
        inner = getattr(tool, "func", tool)  # what a functools.partial calls
        name = getattr(inner, "__name__", type(inner).__name__)
        if name in named:
            raise _refusal(f"two tools are called {name!r}")
        named[name] = tool
    return named


def _refusal(text: str) -> StartError:
    return StartError(text, phase="construct", permanent=True)


def _a(product: object) -> str:
    """What a person would call it: its class by qualified name, None as None."""
    if product is None:
        return "None"
    if isinstance(product, type):
        return f"the class {product.__qualname__}"
    cls = type(product)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return f"an object of type {module}{cls.__qualname__}"


def _hint(product: object) -> str:
    if product is None:
        return " (is a `return` missing?)"
    if isinstance(product, type):
        return f" (return an instance: {product.__name__}(...))"
    if hasattr(product, "__await__"):
        close = getattr(product, "close", None)
        if callable(close):
            close()  # it will never be awaited, and nobody needs a warning besides this error
        return " (a factory is a plain function; async work belongs into ready())"
    return ""
