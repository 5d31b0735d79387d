"""Loads an app in a worker: whether that works, and what a journal keeps of the app."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procorch.agents.apps import App, AppError, Facts
from procorch.batch import identity
from procorch.errors import AgentCrashed

if TYPE_CHECKING:
    from procorch.api.orchestrator import AgentOrchestrator


def examine(app: App, orchestrator: AgentOrchestrator, *, bytecode: bool = True) -> App:
    """The app with its facts, without importing it into this process.

    Args:
        orchestrator: starts the worker, and removes it, except after an error.
        bytecode: Python may write compiled modules.

    Raises:
        AppError: the app cannot be loaded.
        AgentError: the worker cannot be started, or has failed.
    """
    from procorch.api.orchestrator import (
        numbered_apart,  # not in the worker, which needs `_Examiner`
    )

    orchestrator.add_agent("app", _Examiner(app, bytecode))
    try:
        with numbered_apart():
            reply = orchestrator.spawn("app").deliver(None)
        found = reply.result().output
    except AgentCrashed as error:
        how = error.signal or f"exit code {error.exitcode}"
        raise AppError(f"{app.text!r} ends the process that imports it: {how}") from error
    orchestrator.remove("app")
    if isinstance(found, str):
        raise AppError(found)
    return dataclasses.replace(app, facts=found)


@dataclasses.dataclass(frozen=True, slots=True)
class _Examiner:
    """A factory; not a partial, or a zygote would import the app before the worker does."""

    app: App
    bytecode: bool

    def __call__(self) -> Callable[[Any], Facts | str]:
        return self._look

    def _look(self, message: Any) -> Facts | str:
        sys.dont_write_bytecode |= not self.bytecode
        try:
            factory = self.app.load()
        except AppError as error:
            return str(error)
        name, folder = identity.name_of(factory), identity.folder_of(factory)
        return Facts(self.app.module(), name, identity.describe(factory), folder)
