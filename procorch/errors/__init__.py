"""Every error of procorch, in one tree::

    AgentError
    |-- ModelThrottled, NetworkError                     retryable
    |-- ContextWindowOverflow, StructuredOutputFailed, AlreadyRunning, NoMessages,
    |   InvalidContinue, StreamError, CacheMiss, ContentFiltered, ModelRetired, AuthError
    |-- Aborted
    |   `-- RequestCancelled
    |-- PluginError
    |   `-- AgentStopped
    |-- AgentFailure                                     retryable where the original says so
    |-- AgentCrashed                                     retryable
    |   |-- AgentHung
    |   `-- MemoryLimitExceeded
    |-- RequestTimeout (also a TimeoutError)
    |-- StartError                                       retryable unless permanent
    |-- PoisonRequest, MailboxFull
    `-- SerializationError, MessageTooLarge, ProtocolError

A class is its docstring and its figures: the annotated attributes are the keyword-only arguments of
its constructor, the way a dataclass reads, and the defaults on the class keep an error usable whose
constructor never ran. That matters because errors are rebuilt without calling a constructor at all
(a user's subclass may have any): by pickle and copy (`copying`), and from plain data (`plain`) for
the wire, where a pickle that loads badly would take the reader down with it.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform

from procorch.errors.copying import blank, fill, parts_of
from procorch.errors.texts import executed, numbered, original, signal_name, sized

_Class = TypeVar("_Class", bound="type[AgentError]")
TREE: dict[str, type[AgentError]] = {}  # the classes that cross the wire, by name
_NO_FIGURES = ("message", "_figures")


def _first(*, default: str, kw_only: bool) -> str:
    return default


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(_first,))
def _known(cls: _Class) -> _Class:
    """Enter a class into the tree."""
    TREE[cls.__name__] = cls
    return cls


@_known
class AgentError(Exception):
    """Base of everything procorch raises about an agent.

    `message` is the text; without one the class words it from its figures. The text names `agent`.
    `retryable` is what the supervisor's policy looks at (`is_retryable`), `retry_after` the seconds
    a throttled service asked for, `remote_traceback` the text of the worker's traceback.
    `may_have_executed`: a worker had begun the request that failed, in any of its attempts; False
    means that it is safe to send it again.
    """

    message: str = _first(default="", kw_only=False)
    agent: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    remote_traceback: str = ""
    may_have_executed: bool = False

    _figures: ClassVar[dict[str, str]] = {  # name to annotation
        "agent": "str | None",
        "retryable": "bool",
        "retry_after": "float | None",
        "remote_traceback": "str",
        "may_have_executed": "bool",
    }
    _says = ""

    def __init_subclass__(cls) -> None:
        """Collect the figures, inherited ones first; those of users' classes, too."""
        super().__init_subclass__()
        own = vars(cls).get("__annotations__", {})
        cls._figures = cls._figures | {n: kind for n, kind in own.items() if n not in _NO_FIGURES}

    def __init__(self, message: str = "", **figures: Any) -> None:
        super().__init__(*((message,) if message else ()))
        self.message = message
        for name, value in figures.items():
            if name not in self._figures:
                raise TypeError(f"{type(self).__name__}() has no argument {name!r}")
            setattr(self, name, value)
        self._settle()

    def _settle(self) -> None:
        """Derive figures from others, once they are set."""

    @property
    def is_retryable(self) -> bool:
        """Whether a fresh agent may do better with the same request (seed, `is_retryable`)."""
        return self.retryable

    def _describe(self) -> str:
        return self._says or type(self).__name__

    def _who(self) -> str:
        return f"agent '{self.agent}'" if self.agent else "agent"

    def __str__(self) -> str:
        text = super().__str__() or self._describe()
        if not self.agent or f"'{self.agent}'" in text:
            return text
        return f"{self._who()}: {text}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        from procorch.errors.plain_data import pack, unpack

        parts = parts_of(self)
        parts["cause"] = pack(parts["cause"])
        return blank, (type(self),), parts, None, None, unpack

    def __copy__(self) -> AgentError:
        return fill(blank(type(self)), parts_of(self)).with_traceback(self.__traceback__)

    def __deepcopy__(self, memo: dict[int, Any]) -> AgentError:
        from copy import deepcopy

        memo[id(self)] = twin = blank(type(self))
        parts = parts_of(self)
        for name, part in parts.items():
            # Foreign exceptions are shared: many cannot be built again from their own args.
            if isinstance(part, AgentError) or not isinstance(part, BaseException):
                parts[name] = deepcopy(part, memo)
        return fill(twin, parts)


