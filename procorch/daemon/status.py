"""What `status` and `describe` tell: the daemon and its agents as plain data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from procorch import __version__
from procorch.api.info import AgentInfo
from procorch.daemon.member import Member
from procorch.daemon.specs import AgentSpec, Config
from procorch.daemon.tree import Tree

STATES = {
    "stopped": "STOPPED",
    "waiting": "WAITING",
    "starting": "STARTING",
    "backoff": "BACKOFF",
    "running": "RUNNING",
    "failed": "FAILED",
    "completed": "COMPLETED",
}
"""What people are shown for a phase, where the orchestrator does not know more."""


def daemon_row(
    config: Config, state: str, ready: bool, release: int, began: float
) -> dict[str, Any]:
    """The daemon itself.

    Args:
        state: "starting", "running", "reloading" or "draining".
        began: wall clock time of its start.
    """
    import psutil

    process = psutil.Process()
    times = process.cpu_times()
    return {
        "pid": os.getpid(),
        "version": __version__,
        "config": str(config.file),
        "dir": str(config.daemon.dir),
        "state": state,
        "ready": ready,
        "release": release,
        "uptime": time.time() - began,
        "cpu": times.user + times.system,
        "rss": process.memory_info().rss,
        "drain_timeout": config.daemon.drain_timeout,
    }


def agent_row(member: Member, tree: Tree) -> dict[str, Any]:
    """One agent with its instances."""
    spec = member.spec
    row: dict[str, Any] = {
        "name": spec.name, "kind": spec.kind, "group": spec.group, "parent": spec.parent,
        "state": STATES[member.phase], "detail": _detail(member, tree), "queue": 0, "restarts": 0,
        "last_exit": None, "size": member.size, "release": None, "drift": member.drift_texts(),
        "instances": [],
    }  # fmt: skip
    handle = member.handle
    if handle is None:
        return row
    info = handle.info()
    row["restarts"], row["last_exit"] = info.restarts, info.last_exit
    if member.size == 1:
        row["last_exit"] = _last_exit(member, 0, info.last_exit)
    if not member.lives:
        return row
    row["state"] = _state(member, info)
    row["queue"], row["release"] = info.queue, info.release
    now = time.time()
    for each in info.instances:
        began = member.began.get(each.slot)
        trouble = ""
        if each.state in ("BACKOFF", "STARTING"):
            trouble = member.troubles.text(each.slot, now)
        row["detail"] = row["detail"] or (trouble if row["state"] == each.state else "")
        row["instances"].append({
            "slot": each.slot, "pid": each.pid, "generation": each.generation, "state": each.state,
            "detail": trouble,
            "uptime": None if began is None or each.pid is None else max(0.0, now - began),
            "restarts": each.restarts, "last_exit": _last_exit(member, each.slot, each.last_exit),
            "cpu": each.cpu, "rss": each.rss, "release": each.release,
            "current": each.request if spec.answers else None,
        })  # fmt: skip
    return row


def _last_exit(member: Member, slot: int, told: str | None) -> str | None:
    """How an instance ended last: for a service its function or program, not its worker."""
    return (not member.spec.answers and member.troubles.last_end(slot)) or told


def _state(member: Member, info: AgentInfo) -> str:
    if member.phase == "starting" and info.state in ("READY", "BUSY", "RUNNING"):
        return "STARTING"  # some instances are ready, and not all of them
    return info.state


def _detail(member: Member, tree: Tree) -> str:
    """What a person wants to know beside the state."""
    if member.phase == "waiting":
        return _waiting(member, tree)
    if member.phase == "backoff":
        waits = tree.waits_for(member)
        then = f", next when {' and '.join(waits)}" if waits else _next(member)
        return f"{member.attempts}/{member.most_attempts}{then}: {member.error}"
    if member.phase == "failed":
        return f"{member.error}{_next(member)}"
    return ""


def _waiting(member: Member, tree: Tree) -> str:
    if member.size == 0:
        return "scaled to 0"
    waits = " and ".join(tree.waits_for(member))
    if not waits:
        return ""
    found = tree.obstacle(member)
    return f"until {waits}" if found is None else f"until {waits}; {found.text}"


def _next(member: Member) -> str:
    if member.retry_at is None:
        return ""
    return f", next in {max(0.0, member.retry_at - time.monotonic()):.0f} s"


def configuration(spec: AgentSpec, mask: Callable[[str], str]) -> dict[str, Any]:
    """What the file says of an agent, for people: secrets by their references only."""
    shown: dict[str, Any] = {"place": spec.place, "kind": spec.kind}
    for name in (
        "factory", "command", "input", "output", "parent", "instances", "preload", "replace",
        "env_file", "secrets", "after", "on_failure", "revive", "group", "autostart",
    ):  # fmt: skip
        value = getattr(spec, name)
        of_programs = name in ("input", "output")
        if value not in (None, (), {}) and (spec.kind == "command" or not of_programs):
            shown[name] = _shown(value, mask)
    if spec.ready is not None:
        shown["ready"] = str(spec.ready)
    shown["env"] = {name: mask(value) for name, value in spec.env.items()}
    shown["settings"] = {name: _shown(value, mask) for name, value in spec.settings.items()}
    return shown


def _shown(value: Any, mask: Callable[[str], str]) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {str(key): _shown(each, mask) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_shown(each, mask) for each in value]
    return mask(str(value))
