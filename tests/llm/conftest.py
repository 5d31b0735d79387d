"""What the tests of agents with a model share: a provider on loopback, orchestrators that close."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from procorch import AgentOptions, AgentOrchestrator, OrchestratedHandle, ServiceSupervisor
from tests.llm.libraries import PRELOAD
from tests.llm.server import Provider
from tests.llm.server import provider as serve
from tests.process.conftest import gate, orchestrator, start, watched

__all__ = ["gate", "orchestrator", "start", "watched"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An OpenAI-compatible service on loopback that behaves as its URL says."""
    with serve() as running:
        yield running


@pytest.fixture(scope="package")
def preloaded() -> Iterator[AgentOrchestrator]:
    """One orchestrator for many tests: to import the libraries takes seconds."""
    with AgentOrchestrator(supervisor=ServiceSupervisor(), preload=PRELOAD) as orch:
        orch.add_agent("first", lambda: AgentOptions(stream_fn=lambda context: "hello"))
        orch.spawn("first").send_message("hello")  # what waits has its descriptor now
        yield orch


@pytest.fixture
def begin(preloaded: AgentOrchestrator) -> Iterator[Callable[..., OrchestratedHandle]]:
    """Start an agent under an orchestrator that has imported the libraries; it ends with the test.

    ``begin(factory, name=..., **settings)``.
    """
    started: list[OrchestratedHandle] = []
    numbers = count(1)

    def make(
        factory: Callable[[], Any], name: str | None = None, **settings: Any
    ) -> OrchestratedHandle:
        name = name or f"agent-{next(numbers)}"
        preloaded.add_agent(name, factory, **settings)
        started.append(preloaded.spawn(name))
        return started[-1]

    yield make
    for agent in started:
        agent.cancel()
        agent.wait()
        preloaded.remove(agent.name)