@_known
class ModelThrottled(AgentError):
    """The model's service asked for fewer requests; `retry_after` in seconds where it said so."""

    retryable = True
    _says = "the model's rate limit was reached"


@_known
class NetworkError(AgentError):
    """Transient I/O between an agent and a service."""

    retryable = True
    _says = "network error"


@_known
class ContextWindowOverflow(AgentError):
    """The conversation no longer fits the model's context window."""

    _says = "the context window of the model is exceeded"


@_known
class StructuredOutputFailed(AgentError):
    """The model gave no output of the wanted structure."""

    _says = "no valid structured output"


@_known
class AlreadyRunning(AgentError):
    """An agent that was already at work was asked to start a run."""

    _says = "already running"


@_known
class NoMessages(AgentError):
    """A request without any message."""

    _says = "no messages to respond to"


@_known
class InvalidContinue(AgentError):
    """The conversation ends where it cannot be continued."""

    _says = "the conversation cannot be continued from its last message"


@_known
class StreamError(AgentError):
    """A model turn went wrong in a way that another attempt would not mend."""

    _says = "the model's answer could not be read"


@_known
class CacheMiss(AgentError):
    """A provider no longer holds the cached prompt that the request relied on."""

    _says = "the cached prompt is gone"


@_known
class ContentFiltered(AgentError):
    """A provider's content filter refused the request or the answer."""

    _says = "refused by the content filter"


@_known
class ModelRetired(AgentError):
    """The model is unknown to its provider, or no longer offered."""

    _says = "the model is unknown or retired"


@_known
class AuthError(AgentError):
    """A service refused the credentials."""

    _says = "authentication failed"


@_known
class Aborted(AgentError):
    """The agent was cancelled (seed, `AgentError::Aborted`)."""

    _says = "cancelled"


@_known
class RequestCancelled(Aborted):
    """This one request was cancelled; the agent goes on (N8)."""

    request: int | None = None

    def _describe(self) -> str:
        return f"request{numbered(self.request)} was cancelled{executed(self)}"


@_known
class PluginError(AgentError):
    """An error of a part named `name`; `source` is its text, or the exception behind it."""

    name: str = ""
    source: str = ""

    def __init__(
        self, name: str = "", source: object = "", *, agent: str | None = None, **figures: Any
    ) -> None:
        super().__init__("", agent=agent, name=name, source=str(source), **figures)
        if isinstance(source, BaseException):
            self.__cause__: BaseException | None = source

    def __str__(self) -> str:  # the seed's wording, so the agent is named by the source alone
        return super(AgentError, self).__str__() or f"plugin error ({self.name}): {self.source}"


@_known
class AgentStopped(PluginError):
    """The agent ended before the request had an outcome; `reason` says why it ended."""

    reason: str = ""

    def __init__(
        self, message: str = "", *, agent: str | None = None, reason: str = "", **figures: Any
    ) -> None:
        message = message or "agent channel closed"
        more = [f"agent '{agent}'"] if agent and f"'{agent}'" not in message else []
        more += [reason] if reason and reason not in message else []
        source = f"{message} ({': '.join(more)})" if more else message
        super().__init__("orchestrator", source, agent=agent, reason=reason, **figures)


@_known
class AgentFailure(AgentError):
    """An exception of the agent's own code.

    `exc_type` is its qualified name, `exc_str` its text; the original is the `__cause__` where it
    is at hand.
    """

    exc_type: str = ""
    exc_str: str = ""

    def _describe(self) -> str:
        return f"{self._who()} failed{original(self.exc_type, self.exc_str)}"


@_known
class AgentCrashed(AgentError):
    """The process of an agent died.

    `exitcode` is the status or minus the signal's number, `signal` its name; `request` the one in
    flight; `last_stack` the Python stack of the fault; `peak_rss` bytes; `cause` the sibling whose
    failure took this agent with it (N5).
    """

    retryable = True
    exitcode: int | None = None
    signal: str | None = None
    generation: int | None = None
    pid: int | None = None
    request: int | None = None
    last_stack: str = ""
    stderr_tail: str = ""
    peak_rss: int | None = None
    cause: str | None = None

    def _settle(self) -> None:
        if self.signal is None and self.exitcode is not None and self.exitcode < 0:
            self.signal = signal_name(-self.exitcode)

    def _who(self) -> str:
        return super()._who() + (f" (pid {self.pid})" if self.pid else "")

    def _describe(self) -> str:
        code = "exit status unknown" if self.exitcode is None else f"exit code {self.exitcode}"
        on = "on" if self.may_have_executed else "before it began"
        during = "" if self.request is None else f" {on} request{numbered(self.request)}"
        if self.cause is not None:
            return f"{self._who()} was stopped{during}: its sibling '{self.cause}' failed"
        return f"{self._who()} {self._what(self.signal or code)}{during}"

    def _what(self, end: str) -> str:
        return f"crashed: {end}"


