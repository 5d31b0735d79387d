"""How processes ended, read from the events of their agents."""

from __future__ import annotations

import msgspec

from procorch import AgentCrashed, AgentError, Crashed, Notice, Ready, Restarting, Starting, Stopped
from procorch.batch.reasons import place_of

_LONGEST = 16384
"""Characters of one text."""


class ProcessExit(msgspec.Struct, frozen=True):
    """One exit.

    Args:
        time: in seconds since the epoch.
        pid: None: it is not known.
        reason: how it ended, as text.
        signal: the name of the signal that ended it. ``exitcode``: its exit status.
        place: the cause and the place in the agent's code.
        stderr_tail: the end of its standard error.
        last_stack: the stack of the fault.
        uptime: seconds from its start; None: it is not known.
    """

    time: float
    agent: str
    instance: int
    generation: int
    pid: int | None
    reason: str
    signal: str | None
    exitcode: int | None
    place: str | None
    stderr_tail: str
    last_stack: str
    uptime: float | None


class ExitWatch:
    """Finds the exits in a stream of events; each process has at most one."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], tuple[int, float]] = {}
        self._was_ready: set[tuple[str, int]] = set()

    def exit_of(self, event: Notice) -> ProcessExit | None:
        """The exit that an event tells of, if it does."""
        key = (event.agent, event.instance)
        if isinstance(event, Starting):
            self._running[key] = (event.generation, event.time)
            self._was_ready.discard(key)
            return None
        if isinstance(event, Ready):
            self._was_ready.add(key)
            return None
        if not isinstance(event, Crashed | Restarting | Stopped):
            return None
        generation, since = self._running.get(key, (-1, 0.0))
        known = generation == event.generation
        if known:
            del self._running[key]
        elif not isinstance(event, Crashed):
            return None  # the exit of this process was told already, or it never began
        error = None if isinstance(event, Restarting) else event.error
        uptime = max(0.0, event.time - since) if known else None
        return _exit(event, _reason(event, key in self._was_ready), error, uptime)


def _reason(event: Crashed | Restarting | Stopped, was_ready: bool) -> str:
    match event:
        case Crashed(error=error):
            return str(error)
        case Restarting(planned=True):
            return "replaced as planned"
        case Restarting(counted=False):
            return "replaced, because a request was to end"
        case Restarting():
            return "ended by itself" if was_ready else "did not start"
        case Stopped(status=status, error=error):
            return f"ended {status.name}" + ("" if error is None else f": {error}")


def _exit(
    event: Notice, reason: str, error: AgentError | None, uptime: float | None
) -> ProcessExit:
    crash = error if isinstance(error, AgentCrashed) else AgentCrashed()
    signal, code = crash.signal, crash.exitcode
    return ProcessExit(
        event.time, event.agent, event.instance, event.generation, crash.pid, reason[:_LONGEST],
        signal, code if signal is None else None, None if error is None else place_of(error),
        crash.stderr_tail[-_LONGEST:], crash.last_stack[:_LONGEST], uptime,
    )  # fmt: skip
