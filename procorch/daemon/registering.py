"""From the configuration to the orchestrator: agents, commands, services and programs.

Nothing of the user is imported here: a factory is an `App`, its name, and workers import it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from procorch import Shutdown
from procorch.agents.apps import App
from procorch.agents.command import Command, command
from procorch.api.orchestrator import AgentOrchestrator
from procorch.daemon.config.secrets import Redactor, environment
from procorch.daemon.specs import AgentSpec

_SERVICES = ("service", "program")
_SHARE = 0.9
"""Of the time that a worker has to leave, for the program that it keeps alive."""


class Registrar:
    """Registers what the configuration says.

    Args:
        orchestrator: gets the agents.
        folder: of the configuration; relative paths begin there.
        redactor: is told of their secrets.
    """

    def __init__(self, orchestrator: AgentOrchestrator, folder: Path, redactor: Redactor) -> None:
        self._orchestrator = orchestrator
        self._folder = folder
        self._redactor = redactor

    def add(self, spec: AgentSpec) -> None:
        """Register an agent.

        Raises:
            AppError: its factory is no name of a factory, or the file is not there.
            SecretError: a file or a secret of its environment cannot be read.
            ValueError, TypeError: a setting is not accepted.
        """
        given, made = self._settings(spec, spec.instances), _source(spec)
        if spec.kind in _SERVICES:
            self._orchestrator.add_service(
                spec.name, made, parent=spec.parent, says_ready=spec.says_ready, **given
            )
        elif spec.parent is None:
            self._orchestrator.add_agent(spec.name, made, **given)
        else:
            self._orchestrator.add_child(spec.name, spec.parent, made, **given)

    def renew(self, spec: AgentSpec, size: int) -> None:
        """Have the next process of a registered agent start with what the configuration, its
        environment file and its secrets say now; raises like `add`.

        Args:
            size: instances that its next run begins with.
        """
        given, made = self._settings(spec, max(1, size)), _source(spec)
        self._orchestrator.configure(spec.name, made, says_ready=spec.says_ready, **given)

    def environment(self, spec: AgentSpec) -> dict[str, str]:
        """The variables of an agent now; raises `SecretError`."""
        return environment(spec, self._folder, self._redactor)

    def _settings(self, spec: AgentSpec, size: int) -> dict[str, Any]:
        given = {**spec.settings, "env": self.environment(spec), "instances": size}
        if spec.answers:
            given["answers"] = "json"  # nothing in this process loads a class of the user
        return given


def _source(spec: AgentSpec) -> Any:
    """What workers make the agent from."""
    if spec.factory is not None:
        return replace(App.parse(spec.factory), preload=spec.preload)
    assert spec.command is not None
    if spec.kind == "program":
        grace = spec.settings.get("shutdown", Shutdown()).grace * _SHARE
        return command(list(spec.command), ready=spec.ready, grace=grace)
    made: Command[Any] = command(list(spec.command), input=spec.input, output=spec.output)
    return made
