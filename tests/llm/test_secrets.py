"""A key that a client refuses to send is in no text that leaves the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOptions, AgentOrchestrator, NetworkError, ServiceSupervisor, run_batch
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

KEY = "quite-ordinary-w0rds"


def of_pydantic_ai(url: str) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=url, api_key=f"{KEY}\n")
        return AgentOptions(model=OpenAIChatModel("gpt-4o", provider=provider))

    return factory


def of_openai_agents(url: str) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from agents import OpenAIChatCompletionsModel, set_tracing_disabled
        from openai import AsyncOpenAI

        set_tracing_disabled(True)
        client = AsyncOpenAI(base_url=url, api_key=f"{KEY}\n", max_retries=0)
        return AgentOptions(model=OpenAIChatCompletionsModel("gpt-4o", client))

    return factory


libraries = pytest.mark.parametrize("library", [of_pydantic_ai, of_openai_agents])


@libraries
def test_the_error_of_a_bad_key_does_not_have_the_key(
    orchestrator: Callable[..., AgentOrchestrator], provider: Provider, library: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.add_agent("a", library(provider.url("ok")))
    error = orch.spawn("a").submit("hi").exception(PATIENCE)
    assert isinstance(error, NetworkError)
    said = f"{error} {error.remote_traceback}"
    assert "header value" in said
    cause: BaseException | None = error
    while cause is not None:
        said += f"{cause!r} {cause.__dict__} {getattr(cause, '__notes__', [])}"
        cause = cause.__cause__
    assert KEY not in said


@libraries
def test_the_journal_of_a_batch_does_not_have_the_key(
    tmp_path: Path, provider: Provider, library: Any
) -> None:
    journal = tmp_path / "run.db"
    with run_batch(library(provider.url("ok")), ["hi"], out=journal, workers=1) as run:
        assert [item.ok for item in run] == [False]
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()
