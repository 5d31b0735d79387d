"""Batches of prompts: what they have used, why answers ended, and how soon the first one comes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOptions, StopReason, StreamError, Usage, run_batch
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE


def prompts(url: str) -> Callable[[], AgentOptions]:
    """An agent that counts what it has asked so far in its answer, by way of the model."""

    def factory() -> AgentOptions:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="k"))
        return AgentOptions(model=model, keep_history=False, model_settings={"max_retries": 0})

    return factory


def test_tokens_cost_and_stop_reasons_are_kept(tmp_path: Path, provider: Provider) -> None:
    journal = tmp_path / "run.db"
    with run_batch(prompts(provider.url("ok")), ["a", "b"], out=journal, workers=1) as run:
        items = list(run)
        summary = run.summary()
    for item in items:
        assert item.stop_reason is StopReason.STOP
        assert item.cost.usage == Usage(input=11, output=7)
        assert item.cost.money.total > 0
    assert summary.usage == Usage(input=22, output=14)
    assert summary.cost.total == pytest.approx(sum(item.cost.money.total for item in items))
    assert "22 tokens in, 14 out" in str(summary)
    with run_batch(
        prompts(provider.url("ok")), ["a", "b"], out=journal, workers=1, resume=True
    ) as run:
        again = {item.id: item for item in run}
        assert run.summary().usage == summary.usage
    for item in items:
        assert (again[item.id].cost, again[item.id].stop_reason) == (item.cost, item.stop_reason)
    rows = exported(journal)
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == [(11, 7)] * 2
    assert [row["stop_reason"] for row in rows] == ["stop"] * 2
    assert all(row["dollars"] > 0 for row in rows)


def exported(journal: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "procorch", "export", str(journal)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=True, cwd=journal.parent
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_answer_that_was_cut_off_has_failed_and_is_kept(
    tmp_path: Path, provider: Provider
) -> None:
    journal = tmp_path / "run.db"
    with run_batch(prompts(provider.url("long")), ["a"], out=journal, workers=1) as run:
        (item,) = run
        assert run.summary().failed == 1
    assert isinstance(item.error, StreamError)
    assert "length" in str(item.error)
    assert item.stop_reason is StopReason.LENGTH
    assert item.cost.usage == Usage(input=11, output=7)
    (row,) = exported(journal)
    assert (row["ok"], row["output"], row["stop_reason"]) == (False, "too lo", "length")


def test_all_attempts_at_an_item_are_paid_for() -> None:
    def factory() -> AgentOptions:
        import procorch

        tries: list[None] = []

        def turn(context: Any) -> Any:
            tries.append(None)
            if len(context.messages) > 1 and len(tries) < 4:
                raise procorch.NetworkError("lost")
            yield procorch.Usage(input=10, output=1)
            if len(context.messages) == 1:
                yield procorch.ToolCallBlock("1", "look", {})

        def look() -> str:
            """Look."""
            return "seen"

        return AgentOptions(stream_fn=turn, tools=[look], keep_history=False)

    with run_batch(factory, ["a"], out=None, workers=1, retries=2) as run:
        (item,) = run
    assert (item.ok, item.attempts) == (True, 2)
    assert item.cost.usage == Usage(input=30, output=3)


def test_modules_are_loaded_once_for_all_workers_and_the_clock_runs_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_load.py").write_text(
        "import os, time\ntime.sleep(0.5)\nloaded_by = os.getpid()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def factory() -> Any:
        import slow_to_load  # type: ignore[import-not-found]

        return lambda item: slow_to_load.loaded_by

    with run_batch(factory, range(8), out=None, workers=2, preload=["slow_to_load"]) as run:
        assert len({item.output for item in run}) == 1
        assert run.summary().seconds >= 0.5


def test_a_journal_of_before_can_be_read_and_goes_on(tmp_path: Path) -> None:
    def factory() -> Any:
        return lambda item: item

    journal = tmp_path / "run.db"
    with run_batch(factory, [1, 2], out=journal, workers=1, limit=1) as run:
        assert len(list(run)) == 1
    with sqlite3.connect(journal) as connection:
        connection.execute("ALTER TABLE items DROP COLUMN used")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    assert [(row["output"], row["input_tokens"]) for row in exported(journal)] == [(1, 0)]
    with run_batch(factory, [1, 2], out=journal, workers=1, resume=True) as run:
        assert sorted(item.output for item in run) == [1, 2]


def of_openai_agents(url: str) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from agents import OpenAIChatCompletionsModel, set_tracing_disabled
        from openai import AsyncOpenAI

        set_tracing_disabled(True)
        client = AsyncOpenAI(base_url=url, api_key="k")
        return AgentOptions(model=OpenAIChatCompletionsModel("gpt-4o", client))

    return factory


def of_pydantic_ai(url: str) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=url, api_key="k")
        return AgentOptions(model=OpenAIChatModel("gpt-4o", provider=provider))

    return factory


@pytest.mark.parametrize("library", [of_pydantic_ai, of_openai_agents])
def test_one_layer_tries_again(provider: Provider, library: Any) -> None:
    """The batch, where it is to; else the client, which does so twice."""
    for retries, requests in ((2, 3), (0, 3), (1, 2)):
        before = len(provider.requests)
        factory = library(provider.url("500"))
        with run_batch(factory, ["a"], out=None, workers=1, retries=retries) as run:
            assert [item.ok for item in run] == [False]
        assert len(provider.requests) - before == requests
