"""The registration of agents: names, factories, settings, who is whose child."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, Unpack

from procorch.api.lifecycle import Lifecycle
from procorch.api.registry import Registry
from procorch.supervision.keywords import Settings
from procorch.units import whole


class Registration(Lifecycle):
    """What an orchestrator is before its agents run; see `AgentOrchestrator`."""

    def __init__(self, max_restarts: int | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._registry = Registry()
        self._max_restarts = None if max_restarts is None else whole(max_restarts, "max_restarts")

    def with_max_restarts(self, limit: int) -> Self:
        """Set the budget of agents registered from now on (seed: captured at registration)."""
        self._max_restarts = whole(limit, "max_restarts")
        return self

    def add_agent(
        self, name: str, factory: Callable[[], Any], **settings: Unpack[Settings]
    ) -> None:
        """Register an agent.

        Args:
            name: how it is called from now on.
            factory: called without arguments in the worker at every start; returns what
                `procorch.Agent` is made of (`AgentOptions`, a callable, an object with ``prompt``
                or ``handle``). Serialised here and now.
            settings: see `procorch.supervision.keywords.Settings` and docs/settings.md.

        Raises:
            ValueError: the name is taken, or a setting is out of range; nothing is changed.
            TypeError: an unknown setting, or one of a wrong type; nothing is changed.
            SerializationError: the factory cannot be serialised, with the path to the culprit.
        """
        self._add(name, None, factory, settings)

    def add_child(
        self, name: str, parent: str, factory: Callable[[], Any], **settings: Unpack[Settings]
    ) -> None:
        """Register an agent under ``parent``; otherwise like `add_agent`.

        Raises:
            ValueError: also when ``parent`` is not registered.
        """
        self._add(name, parent, factory, settings)

    def _add(
        self, name: str, parent: str | None, factory: Callable[[], Any], given: Mapping[str, Any]
    ) -> None:
        self.must_be_ours()
        self._registry.add(name, parent, factory, given, self._max_restarts)

    def parent_of(self, name: str) -> str | None:
        """The parent's name; None for a top-level or unknown agent."""
        entry = self._registry.get(name)
        return None if entry is None else entry.parent

    def children_of(self, name: str) -> tuple[str, ...] | None:
        """The children's names in order of registration; None for an unknown agent."""
        entry = self._registry.get(name)
        return None if entry is None else tuple(entry.children)

    def names(self) -> list[str]:
        """All names in order of registration."""
        return self._registry.names()

    def contains(self, name: str) -> bool:
        """Whether an agent of that name is registered; also ``name in orchestrator``."""
        return name in self._registry

    def __contains__(self, name: object) -> bool:
        return name in self._registry

    def __len__(self) -> int:
        return len(self._registry.names())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
