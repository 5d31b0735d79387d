"""Models of openai-agents whose calls count for a limit (N23)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, MultiProvider
from agents.models.interface import Model, ModelProvider

from procorch.agents.context import current, installed
from procorch.agents.limited import Attempts, model_call

_PREFIXES = ("litellm", "any-llm")
"""What names of models begin with that go through another library to the provider."""


def limit_models(agent: Agent[Any]) -> None:
    """Give an agent, and those that it may hand over to, models that take permits."""
    found, ahead = {id(agent)}, [agent]
    while ahead:
        each = ahead.pop()
        if isinstance(each.model, Model):
            each.model = _limited(each.model, getattr(each.model, "model", None))
        for other in each.handoffs:
            if isinstance(other, Agent) and id(other) not in found:
                found.add(id(other))
                ahead.append(other)


def _limited(model: Model, name: object) -> Model:
    """The model with permits for its calls, or as it is where no limit counts them."""
    worker = installed()
    if worker is None or isinstance(model, LimitedModel):
        return model
    limit = worker.limits.of(_provider(name))
    return model if limit is None else LimitedModel(model, limit)


def _provider(name: object) -> str:
    """The provider of a model: what its name begins with, or OpenAI."""
    parts = name.split("/") if isinstance(name, str) else []
    if len(parts) > 1 and parts[0] in _PREFIXES:
        del parts[0]
    return parts[0] if len(parts) > 1 else "openai"


class LimitedProvider(ModelProvider):
    """The library's own provider, whose models take permits where a limit counts their calls."""

    def __init__(self) -> None:
        self._provider = MultiProvider()

    def get_model(self, model_name: str | None) -> Model:
        """See the base."""
        return _limited(self._provider.get_model(model_name), model_name)

    async def aclose(self) -> None:
        """See the base."""
        await self._provider.aclose()


class LimitedModel(Model):
    """A model each of whose calls takes a permit.

    Args:
        model: makes the calls.
        limit: name of the limit that counts them.
    """

    def __init__(self, model: Model, limit: str) -> None:
        self._model = model
        self._limit = limit

    async def get_response(self, *args: Any, **options: Any) -> Any:
        """See the base."""
        return await model_call(
            lambda: self._model.get_response(*args, **options),
            current(),
            self._limit,
            lambda response: int(response.usage.total_tokens),
        )

    async def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """See the base. The permit is held until the stream ends."""
        worker = current()
        tries = Attempts(worker, self._limit)
        while True:
            permit, begun = await worker.limit(self._limit).__aenter__(), False
            try:
                async for event in self._model.stream_response(*args, **options):
                    begun = True
                    if event.type == "response.completed" and event.response.usage is not None:
                        permit.used(event.response.usage.total_tokens)
                    yield event
            except BaseException as error:
                end = permit.end(error)
                if begun or not await tries.again(end):
                    raise
            else:
                permit.end()
                return

    async def close(self) -> None:
        """See the base."""
        await self._model.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
