"""Calls the function that an agent names as ``on_failure``, in a worker of its own."""

from __future__ import annotations

import logging

from procorch.agents.apps import App
from procorch.api.orchestrator import AgentOrchestrator
from procorch.daemon.errors import SecretError
from procorch.daemon.registering import Registrar
from procorch.daemon.specs import AgentSpec
from procorch.errors import AgentError

_log = logging.getLogger("procorch")

TIMEOUT = 30.0
"""Seconds that the function may take, its import included."""


class _Hook:
    """A factory: the agent is the function itself."""

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self) -> object:
        return self._app.load()


def call_hook(
    orchestrator: AgentOrchestrator, registrar: Registrar, spec: AgentSpec, error: str
) -> None:
    """Call the function with ``{"agent", "error"}``. A failure of it is logged."""
    assert spec.on_failure is not None
    name = f"{spec.name}:on_failure"
    try:
        env = registrar.environment(spec)
        orchestrator.add_agent(
            name, _Hook(App.parse(spec.on_failure)), restart="temporary", env=env,
            start_timeout=TIMEOUT, request_timeout=TIMEOUT, answers="json",
        )  # fmt: skip
        try:
            handle = orchestrator.spawn(name)
            handle.deliver({"agent": spec.name, "error": error}).result()
        finally:
            orchestrator.remove(name)
    except (AgentError, SecretError, ValueError, TypeError) as failure:
        _log.warning("on_failure of agent %r has failed: %s", spec.name, failure)
