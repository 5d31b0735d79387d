"""Where Ray is asked to place an agent, and why it may have to wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

_NODE = "ray.io/node-id"
"""The label of a node that has its id."""

_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
"""Ray's own names for resources that it has options for."""


class Node(NamedTuple):
    """A node of the cluster: its id, its address, all that it has of each resource, and the port of
    its raylet."""

    id: str
    host: str
    total: Mapping[str, float]
    port: int = 0


def options(
    resources: Mapping[str, float], *, spread: bool, avoid: Collection[str]
) -> dict[str, Any]:
    """Options of the actor for an agent.

    Args:
        resources: what it needs, in the words of the setting.
        spread: place it where few others are; else where others are already.
        avoid: ids of nodes on which it must not be placed, because they were lost.
    """
    given: dict[str, Any] = {name: resources[name] for name in _NAMES if name in resources}
    given.setdefault("num_cpus", 1)
    custom = {name: amount for name, amount in resources.items() if name not in _NAMES}
    if custom:
        given["resources"] = custom
    given["scheduling_strategy"] = "SPREAD" if spread else "DEFAULT"
    if avoid:
        given["label_selector"] = {_NODE: f"!in({','.join(sorted(avoid))})"}
    return given


def environment(given: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime environment of relays. A relay that ends must not have its zygote killed by Ray:
    the zygote ends itself, and all descendants of the agent before."""
    variables = {"RAY_kill_child_processes_on_worker_exit": "0", **given.get("env_vars", {})}
    return {**given, "env_vars": variables}


def why_waiting(
    resources: Mapping[str, float],
    nodes: Sequence[Node],
    free: Mapping[str, float],
    avoid: Collection[str],
) -> str:
    """Why an agent is not placed yet, as text.

    Args:
        nodes: those that are alive.
        free: what is free of each resource in the whole cluster.
    """
    asked = {"num_cpus": 1.0, **resources}
    wanted = {_NAMES.get(name, name): (name, amount) for name, amount in asked.items()}
    usable = [node for node in nodes if node.id not in avoid]
    if not usable:
        lost = f": {_nodes(len(nodes))} of it {'is' if len(nodes) == 1 else 'are'} lost"
        return f"the cluster has no node that can take it{lost if nodes else ''}"
    for theirs, (name, amount) in wanted.items():
        most = max(node.total.get(theirs, 0.0) for node in usable)
        if most < amount:
            return f"no node has {name}={amount:g}; the largest has {most:g}"
    fits = [node for node in usable if _fits(node, wanted)]
    if not fits:
        together = ", ".join(f"{name}={amount:g}" for name, amount in wanted.values() if amount)
        return f"no single node has {together}"
    short = [
        f"{name}={amount:g} is asked for, {free.get(theirs, 0.0):g} free in the cluster"
        for theirs, (name, amount) in wanted.items()
        if amount and free.get(theirs, 0.0) < amount
    ]
    return "; ".join(short) or "its node prepares a process for it"


def _fits(node: Node, wanted: Mapping[str, tuple[str, float]]) -> bool:
    return all(node.total.get(theirs, 0.0) >= amount for theirs, (_, amount) in wanted.items())


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"
