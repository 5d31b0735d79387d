"""The table of `status` and `top` as text: what stands in each row, and what is not as configured.

A row is an agent, with its children indented below it. Instances have rows of their own where an
agent has more than one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from procorch.cli.daemon import form

Plain: TypeAlias = Mapping[str, Any]

COLUMNS = (
    "NAME", "PID", "STATE", "UPTIME", "RESTARTS", "LAST-EXIT", "QUEUE", "CPU", "MEMORY", "RELEASE",
    "CURRENT",
)  # fmt: skip
RIGHT = frozenset(("PID", "UPTIME", "RESTARTS", "QUEUE", "CPU", "MEMORY", "RELEASE", "CURRENT"))
"""Columns of figures."""
_INDENT = "  "
_PID = re.compile(r"^\(pid \d+\) (was )?")
"""How the text of an exit begins; the process is gone, so its number is of no use in a table."""
_WELL = frozenset(
    ("READY", "BUSY", "RUNNING", "PAUSED", "DRAINING", "COMPLETED", "STOPPED", "EMPTY")
)
"""States in which nothing is wrong. What was stopped or paused by hand is told as drift."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Args:
        agent: the name of the agent.
        slot: which of its instances it is about; None: the agent.
        cells: the text of each column.
        state: the state alone, which decides about the colour.
        cpu, memory, restarts: what `top` sorts by.
    """

    agent: str
    slot: int | None
    cells: tuple[str, ...]
    state: str
    cpu: float
    memory: int
    restarts: int


def rows(
    agents: Sequence[Plain], share: Mapping[tuple[str, int], float] | None = None
) -> list[Row]:
    """The rows of all agents, each agent above its children.

    Args:
        agents: those of a status.
        share: cores that the process of each (agent, slot) uses now; None: the seconds that it has
            used until now are shown in their place.
    """
    found = []
    for agent, depth in in_tree(agents):
        instances = agent["instances"]
        several = len(instances) > 1
        shares = None
        if share is not None:
            shares = [share.get((agent["name"], each["slot"]), 0.0) for each in instances]
        found.append(_row(agent, depth, None, instances, shares))
        for number, each in enumerate(instances if several else ()):
            own = None if shares is None else [shares[number]]
            found.append(_row(agent, depth + 1, each, [each], own))
    return found


def _row(
    agent: Plain,
    depth: int,
    instance: Plain | None,
    processes: Sequence[Plain],
    shares: Sequence[float] | None,
) -> Row:
    about = agent if instance is None else instance
    several = instance is None and len(processes) > 1
    seconds = sum(each["cpu"] for each in processes)
    memory = sum(each["rss"] for each in processes)
    only: Plain = processes[0] if len(processes) == 1 else {"pid": None, "uptime": None}
    lives = any(each["pid"] is not None for each in processes)
    name = agent["name"] if instance is None else f"{agent['name']}/{instance['slot']}"
    mark = "*" if instance is None and agent["drift"] else ""
    detail = _detail(about)
    cpu = _spent(seconds) if shares is None else f"{sum(shares):.0%}"
    values = {
        "NAME": f"{_INDENT * depth}{name}{mark}",
        "PID": _text(only["pid"]),
        "STATE": f"{about['state']} {detail}".rstrip(),
        "UPTIME": form.duration(only["uptime"]),
        "RESTARTS": _text(about["restarts"]),
        "LAST-EXIT": _PID.sub("", form.line_of(about["last_exit"] or "")),
        "QUEUE": _text(agent["queue"]) if instance is None else "",
        "CPU": cpu if lives else "",
        "MEMORY": form.size(memory) if lives else "",
        "RELEASE": _text(about["release"]),
        "CURRENT": " ".join(str(each["current"]) for each in processes if each["current"]),
    }
    if several:
        ready = sum(each["state"] in _WELL for each in processes)
        values["STATE"] = f"{about['state']} {ready}/{agent['size']} {detail}".rstrip()
        values["CURRENT"] = values["LAST-EXIT"] = ""
    return Row(
        agent["name"], None if instance is None else instance["slot"],
        tuple(values[column] for column in COLUMNS), about["state"],
        seconds if shares is None else sum(shares), memory, about["restarts"],
    )  # fmt: skip


def in_tree(agents: Sequence[Plain]) -> list[tuple[Plain, int]]:
    """Each agent with its depth, children below their parents, else in the order given."""
    names = {each["name"] for each in agents}
    below: dict[str | None, list[Plain]] = {}
    for each in agents:
        parent = each["parent"] if each["parent"] in names else None
        below.setdefault(parent, []).append(each)
    found: list[tuple[Plain, int]] = []

    def add(parent: str | None, depth: int) -> None:
        for each in below.get(parent, ()):
            found.append((each, depth))
            add(each["name"], depth + 1)

    add(None, 0)
    return found


def troubles(status: Plain) -> list[str]:
    """What is not as the configuration says, one line each."""
    found = []
    if not status["daemon"]["ready"]:
        state = status["daemon"]["state"]
        why = "not all agents that are to run are ready" if state == "running" else state
        found.append(f"the daemon is not ready: {why}")
    for agent in status["agents"]:
        name = agent["name"]
        found += [f"{name}: {text}" for text in agent["drift"]]
        if agent["state"] not in _WELL:
            found.append(f"{name}: {agent['state']} {_detail(agent)}".rstrip())
            continue
        found += [
            f"{name}, instance {each['slot']}: {each['state']}"
            for each in agent["instances"]
            if each["state"] not in _WELL
        ]
    return found


def heading(daemon: Plain) -> str:
    """The line about the daemon itself."""
    state = daemon["state"] if daemon["ready"] or daemon["state"] != "running" else "not ready"
    return (
        f"procorch {daemon['version']}, pid {daemon['pid']}, {state}, "
        f"up {form.duration(daemon['uptime'])}, release {daemon['release']}, "
        f"cpu {_spent(daemon['cpu'])}, memory {form.size(daemon['rss'])}, {daemon['config']}"
    )


def _detail(about: Plain) -> str:
    """What is to be known beside the state, without the name that stands before it."""
    text = form.line_of(about.get("detail") or "")
    return text.replace(f"agent {about['name']!r} ", "") if "name" in about else text


def _spent(seconds: float) -> str:
    return form.duration(seconds)


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
