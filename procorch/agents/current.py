"""Which context `procorch.current()` returns: that of the process, or that of the request."""

from __future__ import annotations

from contextvars import ContextVar

from procorch.agents.context import Context

_installed: Context | None = None
_common: Context | None = None
_lent: ContextVar[Context | None] = ContextVar("procorch-context")
"""The context of a worker that is a thread of a test (`procorch.testing`), or of a request that
runs beside others; in such a worker ``_common`` is for code of no request."""


def current() -> Context:
    """The context of the worker that this code runs in.

    Raises:
        RuntimeError: this process is no worker of procorch.

    Example:
        >>> def solver():
        ...     return lambda messages: current().agent
        >>> with AgentOrchestrator() as orch:
        ...     orch.add_agent("solver", solver)
        ...     print(orch.spawn("solver").send_message("who?").text)
        solver
    """
    found = installed()
    if found is None:
        raise RuntimeError(
            "procorch.current() was called outside a worker: there is a context only in the "
            "process of an agent, in its factory and while it handles requests, and not in a "
            "process that the agent's code forks"
        )
    return found


def installed() -> Context | None:
    """As `current()`, but None outside a worker."""
    return _lent.get(_common) if _installed is None else _installed


def install(context: Context, *, common: bool = False) -> None:
    """Make `context` what `current()` returns in this process (the worker's part); ``common``:
    where no other one was lent, because several requests run at once and each lends its own."""
    global _installed, _common
    _installed, _common = (None, context) if common else (context, None)


def uninstall() -> None:
    """Undo `install`."""
    global _installed, _common
    _installed = _common = None


def lend(context: Context) -> None:
    """Make `context` what `current()` returns in this thread and the tasks that begin in it."""
    _lent.set(context)
