"""The registration of agents: names, factories, settings, parents and children."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, Unpack

from procorch.api.lifecycle import Lifecycle
from procorch.api.registry import Registry
from procorch.supervision.keywords import Settings
from procorch.units import whole


class Registration(Lifecycle):
    """The part of `AgentOrchestrator` that registers agents."""

    def __init__(self, max_restarts: int | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._registry = Registry()
        self._max_restarts = None if max_restarts is None else whole(max_restarts, "max_restarts")

    def with_max_restarts(self, limit: int) -> Self:
        """Set ``max_restarts`` for agents that are registered from now on."""
        self._max_restarts = whole(limit, "max_restarts")
        return self

    def add_agent(
        self, name: str, factory: Callable[[], Any], **settings: Unpack[Settings]
    ) -> None:
        """Register an agent.

        Args:
            name: the name of the agent.
            factory: called without arguments in the worker at each start. It returns the agent:
                `AgentOptions`, a callable, or an object with ``prompt`` or ``handle``. It is
                serialised by this call.
            settings: see `procorch.supervision.keywords.Settings` and docs/settings.md.

        Raises:
            ValueError: the name is taken, or a setting is out of range; nothing is registered.
            TypeError: an unknown setting, or one of a wrong type; nothing is registered.
            SerializationError: the factory cannot be serialised; the error has the path inside it.
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
