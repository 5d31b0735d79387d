"""Which agents are ready, which will be, and which will not."""

from __future__ import annotations

from collections.abc import Sequence

from procorch.daemon.config.secrets import Redactor
from procorch.daemon.member import Member
from procorch.daemon.ports import Plain
from procorch.daemon.tree import Tree


class Readiness:
    """The part of `Core` that says whether agents have started.

    Args:
        redactor: hides secrets in errors.

    Attributes:
        tree: the agents.
    """

    tree: Tree

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def not_ready(self, names: Sequence[str] | None = None) -> list[str]:
        """The agents of ``names`` that are to run and are not ready; None: of all."""
        wanted = None if names is None else set(names)
        return [
            member.name
            for member in self.tree.members()
            if (self._is_to_run(member) if wanted is None else member.name in wanted)
            and not (member.ready or member.phase == "completed")
        ]

    def _is_to_run(self, member: Member) -> bool:
        """Neither it nor an agent that it waits for was stopped or scaled to 0."""
        found = self.tree.obstacle(member)
        return member.wanted and (found is None or not found.is_wanted)

    def failures(self) -> dict[str, str]:
        """The agents that are to run and have ended FAILED, each with its error, and those that
        wait for them."""
        found = {}
        for member in self.tree.members():
            if not member.wanted:
                continue
            in_the_way = self.tree.obstacle(member)
            if member.phase == "failed":
                found[member.name] = self._redactor.mask(member.error)
            elif in_the_way is not None and not in_the_way.is_wanted:
                found[member.name] = f"it does not start, because {in_the_way.text}"
        return found

    def wait_ready(self, names: Sequence[str], timeout: float | None) -> Plain:
        """See `CorePort`. Of all agents, those that were stopped are not waited for."""
        wanted = None if len(set(names)) == len(self.tree.members()) else names
        self.tree.wait(lambda: not self.not_ready(wanted), timeout)
        waiting = self.not_ready(wanted)
        return {"ready": not waiting, "waiting": waiting}
