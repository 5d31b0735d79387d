"""Errors of procorch itself: agents and requests that ended, and what cannot be sent."""

from __future__ import annotations

from typing import Any

from procorch.errors.base import AgentError, known
from procorch.errors.texts import executed, numbered, original, signal_name, sized


@known
class Aborted(AgentError):
    """The agent was cancelled.

    Example:
        >>> print(Aborted(agent="planner"))
        agent 'planner': cancelled
    """

    _says = "cancelled"


@known
class RequestCancelled(Aborted):
    """This one request was cancelled; the agent goes on (N8).

    Example:
        >>> print(RequestCancelled(agent="solver", request=7))
        agent 'solver': request 7 was cancelled, and was not executed
    """

    request: int | None = None

    def _describe(self) -> str:
        return f"request{numbered(self.request)} was cancelled{executed(self.may_have_executed)}"


@known
class PluginError(AgentError):
    """An error of a part named `name`; `source` is its text, or the exception behind it.

    Example:
        >>> print(PluginError("orchestrator", "agent not registered: solver"))
        plugin error (orchestrator): agent not registered: solver
    """

    name: str = ""
    source: str = ""

    def __init__(
        self, name: str = "", source: object = "", *, agent: str | None = None, **figures: Any
    ) -> None:
        super().__init__("", agent=agent, name=name, source=str(source), **figures)
        if isinstance(source, BaseException):
            self.__cause__: BaseException | None = source

    def __str__(self) -> str:  # `source` names the agent, so it is not named again
        return super(AgentError, self).__str__() or f"plugin error ({self.name}): {self.source}"


@known
class AgentStopped(PluginError):
    """The agent ended before the request had an outcome; `reason` says why it ended.

    Example:
        >>> print(AgentStopped(agent="solver", reason="closed"))
        plugin error (orchestrator): agent channel closed (agent 'solver')
    """

    reason: str = ""

    def __init__(
        self, message: str = "", *, agent: str | None = None, reason: str = "", **figures: Any
    ) -> None:
        message = message or "agent channel closed"
        more = [f"agent '{agent}'"] if agent and f"'{agent}'" not in message else []
        more += [reason] if reason and reason not in message else []
        source = f"{message} ({': '.join(more)})" if more else message
        super().__init__("orchestrator", source, agent=agent, reason=reason, **figures)


@known
class AgentCrashed(AgentError):
    """The process of an agent died.

    `exitcode` is the status or minus the signal's number, `signal` its name; `request` the one in
    flight; `last_stack` the Python stack of the fault; `peak_rss` bytes; `cause` the sibling whose
    failure took this agent with it (N5). `node` is the node of the cluster that it ran on; `lost`:
    that node does not answer, so nobody knows how the process ended.

    Example:
        >>> print(AgentCrashed(agent="solver", exitcode=-11, request=13))
        agent 'solver' crashed: SIGSEGV before it began request 13
        >>> AgentCrashed(exitcode=-9).signal
        'SIGKILL'
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
    lost: bool = False
    node: str | None = None

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


@known
class AgentHung(AgentCrashed):
    """No progress for `heartbeat_timeout` seconds; killed after `last_stack` was taken (N12).

    Example:
        >>> print(AgentHung(agent="solver", heartbeat_timeout=30.0, exitcode=-9))
        agent 'solver' hung: no progress for 30 s, ended by SIGKILL
    """

    heartbeat_timeout: float | None = None

    def _what(self, end: str) -> str:
        limit = "" if self.heartbeat_timeout is None else f" for {self.heartbeat_timeout:g} s"
        return f"hung: no progress{limit}, ended by {end}"


@known
class MemoryLimitExceeded(AgentCrashed):
    """The process and its descendants held `observed` bytes where `limit` was allowed.

    Example:
        >>> print(MemoryLimitExceeded(agent="solver", observed=600 * 2**20, limit=512 * 2**20))
        agent 'solver' exceeded its memory limit: 600.0 MiB of 512.0 MiB
    """

    limit: int | None = None
    observed: int | None = None

    def _what(self, end: str) -> str:
        return f"exceeded its memory limit: {sized(self.observed)} of {sized(self.limit)}"


@known
class RequestTimeout(AgentError, TimeoutError):
    """A request was not answered within `timeout` seconds.

    `ran` says whether it had been begun; it is `may_have_executed` by an earlier name.

    Example:
        >>> error = RequestTimeout(agent="solver", timeout=30.0, request=7, ran=True)
        >>> isinstance(error, TimeoutError), error.may_have_executed
        (True, True)
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
        return f"request{numbered(self.request)} not answered within {limit}{executed(self.ran)}"


