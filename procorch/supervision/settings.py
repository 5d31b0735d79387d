"""Settings of an agent as frozen values, checked when they are given."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from procorch.supervision.throttle import Throttle
from procorch.units import per_second, seconds, size_in_bytes, whole

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
LinkKind = Literal["record", "stop", "restart"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]

OFTEN = 10
"""Restarts within a minute after which a restart waits for at least `Backoff.floor`."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before a restart (N2): none before the first, then exponential up to a cap.

    Args:
        initial: seconds before the second restart in a row, at most.
        factor: growth for each further restart.
        cap: the longest delay in seconds.
        jitter: draw the delay evenly between 0 and its full length, so that a hundred agents
            which failed together do not come back together.
        reset_after: seconds of readiness after which the next restart is a first one again.
        reset_on_success: so it is after each request that succeeded. False: by ``reset_after``
            alone, so that an agent which answers between its crashes is replaced later and later.
        floor: the shortest delay, up to ``cap``, once there were `OFTEN` restarts within a minute.
            Without it an agent that answers between its crashes could restart without any pause.
    """

    initial: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    jitter: bool = True
    reset_after: float = 60.0
    reset_on_success: bool = True
    floor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("initial", "cap", "reset_after", "floor"):
            object.__setattr__(self, name, seconds(getattr(self, name), f"backoff.{name}"))
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float):
            raise TypeError(f"backoff.factor must be a number, not {type(self.factor).__name__}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"backoff.factor must be 1 or more, not {self.factor}")
        for name in ("jitter", "reset_on_success"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"backoff.{name} must be bool, not {type(value).__name__}")
        if self.cap < self.initial:
            raise ValueError(
                f"backoff.cap ({self.cap} s) is shorter than backoff.initial ({self.initial} s)"
            )

    def delay(self, attempt: int, chance: float, recent: int = 0) -> float:
        """Seconds before restart number ``attempt`` (1 is the first).

        Args:
            chance: in [0, 1], draws the delay.
            recent: restarts of the last minute.
        """
        if self.initial == 0:
            return 0.0
        floor = min(self.floor, self.cap) if recent >= OFTEN else 0.0
        return max(floor, self._grown(attempt, chance))

    def _grown(self, attempt: int, chance: float) -> float:
        if attempt <= 1:
            return 0.0
        # Past this exponent the cap rules in any case, and the power could overflow a float.
        steps = min(attempt - 2, 1000 if self.factor == 1 else int(700 / math.log(self.factor)))
        full = min(self.cap, self.initial * self.factor**steps)
        return full * chance if self.jitter else full


@dataclass(frozen=True, slots=True)
class Intensity:
    """At most ``restarts`` restarts of a group in any ``period`` seconds, ends inclusive (OTP).

    The group of an agent are its children; an agent without children is a group of its own.
    """

    restarts: int
    period: float

    def __post_init__(self) -> None:
        whole(self.restarts, "intensity.restarts")
        object.__setattr__(self, "period", seconds(self.period, "intensity.period"))
        if self.period == 0:
            raise ValueError("intensity.period must be more than 0 s")

    def fitting_backoff(self) -> Backoff:
        """The default backoff, capped so that the window can fill."""
        usual = Backoff()
        cap = min(usual.cap, self.period / (self.restarts + 1))
        return Backoff(initial=min(usual.initial, cap), cap=cap)

    def check_against(self, backoff: Backoff) -> None:
        """Refuse a backoff so long that the window could never fill (N2).

        Raises:
            ValueError: ``restarts + 1`` restarts in a row take longer than ``period`` by their
                delays alone (with jitter, by half of them, which is their mean).
        """
        chance = 0.5 if backoff.jitter else 1.0
        tries = range(2, min(self.restarts, 10_000) + 2)
        needed = sum(backoff.delay(attempt, chance, attempt - 1) for attempt in tries)
        if needed > self.period:
            raise ValueError(
                f"{self.restarts + 1} restarts take {needed:.3g} s by their backoff alone, so that "
                f"they can never fall into {self.period:g} s: shorten the backoff or lengthen "
                "intensity.period"
            )


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How an agent's request, or its process, is ended, stage by stage (N8).

    Args:
        cooperate: seconds a request may take to end by itself after it was told that it is
            cancelled (``current().cancelled``; an asyncio task is cancelled).
        interrupt: seconds between the exception raised in the agent's code and SIGTERM.
        grace: seconds a process that was asked to leave may take before it gets SIGTERM.
        terminate: seconds between SIGTERM and SIGKILL.
        kill: seconds after SIGKILL until the process is reported as ``Unreaped``.
    """

    cooperate: float = 0.2
    interrupt: float = 1.0
    grace: float = 5.0
    terminate: float = 2.0
    kill: float = 5.0

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            object.__setattr__(self, name, seconds(getattr(self, name), f"shutdown.{name}"))


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """All settings of one agent, resolved and checked.

    Args:
        restart: "transient" replaces it after an abnormal end when the policy says RESTART,
            "permanent" after a normal one, too, "temporary" never (N5, OTP).
        max_restarts: consecutive restarts without a success in between (N2).
        backoff: the delay between restarts; by default its cap fits the ``intensity``.
        intensity: restarts in a sliding window, for the group this agent heads; None: no limit.
        strategy: which of its children are restarted when one of them fails (N5).
        link: what its parent's end or restart means for it (N4).
        significant: its own end may shut down its parent, see ``auto_shutdown``.
        auto_shutdown: whether the end of any, or of all, significant children stops this agent and
            its other children (OTP).
        shutdown: the times of the ladder that ends a request or a process.
        start_timeout: seconds from the start of a process until it is ready (N9).
        request_timeout: seconds a request may take, waiting in the queue included; None: any.
        heartbeat_timeout: seconds that a busy agent may go without progress before it counts as
            hung and is killed (N12); None: never.
        memory_limit: bytes of memory that the worker and all its descendants may hold together:
            anonymous and shared memory and what of it is swapped out, each page once; mapped files
            do not count. They are killed when a sample shows more (one every 50 ms: a short peak
            may pass unseen); None: no limit.
        address_space_limit: bytes of address space the kernel grants the worker (RLIMIT_AS): more
            is a ``MemoryError`` in its code, exactly; None: no limit.
        max_requests: requests after which the process is replaced, between two; None: never.
        max_age: seconds after which it is replaced, likewise.
        max_memory: bytes, counted likewise; a process that used more in a request is replaced after
            it. It is not killed for it (`memory_limit` does that); None: no matter.
        recycle_jitter: the largest part of ``max_requests``, ``max_age`` and ``max_memory`` that a
            process is replaced early by, drawn for each, so that replicas which began together do
            not all go together; 0 to 1.
        env: variables added to the worker's environment.
        cwd: its working directory; None: the parent's.
        priority: added to its nice value, 0 to 19.
        output: what becomes of what the worker, and what it starts, writes on descriptors 1 and 2.
            "inherit": standard output is the parent's own; standard error is passed on to the
            parent's, and its last 64 KiB are remembered (``handle.output()``, ``stderr_tail``).
            "capture": both are remembered and not passed on. A path (with a slash, or a ``Path``):
            both are remembered and appended to that file (made with mode 0600).
        channel_buffer: requests that may wait in the queue before senders have to.
        prefetch: requests that the worker may have at a time, 1 to 64. It works on one and has the
            others at hand when it is done, which saves their way to it. They wait there as they
            would in the queue (a death, an error or an end gives them back to it), but for other
            replicas they are out of reach.
        retries: how often a request whose worker died is tried again (N3).
        allowed_failures: workers a request may kill; one more and it is a `PoisonRequest`.
        charge_requests: a death in the middle of a request is the request's fault and not counted
            against the agent (pools).
        rate: requests that all instances behind one queue may begin in a second, or text such as
            ``"10/s"``, ``"600/m"``, ``"0.5/s"``; they are spread evenly. None: any number.
        throttle: what becomes of a request whose service asks for a pause (N23): the queue waits,
            the request is tried again, load comes back step by step. None: the error is like any
            other. ``Throttle()`` in pools and batches.
    """

    restart: Restart = "transient"
    max_restarts: int = 3
    backoff: Backoff = Backoff()
    intensity: Intensity | None = None
    strategy: Strategy = "one_for_one"
    link: LinkKind = "record"
    significant: bool = False
    auto_shutdown: AutoShutdown = "never"
    shutdown: Shutdown = Shutdown()
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
    output: str = "inherit"
    channel_buffer: int = 32
    prefetch: int = 1
    retries: int = 0
    allowed_failures: int = 2
    charge_requests: bool = False
    rate: float | None = None
    throttle: Throttle | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> AgentSettings:
        """Settings from keywords or a file's keys.

        Raises:
            TypeError: an unknown key (with the nearest valid name), or a value of a wrong type.
            ValueError: a value out of range, or settings that contradict each other.
        """
        known = [each.name for each in fields(cls)]
        for key in given:
            if key not in known:
                raise TypeError(f"unknown setting {key!r}{_hint(key, known)}")
        values = dict(given)
        for name, least in _WHOLE.items():
            if name in values and not (name in _OPTIONAL and values[name] is None):
                whole(values[name], name, least=least)
        for name, words in _WORDS.items():
            if name in values and values[name] not in words:
                raise ValueError(f"{name}={values[name]!r}{_hint(str(values[name]), words)}")
        for name, kind in _OBJECTS.items():
            value = values.get(name)
            if (
                name in values
                and not isinstance(value, kind)
                and (value is not None or kind is bool)
            ):
                form = "True or False" if kind is bool else f"{kind.__name__}(...)"
                raise TypeError(f"{name} must be {form}, not {type(value).__name__}")
        for name in ("start_timeout", "request_timeout", "heartbeat_timeout", "max_age"):
            if values.get(name) is not None:
                values[name] = seconds(values[name], name)
                if values[name] == 0:
                    raise ValueError(f"{name} must be more than 0 s")
        for name in ("backoff", "shutdown", "start_timeout"):
            if name in values and values[name] is None:
                raise TypeError(f"{name} cannot be None; leave it out for the default")
        for name in ("memory_limit", "address_space_limit", "max_memory"):
            if values.get(name) is not None:
                values[name] = size_in_bytes(values[name], name)
        jitter = values.get("recycle_jitter", 0.0)
        if isinstance(jitter, bool) or not isinstance(jitter, int | float):
            raise TypeError(f"recycle_jitter must be a number, not {type(jitter).__name__}")
        if not 0 <= jitter <= 1:
            raise ValueError(f"recycle_jitter must be from 0 to 1, not {jitter}")
        if values.get("rate") is not None:
            values["rate"] = per_second(values["rate"])
        values.update(_of_process(values))
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

    @property
    def weighed_above(self) -> int | None:
        """Bytes that a request may use without anything depending on how many exactly."""
        most = self.max_memory
        return None if most is None else most - int(most * self.recycle_jitter)

    @property
    def grouped(self) -> bool:
        """Whether its children are restarted, and so stopped, together (N4, N5)."""
        return self.strategy != "one_for_one"


