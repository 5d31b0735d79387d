"""``APP`` on a command line, see `procorch.agents.apps`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procorch.agents.apps import App, AppError
from procorch.cli import streams
from procorch.cli.exits import Misconfigured
from procorch.telemetry.quiet import replacements

if TYPE_CHECKING:
    from procorch.api.orchestrator import AgentOrchestrator


def load(text: str, orchestrator: AgentOrchestrator, *, bytecode: bool = True) -> App:
    """The factory that ``text`` names; it was imported once, in a worker, to see that it is there.

    Args:
        orchestrator: starts that worker.
        bytecode: Python may write what it has compiled.

    Raises:
        Misconfigured: it does not import, or names no callable, with the reason.
    """
    from procorch.batch.app_check import examine
    from procorch.errors import AgentError

    try:
        with replacements(critical=False):  # the error that is raised says all of it
            app = examine(App.parse(text), orchestrator, bytecode=bytecode)
    except AppError as error:
        raise Misconfigured(str(error)) from None
    except AgentError as error:
        raise Misconfigured(f"{text!r} cannot be imported: {error}") from None
    app.make_known()
    assert app.facts is not None
    if os.path.isabs(app.where) and "." in app.facts.module:
        streams.note(f"{text} is part of a package, and imported as {app.facts.module}:{app.name}")
    return app
