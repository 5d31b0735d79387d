"""What an agent waits for before it starts, and whether that can come without an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from procorch.daemon.member import Member


class Obstacle(NamedTuple):
    """Why an agent will not start by itself.

    Args:
        name: the agent that is in the way: one that it waits for, or itself.
        why: what that agent is.
    """

    name: str
    why: Literal["stopped", "scaled to 0", "failed", "completed"]

    @property
    def is_wanted(self) -> bool:
        """An operator, or the file, has it so: nothing is wrong."""
        return self.why in ("stopped", "scaled to 0")

    @property
    def text(self) -> str:
        """Such as "solver is stopped"."""
        return f"{self.name} {'is' if self.is_wanted else 'has'} {self.why}"


def waits_for(member: Member, members: Mapping[str, Member]) -> list[str]:
    """What must happen before an agent starts, as text."""
    waits = []
    parent = member.spec.parent
    if parent is not None and not members[parent].ready:
        waits.append(f"its parent {parent} is ready")
    for name, condition in member.spec.after.items():
        other = members[name]
        if not (other.phase == "completed" or (condition == "ready" and other.ready)):
            waits.append(f"{name} is {condition}")
    return waits


def obstacle(member: Member, members: Mapping[str, Member]) -> Obstacle | None:
    """What keeps an agent that is to run from its start; None: it runs, or will start by itself.

    Args:
        members: all agents; none of them waits for itself.
    """
    if member.lives or not member.wanted:
        return None
    if member.size == 0:
        return Obstacle(member.name, "scaled to 0")
    if member.phase not in ("waiting", "backoff"):
        return None
    parent = member.spec.parent
    if parent is not None and not members[parent].ready:
        found = _in_the_way(members[parent], members)
        if found is not None:
            return found
    for name, condition in member.spec.after.items():
        other = members[name]
        if other.phase == "completed" or (condition == "ready" and other.ready):
            continue
        found = _in_the_way(other, members)
        if found is not None:
            return found
    return None


def _in_the_way(other: Member, members: Mapping[str, Member]) -> Obstacle | None:
    """Whether an agent that others wait for will not come."""
    if not other.wanted:
        return Obstacle(other.name, "stopped")
    if other.phase == "completed":
        return Obstacle(other.name, "completed")
    if other.phase == "failed" and other.retry_at is None:
        return Obstacle(other.name, "failed")
    return obstacle(other, members)


def linked_below(members: Sequence[Member], known: Mapping[str, Member]) -> list[Member]:
    """The agents that end with ``members``: linked to their parents, or in a group below them."""
    ending = {each.name for each in members}
    found = []
    for each in known.values():  # parents come before their children
        if each.spec.parent not in ending or each.name in ending:
            continue
        linked = each.spec.settings.get("link", "record") != "record"
        strategy = known[each.spec.parent].spec.settings.get("strategy", "one_for_one")
        if linked or strategy != "one_for_one":
            ending.add(each.name)
            found.append(each)
    return found
