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
(a user's subclass may have any): by pickle and copy here, and by `from_plain` for the wire, where a
pickle that loads badly would take the reader down with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

_Class = TypeVar("_Class", bound="type[AgentError]")
_Error = TypeVar("_Error", bound="AgentError")
_TREE: dict[str, type[AgentError]] = {}  # the classes that cross the wire, by name
_NO_FIGURES = ("message", "_figures")
_TRANSIENT = (ConnectionError, TimeoutError)
_DEPTH = 8  # causes of causes that are followed; a chain may be a circle
_REMOTE = "remote traceback:\n"
_TEXT = 65_536  # characters kept of one text on the wire: an error has to fit into a frame


def _first(*, default: str, kw_only: bool) -> str:
    return default


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(_first,))
def _known(cls: _Class) -> _Class:
    """Enter a class into the tree and collect its figures, inherited ones first."""
    own = {name: kind for name, kind in cls.__annotations__.items() if name not in _NO_FIGURES}
    cls._figures = {**cls._figures, **own}
    _TREE[cls.__name__] = cls
    return cls


@_known
class AgentError(Exception):
    """Base of everything procorch raises about an agent.

    `message` is the text; without one the class words it from its figures. The text names `agent`.
    `retryable` is what the supervisor's policy looks at (`is_retryable`), `retry_after` the seconds
    a throttled service asked for, `remote_traceback` the text of the worker's traceback.
    """

    message: str = _first(default="", kw_only=False)
    agent: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    remote_traceback: str = ""

    _figures: ClassVar[dict[str, str]] = {}  # name to annotation
    _says = ""

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
        parts = _parts(self)
        parts["cause"] = _pack(parts["cause"])
        return _blank, (type(self),), parts, None, None, _unpack

    def __copy__(self) -> AgentError:
        return _fill(_blank(type(self)), _parts(self)).with_traceback(self.__traceback__)

    def __deepcopy__(self, memo: dict[int, Any]) -> AgentError:
        from copy import deepcopy

        memo[id(self)] = twin = _blank(type(self))
        parts = _parts(self)
        for name, part in parts.items():
            # Foreign exceptions are shared: many cannot be built again from their own args.
            if isinstance(part, AgentError) or not isinstance(part, BaseException):
                parts[name] = deepcopy(part, memo)
        return _fill(twin, parts)


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
        return f"request{_number(self.request)} was cancelled"


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
            self.__cause__ = source

    def __str__(self) -> str:  # the seed's wording, so the agent is named by the source alone
        return super(AgentError, self).__str__() or f"plugin error ({self.name}): {self.source}"


@_known
class AgentStopped(PluginError):
    """The agent ended before the request ran; `reason` says why it ended."""

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
        return f"{self._who()} failed{_original(self.exc_type, self.exc_str)}"


@_known
class AgentCrashed(AgentError):
    """The process of an agent died.

    `exitcode` is the status or minus the signal's number, `signal` its name; `request` the one in
    flight, which `may_have_executed`; `last_stack` the Python stack of the fault; `peak_rss` bytes;
    `cause` the sibling whose failure took this agent with it (N5).
    """

    retryable = True
    exitcode: int | None = None
    signal: str | None = None
    generation: int | None = None
    pid: int | None = None
    request: int | None = None
    may_have_executed: bool = False
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
        during = "" if self.request is None else f" on request{_number(self.request)}"
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
    """The process used `observed` bytes where `limit` was allowed."""

    limit: int | None = None
    observed: int | None = None

    def _what(self, end: str) -> str:
        return f"exceeded its memory limit: {_size(self.observed)} of {_size(self.limit)}"


@_known
class RequestTimeout(AgentError, TimeoutError):
    """A request was not answered within `timeout` seconds; `ran` says whether it had been begun."""

    timeout: float | None = None
    ran: bool = False
    request: int | None = None

    def _describe(self) -> str:
        limit = "its deadline" if self.timeout is None else f"{self.timeout:g} s"
        ran = "" if self.ran else ", and was not executed"
        return f"request{_number(self.request)} not answered within {limit}{ran}"