@_known
class AgentHung(AgentCrashed):
    """No progress for `heartbeat_timeout` seconds; killed after `last_stack` was taken (N12)."""

    heartbeat_timeout: float | None = None

    def _what(self, end: str) -> str:
        limit = "" if self.heartbeat_timeout is None else f" for {self.heartbeat_timeout:g} s"
        return f"hung: no progress{limit}, ended by {end}"


@_known
class MemoryLimitExceeded(AgentCrashed):
    """The process and its descendants held `observed` bytes where `limit` was allowed."""

    limit: int | None = None
    observed: int | None = None

    def _what(self, end: str) -> str:
        return f"exceeded its memory limit: {sized(self.observed)} of {sized(self.limit)}"


@_known
class RequestTimeout(AgentError, TimeoutError):
    """A request was not answered within `timeout` seconds.

    `ran` says whether it had been begun; it is `may_have_executed` by an earlier name.
    """

    timeout: float | None = None
    ran: bool = False
    request: int | None = None

    @property  # type: ignore[misc]  # mypy takes the figure for a dataclass's field
    def may_have_executed(self) -> bool:
        """See `AgentError`."""
        return self.ran

    @may_have_executed.setter
    def may_have_executed(self, begun: bool) -> None:
        self.ran = begun

    def _describe(self) -> str:
        limit = "its deadline" if self.timeout is None else f"{self.timeout:g} s"
        return f"request{numbered(self.request)} not answered within {limit}{executed(self)}"


@_known
class StartError(AgentError):
    """An agent could not be started (N9).

    `phase` is "decode", "factory", "construct" or "ready"; a `permanent` one is never tried again.
    """

    retryable: bool = True
    phase: str = "factory"
    permanent: bool = False
    exc_type: str = ""
    exc_str: str = ""

    def _settle(self) -> None:
        self.retryable = self.retryable and not self.permanent

    def _describe(self) -> str:
        why = original(self.exc_type, self.exc_str)
        return f"{self._who()} failed to start in phase {self.phase}{why}"


@_known
class PoisonRequest(AgentError):
    """A request that killed too many workers and is not sent again; `deaths` are theirs (N3)."""

    request: int | None = None
    deaths: tuple[AgentCrashed, ...] = ()

    def _describe(self) -> str:
        ends = ", ".join(d.signal or f"exit code {d.exitcode}" for d in self.deaths)
        workers = f"{len(self.deaths)} worker{'s' if len(self.deaths) != 1 else ''}"
        what = f"request{numbered(self.request)} killed {workers}"
        return f"{what}{f' ({ends})' if ends else ''} and is not sent again"


@_known
class MailboxFull(AgentError):
    """The agent's queue of `capacity` requests is full, and the caller chose not to wait."""

    capacity: int | None = None

    def _describe(self) -> str:
        size = "" if self.capacity is None else f" ({self.capacity} requests)"
        return f"mailbox full{size}"


@_known
class SerializationError(AgentError):
    """`what` (a request, a reply, a factory) cannot be serialised, at `path` inside the object."""

    what: str = ""
    path: str = ""
    reason: str = ""

    def _describe(self) -> str:
        parts = (self.what or "object", self.path, self.reason or "cannot be serialised")
        return ": ".join(part for part in parts if part)


@_known
class MessageTooLarge(AgentError):
    """`what` has `size` bytes where `limit` are allowed; `path` names its largest part if known."""

    what: str = ""
    size: int | None = None
    limit: int | None = None
    path: str = ""

    def _describe(self) -> str:
        at = f" at {self.path}" if self.path else ""
        sizes = f"{sized(self.size)}, the limit is {sized(self.limit)}"
        return f"{self.what or 'message'}{at} is too large: {sizes}"


@_known
class ProtocolError(AgentError):
    """The peer sent what no procorch worker sends; `what` says which part, and what was seen."""

    what: str = ""
    size: int | None = None
    limit: int | None = None

    def _describe(self) -> str:
        size = "" if self.size is None else f" ({sized(self.size)} of {sized(self.limit)})"
        return f"protocol error: {self.what or 'malformed frame'}{size}"
