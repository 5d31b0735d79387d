"""Output of workers for the program that embeds procorch: given to an object of the user as it
comes, in place of standard error and files.

A race that is closed here:

* *An exit is published while the last output still waits for the sink.* The monitor cannot wait for
  code of the user. So the exit counts only when the sink has got everything, or when it has taken
  nothing for `PATIENCE` seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from procorch.clock import Clock
from procorch.launch.base import Stream
from procorch.runtime.backlog import Backlog

_log = logging.getLogger("procorch")

PATIENCE = 10.0
"""Seconds after which a sink that takes nothing has stopped: a disk may need some for one write."""
_LOOK = 1.0
"""Seconds between two looks at the sink while an exit waits for it."""


class OutputSink(Protocol):
    """Receives what agents write on standard output and standard error (`AgentOrchestrator`).

    All methods are called on one thread, the output thread of the orchestrator: in the order of
    each stream, and never while the monitor waits. A sink may take its time. While it is behind by
    1 MiB the agents wait when they write. If it takes nothing for 10 seconds, the oldest output is
    dropped. An exception of a method is logged once, and the method is called again with what comes
    next.

    ``instance``, ``generation``: the process that wrote it. ``request``: the number of the request
    that this process worked on when the data was read; None: none, or a service.

    Raises:
        Exception: what a method raises is logged once and not raised again.

    Example:
        >>> class Lines:
        ...     def write(self, agent, instance, generation, request, stream, data):
        ...         print(f"{agent}: {data!r}")
        ...     def missing(self, agent, instance, generation, request, stream, count):
        ...         print(f"{agent}: {count} bytes were dropped")
        ...     def ended(self, agent, instance, generation):
        ...         print(f"{agent}: end of process {generation}")
        >>> orch = AgentOrchestrator(output_sink=Lines())
    """

    def write(
        self,
        agent: str,
        instance: int,
        generation: int,
        request: int | None,
        stream: Stream,
        data: bytes,
    ) -> None:
        """A process has written ``data``; it may begin and end within a line or a character."""
        ...

    def missing(
        self,
        agent: str,
        instance: int,
        generation: int,
        request: int | None,
        stream: Stream,
        count: int,
    ) -> None:
        """``count`` bytes were dropped at this place, because this sink took nothing."""
        ...

    def ended(self, agent: str, instance: int, generation: int) -> None:
        """The process has ended, and everything that it wrote was given to `write`. The events of
        its exit come after this call."""
        ...


class Origin(NamedTuple):
    """Where output comes from; the arguments of `OutputSink.write`."""

    agent: str
    instance: int
    generation: int
    request: int | None
    stream: Stream


class SinkFeed(Backlog[Origin]):
    """Gives output to a sink.

    Args:
        sink: the object of the user.
        clock: see `Backlog`.
        post: hands a call to the owner of the loop.
        call_later: for that owner, see `launch.base.Watcher`.
    """

    def __init__(
        self,
        sink: OutputSink,
        clock: Clock,
        post: Callable[[Callable[[], None]], None],
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        super().__init__(clock, PATIENCE)
        self._sink = sink
        self._post = post
        self._call_later = call_later
        self._complained = False

    def end(self, agent: str, instance: int, generation: int, then: Callable[[], None]) -> None:
        """A process has ended: tell the sink when it has got all output.

        Args:
            then: the owner of the loop calls it after that, or when the sink has taken nothing for
                `PATIENCE` seconds.
        """
        calls = [then]

        def go() -> None:
            if calls:
                calls.pop()()

        def tell() -> None:
            self._guarded(self._sink.ended, agent, instance, generation)
            self._post(go)

        def check() -> None:
            if self.is_stuck:
                go()
            elif calls:
                self._call_later(_LOOK, check)

        self.after(tell)
        check()

    def _write(self, to: Origin, data: bytes) -> None:
        self._guarded(self._sink.write, *to, data)

    def _tell(self, to: Origin, lost: int) -> None:
        self._guarded(self._sink.missing, *to, lost)

    def _guarded(self, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except BaseException:  # code of the user, which must end neither this thread nor the agents
            if not self._complained:
                self._complained = True
                _log.exception(
                    "the output sink raised an exception; further ones are not logged, and output "
                    "of agents may be missing"
                )


def checked_sink(sink: object) -> None:
    """Make sure that ``sink`` has the methods of an `OutputSink`; None is none.

    Raises:
        TypeError: a method is missing.
    """
    missing = [
        name for name in ("write", "missing", "ended") if not callable(getattr(sink, name, None))
    ]
    if sink is not None and missing:
        raise TypeError(
            f"output_sink must have the methods write, missing and ended, and "
            f"{type(sink).__name__} has no {missing[0]}"
        )
