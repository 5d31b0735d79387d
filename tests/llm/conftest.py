"""What the tests of agents with a model share: a provider on loopback, orchestrators that close."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.llm.server import Provider
from tests.llm.server import provider as serve
from tests.process.conftest import gate, orchestrator, start, watched

__all__ = ["gate", "orchestrator", "start", "watched"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An OpenAI-compatible service on loopback that behaves as its URL says."""
    with serve() as running:
        yield running
