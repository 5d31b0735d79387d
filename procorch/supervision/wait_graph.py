"""Agents that wait for other agents. A circle would wait for ever, so it is refused (N16).

An instance waits for an agent, any instance of which may answer. So it waits for ever only if all
of these wait for ever themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def _itself(agent: int) -> Sequence[int]:
    return (agent,)


class WaitGraph:
    """Which instance waits for which agents. An instance may wait for several at once.

    Args:
        members: the keys of the instances of an agent that have not ended.
    """

    def __init__(self, members: Callable[[int], Sequence[int]] = _itself) -> None:
        self._members = members
        self._waiting: dict[int, list[int]] = {}

    def circle(self, asker: int, asked: int) -> list[int] | None:
        """The circle that would result if ``asker`` waited for the agent ``asked``: the keys of
        instances, asker first."""
        members = self._members(asked)
        if not all(key == asker or key in self._waiting for key in members):
            return None  # nearly always: one of them will answer
        answered = self._answered(asker, asked)
        came_from = dict.fromkeys(() if asked in answered else members, asker)
        stack = list(came_from)
        while stack:
            key = stack.pop()
            if key == asker:
                path = [came_from[asker]]
                while path[-1] != asker:
                    path.append(came_from[path[-1]])
                return path[::-1]
            for agent in self._waiting.get(key, ()):
                for further in () if agent in answered else self._members(agent):
                    if further not in came_from:
                        came_from[further] = key
                        stack.append(further)
        return None

    def _answered(self, asker: int, asked: int) -> set[int]:
        """The agents, of those that ``asked`` depends on, that can answer while ``asker`` waits.

        An agent without instances is one of them: it may get some.
        """
        waits_for: dict[int, set[int]] = {asker: {asked}}
        askers: dict[int, list[int]] = {}
        agents_of: dict[int, list[int]] = {}
        able: list[int] = []
        seen, ahead = {asked}, [asked]
        while ahead:
            agent = ahead.pop()
            members = self._members(agent)
            if not members:
                able.append(agent)
            for key in members:
                agents_of.setdefault(key, []).append(agent)
                wanted = self._waiting.get(key, ())
                if key != asker and not wanted:
                    able.append(agent)
                elif key not in waits_for:
                    waits_for[key] = set(wanted)
                    for further in waits_for[key]:
                        askers.setdefault(further, []).append(key)
                        if further not in seen:
                            seen.add(further)
                            ahead.append(further)
        answered: set[int] = set()
        while able:
            agent = able.pop()
            for key in () if agent in answered else askers.get(agent, ()):
                waits_for[key].discard(agent)
                if not waits_for[key]:
                    able += agents_of[key]
            answered.add(agent)
        return answered

    def add(self, asker: int, asked: int) -> None:
        """``asker`` waits for ``asked``."""
        self._waiting.setdefault(asker, []).append(asked)

    def remove(self, asker: int, asked: int) -> None:
        """``asker`` no longer waits for one answer of ``asked``."""
        waited_for = self._waiting.get(asker, [])
        if asked in waited_for:
            waited_for.remove(asked)
        if not waited_for:
            self._waiting.pop(asker, None)