@_known
class StartError(AgentError):
    """An agent could not be started (N9).

    `phase` is "decode", "factory", "construct" or "ready"; a `permanent` one is never tried again.
    """

    retryable = True
    phase: str = "factory"
    permanent: bool = False
    exc_type: str = ""
    exc_str: str = ""

    def _settle(self) -> None:
        self.retryable = self.retryable and not self.permanent

    def _describe(self) -> str:
        why = _original(self.exc_type, self.exc_str)
        return f"{self._who()} failed to start in phase {self.phase}{why}"


@_known
class PoisonRequest(AgentError):
    """A request that killed too many workers and is not sent again; `deaths` are theirs (N3)."""

    request: int | None = None
    deaths: tuple[AgentCrashed, ...] = ()

    def _describe(self) -> str:
        ends = ", ".join(d.signal or f"exit code {d.exitcode}" for d in self.deaths)
        workers = f"{len(self.deaths)} worker{'s' if len(self.deaths) != 1 else ''}"
        what = f"request{_number(self.request)} killed {workers}"
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
        sizes = f"{_size(self.size)}, the limit is {_size(self.limit)}"
        return f"{self.what or 'message'}{at} is too large: {sizes}"


@_known
class ProtocolError(AgentError):
    """The peer sent what no procorch worker sends; `what` says which part, and what was seen."""

    what: str = ""
    size: int | None = None
    limit: int | None = None

    def _describe(self) -> str:
        size = "" if self.size is None else f" ({_size(self.size)} of {_size(self.limit)})"
        return f"protocol error: {self.what or 'malformed frame'}{size}"


# Wording.


def signal_name(number: int) -> str:
    """The name of a signal: "SIGSEGV", "SIGRTMIN+3", or "signal 99" where it has none."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        low, high = getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", 0)
        return f"SIGRTMIN+{number - low}" if low < number < high else f"signal {number}"


def _number(request: int | None) -> str:
    return "" if request is None else f" {request}"


def _size(size: int | None) -> str:
    if size is None:
        return "unknown"
    return f"{size} bytes" if size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


def _original(exc_type: str, exc_str: str) -> str:
    """`: ValueError: boom`, on one line whatever the original's text looks like."""
    line = " ".join(exc_str.split())
    line = line if len(line) <= 300 else line[:299] + "\u2026"
    return "".join(f": {part}" for part in (exc_type.rpartition(".")[2], line) if part)


def _name(cls: type) -> str:
    """Qualified name, as tracebacks write it: bare for builtins."""
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _text(error: BaseException, read: Callable[[BaseException], str] = str) -> str:
    """`str(error)`, or what can be said where the exception's own `__str__` raises."""
    try:
        return _fit(read(error))
    except Exception as broken:
        return f"<{_name(type(error))}, whose text cannot be read: {_name(type(broken))}>"


def _fit(text: str) -> str:
    """`text` as exact str that UTF-8 can carry, its middle left out where it is very long."""
    text = str.__str__(text)
    if len(text) > _TEXT:
        half, left = _TEXT // 2, len(text) - _TEXT
        text = f"{text[:half]}\n[... {left} characters left out ...]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


# Pickle and copy. The state is put back by a setter and not by arguments: a constructor is never
# called, an error may be part of a circle, and a subclass may have its own __setstate__.


def _blank(cls: type[_Error]) -> _Error:
    """An instance whose constructor did not run, `__new__` of user's classes included."""
    for base in cls.__mro__:
        new = base.__dict__.get("__new__")
        if new is not None and not isinstance(new, staticmethod):
            return cast(_Error, new(cls))
    raise TypeError(f"{cls!r} is no exception")


def _parts(error: AgentError) -> dict[str, Any]:
    return {
        "args": error.args,
        "state": error.__getstate__(),
        "notes": list(getattr(error, "__notes__", ())),
        "cause": error.__cause__,
        "suppressed": error.__suppress_context__,
    }


