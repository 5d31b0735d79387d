"""What `top` shows and what its keys do, without a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from procorch.cli.daemon.status_rows import Row, rows

Sorting: TypeAlias = Literal["NAME", "CPU", "MEMORY", "RESTARTS"]
Action: TypeAlias = Literal["restart", "stop"]

SORTINGS: tuple[Sorting, ...] = ("NAME", "CPU", "MEMORY", "RESTARTS")
KEYS = "q quit  s sort  up/down select  r restart  x stop  l log"

_UP = frozenset(("\x1b[A", "\x1bOA", "k"))
_DOWN = frozenset(("\x1b[B", "\x1bOB", "j"))
_ASKS: dict[str, Action] = {"r": "restart", "x": "stop"}


@dataclass(frozen=True, slots=True)
class Order:
    """Something that is to be done to an agent."""

    action: Action
    agent: str


class Model:
    """The agents as they were seen last, and what a person looks at."""

    def __init__(self) -> None:
        self.sorting: Sorting = "NAME"
        self.shows_log: bool = False
        self.over: bool = False
        """Whether a person has had enough."""
        self.message = ""
        """What the last order came to."""
        self.asked: Order | None = None
        """An order that waits for a yes."""
        self.rows: list[Row] = []
        """The rows as they are shown."""
        self._agents: Sequence[dict[str, Any]] = ()
        self._spent: dict[tuple[str, int, int], float] = {}
        self._seen_at: float | None = None
        self._shares: dict[tuple[str, int], float] = {}
        self._chosen: tuple[str, int | None] | None = None

    @property
    def selected(self) -> int:
        """The number of the row that is selected; 0 where there is none."""
        keys = [(row.agent, row.slot) for row in self.rows]
        return keys.index(self._chosen) if self._chosen in keys else 0

    @property
    def agent(self) -> str | None:
        """The agent that is selected."""
        return self.rows[self.selected].agent if self.rows else None

    def take(self, agents: Sequence[dict[str, Any]], now: float) -> None:
        """See the agents anew.

        Args:
            now: monotonic seconds.
        """
        spent = {
            (agent["name"], each["slot"], each["generation"]): each["cpu"]
            for agent in agents
            for each in agent["instances"]
        }
        passed = 0.0 if self._seen_at is None else now - self._seen_at
        self._shares = {
            key[:2]: max(0.0, seconds - self._spent.get(key, seconds)) / passed if passed else 0.0
            for key, seconds in spent.items()
        }
        self._agents, self._spent, self._seen_at = agents, spent, now
        self._arrange()

    def press(self, key: str) -> Order | None:
        """A key was pressed; returns what is to be done because of it."""
        asked, self.asked = self.asked, None
        if asked is not None:
            return asked if key in ("y", "Y") else None
        if key == "q":
            self.over = True
        elif key == "s":
            self.sorting = SORTINGS[(SORTINGS.index(self.sorting) + 1) % len(SORTINGS)]
            self._arrange()
        elif key == "l":
            self.shows_log = not self.shows_log
        elif key in _UP or key in _DOWN:
            self._move(-1 if key in _UP else 1)
        elif key in _ASKS and self.agent is not None:
            self.asked = Order(_ASKS[key], self.agent)
        return None

    def footer(self) -> str:
        """The last line of the screen."""
        if self.asked is not None:
            return f"{self.asked.action} {self.asked.agent}? y/n"
        return f"{self.message}   {KEYS}".lstrip()

    def _move(self, by: int) -> None:
        if self.rows:
            row = self.rows[max(0, min(len(self.rows) - 1, self.selected + by))]
            self._chosen = (row.agent, row.slot)

    def _arrange(self) -> None:
        if self.sorting == "NAME":
            self.rows = rows(self._agents, self._shares)
            return
        # In the order of a figure the tree is of no use: children stand beside their parents.
        flat = [{**agent, "parent": None} for agent in self._agents]
        blocks = [rows([agent], self._shares) for agent in flat]
        blocks.sort(key=lambda block: self._figure(block[0]), reverse=True)
        self.rows = [row for block in blocks for row in block]

    def _figure(self, row: Row) -> float:
        return {"CPU": row.cpu, "MEMORY": row.memory, "RESTARTS": row.restarts}[self.sorting]
