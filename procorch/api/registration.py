"""The registration of agents: names, factories, settings, parents and children."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack

from procorch.agents.programs import is_command
from procorch.api.lifecycle import Lifecycle
from procorch.api.registry import Registry, check_service
from procorch.clock import Clock
from procorch.errors.texts import did_you_mean
from procorch.runtime.limits import store_of
from procorch.supervision.budgets import ModelUse
from procorch.supervision.keywords import Settings
from procorch.supervision.shared_limit import Limit, LimitState
from procorch.supervision.throttle import LONGEST
from procorch.units import whole

if TYPE_CHECKING:
    from procorch.agents.command import Command


class Registration(Lifecycle):
    """The part of `AgentOrchestrator` that registers agents."""

    def __init__(self, max_restarts: int | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._registry = Registry(remote=self._backend is not None)
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
            settings: see `procorch.supervision.keywords.Settings` and docs/reference/settings.md.

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

    def add_service(
        self,
        name: str,
        run: Callable[[], object] | Command[Any],
        *,
        parent: str | None = None,
        says_ready: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        """Register a service: a loop of your own, such as the consumer of a queue.

        Its worker calls ``run`` once. ``current().cancelled`` tells it to return. With
        ``heartbeat_timeout`` it must call ``current().progress()`` often enough. When it ends, a
        new process runs it again as its restart type and the policy say; without a policy the
        restart type alone. Nothing can be sent to it (`TakesNoRequests`).

        Args:
            name: the name of the agent.
            run: a function without arguments, sync or async, or ``command([...])``, a program that
                is kept alive. It is serialised by this call. What it returns is dropped.
            parent: the agent above it; None: there is none.
            says_ready: ``run`` calls ``current().ready()`` when it is ready, at the latest after
                ``start_timeout``; False: it is ready when it begins. A program is ready when the
                check of ``command(..., ready=)`` has passed.
            settings: as for `add_agent`, without those that are about requests; ``restart`` is
                "permanent" unless you say otherwise, so a new run follows on a return, too.

        Raises:
            ValueError: as for `add_agent`; or the command has fields or an input.
            TypeError: as for `add_agent`; a setting is about requests; ``run`` takes arguments.
            SerializationError: ``run`` cannot be serialised; the error has the path inside it.
        """
        from procorch.agents.service import factory_of  # it loads what runs programs

        self.must_be_ours()
        given = {"restart": "permanent", **settings}
        check_service(name, given, says_ready=says_ready, program=is_command(run))
        factory = factory_of(run, says_ready=says_ready)
        program = is_command(run)
        self._registry.add(
            name, parent, factory, given, self._max_restarts, service=True, program=program
        )

    def _add(
        self, name: str, parent: str | None, factory: Callable[[], Any], given: Mapping[str, Any]
    ) -> None:
        self.must_be_ours()
        keep_limit = self._checked_limit(name, given)
        self._registry.add(name, parent, factory, given, self._max_restarts)
        keep_limit()

    def _checked_limit(self, name: str, given: Mapping[str, Any]) -> Callable[[], None]:
        """What declares a `Limit` among the settings of an agent.

        Raises:
            ValueError: another limit has its name.
        """
        limit = given.get("limit")
        if not isinstance(limit, Limit):
            return lambda: None
        store = store_of(limit)
        if self._limits.get(limit.name, store) is not store:
            raise ValueError(f"agent {name!r}: another limit has the name {limit.name!r}")
        return lambda: self._limits.update({limit.name: store})

    def _must_have_limit(self, name: str, limit: str | None) -> None:
        if limit is not None and limit not in self._limits:
            hint = did_you_mean(limit, self._limits, listed="declared")
            raise ValueError(f"agent {name!r}: no limit {limit!r} was declared with limit(){hint}")

    def limit(
        self,
        name: str | Limit,
        *,
        concurrent: int | None = None,
        per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        retries: int = 8,
        longest: float | str = LONGEST,
    ) -> Limit:
        """Declare a limit that agents share (N23), before the agents that use it start.

        An agent uses the limit that its setting ``limit`` names. An agent of an LLM library without
        that setting uses the limit with the name of its model's provider, such as ``"openai"``.

        Args:
            name: the name; or a `Limit`, to share it with other orchestrators, pools and batches.
                The other arguments are then those of that limit; see there.

        Returns:
            The limit, to be given to pools (the setting ``limit``) and to `run_batch`
            (``shared_limit``) as well.

        Raises:
            ValueError: there is a limit of that name, or a number is out of range.
            TypeError: a number is of a wrong type.
        """
        self.must_be_ours()
        made = name
        if not isinstance(made, Limit):
            made = Limit(made, concurrent, per_minute, tokens_per_minute, retries, longest)
        if made.name in self._limits:
            raise ValueError(f"limit {made.name!r} already declared")
        self._limits[made.name] = store_of(made)
        return made

    def limits(self) -> dict[str, LimitState]:
        """The declared limits at the moment, by name."""
        now = Clock().steady() if self._monitor is None else self._monitor.clock.steady()
        return {name: store.state(now) for name, store in self._limits.items()}

    def usage(self, agent: str | None = None) -> dict[str, ModelUse]:
        """What was used of models so far, by the name of the model.

        Args:
            agent: only what this agent and those below it have used; None: all agents.
        """
        return {} if self._monitor is None else self._monitor.calls.accounts.used_by(agent)

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
