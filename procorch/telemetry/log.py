"""Supervision events as log records of the logger ``procorch``."""

from __future__ import annotations

import logging

from procorch.supervision import notices
from procorch.supervision.states import AgentStatus

_log = logging.getLogger("procorch")

_LONG = 1.0
"""Seconds before a start from which on people want to know why nothing happens."""


def level_of(notice: notices.Notice) -> int:
    """How loud an event is: a process lost is a warning, an agent lost an error.

    What was planned is no warning: a healthy run logs nothing where logging is not configured.
    """
    match notice:
        case notices.Unreaped():
            return logging.CRITICAL
        case notices.Stopped(status=AgentStatus.FAILED):
            return logging.ERROR
        case notices.Restarting(planned=True):
            return logging.INFO
        case notices.Recovered() | notices.Reloading() | notices.Reloaded():
            return logging.INFO
        case notices.BackingOff(delay=delay) if delay < _LONG:
            return logging.DEBUG
        case notices.Throttled() | notices.Crashed() | notices.Restarting() | notices.BackingOff():
            return logging.WARNING
        case notices.ReloadFailed() | notices.NodeLost():
            return logging.WARNING
        case notices.NodeJoined():
            return logging.INFO
        case notices.Escalated() | notices.Stopped():
            return logging.INFO
        case _:
            return logging.DEBUG


def wanted(notice: notices.Notice) -> bool:
    """Whether anybody would see the record."""
    return _log.isEnabledFor(level_of(notice))


def write(notice: notices.Notice) -> None:
    """Write one event to the log."""
    _log.log(level_of(notice), "%s", describe(notice), extra={"notice": notice})


def describe(notice: notices.Notice) -> str:
    """One line for a person: which agent, what happened, what comes next."""
    who = f"agent {notice.agent!r}"
    match notice:
        case notices.Crashed(error=error) | notices.Escalated(error=error):
            return str(error)
        case notices.Restarting(planned=True):
            return f"{who}: its process is replaced as planned"
        case notices.Restarting(counted=False):
            return f"{who}: gets a new process"
        case notices.Restarting(restart=restart, max_restarts=most):
            return f"{who}: restarting ({restart} of {most} since its last success)"
        case notices.BackingOff(delay=delay):
            return f"{who}: next start in {delay:.1f} s"
        case notices.Throttled(delay=delay, asked=asked):
            less = "" if asked is None or asked <= delay else f" (it asked for {asked:.0f} s)"
            return f"{who}: paused {delay:.1f} s{less}: throttled by {notice.error}"
        case notices.Recovered():
            return f"{who}: as many requests as before the pause may be under way"
        case notices.Reloading(release=release):
            return f"{who}: starts a process of release {release}"
        case notices.Reloaded(release=release):
            return f"{who}: release {release} serves"
        case notices.ReloadFailed(release=release, error=error):
            return f"{who}: stays on its release, {release} has failed: {error}"
        case notices.Stopped(status=status, error=error):
            return f"{who} ended {status.name}" + ("" if error is None else f": {error}")
        case notices.NodeLost(node=node, host=host, why=why):
            return f"node {node[:8]} ({host}) was lost: {why}"
        case notices.NodeJoined(node=node, host=host):
            return f"node {node[:8]} ({host}) has joined the cluster"
        case notices.Unreaped():
            return f"{who}: its process outlived SIGKILL and may still be there"
        case _:
            return f"{who} (generation {notice.generation}): {type(notice).__name__.lower()}"
