"""The same agent of each LLM library, for tests that hold for both adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procorch import AgentOptions

PRELOAD = ["pydantic_ai.models.openai", "agents", "mcp"]


def of_pydantic_ai(url: str, **options: Any) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="k"))
        return AgentOptions(model=model, model_settings={"max_retries": 0}, **options)

    return factory


def of_openai_agents(url: str, **options: Any) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from agents import OpenAIChatCompletionsModel, set_tracing_disabled
        from openai import AsyncOpenAI

        set_tracing_disabled(True)
        client = AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
        return AgentOptions(model=OpenAIChatCompletionsModel("gpt-4o", client), **options)

    return factory


libraries = pytest.mark.parametrize("library", [of_pydantic_ai, of_openai_agents])
