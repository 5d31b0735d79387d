"""The table of verbs: what a client may ask for, with which arguments, and who answers it.

Each verb is a name in a dict, so nothing that a client writes is looked up on an object. Arguments
are checked before the verb sees them. Patterns of names become names here (`names`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Protocol, TypeAlias

from msgspec import Meta, Struct

from procorch.daemon.control.names import exact, select
from procorch.daemon.errors import DaemonEnding
from procorch.daemon.ports import CorePort, Rows
from procorch.daemon.specs import OWN_LOG

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e9)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000_000)]
_SLICE = 0.2
"""Seconds after which a verb that waits looks whether its client is still there."""


class CallPort(Protocol):
    """The call of a client, seen from the verb that answers it."""

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the answer any more."""
        ...

    @property
    def ending(self) -> DaemonEnding | None:
        """The daemon ends, and has cancelled the call for that."""
        ...

    def on_cancel(self, action: Callable[[], object]) -> None:
        """Call this, on another thread, when nobody waits any more; at once if it is so already."""
        ...

    def began(self, request: int) -> None:
        """Tell the client the number of the agent's request."""
        ...

    def emit(self, item: Any) -> bool:
        """Send an item; waits while the client does not read. False: it is gone."""
        ...


class _Args(Struct, forbid_unknown_fields=True, frozen=True):
    pass


class NoArgs(_Args, frozen=True):
    """Nothing."""


class Names(_Args, frozen=True):
    """Patterns of names; none: all agents."""

    names: list[str] = []


class TimedNames(Names, frozen=True):
    """Patterns of names, and seconds to wait; None: no limit."""

    timeout: Seconds | None = None


class Name(_Args, frozen=True):
    """One agent."""

    name: str


class Timed(_Args, frozen=True):
    """Seconds to wait; None: no limit."""

    timeout: Seconds | None = None


class Scale(Timed, frozen=True, kw_only=True):
    """Numbers of instances by patterns of names."""

    counts: dict[str, Count]


class Reload(TimedNames, frozen=True):
    """A reload, or only its differences; names (none: none) that are replaced in any case."""

    dry_run: bool = False


class Send(Name, frozen=True, kw_only=True):
    """A request: text or any JSON, and seconds for it; None: the agent's own limit."""

    message: Any
    timeout: Seconds | None = None


class Request(_Args, frozen=True):
    """The number of a request."""

    request: int


class Events(Names, frozen=True):
    """Events of the past (the ``last`` so many, or those ``since`` a time), and those to come."""

    follow: bool = False
    last: Count = 100
    since: float | None = None


class Logs(Names, frozen=True):
    """Lines of the past (all, the ``last`` so many, those ``since`` a time), and those to come."""

    follow: bool = False
    last: Count | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Args:
        args: what its arguments have to be.
        run: answers it, on a thread of its own.
        streams: it answers with items and an end.
        at_end: it is also answered while the daemon ends.
    """

    args: type[Struct]
    run: Callable[[CorePort, Any, CallPort], Any]
    streams: bool = False
    at_end: bool = False


def _names(core: CorePort, args: Names) -> list[str]:
    return select(args.names, core.names())


def _name(core: CorePort, args: Name) -> str:
    return exact(args.name, core.names())


def _scale(core: CorePort, args: Scale) -> Any:
    names = core.names()
    counts = {
        name: count for pattern, count in args.counts.items() for name in select([pattern], names)
    }
    return core.scale(counts, args.timeout)


def _reload(core: CorePort, args: Reload) -> Any:
    names = _names(core, args) if args.names else []
    return core.reload(names=names, dry_run=args.dry_run, timeout=args.timeout)


def _wait_ready(core: CorePort, args: TimedNames, call: CallPort) -> Any:
    names = _names(core, args)
    for slice_ in _slices(args.timeout):
        said = core.wait_ready(names, slice_)
        if said["ready"] or call.cancelled:
            break
    if call.ending is not None:
        raise call.ending
    return said


def _slices(timeout: float | None) -> Iterator[float]:
    """Parts of a time to wait; at least one."""
    left = float("inf") if timeout is None else timeout
    while left > _SLICE:
        yield _SLICE
        left -= _SLICE
    yield left


def _send(core: CorePort, args: Send, call: CallPort, *, streams: bool) -> Any:
    def began(request: int) -> None:
        call.on_cancel(partial(core.cancel, request))
        call.began(request)

    def piece(text: str) -> None:
        call.emit(text)  # the request of a client that is gone is cancelled

    return core.send(
        _name(core, args),
        args.message,
        timeout=args.timeout,
        began=began,
        piece=piece if streams else None,
    )


def _rows(rows: Rows, call: CallPort) -> None:
    call.on_cancel(rows.close)
    try:
        for row in rows:
            if not call.emit(row):
                break
    finally:
        rows.close()
    if call.ending is not None:
        raise call.ending


def _events(core: CorePort, args: Events, call: CallPort) -> None:
    names = _names(core, args)
    _rows(core.events(names, follow=args.follow, last=args.last, since=args.since), call)


def _logs(core: CorePort, args: Logs, call: CallPort) -> None:
    names = select(args.names, {**core.names(), OWN_LOG: None})
    _rows(core.logs(names, follow=args.follow, last=args.last, since=args.since), call)


VERBS: dict[str, Verb] = {
    "names": Verb(NoArgs, lambda core, args, call: dict(core.names()), at_end=True),
    "status": Verb(Names, lambda core, args, call: core.status(_names(core, args)), at_end=True),
    "describe": Verb(Name, lambda core, args, call: core.describe(_name(core, args)), at_end=True),
    "start": Verb(
        TimedNames, lambda core, args, call: core.start(_names(core, args), args.timeout)
    ),
    "stop": Verb(TimedNames, lambda core, args, call: core.stop(_names(core, args), args.timeout)),
    "restart": Verb(
        TimedNames, lambda core, args, call: core.restart(_names(core, args), args.timeout)
    ),
    "reset": Verb(Names, lambda core, args, call: core.reset(_names(core, args))),
    "pause": Verb(Names, lambda core, args, call: core.pause(_names(core, args))),
    "resume": Verb(Names, lambda core, args, call: core.resume(_names(core, args))),
    "scale": Verb(Scale, lambda core, args, call: _scale(core, args)),
    "reload": Verb(Reload, lambda core, args, call: _reload(core, args)),
    "rollback": Verb(Timed, lambda core, args, call: core.rollback(args.timeout)),
    "send": Verb(Send, partial(_send, streams=False)),
    "stream": Verb(Send, partial(_send, streams=True), streams=True),
    "cancel": Verb(Request, lambda core, args, call: core.cancel(args.request), at_end=True),
    "stack": Verb(Name, lambda core, args, call: core.stack(_name(core, args)), at_end=True),
    "events": Verb(Events, _events, streams=True, at_end=True),
    "logs": Verb(Logs, _logs, streams=True, at_end=True),
    "rotate": Verb(NoArgs, lambda core, args, call: core.rotate(), at_end=True),
    "wait_ready": Verb(TimedNames, _wait_ready),
    "disk": Verb(NoArgs, lambda core, args, call: core.disk(), at_end=True),
    "prune": Verb(NoArgs, lambda core, args, call: core.prune()),
    "shutdown": Verb(Timed, lambda core, args, call: core.shutdown(args.timeout), at_end=True),
}
"""All verbs by name."""
