"""Agents that wait for other agents. A circle would wait for ever, so it is refused (N16)."""

from __future__ import annotations


class WaitGraph:
    """Which instance waits for which, by key. An agent may wait for several at once."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[int]] = {}

    def circle(self, asker: int, asked: int) -> list[int] | None:
        """The circle that would result if ``asker`` waited for ``asked``: keys, asker first."""
        came_from = {asked: asker}
        stack = [asked]
        while stack:
            key = stack.pop()
            if key == asker:
                path = [asker]
                while (path[-1] != asked) and path[-1] in came_from:
                    path.append(came_from[path[-1]])
                return [asker, *reversed(path[1:])] if len(path) > 1 else [asker]
            for further in self._waiting.get(key, ()):
                if further not in came_from:
                    came_from[further] = key
                    stack.append(further)
        return None

    def add(self, asker: int, asked: int) -> None:
        """``asker`` waits for ``asked``."""
        self._waiting.setdefault(asker, []).append(asked)

    def forget(self, asker: int) -> None:
        """``asker`` no longer waits for any agent."""
        self._waiting.pop(asker, None)

    def remove(self, asker: int, asked: int) -> None:
        """``asker`` no longer waits for one answer of ``asked``."""
        waited_for = self._waiting.get(asker, [])
        if asked in waited_for:
            waited_for.remove(asked)
        if not waited_for:
            self._waiting.pop(asker, None)
