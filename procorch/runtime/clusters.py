"""What is made of reports about nodes, and of starts that fail before there is a process."""

from __future__ import annotations

from procorch.errors import AgentError, ClusterError, StartError
from procorch.launch.base import Where
from procorch.supervision.notices import NodeJoined, NodeLost

_MISSING_CODE = ("ModuleNotFoundError", "ImportError")
_MISSING = "No module named"
_HINT = (
    "; code gets to nodes by RayBackend(runtime_env={'working_dir': ...}) or "
    "{'py_modules': [...]}, or is installed there"
)

_PERMANENT = ("missing", "version", "token", "handshake")
"""Reasons that no further attempt can change."""


def no_process(name: str, why: object, reason: str = "") -> StartError:
    """The error of a start that the system or the cluster refused.

    Args:
        reason: that of a `ClusterError`; "": it was the system.
    """
    if reason:
        text, permanent = f"agent {name!r}: {why}", reason in _PERMANENT
        return ClusterError(text, agent=name, reason=reason, permanent=permanent)
    return StartError(
        f"agent {name!r}: its process could not be started: {why}",
        agent=name,
        phase="start",
    )


def failed_there(error: AgentError, where: Where) -> AgentError:
    """The error of a start that has failed on a node, with the node, and what is to be done if code
    is missing there."""
    if isinstance(error, StartError):
        at = f"{error} (on node {(where.node or '')[:8]}, {where.host})"
        if error.exc_type.rpartition(".")[2] in _MISSING_CODE or _MISSING in error.exc_str:
            at += _HINT
        error.args = (at,)
    return error


def node_event(where: Where, *, joined: bool, why: str, at: float) -> NodeJoined | NodeLost:
    """The event of a node; ``at``: the time in monotonic seconds."""
    node = where.node or ""
    if joined:
        return NodeJoined(agent="", generation=0, at=at, node=node, host=where.host)
    return NodeLost(agent="", generation=0, at=at, node=node, host=where.host, why=why)
