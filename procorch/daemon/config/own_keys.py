"""The keys of a configuration that are not settings of the library: of the daemon, its logs and its
history, and what makes an agent; see `keys`."""

from __future__ import annotations

import dataclasses
from typing import Any

from procorch.daemon.config import checks
from procorch.daemon.config.tables import Effect, Key
from procorch.daemon.specs import (
    AgentSpec,
    DaemonSettings,
    HistorySettings,
    Kind,
    LogSettings,
    ReadyCheck,
)

DURATION = 'seconds, or text such as "30s"'
SIZE = 'bytes, or text such as "512M"'
BOOL = "true or false"
_APP = '"module:name" or "path/to/file.py:name"'
_NAMES = "names and text"

_USUAL = {
    each.name: each.default
    for kind in (AgentSpec, ReadyCheck)
    for each in dataclasses.fields(kind)
    if each.default is not dataclasses.MISSING
}
_OF_DAEMON = {each.name: each.default for each in dataclasses.fields(DaemonSettings)}
_OF_LOG, _OF_HISTORY = LogSettings(), HistorySettings()

LOG = {
    "format": Key(
        form='"json", "text"', check=checks.word("json", "text"), default=_OF_LOG.format,
        meaning='Of the log files: "json" is one object a line.',
    ),
    "max_size": Key(
        form=SIZE, check=checks.size, default=_OF_LOG.max_size,
        meaning="Size after which a file is rotated.",
    ),
    "max_age": Key(
        form=DURATION, check=checks.duration, default=_OF_LOG.max_age, optional=True,
        meaning="Time after which a file is rotated.",
    ),
    "total": Key(
        form=SIZE, check=checks.size, default=_OF_LOG.total,
        meaning="Size of all log files together; beyond it the oldest rotated ones are removed.",
    ),
    "keep": Key(
        form=DURATION, check=checks.duration, default=_OF_LOG.keep, optional=True,
        meaning="Time that rotated files are kept.",
    ),
}  # fmt: skip
"""``[daemon.log]``"""

HISTORY = {
    "keep": Key(
        form=DURATION, check=checks.duration, default=_OF_HISTORY.keep,
        meaning="Time that events are kept.",
    ),
    "max_size": Key(
        form=SIZE, check=checks.size, default=_OF_HISTORY.max_size,
        meaning="Size of the file; beyond it the oldest events are removed.",
    ),
    "exits": Key(
        form="whole number, 1 or more", check=checks.count(1), default=_OF_HISTORY.exits,
        meaning="Exits that are kept of each agent.",
    ),
}  # fmt: skip
"""``[daemon.history]``"""

DAEMON = {
    "dir": Key(
        form="path", check=checks.text, default=".procorch", effect="restart",
        meaning="Its folder, with socket, lock, logs and history; relative to the folder of the "
        "file. It is made with mode 0700.",
    ),
    "drain_timeout": Key(
        form=DURATION, check=checks.duration, default=_OF_DAEMON["drain_timeout"],
        meaning="Time from SIGTERM to its end, at most.",
    ),
    "exit_when": Key(
        form='"never", "any_failed", "all_ended"',
        check=checks.word("never", "any_failed", "all_ended"), default=_OF_DAEMON["exit_when"],
        meaning="When it ends by itself: when an agent is FAILED, or when all have ended.",
    ),
    "log": Key(form="table", fields=LOG, make=LogSettings, meaning="How output is kept."),
    "history": Key(
        form="table", fields=HISTORY, make=HistorySettings, meaning="How much of the past is kept.",
    ),
}  # fmt: skip
"""``[daemon]``"""

_READY = {
    "port": Key(
        form="whole number, 1 to 65535", check=checks.count(1, 65535),
        meaning="This TCP port of `host` accepts connections.",
    ),
    "host": Key(
        form="text", check=checks.text, default=_USUAL["host"], meaning="The host of `port`.",
    ),
    "http": Key(
        form="URL", check=checks.url,
        meaning="A GET of this URL is answered with a status below 400.",
    ),
    "line": Key(
        form="regular expression", check=checks.regular_expression,
        meaning="A line of its output matches.",
    ),
    "after": Key(form=DURATION, check=checks.duration, meaning="It has run for so long."),
}  # fmt: skip
_CHECKS = ("port", "http", "line", "after")


def _ready(**given: Any) -> ReadyCheck:
    if sum(name in given for name in _CHECKS) != 1:
        raise ValueError(f"must have one of {', '.join(_CHECKS)}")
    if "host" in given and "port" not in given:
        raise ValueError("host belongs to port")
    return ReadyCheck(**given)


def _made_by(kind: Kind, form: str, check: checks.Check, meaning: str, *others: Kind) -> Key:
    return Key(
        form=form, check=check, meaning=meaning, kinds=(kind, *others), effect="rolling",
    )  # fmt: skip