def _fill(error: _Error, parts: dict[str, Any]) -> _Error:
    put = partial(object.__setattr__, error)  # a frozen dataclass may be an error, too
    put("args", parts["args"])
    state = parts["state"]
    if type(error).__setstate__ is not BaseException.__setstate__:
        error.__setstate__(state)
    else:
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        error.__dict__.update(attributes or {})
        for name, value in (slots or {}).items():
            put(name, value)
    if parts["notes"]:
        put("__notes__", parts["notes"])
    put("__cause__", parts["cause"])
    put("__suppress_context__", parts["suppressed"])
    return error


def _pack(error: BaseException | None) -> Any:
    """A cause as it is pickled: our own as they are; of others, for each link, a pickle of its own.

    A foreign exception may refuse to be pickled, or to be loaded, so each travels with a plain
    description that takes its place.
    """
    links: list[tuple[bytes, dict[str, Any]]] = []
    while error is not None and not isinstance(error, AgentError) and len(links) < _DEPTH:
        links.append((dump_original(error) or b"", to_plain(describe_failure(error))))
        error = error.__cause__
    return links, error if isinstance(error, AgentError) else None


def _unpack(error: AgentError, parts: dict[str, Any]) -> None:
    links, cause = parts["cause"]
    for data, plain in reversed(links):
        link: BaseException = load_original(data) or from_plain(plain)
        link.__cause__ = cause
        cause = link
    _fill(error, parts | {"cause": cause})


def dump_original(error: BaseException) -> bytes | None:
    """A pickle of a foreign exception, or None unless it has just been proven to load again."""
    import pickle

    try:
        data = pickle.dumps(error, 5)
    except Exception:
        return None
    return data if type(load_original(data)) is type(error) else None


def load_original(data: bytes) -> BaseException | None:
    """What `dump_original` pickled, or None where it does not load in this process."""
    import pickle

    try:
        error = pickle.loads(data)
    except Exception:
        return None
    return error if isinstance(error, BaseException) else None


# Plain data: how errors cross the wire.


def describe_failure(error: BaseException, *, agent: str | None = None) -> AgentError:
    """Any exception as one of ours, with the formatted traceback in `remote_traceback`.

    One of ours stays the same object, with `agent` filled in. Another one becomes an `AgentFailure`
    with the original as its cause; it is retryable where the original says so (`is_retryable`, an
    attribute or a method) or, where it says nothing, is a `ConnectionError` or `TimeoutError`.
    """
    trace = _traceback(error)
    if isinstance(error, AgentError):
        with suppress(AttributeError):  # a subclass may have made them read-only
            object.__setattr__(error, "agent", error.agent or agent)
            object.__setattr__(error, "remote_traceback", error.remote_traceback or trace)
        return error
    says = _asked(error, "is_retryable")
    failure = AgentFailure(
        agent=agent,
        exc_type=_name(type(error)),
        exc_str=_text(error),
        remote_traceback=trace,
        retryable=says if isinstance(says, bool) else isinstance(error, _TRANSIENT),
        retry_after=_value("float", _asked(error, "retry_after")),
    )
    for note in _notes(error):
        failure.add_note(note)
    failure.__cause__ = error
    return failure


def to_plain(error: AgentError) -> dict[str, Any]:
    """An error as str, int, float, bool, None, list and dict: what msgpack can carry.

    A user's subclass becomes its nearest class of the tree and its name a note. Never raises, and
    leaves out what has not the type that its annotation promises.
    """
    return _to_plain(error, _DEPTH)


def from_plain(mapping: dict[str, Any]) -> AgentError:
    """The error that `to_plain` described; never raises, whatever it is given.

    A class that is unknown here becomes an `AgentFailure` that names it. The remote traceback is
    added as a note, so that an uncaught error shows where in the worker it came from.
    """
    return _from_plain(mapping, _DEPTH)


