"""Applying a changed configuration and changed code to the running agents (N19).

What can fail comes first: agents whose code or start has changed are replaced one instance at a
time. The first process that does not start ends the reload: agents that were replaced before go
back to their release and their settings, and nothing else was touched. Then come changes that
apply at once, then agents that were removed, and at last new ones.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from procorch.api.orchestrator import AgentOrchestrator
from procorch.daemon.code_files import Code, code_of, must_be_safe
from procorch.daemon.config.changes import Change, difference
from procorch.daemon.errors import NoRelease
from procorch.daemon.registering import Registrar
from procorch.daemon.specs import AgentSpec, Config
from procorch.daemon.tree import Tree
from procorch.errors import AgentError

CODE = "code"
"""The key under which changed code is listed."""
ENVIRONMENT = "environment"
"""The key for changed secrets and for a changed environment file."""
_OF_ENVIRONMENT = ("env", "env_file", "secrets")
_ENVIRONMENT = Path()
"""Stands for the environment of an agent among the files of its code."""


@dataclass(slots=True)
class Previous:
    """What a rollback returns to.

    Args:
        config: the configuration before the reload.
        code: the code before it.
        release: its number.
        rolled: agents that the reload has replaced.
    """

    config: Config
    code: dict[str, Code]
    release: int
    rolled: list[str] = field(default_factory=list)


class Reloader:
    """Keeps the configuration and the code that the agents run.

    Args:
        config: the configuration at the start.
        orchestrator: runs the agents.
        registrar: registers them there.
        tree: keeps them.
    """

    def __init__(
        self, config: Config, orchestrator: AgentOrchestrator, registrar: Registrar, tree: Tree
    ) -> None:
        self.config: Config = config
        self.release: int = 1
        """The number that the orchestrator has for it, too: no other release gets it."""
        self._orchestrator = orchestrator
        self._registrar = registrar
        self._tree = tree
        self._code = {spec.name: self._code_of(spec) for spec in config.agents}
        must_be_safe(config.agents, self._code)
        self._previous: Previous | None = None

    def _code_of(self, spec: AgentSpec) -> Code:
        """The code of an agent, and what its environment file and its secrets say."""
        variables = repr(sorted(self._registrar.environment(spec).items()))
        return code_of(spec) | {_ENVIRONMENT: hashlib.sha256(variables.encode()).hexdigest()}

    def changes(self, new: Config, names: Sequence[str] = ()) -> list[Change]:
        """What differs from what runs.

        Args:
            new: the configuration that was read now.
            names: agents that are replaced in any case.

        Raises:
            ConfigErrors: others could change their code.
        """
        must_be_safe(new.agents, {spec.name: code_of(spec) for spec in new.agents})
        found = {change.name: change for change in difference(self.config, new)}
        for spec in new.agents:
            change = found.get(spec.name)
            if change is not None and change.change in ("added", "restart"):
                continue
            keys = () if change is None else change.keys
            more = self._changed_on_disk(spec, keys, forced=spec.name in names)
            if more:
                found[spec.name] = Change(spec.name, "rolling", (*keys, *more))
        return list(found.values())

    def _changed_on_disk(self, spec: AgentSpec, keys: Sequence[str], *, forced: bool) -> list[str]:
        """What a process of an agent would find changed, beside the ``keys`` of the file."""
        new, old = self._code_of(spec), dict(self._code.get(spec.name, {}))
        environment = new.pop(_ENVIRONMENT) != old.pop(_ENVIRONMENT, None)
        more = [CODE] if forced or new != old else []
        if environment and not any(key in keys for key in _OF_ENVIRONMENT):
            more.append(ENVIRONMENT)
        return more

    def apply(self, new: Config, changes: Sequence[Change], timeout: float | None) -> None:
        """Apply changes.

        Args:
            timeout: seconds for all of it; None: no limit.

        Raises:
            ReloadError: a new process did not start; everything is as before.
        """
        end = None if timeout is None else time.monotonic() + timeout
        code = {spec.name: self._code_of(spec) for spec in new.agents}
        previous = Previous(self.config, self._code, self.release)
        specs = {spec.name: spec for spec in new.agents}
        rolling = [each.name for each in changes if each.change == "rolling"]
        release = None
        for name in rolling:
            try:
                release = self._roll(specs[name], release, left(end))
            except AgentError:
                self._go_back(previous)
                raise
            previous.rolled.append(name)
        self._take(new, changes)
        if changes:  # else there is no new release, and a rollback returns to what it did before
            self._previous = previous
            self.release = self._orchestrator.add_from(release)
        self._remove_and_add(new, changes, left(end))
        self._code, self.config = code, new

    def _roll(self, spec: AgentSpec, release: int | None, timeout: float | None) -> int:
        """Replace the processes of an agent; one that does not run starts from the new release.

        Args:
            release: that of the agents that were replaced before; None: this is the first one.

        Returns:
            Its release: all agents of a reload share one, and so a zygote.
        """
        member = self._tree.member(spec.name)
        old = member.spec
        self._registrar.renew(spec, member.size)
        try:
            return self._orchestrator.reload(
                spec.name, replace=spec.replace, timeout=timeout, keep=True, release=release
            )
        except BaseException:
            self._registrar.renew(old, member.size)
            raise

    def _go_back(self, previous: Previous) -> None:
        for name in reversed(previous.rolled):
            spec = previous.config.get(name)
            assert spec is not None
            self._registrar.renew(spec, self._tree.member(name).size)
            self._orchestrator.rollback(name)

    def _take(self, new: Config, changes: Sequence[Change]) -> None:
        """Have the members follow the configuration: what operators have changed ends here."""
        for change in changes:
            spec = new.get(change.name)
            if change.change == "live" and spec is not None:
                self._registrar.renew(spec, self._tree.member(spec.name).size)
        for spec in new.agents:
            if any(
                each.name == spec.name and each.change in ("added", "restart") for each in changes
            ):
                continue
            self._tree.follow(spec)

    def _remove_and_add(
        self, new: Config, changes: Sequence[Change], timeout: float | None
    ) -> None:
        gone = {each.name for each in changes if each.change in ("removed", "restart")}
        gone |= {spec.name for spec in self.config.agents if _is_below(spec, gone, self.config)}
        for spec in reversed(self.config.agents):
            if spec.name in gone:
                self._tree.remove(spec.name, timeout)
        for spec in new.agents:
            if spec.name in gone or self.config.get(spec.name) is None:
                self._tree.add(spec)
        self._tree.order([spec.name for spec in new.agents])

    def rollback(self, timeout: float | None) -> list[str]:
        """Return to the release and the configuration before the last reload.

        Returns:
            The names of the agents that were replaced.

        Raises:
            NoRelease: there was no reload since the start, or it was rolled back already.
            ReloadError: an old process did not start.
        """
        previous = self._previous
        if previous is None:
            raise NoRelease(
                "there is no release to return to: the last one is kept for one reload, and not "
                "over a restart of the daemon"
            )
        changes = difference(self.config, previous.config)
        end = None if timeout is None else time.monotonic() + timeout
        for name in previous.rolled:
            spec = previous.config.get(name)
            if spec is None or self.config.get(name) is None:
                continue
            self._registrar.renew(spec, self._tree.member(name).size)
            self._orchestrator.rollback(name, timeout=left(end))
        self._take(previous.config, changes)
        self.release = self._orchestrator.add_from(previous.release)
        self._remove_and_add(previous.config, changes, left(end))
        self.config, self._code, self._previous = previous.config, previous.code, None
        return previous.rolled

    def files(self) -> set[Path]:
        """All files that a change of makes a reload worth while (``--watch``)."""
        return {*self.config.files, *(path for code in self._code.values() for path in code)} - {
            _ENVIRONMENT
        }


def left(end: float | None) -> float | None:
    """Seconds until a monotonic time; None: there is no limit."""
    return None if end is None else max(0.0, end - time.monotonic())


def _is_below(spec: AgentSpec, names: set[str], config: Config) -> bool:
    """Whether an agent has one of ``names`` above it."""
    above: AgentSpec | None = spec
    while above is not None and above.parent is not None:
        if above.parent in names:
            return True
        above = config.get(above.parent)
    return False


def plain(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Changes for JSON."""
    return [{"name": each.name, "change": each.change, "keys": list(each.keys)} for each in changes]