@known
class StartError(AgentError):
    """An agent could not be started (N9).

    `phase` is "decode", "factory", "construct" or "ready"; a `permanent` one is never tried again.

    Example:
        >>> error = StartError(agent="solver", exc_type="KeyError", exc_str="'TOKEN'")
        >>> print(error)
        agent 'solver' failed to start in phase factory: KeyError: 'TOKEN'
        >>> StartError(permanent=True).is_retryable
        False
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


@known
class PoisonRequest(AgentError):
    """A request that killed too many workers and is not sent again; `deaths` are theirs (N3).

    Example:
        >>> deaths = (AgentCrashed(signal="SIGSEGV"),)
        >>> print(PoisonRequest(agent="solver", request=13, deaths=deaths))
        agent 'solver': request 13 killed 1 worker (SIGSEGV) and is not sent again
    """

    request: int | None = None
    deaths: tuple[AgentCrashed, ...] = ()

    def _describe(self) -> str:
        ends = ", ".join(d.signal or f"exit code {d.exitcode}" for d in self.deaths)
        workers = f"{len(self.deaths)} worker{'s' if len(self.deaths) != 1 else ''}"
        what = f"request{numbered(self.request)} killed {workers}"
        return f"{what}{f' ({ends})' if ends else ''} and is not sent again"


@known
class MailboxFull(AgentError):
    """The agent's queue of `capacity` requests is full, and the caller chose not to wait.

    Example:
        >>> print(MailboxFull(agent="solver", capacity=32))
        agent 'solver': mailbox full (32 requests)
    """

    capacity: int | None = None

    def _describe(self) -> str:
        size = "" if self.capacity is None else f" ({self.capacity} requests)"
        return f"mailbox full{size}"


@known
class TakesNoRequests(AgentError):
    """`agent` is a service: it runs by itself, and nothing can be sent to it.

    Example:
        >>> print(TakesNoRequests(agent="consumer"))
        agent 'consumer': it is a service, which runs by itself and takes no requests
    """

    _says = "it is a service, which runs by itself and takes no requests"


@known
class SerializationError(AgentError):
    """`what` (a request, a reply, a factory) cannot be serialised, at `path` inside the object.

    Example:
        >>> print(SerializationError(agent="solver", what="request", reason="a lock"))
        agent 'solver': request: a lock
    """

    what: str = ""
    path: str = ""
    reason: str = ""

    def _describe(self) -> str:
        parts = (self.what or "object", self.path, self.reason or "cannot be serialised")
        return ": ".join(part for part in parts if part)


@known
class MessageTooLarge(AgentError):
    """`what` has `size` bytes where `limit` are allowed; `path` names its largest part if known.

    Example:
        >>> print(MessageTooLarge(agent="solver", what="request", size=3 * 2**30, limit=2**30))
        agent 'solver': request is too large: 3072.0 MiB, the limit is 1024.0 MiB
    """

    what: str = ""
    size: int | None = None
    limit: int | None = None
    path: str = ""

    def _describe(self) -> str:
        at = f" at {self.path}" if self.path else ""
        sizes = f"{sized(self.size)}, the limit is {sized(self.limit)}"
        return f"{self.what or 'message'}{at} is too large: {sizes}"


@known
class ProtocolError(AgentError):
    """The peer sent what no procorch worker sends; `what` says which part, and what was seen.

    Example:
        >>> print(ProtocolError(agent="solver", what="bad magic"))
        agent 'solver': protocol error: bad magic
    """

    what: str = ""
    size: int | None = None
    limit: int | None = None

    def _describe(self) -> str:
        size = "" if self.size is None else f" ({sized(self.size)} of {sized(self.limit)})"
        return f"protocol error: {self.what or 'malformed frame'}{size}"
