"""The settings of an agent, checked and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from msgspec import Struct, field

from procorch.errors.texts import did_you_mean
from procorch.supervision.budgets import Budget
from procorch.supervision.keywords import (
    Answers,
    AutoShutdown,
    LinkKind,
    Placement,
    Restart,
    Strategy,
)
from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.shared_limit import Limit
from procorch.supervision.throttle import Throttle
from procorch.units import cpu_numbers, per_second, seconds, size_in_bytes, whole

MOST_AT_ONCE = 128
"""The largest ``concurrency``: the status page has room for that many requests."""

MOST_AHEAD = 64
"""The largest ``prefetch``: the status page has room for that many cancellations."""


class AgentSettings(Struct, frozen=True):
    """All settings of one agent, resolved and checked; see `procorch.supervision.keywords`."""

    restart: Restart = "transient"
    max_restarts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    intensity: Intensity | None = None
    strategy: Strategy = "one_for_one"
    link: LinkKind = "record"
    significant: bool = False
    auto_shutdown: AutoShutdown = "never"
    shutdown: Shutdown = field(default_factory=Shutdown)
    start_timeout: float = 60.0
    request_timeout: float | None = None
    heartbeat_timeout: float | None = None
    memory_limit: int | None = None
    address_space_limit: int | None = None
    max_requests: int | None = None
    max_age: float | None = None
    max_memory: int | None = None
    recycle_jitter: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    priority: int = 0
    cpus: tuple[int, ...] | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    placement: Placement | None = None
    output: str = "inherit"
    channel_buffer: int = 32
    prefetch: int | Literal["auto"] = "auto"
    concurrency: int = 1
    retries: int = 0
    allowed_failures: int = 2
    client_retries: bool = True
    charge_requests: bool = False
    rate: float | None = None
    throttle: Throttle | None = field(default_factory=lambda: Throttle(retries=0))
    limit: str | None = None
    budget: Budget | None = None
    answers: Answers = "python"
    instances: int = 1

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> AgentSettings:
        """Settings from keywords or a file's keys.

        Raises:
            TypeError: an unknown key (with the nearest valid name), or a value of a wrong type.
            ValueError: a value out of range, or settings that contradict each other.
        """
        for key in given:
            if key not in FIELDS:
                raise TypeError(
                    f"unknown setting {key!r}{did_you_mean(key, FIELDS, listed='known')}"
                )
        values = {name: FIELDS[name].checked(value, name) for name, value in given.items()}
        if values.get("intensity") is not None and "backoff" not in values:
            values["backoff"] = values["intensity"].fitting_backoff()
        settings = cls(**values)
        settings._check(given)
        return settings

    def _check(self, given: Mapping[str, Any]) -> None:
        if self.restart == "temporary" and given.get("max_restarts"):
            raise ValueError(
                "restart='temporary' and max_restarts: a temporary agent is never restarted"
            )
        if self.restart == "permanent" and self.significant:
            raise ValueError(
                "significant=True and restart='permanent': a permanent agent never ends by itself"
            )
        hung, limit = self.heartbeat_timeout, self.request_timeout
        if hung is not None and limit is not None and hung >= limit:
            raise ValueError(
                f"heartbeat_timeout ({hung:g} s) never comes before request_timeout ({limit:g} s)"
            )
        if self.intensity is not None:
            self.intensity.check_against(self.backoff)
        if self.concurrency > 1 and given.get("prefetch", "auto") not in ("auto", 1):
            raise ValueError(
                f"concurrency={self.concurrency} and prefetch={self.prefetch}: a worker that runs "
                "several requests at once begins each when it gets it; leave prefetch out"
            )

    @staticmethod
    def must_suit_a_pool(given: Mapping[str, Any]) -> None:
        """Refuse settings that pools and batches do not have.

        Raises:
            TypeError: one is given.
        """
        if "instances" in given:
            raise TypeError("unknown setting 'instances': pools and batches have workers=")
        if "answers" in given:
            raise TypeError("unknown setting 'answers': pools and batches give Python objects")

    @property
    def weighed_above(self) -> int | None:
        """Bytes below which the exact memory of a request does not matter; None: any amount."""
        most = self.max_memory
        return None if most is None else most - int(most * self.recycle_jitter)

    @property
    def sends_ahead(self) -> bool:
        """Whether its workers may get requests ahead of their turn."""
        return self.prefetch != 1 and self.concurrency == 1

    @property
    def grouped(self) -> bool:
        """Whether its children are restarted and stopped together (N4, N5)."""
        return self.strategy != "one_for_one"


class Field(NamedTuple):
    """What values a setting accepts.

    Args:
        check: converts a given value to the checked one, or raises an error that names the setting.
        form: the accepted values, as text.
        optional: None is accepted and means no limit, or no such thing.
    """

    check: Callable[[Any, str], Any]
    form: str
    optional: bool = False

    def checked(self, value: Any, name: str) -> Any:
        """The value as procorch keeps it.

        Raises:
            TypeError, ValueError: it is not accepted; the text has the name and the form.
        """
        if value is None and self.optional:
            return None
        return self.check(value, name)


def _count(least: int, most: int | None = None, unit: str = "") -> Field:
    def check(value: Any, name: str) -> int:
        number = whole(value, name, least=least)
        if most is not None and number > most:
            raise ValueError(f"{name} must be from {least} to {most}{unit}, not {number}")
        return number

    upwards = "or more" if most is None else f"to {most}"
    return Field(check, f"whole number, {least} {upwards}{unit}")


def _ahead() -> Field:
    number = _count(1, MOST_AHEAD)

    def check(value: Any, name: str) -> Any:
        if value == "auto":
            return value
        if isinstance(value, str):
            raise ValueError(f"{name} must be 'auto' or a number, not {value!r}")
        return number.check(value, name)

    return Field(check, f'"auto", or {number.form}')


def _word(kind: Any) -> Field:
    words = get_args(kind)

    def check(value: Any, name: str) -> str:
        if value not in words:
            raise ValueError(f"{name}={value!r}{did_you_mean(str(value), words, listed='known')}")
        return str(value)

    return Field(check, ", ".join(f'"{word}"' for word in words))


def _duration(*, optional: bool = True) -> Field:
    def check(value: Any, name: str) -> float:
        if value is None:
            raise TypeError(f"{name} cannot be None; leave it out for the default")
        duration = seconds(value, name)
        if duration == 0:
            raise ValueError(f"{name} must be more than 0 s")
        return duration

    return Field(check, 'seconds, or text such as "30s"', optional)


def _value(kind: type, *, optional: bool = False) -> Field:
    form = "True or False" if kind is bool else f"{kind.__name__}(...)"

    def check(value: Any, name: str) -> Any:
        if value is None and kind is not bool:
            raise TypeError(f"{name} cannot be None; leave it out for the default")
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {form}, not {type(value).__name__}")
        return value

    return Field(check, form, optional)


def _part(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {value}")
    return value


def _variables(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map names to values, not be {type(value).__name__}")
    for variable, text in value.items():
        if not isinstance(variable, str) or not isinstance(text, str):
            raise TypeError(f"{name}: {variable!r}={text!r} is not text")
        if not variable or "=" in variable or "\0" in variable + text:
            raise ValueError(f"{name}: {variable!r} cannot be a variable of an environment")
    return dict(value)


def _resources(value: Any, name: str) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map names to amounts, not be {type(value).__name__}")
    known = {"CPU": "num_cpus", "GPU": "num_gpus"}
    for resource, amount in value.items():
        if not isinstance(resource, str) or not resource:
            raise TypeError(f"{name}: {resource!r} is not the name of a resource")
        if resource in known:
            raise ValueError(f"{name}: {resource!r} is called {known[resource]!r} here")
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            kind = type(amount).__name__
            raise TypeError(f"{name}: {resource!r} must be a number, not {kind}")
        if not 0 <= amount < 1e15:
            raise ValueError(f"{name}: {resource!r} must not be negative, and {amount} is")
        if amount > 1 and amount != int(amount):
            raise ValueError(f"{name}: {resource!r} above 1 must be a whole number, not {amount}")
    return dict(value)


def _folder(value: Any, name: str) -> str:
    if not isinstance(value, str) and not hasattr(value, "__fspath__"):
        raise TypeError(f"{name} must be a path, not {type(value).__name__}")
    return str(value)


def _output(value: Any, name: str) -> str:
    words = ("inherit", "capture")
    if isinstance(value, str):
        if value not in words and "/" not in value:
            hint = did_you_mean(value, words, listed="known")
            raise ValueError(f"{name}={value!r}{hint}; a file is given as a Path or './{value}'")
        path = value
    elif hasattr(value, "__fspath__"):
        path = str(value)
        if "/" not in path:
            path = f"./{path}"
    else:
        raise TypeError(f"{name} must be a word or a path, not {type(value).__name__}")
    if "\0" in path:
        raise ValueError(f"{name}: {path!r} cannot be a path")
    return path


def _limit(value: Any, name: str) -> str:
    if isinstance(value, Limit):
        return value.name
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name or a Limit, not {type(value).__name__}")
    return value


_SIZE = Field(size_in_bytes, 'bytes, or text such as "512M"', optional=True)

FIELDS: dict[str, Field] = {
    "restart": _word(Restart),
    "max_restarts": _count(0),
    "backoff": _value(Backoff),
    "intensity": _value(Intensity, optional=True),
    "strategy": _word(Strategy),
    "link": _word(LinkKind),
    "significant": _value(bool),
    "auto_shutdown": _word(AutoShutdown),
    "shutdown": _value(Shutdown),
    "start_timeout": _duration(optional=False),
    "request_timeout": _duration(),
    "heartbeat_timeout": _duration(),
    "memory_limit": _SIZE,
    "address_space_limit": _SIZE,
    "max_requests": _count(1)._replace(optional=True),
    "max_age": _duration(),
    "max_memory": _SIZE,
    "recycle_jitter": Field(_part, "number, 0 to 1"),
    "env": Field(_variables, "names and values, as text"),
    "cwd": Field(_folder, "path", optional=True),
    "priority": _count(0, 19, " (nice)"),
    "cpus": Field(cpu_numbers, 'numbers of processors, or text such as "0-3,8"', optional=True),
    "resources": Field(_resources, "names and amounts"),
    "placement": _word(Placement)._replace(optional=True),
    "output": Field(_output, '"inherit", "capture" or a path'),
    "channel_buffer": _count(1),
    "prefetch": _ahead(),
    "concurrency": _count(1, MOST_AT_ONCE),
    "retries": _count(0),
    "allowed_failures": _count(0),
    "client_retries": _value(bool),
    "charge_requests": _value(bool),
    "rate": Field(per_second, 'requests a second, or text such as "10/s"', optional=True),
    "throttle": _value(Throttle, optional=True),
    "limit": Field(_limit, "name of a limit, or Limit(...)", optional=True),
    "budget": _value(Budget, optional=True),
    "answers": _word(Answers),
    "instances": _count(1),
}
"""Every setting: keyword of `AgentOrchestrator.add_agent`, and key of a file."""
