"""What a configuration file says, as plain data: the daemon, its agents, services and programs.

`config` makes these from a file. Everything here is checked already, and holds no secret: a secret
is named by its reference, and read when an agent starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from procorch.agents.readiness import ReadyCheck as ReadyCheck

OWN_LOG = "daemon"
"""The name of the daemon's own log; no agent has it."""
Kind: TypeAlias = Literal["agent", "command", "service", "program"]
"""An agent with a factory, or with a command line; a function, or a program that is kept alive."""
Condition: TypeAlias = Literal["ready", "completed"]
"""What another agent waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One agent, service or program of the file.

    Args:
        name: unique in the whole configuration; children have names of their own.
        kind: what it is.
        place: where it is defined, as ``file:line``.
        factory: ``package.module:name`` or ``path/to/file.py:name`` (agents and services).
        command: a command line (commands and programs).
        input, output: what a command gets on standard input and how its output is read, see
            `procorch.command`.
        parent: the agent above it.
        settings: keywords of `AgentOrchestrator.add_agent` other than ``env`` and ``instances``.
        instances: how many there are to be.
        preload: modules that its zygote imports before those of its factory.
        replace: how a reload replaces its processes; None: as it suits each instance.
        env: variables of its environment.
        env_file: a file with further variables, read again at each start; those of ``env`` win.
        secrets: variables whose values are read at each start, by their references (``file:PATH``,
            ``env:NAME``, ``credential:NAME``).
        after: what it waits for before its first start, by the name of another agent.
        ready: when a program is ready; None: at once.
        says_ready: a service that calls ``current().ready()`` itself.
        on_failure: a function ``module:name`` that is called in a worker of its own with a dict
            about the failure when the agent ends FAILED.
        revive: seconds after which an agent that ended FAILED is tried again; None: never.
        group: ``group:*`` names all agents with this group.
        autostart: whether `up` starts it.
    """

    name: str
    kind: Kind
    place: str = ""
    factory: str | None = None
    command: tuple[str, ...] | None = None
    input: Literal["text", "json"] | None = None
    output: Literal["text", "json", "jsonl"] | None = "text"
    parent: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    instances: int = 1
    preload: tuple[str, ...] = ()
    replace: Literal["start_first", "stop_first"] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: Path | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, Condition] = field(default_factory=dict)
    ready: ReadyCheck | None = None
    says_ready: bool = False
    on_failure: str | None = None
    revive: float | None = None
    group: str | None = None
    autostart: bool = True

    @property
    def answers(self) -> bool:
        """Whether requests can be sent to it."""
        return self.kind in ("agent", "command")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How the output of agents is kept.

    Args:
        format: of the log files: "json" (one object a line) or "text".
        max_size: bytes after which a file is rotated.
        max_age: seconds after which a file is rotated; None: never.
        total: bytes of all log files together; the oldest rotated ones are removed beyond it.
        keep: seconds that rotated files are kept; None: as long as there is room.
    """

    format: Literal["json", "text"] = "json"
    max_size: int = 10 << 20
    max_age: float | None = 86400.0
    total: int = 1 << 30
    keep: float | None = 14 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """How much of the past is kept.

    Args:
        keep: seconds that events are kept.
        max_size: bytes of the file; the oldest events are removed beyond it.
        exits: exits that are kept of each agent.
    """

    keep: float = 30 * 86400.0
    max_size: int = 64 << 20
    exits: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """The daemon itself.

    Args:
        dir: its folder (socket, lock, logs, history), an absolute path; made with mode 0700.
        drain_timeout: seconds from SIGTERM to the end at the latest.
        exit_when: when the daemon ends by itself: when any agent has ended FAILED, when all have
            ended, or never.
        log: how output is kept.
        history: how much of the past is kept.
    """

    dir: Path
    drain_timeout: float = 25.0
    exit_when: Literal["never", "any_failed", "all_ended"] = "never"
    log: LogSettings = field(default_factory=LogSettings)
    history: HistorySettings = field(default_factory=HistorySettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration.

    Args:
        file: the file that was read, an absolute path.
        files: all files that were read: ``file`` and those it includes.
        daemon: the daemon itself.
        agents: all agents, services and programs; parents before their children, in the order of
            the file.
        warnings: what the user should know; the file is valid.
    """

    file: Path
    files: tuple[Path, ...]
    daemon: DaemonSettings
    agents: tuple[AgentSpec, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that relative paths and modules of the file are looked for in."""
        return self.file.parent

    def get(self, name: str) -> AgentSpec | None:
        """The agent of that name."""
        return next((each for each in self.agents if each.name == name), None)
