"""Models of openai-agents whose calls count for a limit (N23)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from agents import Agent, MultiProvider
from agents.models.interface import Model, ModelProvider

from procorch.agents.adapters.openai_items import usage_of
from procorch.agents.current import current, installed
from procorch.agents.limited import Attempts, model_call
from procorch.agents.permits import Spent

_PREFIXES = ("litellm", "any-llm")
"""What names of models begin with that go through another library to the provider."""


def limit_models(agent: Agent[Any]) -> None:
    """Give an agent, and those that it may hand over to, models that take permits."""
    for each in team_of(agent):
        if isinstance(each.model, Model):
            each.model = _limited(each.model, getattr(each.model, "model", None))


def team_of(agent: Agent[Any]) -> Iterator[Agent[Any]]:
    """An agent, and those that it may hand over to."""
    found, ahead = {id(agent)}, [agent]
    while ahead:
        each = ahead.pop()
        yield each
        for other in each.handoffs:
            if isinstance(other, Agent) and id(other) not in found:
                found.add(id(other))
                ahead.append(other)


def is_limited(agent: Agent[Any]) -> bool:
    """Whether a limit counts the calls of the agent's model."""
    worker, model = installed(), agent.model
    if isinstance(model, _LimitedModel):
        return model.limit is not None
    return worker is not None and worker.limits.of(_provider(model)) is not None


def limited_provider() -> ModelProvider:
    """Gives the models of the library, with permits for their calls."""
    return _LimitedProvider()


def _limited(model: Model, name: object) -> Model:
    """The model with permits for its calls; as it is where this process is no worker."""
    worker = installed()
    if worker is None or isinstance(model, _LimitedModel):
        return model
    return _LimitedModel(model, worker.limits.of(_provider(name)), str(name or ""))


def _provider(name: object) -> str:
    """The provider of a model: what its name begins with, or OpenAI."""
    parts = name.split("/") if isinstance(name, str) else []
    if len(parts) > 1 and parts[0] in _PREFIXES:
        del parts[0]
    return parts[0] if len(parts) > 1 else "openai"


class _LimitedProvider(ModelProvider):
    """The library's own provider, whose models take permits where a limit counts their calls."""

    def __init__(self) -> None:
        self._provider = MultiProvider()

    def get_model(self, model_name: str | None) -> Model:
        """See the base."""
        return _limited(self._provider.get_model(model_name), model_name)

    async def aclose(self) -> None:
        """See the base."""
        await self._provider.aclose()


class _LimitedModel(Model):
    """A model each of whose calls takes a permit.

    Args:
        model: makes the calls.
        limit: name of the limit that counts them; None: none does.
        name: name of the model.
    """

    def __init__(self, model: Model, limit: str | None, name: str) -> None:
        self._model = model
        self.limit = limit
        self._name = name

    def _spent(self, usage: Any) -> Spent:
        return Spent(usage_of(usage), model=self._name)

    async def get_response(self, *args: Any, **options: Any) -> Any:
        """See the base."""
        return await model_call(
            lambda: self._model.get_response(*args, **options),
            current(),
            self.limit,
            lambda response: self._spent(response.usage),
        )

    async def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """See the base. The permit is held until the stream ends."""
        worker = current()
        tries = Attempts(worker, self.limit)
        while True:
            permit, begun = await worker.permit(self.limit).__aenter__(), False
            try:
                async for event in self._model.stream_response(*args, **options):
                    begun = True
                    if event.type == "response.completed" and event.response.usage is not None:
                        permit.used(*self._spent(event.response.usage))
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
