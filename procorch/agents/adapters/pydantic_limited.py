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

from procorch.agents.adapters.pydantic_messages import price_of, usage_of
from procorch.agents.current import current, installed
from procorch.agents.limited import Attempts, model_call
from procorch.agents.permits import Spent


def limited(agent: AbstractAgent[Any, Any]) -> Any:
    """The agent's model with permits for its calls; None where this process is no worker."""
    worker = installed()
    given = getattr(agent, "model", None)
    model = infer_model(given) if isinstance(given, str) else given
    if worker is None or not isinstance(model, Model):
        return None
    return _LimitedModel(model, worker.limits.of(model.system))


def _spent(response: ModelResponse) -> Spent:
    return Spent(usage_of(response.usage), price_of(response), response.model_name or "")


class _LimitedModel(WrapperModel):
    """A model each of whose calls takes a permit.

    Args:
        wrapped: makes the calls.
        limit: name of the limit that counts them; None: none does.
    """

    def __init__(self, wrapped: Model, limit: str | None) -> None:
        super().__init__(wrapped)
        self.limit = limit

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
            self.limit,
            _spent,
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
        tries = Attempts(worker, self.limit)
        while True:
            permit = await worker.permit(self.limit).__aenter__()
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
                permit.used(*_spent(stream.get()))
                permit.end()
                return