def _mapping(form: str, check: checks.Check, meaning: str, effect: Effect = "live") -> Key:
    each = checks.agent_name if effect == "live" else checks.variable_name
    return Key(form=form, check=check, each=each, meaning=meaning, default={}, effect=effect)


def _key(form: str, check: checks.Check, name: str, meaning: str, **more: Any) -> Key:
    return Key(form=form, check=check, meaning=meaning, default=_USUAL[name], **more)


AGENT = {
    "factory": _made_by(
        "agent", _APP, checks.app, "The function that makes the agent. Only workers import it."
    ),
    "run": _made_by(
        "service", _APP, checks.app, "The function that a service runs. Only workers import it."
    ),
    "command": _made_by(
        "command", "array of text", checks.command,
        "A command line, without a shell. That of an agent runs for each request and may have its "
        "fields, such as `{path}`; that of a service is kept alive.", "program",
    ),
    "input": _key(
        '"text", "json"', checks.word("text", "json"), "input",
        "What a command gets on standard input.", kinds=("command",), optional=True,
        effect="rolling",
    ),
    "output": _key(
        '"text", "json", "jsonl"', checks.word("text", "json", "jsonl"), "output",
        "What the standard output of a command is; `false` drops it.", kinds=("command",),
        optional=True, effect="rolling",
    ),
    "ready": Key(
        form="inline table", fields=_READY, make=_ready, kinds=("program",),
        meaning="When a program is ready; without it, at once.",
    ),
    "says_ready": _key(
        BOOL, checks.boolean, "says_ready", "The function calls `current().ready()` itself.",
        kinds=("service",), effect="rolling",
    ),
    "preload": _key(
        "array of text", checks.modules, "preload",
        "Modules that are imported once for all its processes.", kinds=("agent", "service"),
        effect="rolling",
    ),
    "env": _mapping(_NAMES, checks.variable, "Variables of its environment.", "rolling"),
    "env_file": _key(
        "path", checks.text, "env_file",
        "A file with more variables (`NAME=value`), read at each start; those of `env` win.",
        effect="rolling", optional=True,
    ),
    "secrets": _mapping(
        'names and "file:PATH", "env:NAME" or "credential:NAME"', checks.reference,
        "Variables whose values are read at each start, and hidden in all that is printed.",
        "rolling",
    ),
    "after": _mapping(
        'names and "ready" or "completed"', checks.word("ready", "completed"),
        "Agents that it waits for before its first start.",
    ),
    "replace": _key(
        '"start_first", "stop_first"', checks.word("start_first", "stop_first"), "replace",
        "How a reload replaces a process; without it, as it suits each instance.",
        optional=True,
    ),
    "on_failure": _key(
        _APP, checks.app, "on_failure",
        "A function that is called in a process of its own when the agent is FAILED.",
        optional=True,
    ),
    "revive": _key(
        DURATION, checks.duration, "revive", "Time after which a FAILED agent is tried again.",
        optional=True,
    ),
    "group": _key(
        "text", checks.agent_name, "group", "`group:NAME` in commands means all agents that have "
        "it.", optional=True,
    ),
    "autostart": _key(BOOL, checks.boolean, "autostart", "Whether `up` starts it."),
}  # fmt: skip
"""What makes an agent, a service or a program, beside its settings."""

INNER = ("agents", "services")
"""Tables of children in the table of an agent."""
NOT_DEFAULTS = frozenset(
    ("factory", "run", "command", "input", "output", "ready", "says_ready", "after", "instances")
)
"""Keys that each agent has for itself."""
TOP = {
    "include": Key(
        form="array of text",
        meaning='Files with more agents and services, such as `"agents/*.toml"`, relative to the '
        "file that names them.",
    ),
    "daemon": Key(form="table", meaning="The daemon itself; in the first file only."),
    "defaults": Key(
        form="table",
        meaning="Keys for all agents and services, where they have none of their own; in the first "
        "file only. `env` and `secrets` are merged.",
    ),
    "agents": Key(
        form="tables `[agents.NAME]`", meaning="Agents, each with either `factory` or `command`.",
    ),
    "services": Key(
        form="tables `[services.NAME]`", meaning="Services, each with either `run` or `command`.",
    ),
}  # fmt: skip
"""The top of a file."""
FIRST_FILE = ("daemon", "defaults")
"""Tables that only the first file has: they hold for all."""
LATER = {"schedules": "schedules", "metrics": "metrics", "otel": "traces"}
LATER_OF_DAEMON = dict.fromkeys(("http", "http_hosts", "http_cert", "http_key"), "HTTP")
LATER_OF_AGENTS = {
    "inbox": "durable inbox",
    "limits": "limits over all requests",
    "limit": "limits that agents share",
    "resources": "clusters of several machines",
    "placement": "clusters of several machines",
}
"""Keys of later versions, and what they are about."""