_WHOLE = {
    "max_restarts": 0,
    "channel_buffer": 1,
    "prefetch": 1,
    "retries": 0,
    "allowed_failures": 0,
    "max_requests": 1,
    "priority": 0,
}
MOST_AHEAD = 64
"""The most that ``prefetch`` may be: the status page has room for so many cancellations."""

_OPTIONAL = ("max_requests",)
_OUTPUTS = ("inherit", "capture")
_WORDS: dict[str, tuple[str, ...]] = {
    "restart": get_args(Restart),
    "strategy": get_args(Strategy),
    "link": get_args(LinkKind),
    "auto_shutdown": get_args(AutoShutdown),
}
_OBJECTS: dict[str, type] = {
    "backoff": Backoff,
    "intensity": Intensity,
    "shutdown": Shutdown,
    "significant": bool,
    "charge_requests": bool,
    "throttle": Throttle,
}


def _of_process(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the operating system's process, checked."""
    checked: dict[str, Any] = {}
    if given.get("prefetch", 1) > MOST_AHEAD:
        raise ValueError(f"prefetch must be from 1 to {MOST_AHEAD}, not {given['prefetch']}")
    if given.get("priority", 0) > 19:
        raise ValueError(f"priority must be from 0 to 19 (nice), not {given['priority']}")
    env = given.get("env", {})
    if not isinstance(env, Mapping):
        raise TypeError(f"env must map names to values, not be {type(env).__name__}")
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"env: {name!r}={value!r} is not text")
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"env: {name!r} cannot be a variable of an environment")
    checked["env"] = dict(env)
    cwd = given.get("cwd")
    if cwd is not None:
        if not isinstance(cwd, str) and not hasattr(cwd, "__fspath__"):
            raise TypeError(f"cwd must be a path, not {type(cwd).__name__}")
        checked["cwd"] = str(cwd)
    if "output" in given:
        checked["output"] = _output(given["output"])
    return checked


def _output(given: Any) -> str:
    if isinstance(given, str):
        if given not in _OUTPUTS and "/" not in given:
            hint = _hint(given, _OUTPUTS)
            raise ValueError(f"output={given!r}{hint}; a file is given as a Path or './{given}'")
        path = given
    elif hasattr(given, "__fspath__"):
        path = str(given)
        if "/" not in path:
            path = f"./{path}"
    else:
        raise TypeError(f"output must be a word or a path, not {type(given).__name__}")
    if "\0" in path:
        raise ValueError(f"output: {path!r} cannot be a path")
    return path


def _hint(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
