"""Models of pydantic-ai whose calls count for a limit (N23)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse, infer_model
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from procorch.agents.context import current, installed
from procorch.agents.limited import Attempts, model_call


def limited(agent: AbstractAgent[Any, Any]) -> LimitedModel | None:
    """The agent's model with permits for its calls; None where no limit counts them."""
    worker = installed()
    if worker is None or not worker.limits.retries:
        return None
    given = getattr(agent, "model", None)
    model = infer_model(given) if isinstance(given, str) else given
    limit = worker.limits.of(model.system) if isinstance(model, Model) else None
    return None if limit is None or model is None else LimitedModel(model, limit)


class LimitedModel(WrapperModel):
    """A model each of whose calls takes a permit."""

    def __init__(self, wrapped: Model, limit: str) -> None:
        super().__init__(wrapped)
        self._limit = limit

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """See the base."""
        return await model_call(
            lambda: self.wrapped.request(messages, model_settings, model_request_parameters),
            current(),
            self._limit,
            lambda response: response.usage.total_tokens,
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse, None]:
        """See the base. The permit is held until the stream ends."""
        worker = current()
        tries = Attempts(worker, self._limit)
        while True:
            permit = await worker.limit(self._limit).__aenter__()
            async with AsyncExitStack() as stack:
                try:
                    stream = await stack.enter_async_context(
                        self.wrapped.request_stream(
                            messages, model_settings, model_request_parameters, run_context
                        )
                    )
                except BaseException as error:
                    if not await tries.again(permit.end(error)):
                        raise
                    continue
                try:
                    yield stream
                except BaseException as error:
                    permit.end(error)
                    raise
                permit.used(stream.usage.total_tokens)
                permit.end()
                return
