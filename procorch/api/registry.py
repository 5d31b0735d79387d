"""The registered agents: names, factories, settings, parents and children. Nothing runs here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from procorch.agents.programs import is_command
from procorch.errors import AgentError, PluginError
from procorch.runtime.factories import imports_of, seal
from procorch.supervision.budgets import Payer
from procorch.supervision.settings import AgentSettings


class Entry(Struct):
    """One registered agent.

    Args:
        factory: serialised at registration.
        imports: imports the modules that it comes from, see `launch.base.Code`.
        given: the settings as they were given; `settings` adds the others at each spawn.
        release: the release that its next instance comes from (N19). ``before``: the one that it
            can go back to; None: there is none.
        max_restarts: the orchestrator's ``max_restarts`` at the time of registration.
        service: it runs by itself. ``program``: what it runs is a program.
    """

    name: str
    factory: bytes
    imports: bytes
    parent: str | None
    given: Mapping[str, Any]
    max_restarts: int | None
    service: bool = False
    program: bool = False
    release: int = 1
    before: int | None = None
    children: list[str] = field(default_factory=list)

    def settings(self, channel_buffer: int, policy: object) -> AgentSettings:
        """All settings. ``max_restarts``: its own, else the orchestrator's, the policy's, or 3."""
        given = {"channel_buffer": channel_buffer, **self.given}
        if "max_restarts" not in given and given.get("restart") != "temporary":
            budget = self.max_restarts
            if budget is None:
                budget = getattr(policy, "max_restarts", None)
            if isinstance(budget, int):
                given["max_restarts"] = budget
        if isinstance(charge := getattr(policy, "charge_requests", None), bool):
            given.setdefault("charge_requests", charge)
        if self.service:
            given |= {"charge_requests": False, "prefetch": 1}  # it has one request, its own
        return AgentSettings.of(given)


class Registry:
    """Agents by name, in order of registration. A call that raises changes nothing.

    Args:
        remote: they run on the nodes of a cluster.

    Attributes:
        release: the release of agents that are registered from now on; ``before``: see `Entry`.
    """

    def __init__(self, *, remote: bool = False) -> None:
        self._remote = remote
        self.release: int = 1
        self.before: int | None = None
        self._entries: dict[str, Entry] = {}
        self._lock = threading.RLock()

    def add(
        self,
        name: str,
        parent: str | None,
        factory: Callable[[], Any],
        given: Mapping[str, Any],
        max_restarts: int | None,
        *,
        service: bool = False,
        program: bool = False,
    ) -> None:
        """See `AgentOrchestrator.add_agent`, `add_child` and `add_service`."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"an agent's name must be a non-empty string, not {name!r}")
        if name != name.encode(errors="ignore").decode():
            raise ValueError(f"an agent's name must be text that UTF-8 can encode, not {name!r}")
        settings = _checked(name, parent, given, remote=self._remote)
        self._check(name, parent)
        if parent is not None:
            _check_group(parent, self._entries[parent].given, name, settings)
        data, imports = _sealed(name, factory)
        with self._lock:
            self._check(name, parent)  # again: another thread may have registered it meanwhile
            if parent is not None:
                self._entries[parent].children.append(name)
            self._entries[name] = Entry(
                name, data, imports, parent, dict(given), max_restarts, service, program,
                self.release,
            )  # fmt: skip

    def _check(self, name: str, parent: str | None) -> None:
        if parent is not None and parent not in self._entries:
            raise ValueError(f"parent agent '{parent}' not registered")
        if name in self._entries:
            raise ValueError(f"agent '{name}' already registered")

    def changed(
        self, name: str, factory: Callable[[], Any] | None, given: Mapping[str, Any]
    ) -> Entry:
        """The entry of a registered agent with other settings and perhaps another factory; `put`
        puts it into the registry. See `AgentOrchestrator.configure`."""
        entry = self[name]
        settings = _checked(name, entry.parent, given, remote=self._remote)
        if entry.parent is not None:
            _check_group(entry.parent, self[entry.parent].given, name, settings)
        for child in entry.children:
            _check_group(name, given, child, AgentSettings.of(self[child].given))
        changed = replace(entry, given=dict(given))
        if factory is not None:
            changed.factory, changed.imports = _sealed(name, factory)
        return changed

    def put(self, changed: Entry) -> None:
        """Replace what `changed` has changed.

        Raises:
            PluginError: the agent was removed meanwhile.
        """
        with self._lock:
            entry = self[changed.name]
            entry.given = changed.given
            entry.factory, entry.imports = changed.factory, changed.imports
            entry.program = changed.program

    def remove(self, name: str) -> None:
        """Remove an agent.

        Raises:
            PluginError: no such agent.
            ValueError: it has children.
        """
        with self._lock:
            entry = self.must_be_childless(name)
            if entry.parent is not None:
                self._entries[entry.parent].children.remove(name)
            del self._entries[name]

    def must_be_childless(self, name: str) -> Entry:
        """The entry of an agent that may be removed; raises like `remove`."""
        entry = self[name]
        if entry.children:
            raise ValueError(
                f"agent {name!r} has children ({', '.join(entry.children)}): remove them first"
            )
        return entry

    def __getitem__(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise PluginError("orchestrator", f"agent not registered: {name}")
        return entry

    def get(self, name: str) -> Entry | None:
        """The entry of a name, or None."""
        return self._entries.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def entries(self) -> list[Entry]:
        """All entries in order of registration."""
        return list(self._entries.values())

    def names(self) -> list[str]:
        """All names in order of registration."""
        return list(self._entries)

    def payers(self, name: str) -> tuple[Payer, ...]:
        """Whom an agent's calls of models are charged to: itself, and the agents above it."""
        found: list[Payer] = []
        above: str | None = name
        while above is not None:
            entry = self[above]
            found.append(Payer(entry.name, entry.given.get("budget")))
            above = entry.parent
        return tuple(found)

    def subtree(self, root: str) -> Iterator[Entry]:
        """``root`` and all agents below it: parents first, siblings in order of registration."""
        stack = [root]
        while stack:
            entry = self[stack.pop()]
            yield entry
            stack += reversed(entry.children)

    def tops(self) -> list[str]:
        """The agents without a parent."""
        return [name for name, entry in self._entries.items() if entry.parent is None]


def _checked(
    name: str, parent: str | None, given: Mapping[str, Any], *, remote: bool
) -> AgentSettings:
    """The settings of an agent, as far as they were given.

    Raises:
        TypeError, ValueError: one of them is wrong, or impossible for this agent.
    """
    settings = AgentSettings.of(given)
    if parent is None and given.get("link", "record") != "record":
        raise ValueError(f"link={given['link']!r}: agent {name!r} has no parent to link to")
    if remote:
        if settings.cpus is not None:
            raise ValueError(
                f"agent {name!r}: cpus= names processors of this machine; on a cluster "
                "resources={'num_cpus': ...} says how many it needs"
            )
        return settings
    for setting in ("resources", "placement"):
        if given.get(setting):
            raise ValueError(
                f"agent {name!r}: {setting}= is about nodes of a cluster, and this agent runs on "
                "this machine: give backend='ray' to the orchestrator, or leave it out"
            )
    must_have_cpus(settings.cpus)
    return settings


def _sealed(name: str, factory: Callable[[], Any]) -> tuple[bytes, bytes]:
    """A factory as `Entry` has it: serialised, and what imports its modules.

    Raises:
        ValueError: it runs a program for each request, and says when that is ready.
    """
    if is_command(factory) and factory.ready is not None:
        raise ValueError(
            f"agent {name!r}: ready= is for a program that is kept alive (add_service), and "
            "this one is run once for each request"
        )
    try:
        return seal(factory), imports_of(factory)
    except AgentError as error:
        error.agent = name
        raise


def _check_group(
    parent: str, of_parent: Mapping[str, Any], name: str, settings: AgentSettings
) -> None:
    """Refuse a child whose backoff is too long for the parent's intensity (N2).

    Raises:
        ValueError: the restarts could never exceed the intensity.
    """
    intensity = of_parent.get("intensity")
    if intensity is not None:
        try:
            intensity.check_against(settings.backoff)
        except ValueError as error:
            raise ValueError(f"agent {name!r} in the group of {parent!r}: {error}") from None


OF_REQUESTS = (
    "request_timeout", "max_requests", "max_memory", "recycle_jitter", "channel_buffer", "prefetch",
    "concurrency", "retries", "allowed_failures", "charge_requests", "rate", "throttle", "answers",
)  # fmt: skip
"""Settings that a service does not take."""


def check_service(name: str, given: Mapping[str, Any], *, says_ready: bool, program: bool) -> None:
    """Refuse settings that say nothing about a service.

    Raises:
        TypeError: one is about requests, or needs code in the worker and there is a program.
    """
    for setting in given:
        if setting in OF_REQUESTS:
            raise TypeError(
                f"service {name!r}: {setting} is about requests, and a service takes none"
            )
    if program and says_ready:
        raise TypeError(
            f"service {name!r}: a program cannot call current().ready(); "
            "command(..., ready=ReadyCheck(...)) says when it is ready"
        )
    if program and given.get("heartbeat_timeout") is not None:
        raise TypeError(
            f"service {name!r}: heartbeat_timeout is for code that calls current().progress(), "
            "and a program cannot"
        )


def must_have_cpus(cpus: tuple[int, ...] | None) -> None:
    """Refuse processors that this program may not use.

    Raises:
        ValueError: there is no such processor, or it is not for this program.
    """
    allowed = os.sched_getaffinity(0)
    refused = sorted({*(cpus or ())} - allowed)
    if refused:
        raise ValueError(
            f"cpus: this program may not use processor {', '.join(map(str, refused))}, but only "
            f"{', '.join(map(str, sorted(allowed)))}"
        )