def _to_plain(error: AgentError, depth: int) -> dict[str, Any]:
    cls = next(_TREE[c.__name__] for c in type(error).__mro__ if c in _TREE.values())
    notes = _notes(error)
    figures = {}
    for name, kind in cls._figures.items():
        value = _asked(error, "is_retryable" if name == "retryable" else name)
        if kind.startswith("tuple"):
            deaths = value if isinstance(value, tuple | list) and depth > 0 else ()
            value = [_to_plain(d, depth - 1) for d in deaths if isinstance(d, AgentCrashed)]
        else:
            value = _value(kind, value)
        if value is not None:
            figures[name] = value
    if cls is type(error):
        message = _text(error, BaseException.__str__)
    else:
        message = _text(error)
        notes.append(f"exc_type: {_name(type(error))}")
    plain = {"class": cls.__name__, "message": message, "figures": figures, "notes": notes}
    cause = error.__cause__
    if cause is not None and depth > 0 and not isinstance(cause, AgentError):
        # The original of a failure has been described by it already.
        cause = None if isinstance(error, AgentFailure) else describe_failure(cause)
    if isinstance(cause, AgentError) and depth > 0:
        plain["cause"] = _to_plain(cause, depth - 1)
    return plain


def _from_plain(mapping: Any, depth: int) -> AgentError:
    given: Mapping[Any, Any] = mapping if isinstance(mapping, Mapping) else {}
    name, message = _value("str", given.get("class")), _value("str", given.get("message"))
    known = _TREE.get(name or "")
    error = _blank(known or AgentFailure)
    figures = given.get("figures")
    for key, kind in error._figures.items():
        value = figures.get(key) if isinstance(figures, Mapping) else None
        if kind.startswith("tuple"):
            items = value if isinstance(value, list) and depth > 0 else ()
            errors = [_from_plain(item, depth - 1) for item in items]
            value = tuple(e for e in errors if isinstance(e, AgentCrashed))
        else:
            value = _value(kind, value)
        if value is not None:
            setattr(error, key, value)
    if known is None and isinstance(error, AgentFailure):
        error.exc_type, error.exc_str = error.exc_type or name or "", error.exc_str or message or ""
    elif message:
        error.args, error.message = (message,), message
    notes = given.get("notes")
    for note in notes if isinstance(notes, list) else ():
        if isinstance(note, str):
            error.add_note(note)
    if error.remote_traceback and not any(n.startswith(_REMOTE) for n in _notes(error)):
        error.add_note(_REMOTE + error.remote_traceback)
    if isinstance(given.get("cause"), Mapping) and depth > 0:
        error.__cause__ = _from_plain(given["cause"], depth - 1)
    return error


def _value(annotation: str, value: Any) -> Any:
    """`value` as exactly the type annotated, or None where it is something else."""
    kind = annotation.removesuffix(" | None")
    if kind == "str" and isinstance(value, str):
        return _fit(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "int" and isinstance(value, int) and -(2**63) <= value < 2**63:
            return int(value)
        if kind == "float" and abs(value) < 1e300:  # false for nan and inf, too
            return float(value)
    return None


def _asked(error: BaseException, name: str) -> Any:
    """An attribute, or what it returns if it is a method; None where asking raises."""
    try:
        value = getattr(error, name, None)
        return value() if callable(value) else value
    except Exception:
        return None


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    notes = notes if isinstance(notes, list | tuple) else ()
    return [_fit(note) for note in notes if isinstance(note, str)]


def _traceback(error: BaseException) -> str:
    """The formatted traceback from the user's code on, without procorch's calls above it."""
    import traceback

    start = error.__traceback__
    while start and str(start.tb_frame.f_globals.get("__name__")).startswith("procorch."):
        start = start.tb_next
    try:
        lines = traceback.format_exception(type(error), error, start or error.__traceback__)
    except Exception:
        return ""
    return _fit("".join(lines))
