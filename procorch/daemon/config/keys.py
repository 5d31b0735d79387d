"""All keys of a configuration: what each accepts, its default, and what it means.

The settings of an agent are those of `procorch.supervision.settings`; this is the only module of
the daemon that knows them. ``docs/reference/daemon-settings.md`` is made from these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from procorch.api.registry import OF_REQUESTS, check_service, must_have_cpus
from procorch.daemon.config import checks, own_keys
from procorch.daemon.config.own_keys import BOOL, DURATION
from procorch.daemon.config.tables import ALL, Effect, Key, Table
from procorch.daemon.specs import Kind
from procorch.supervision.budgets import Amount, Budget
from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.settings import FIELDS, AgentSettings
from procorch.supervision.throttle import Throttle
from procorch.units import seconds

_USUAL = AgentSettings()
_ANSWER: tuple[Kind, ...] = ("agent", "command")
_NOT_PROGRAMS: tuple[Kind, ...] = ("agent", "command", "service")
_ROLLING = frozenset(
    (
        "address_space_limit", "budget", "client_retries", "concurrency", "cpus", "cwd",
        "max_memory", "memory_limit", "prefetch", "priority",
    )
)  # fmt: skip
"""Settings that a process gets when it starts; `AgentOrchestrator.configure` says so."""


def _amount(value: Any, name: str) -> Any:
    Amount.of(value, name)
    return value


def _of(cls: type, **keys: tuple[str, checks.Check, str]) -> dict[str, Key]:
    """The keys of an inline table, with the defaults of the class that is made of it."""
    usual = {each.name: each.default for each in fields(cls)}
    return {
        name: Key(form=form, check=check, meaning=meaning, default=usual[name])
        for name, (form, check, meaning) in keys.items()
    }


_BACKOFF = _of(
    Backoff,
    initial=(DURATION, seconds, "The longest delay before the second restart in a row."),
    factor=("number, 1 or more", checks.number, "How the delay grows with each further restart."),
    cap=(DURATION, seconds, "The longest delay."),
    jitter=(BOOL, checks.boolean, "Whether the delay is drawn between 0 and its full length."),
    reset_after=(DURATION, seconds, "A process that was ready for so long begins a new count."),
    reset_on_success=(BOOL, checks.boolean, "Whether a request that succeeds does so, too."),
    floor=(DURATION, seconds, "The shortest delay after ten restarts within a minute."),
)
_INTENSITY = {
    "restarts": Key(
        form="whole number, 0 or more", check=checks.count(0), required=True,
        meaning="Restarts that are allowed within the period.",
    ),
    "period": Key(
        form=DURATION, check=checks.duration, required=True,
        meaning="Length of the sliding window.",
    ),
}  # fmt: skip
_SHUTDOWN = _of(
    Shutdown,
    cooperate=(DURATION, seconds, "Time for a cancelled request to end by itself."),
    interrupt=(DURATION, seconds, "Time from the exception in its code to SIGTERM."),
    grace=(DURATION, seconds, "Time for a process that was asked to leave, before SIGTERM."),
    terminate=(DURATION, seconds, "Time from SIGTERM to SIGKILL."),
    kill=(DURATION, seconds, "Time after SIGKILL until it is reported that it does not end."),
)
_THROTTLE = _of(
    Throttle,
    retries=("whole number, 0 or more", checks.count(0), "How often a request is tried again."),
    longest=(DURATION, seconds, "The longest pause, also if the service asks for more."),
)
_MONEY = 'dollars, or text such as "200k tokens"'
_BUDGET = _of(
    Budget,
    request=(_MONEY, _amount, "For each request, with the agents that it asks."),
    team=(_MONEY, _amount, "For it and all agents below it, since the daemon started."),
    day=(_MONEY, _amount, "For it and all agents below it on one day (UTC)."),
)
_OBJECTS: dict[str, tuple[Mapping[str, Key], Callable[..., Any]]] = {
    "backoff": (_BACKOFF, Backoff),
    "intensity": (_INTENSITY, Intensity),
    "shutdown": (_SHUTDOWN, Shutdown),
    "throttle": (_THROTTLE, Throttle),
    "budget": (_BUDGET, Budget),
}


def _setting(name: str, meaning: str) -> Key:
    field = FIELDS[name]
    kinds = _ANSWER if name in OF_REQUESTS else ALL
    if name == "heartbeat_timeout":
        kinds = _NOT_PROGRAMS
    effect: Effect = "rolling" if name in _ROLLING else "live"
    known: dict[str, Any] = {
        "meaning": meaning, "default": getattr(_USUAL, name), "optional": field.optional,
        "kinds": kinds, "effect": effect,
    }  # fmt: skip
    if name in _OBJECTS:
        inner, make = _OBJECTS[name]
        return Key(form="inline table", fields=inner, make=make, **known)
    if field.form == "True or False":
        return Key(form=BOOL, check=checks.boolean, **known)
    return Key(form=field.form, check=field.check, **known)


_MEANINGS = {
    "restart": 'Which ends of its process are followed by a new one: "transient" abnormal ones, '
    '"permanent" normal ones, too, "temporary" none. Services and programs are "permanent".',
    "max_restarts": "Consecutive restarts without a success in between; then it is FAILED.",
    "backoff": "The delay between restarts.",
    "intensity": "The limit of restarts in a sliding window, for its children as a group, or for "
    "itself where it has none.",
    "strategy": "Which of its children are restarted when one of them fails.",
    "link": "What the end or the restart of its parent means for it.",
    "significant": "Its end may shut down its parent, see `auto_shutdown`.",
    "auto_shutdown": "Whether the end of any, or of all, significant children stops this agent.",
    "shutdown": "The times of the ladder that ends a request or a process.",
    "start_timeout": "Time from the start of a process until it is ready.",
    "request_timeout": "Time that a request may take, its wait in the queue included.",
    "heartbeat_timeout": "Time that it may go without progress at work before it is killed.",
    "memory_limit": "Memory of a process and all its descendants; more, and they are killed.",
    "address_space_limit": "Address space of a process; more is a `MemoryError` in its code.",
    "max_requests": "Requests after which a process is replaced.",
    "max_age": "Time after which a process is replaced, between two requests.",
    "max_memory": "A process that used more memory is replaced after its request.",
    "recycle_jitter": "The largest part by which a process is replaced early, so that not all are "
    "replaced together.",
    "cwd": "Its working directory, relative to the folder of the file; that folder without it.",
    "priority": "Added to its nice value.",
    "cpus": "The processors that it may use.",
    "channel_buffer": "Requests that may wait in its queue.",
    "prefetch": "Requests that a process may have at a time; it works on one.",
    "concurrency": "Requests that a process of an asynchronous agent runs at once.",
    "retries": "How often a request whose process died is tried again.",
    "allowed_failures": "Processes that a request may kill; one more, and it fails.",
    "client_retries": "Whether clients of LLM libraries may try a request again by themselves.",
    "charge_requests": "Whether a death during a request is not counted as a restart.",
    "rate": "Requests that all instances may begin in a second, spread evenly.",
    "throttle": "What happens when the service of a request asks for a pause.",
    "budget": "What it may use of models.",
    "instances": "How many processes it has behind its queue.",
}

SETTINGS: dict[str, Key] = {name: _setting(name, text) for name, text in _MEANINGS.items()}
"""The settings of an agent that a file can have."""
AGENT: dict[str, Key] = {**own_keys.AGENT, **SETTINGS}
"""All keys of an agent, a service or a program."""
DEFAULTS: dict[str, Key] = {
    name: key for name, key in AGENT.items() if name not in own_keys.NOT_DEFAULTS
}
"""The keys of ``[defaults]``."""


def agent_table(kind: Kind) -> Table:
    """What the table of an agent may have."""
    return Table(AGENT, own_keys.LATER_OF_AGENTS, own_keys.INNER, kind)


def contradictions(
    name: str, kind: Kind, given: Mapping[str, Any], parent: Mapping[str, Any] | None
) -> list[str]:
    """What is wrong with settings each of which is right by itself.

    Args:
        given: the checked settings of an agent.
        parent: those of its parent; None: it has none.
    """
    found: list[str] = []
    service = kind in ("service", "program")
    if service:
        given = {"restart": "permanent", **given}
    checked: list[AgentSettings] = []
    steps: list[Callable[[], object]] = [
        lambda: checked.append(AgentSettings.of(given)),
        lambda: must_have_cpus(given.get("cpus")),
    ]
    if service:
        steps.append(
            lambda: check_service(name, given, says_ready=False, program=kind == "program")
        )
    if parent is not None and parent.get("intensity") is not None:
        steps.append(lambda: _check_group(parent["intensity"], checked))
    for step in steps:
        try:
            step()
        except (TypeError, ValueError) as error:
            found.append(str(error))
    if parent is None and given.get("link", "record") != "record":
        found.append(f"link={given['link']!r}: it has no parent to link to")
    return found


def _check_group(intensity: Intensity, checked: list[AgentSettings]) -> None:
    for settings in checked:
        try:
            intensity.check_against(settings.backoff)
        except ValueError as error:
            raise ValueError(f"in the group of its parent: {error}") from None


def usual(name: str, key: Key, kind: Kind) -> Any:
    """What holds for a kind of agent without a setting."""
    if name == "restart" and kind in ("service", "program"):
        return "permanent"
    return key.default


def never_completes(kind: Kind, settings: Mapping[str, Any]) -> bool:
    """Whether another process always follows on a normal end."""
    restart = settings.get("restart", usual("restart", SETTINGS["restart"], kind))
    return bool(restart == "permanent")
