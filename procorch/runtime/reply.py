"""The future of one request, decoded by whoever asks for its result.

The monitor only stores the frame. The thread that calls `result` unpickles it, so a reply that is
huge, hostile or broken costs its own caller and nobody else (architecture, rule 5). Callbacks are
the user's code and run on the orchestrator's callback thread, never on the monitor's.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

from procorch.errors import AgentError, RequestCancelled, SerializationError
from procorch.messages import AgentResult, RequestMetrics, to_result
from procorch.runtime.clock import REAL, Clock
from procorch.wire import codec
from procorch.wire.payload import Buffer, Content, unpack

Run: TypeAlias = Callable[[Callable[[], None]], None]


class _Cancelled(RequestCancelled, concurrent.futures.CancelledError):
    """What a cancelled future raises: ours and the standard library's at once."""


@dataclass(slots=True)
class Outcome:
    """What the monitor knows about an answer: figures, the error if it is one, the sealed body."""

    metrics: RequestMetrics | None = None
    error: AgentError | None = None
    body: Content = b""
    stdout: str = ""
    stderr: str = ""


_T = TypeVar("_T")


class Reply(concurrent.futures.Future[_T], Generic[_T]):
    """A `concurrent.futures.Future` of one request that can also be awaited (asyncio).

    ``result()`` raises what the request failed with (an `AgentError`); ``cancel()`` takes the
    request out of the queue or ends it where it runs (N8), and returns False only when its outcome
    was there before. Its result may be asked for by several threads; it is decoded once.

    Attributes:
        request: the request's number, as errors and events name it.
        agent: name of the agent it was sent to.
        metrics: what the request cost, also where it failed, once it is done. Of a worker that did
            not live to tell: times and sizes alone. None where no worker had it.
        stdout: what was written on standard output meanwhile, the last 64 KiB of it, where that is
            captured (`AgentSettings.output`); ``stderr`` likewise, captured or not.
    """

    _done_callbacks: list[Callable[[Any], object]]

    def __init__(
        self,
        request: int,
        agent: str,
        drop: Callable[[int], None],
        run: Run,
        clock: Clock = REAL,
    ) -> None:
        super().__init__()
        self.request = request
        self.agent = agent
        self.metrics: RequestMetrics | None = None
        self.stdout = self.stderr = ""
        self._drop = drop
        self._run = run
        self._clock = clock
        self._opening = threading.Lock()
        self._sealed: Outcome | None = None
        self._error: BaseException | None = None
        self._dropped = False
        self._under_way = False

    @abstractmethod
    def shaped(self, body: Buffer, metrics: RequestMetrics | None) -> _T:
        """What the caller gets of a reply: called once, on the thread of whoever asks first.

        Raises:
            SerializationError: the body does not load here.
        """

    def begun(self) -> None:
        """It was handed to a worker."""
        self._under_way = True

    def running(self) -> bool:
        """Whether a worker has it; a running request can be cancelled, too."""
        return self._under_way and not self.done()

    def settle(self, outcome: Outcome) -> None:
        """Fix the outcome; one that was cancelled in the same moment stays cancelled."""
        try:
            outcome.body = unpack(outcome.body)  # a reply nobody asks for holds no descriptor
        except SerializationError as error:
            error.agent = self.agent
            outcome.body = b""
            outcome.error = outcome.error or error
        self._sealed = outcome
        self.metrics, self.stdout, self.stderr = outcome.metrics, outcome.stdout, outcome.stderr
        try:
            self.set_result(_SEALED)
        except concurrent.futures.InvalidStateError:
            self._sealed = None

    def cancel(self) -> bool:
        """See the class."""
        if not super().cancel():
            return False
        with self._opening:
            first, self._dropped = not self._dropped, True
        if first:
            self.set_running_or_notify_cancel()
            self._drop(self.request)
        return True

    def result(self, timeout: float | None = None) -> _T:
        """The answer, waiting at most ``timeout`` seconds for it.

        Raises:
            TimeoutError: no outcome within ``timeout``; the request goes on.
            AgentError: what the request failed with.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise error
            finally:
                # The traceback refers to this frame, and so would the frame to the error.
                del error
        return cast(_T, self._result)

    def await_outcome(self, timeout: float | None = None) -> None:
        """Wait until the outcome is fixed, and decode nothing; raises like `exception`."""
        timeout = self._clock.attend(self.done, timeout)
        try:
            super().result(timeout)
        except concurrent.futures.CancelledError:
            raise _Cancelled(agent=self.agent, request=self.request) from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the request failed with, or None; waits and raises like `result` otherwise."""
        self.await_outcome(timeout)
        with self._opening:
            if self._sealed is not None:
                self._open(self._sealed)
                self._sealed = None
        return self._error

    def _open(self, outcome: Outcome) -> None:
        """Make of the outcome what the caller gets. An error is kept and not raised, for its
        traceback would keep the body."""
        body = unpack(outcome.body)  # `settle` has done it; this is for the type
        if outcome.error is not None:
            self._error = _whole(outcome.error, body)
            return
        try:
            self._result = self.shaped(body, outcome.metrics)
        except AgentError as error:
            error.agent = self.agent
            self._error = error

    def notify(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the outcome is fixed, or now if it is: for procorch's own wake-ups.

        It runs on whichever thread fixes the outcome, the monitor's as a rule, and must neither
        block nor raise. Unlike a callback it does not stand in line behind the user's.
        """
        self.add_done_callback(_Wake(wake))

    def __await__(self) -> Generator[Any, None, _T]:
        import asyncio  # heavy, and whoever awaits has it already

        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not settled.done():
                settled.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(finish)

        self.notify(wake)
        try:
            yield from settled
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.result()

    def _invoke_callbacks(self) -> None:
        # Called by whoever settles the future, which is the monitor: hand the callbacks over.
        if self._done_callbacks:
            users = []
            for callback in self._done_callbacks:
                if type(callback) is _Wake:
                    callback(self)
                else:
                    users.append(callback)
            self._done_callbacks = users
            if users:
                self._run(super()._invoke_callbacks)  # type: ignore[misc]


class ReplyFuture(Reply[AgentResult]):
    """The future of an `AgentResult`; see `Reply` for what it does beyond the standard library's:
    it can be awaited, and its ``cancel()`` ends work that runs."""

    def shaped(self, body: Buffer, metrics: RequestMetrics | None) -> AgentResult:
        """See `Reply.shaped`."""
        return to_result(codec.decode(body), metrics)


class ValueReply(Reply[Any]):
    """The future of what the agent returned, whatever that is."""

    def shaped(self, body: Buffer, metrics: RequestMetrics | None) -> Any:
        """See `Reply.shaped`."""
        return codec.decode(body)


class _Wake:
    """Marks a callback of ours among the user's."""

    __slots__ = ("_call",)

    _done_callbacks: list[Callable[[Any], object]]

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, future: object) -> None:
        self._call()


_SEALED: Any = object()
"""Stands in for a result that nobody has asked for yet."""


def _whole(error: AgentError, body: Buffer) -> AgentError:
    """The error with the original exception, an extra that may fail to load here."""
    if not len(body):
        return error
    try:
        original = codec.decode(body)
    except AgentError as broken:
        error.add_note(f"the original exception does not load here: {broken}")
        return error
    if isinstance(original, AgentError):
        # The description has the original's own notes, too, and the place in the worker besides.
        known = getattr(original, "__notes__", ())
        for note in getattr(error, "__notes__", ()):
            if note not in known:
                original.add_note(note)
        return original
    if isinstance(original, BaseException):
        error.__cause__ = original
    return error
