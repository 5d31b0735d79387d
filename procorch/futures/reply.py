"""The future of one request, decoded by whoever asks for its result.

The monitor only stores the frame. The thread that calls `result` unpickles it, so a reply that is
huge, hostile or broken costs its own caller and nobody else (docs/guarantees.md). Callbacks are
the user's code and run on the orchestrator's callback thread, never on the monitor's.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

from procorch.clock import REAL, Clock
from procorch.errors import AgentError, RequestCancelled, SerializationError
from procorch.errors.copying import add_note, set_cause
from procorch.futures import callbacks, socket_readers
from procorch.futures.fork_guard import is_ours, must_be_ours, refusal
from procorch.messages import AgentResult, Out, RequestMetrics, to_result
from procorch.wire import codec
from procorch.wire.payload import Buffer, Content, unpack

Run: TypeAlias = Callable[[Callable[[], None]], None]


class _Cancelled(RequestCancelled, concurrent.futures.CancelledError):
    """What a cancelled future raises: ours and the standard library's at once."""


@dataclass(slots=True)
class Outcome:
    """What the monitor knows about an answer: figures, the error if it is one, the sealed body.

    Args:
        withdrawn: the request was taken out of its queue; its future is cancelled.
        opening: somebody has begun to decode the body.
    """

    metrics: RequestMetrics | None = None
    error: AgentError | None = None
    body: Content = b""
    stdout: str = ""
    stderr: str = ""
    withdrawn: bool = False
    opening: bool = False


_PATIENCE = 0.005
"""Seconds for which the thread that settles a future waits for whoever looks at it just now."""

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
        failure: what it failed with as the monitor knows it, before anything of the user's is
            loaded; for procorch's own use.
    """

    _condition: threading.Condition
    _done_callbacks: list[Callable[[Any], object]]
    # A finalizer may cancel when the module has no names any more.
    _is_ours, _must_be_ours = staticmethod(is_ours), staticmethod(must_be_ours)
    _exception: BaseException | None
    _result: _T | None

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
        self.stdout: str = ""
        self.stderr: str = ""
        self._drop = drop
        self._run = run
        self._clock = clock
        self._opening = threading.RLock()
        self._sealed: Outcome | None = None
        self.failure: AgentError | None = None
        self._not_dropped = [None]
        self._under_way = False
        self._executed: bool | None = None
        self._owner = os.getpid()
        self._asking: list[threading.Event] = []

    @property
    def ours(self) -> bool:
        """Whether this process has sent it: in the child of a fork nobody will bring its outcome,
        and what would wait for it or change it is refused (`AgentStopped`)."""
        return self._is_ours(self._owner)

    def disown(self) -> None:
        """In the child of a fork: for whoever has it there it has failed, so that nobody waits. Its
        locks may be held by threads that are not here; its callbacks are the parent's."""
        self._condition = threading.Condition()
        self._opening = threading.RLock()
        self._waiters: list[Any] = []
        self._done_callbacks = []
        self._state = "FINISHED"
        self._exception = refusal(self._owner)

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
            error.may_have_executed = True
            outcome.body = b""
            outcome.error = outcome.error or error
        if self._condition.acquire(timeout=_PATIENCE):
            try:
                self._fix(outcome)
            finally:
                self._condition.release()
        else:
            # Its holder may have been interrupted by a signal handler or a finalizer that waits for
            # what only this thread can bring.
            threading.Thread(target=self._fix, args=(outcome,), daemon=True).start()

    def _fix(self, outcome: Outcome) -> None:
        if outcome.withdrawn:
            self.cancel()
            self._tell_whether_executed(outcome.error or RequestCancelled())
            return
        self._sealed, self.failure = outcome, outcome.error
        self.metrics = outcome.metrics
        self.stdout = outcome.stdout
        self.stderr = outcome.stderr
        try:
            if outcome.error is None:
                self.set_result(_SEALED)
            else:
                self.set_exception(outcome.error)
        except concurrent.futures.InvalidStateError:
            self._sealed = None
            self._tell_whether_executed(outcome.error)

    def _tell_whether_executed(self, error: AgentError | None) -> None:
        """It is cancelled; ``error`` is what would have been its outcome, None: an answer."""
        self._executed = error is None or error.may_have_executed
        while self._asking:
            self._asking.pop().set()

    def cancel(self) -> bool:
        """See the class."""
        self._must_be_ours(self._owner)
        if not super().cancel():
            return False
        try:
            # A list pops once, whoever asks; a lock could be found taken by a signal handler.
            self._not_dropped.pop()
        except IndexError:
            return True
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
        must_be_ours(self._owner)
        socket_readers.give_back()
        timeout = self._clock.attend(self.done, timeout)
        try:
            super().exception(timeout)
        except concurrent.futures.CancelledError:
            raise _Cancelled(
                agent=self.agent, request=self.request, may_have_executed=self._has_executed()
            ) from None

    def _has_executed(self) -> bool:
        """Of a cancelled request: whether a worker had begun it.

        Only the monitor can tell, which hears of the cancellation in its next turn and never keeps
        anybody waiting. Who asks is known first and looks second, the monitor the other way round.
        """
        told = threading.Event()
        self._asking.append(told)
        if self._executed is None:
            self._clock.attend(told.is_set, None)
            told.wait()
        return bool(self._executed)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the request failed with, or None; waits and raises like `result` otherwise."""
        self.await_outcome(timeout)
        self._decode()
        return self._exception

    def _decode(self) -> None:
        """Make of the outcome what the caller gets, once.

        Several threads may ask; those that are late wait for the one that decodes. The lock is
        re-entrant: loading runs the user's code, and a signal handler or a finalizer that comes in
        between may ask, too. It gets an object of its own, made from a copy.
        """
        with self._opening:
            outcome = self._sealed
            if outcome is None:
                return
            body = unpack(outcome.body)  # `settle` has done it; this is for the type
            if outcome.opening:
                body = bytes(body)
            outcome.opening = True
            result, error = self._opened(outcome, body)
            if self._sealed is not None:
                self._result, self._exception, self._sealed = result, error, None

    def _opened(self, outcome: Outcome, body: Buffer) -> tuple[_T | None, BaseException | None]:
        """An error is kept and not raised, for its traceback would keep the body."""
        if outcome.error is not None:
            return None, self.translated(_whole(outcome.error, body))
        try:
            return self.shaped(body, outcome.metrics), None
        except AgentError as error:
            error.agent = self.agent
            error.may_have_executed = True
            return None, self.translated(error)

    def translated(self, error: AgentError) -> BaseException:
        """What the caller gets for an error; called once, as `shaped` is."""
        return error

    def __repr__(self) -> str:
        about = "cancelled" if self.cancelled() else "running" if self.running() else "pending"
        if self.done() and not self.cancelled():
            self._decode()
            error = self._exception
            verb, what = ("returned", self._result) if error is None else ("raised", error)
            about = f"finished {verb} {type(what).__name__}"
        return f"<{type(self).__name__} at {id(self):#x} state={about}>"

    def notify(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the outcome is fixed, or now if it is: for procorch's own wake-ups.

        It runs on whichever thread fixes the outcome, the monitor's as a rule, and must neither
        block nor raise. Unlike a callback it does not stand in line behind the user's.
        """
        must_be_ours(self._owner)
        self.add_done_callback(_Wake(wake))

    def __await__(self) -> Generator[Any, None, _T]:
        must_be_ours(self._owner)
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
                self._run(lambda: callbacks.call_all(users, self))

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have ``fn`` called with this future when its outcome is fixed.

        It runs on the orchestrator's callback thread, in the order in which callbacks were added;
        where the outcome is fixed already, here and now. What it raises is logged.
        """
        super().add_done_callback(fn if type(fn) is _Wake else callbacks.guarded(fn))


class ReplyFuture(Reply[AgentResult[Out]], Generic[Out]):
    """The future of an `AgentResult`; see `Reply` for what it does beyond the standard library's:
    it can be awaited, and its ``cancel()`` ends work that runs."""

    def shaped(self, body: Buffer, metrics: RequestMetrics | None) -> AgentResult[Out]:
        """See `Reply.shaped`."""
        return to_result(codec.decode(body), metrics)


class ValueReply(Reply[_T]):
    """The future of what the agent returned, whatever that is."""

    def shaped(self, body: Buffer, metrics: RequestMetrics | None) -> _T:
        """See `Reply.shaped`."""
        return cast(_T, codec.decode(body))


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
        add_note(error, f"the original exception does not load here: {broken}")
        return error
    if isinstance(original, AgentError):
        # The description has the original's own notes, too, and the place in the worker besides.
        known = getattr(original, "__notes__", ())
        for note in getattr(error, "__notes__", ()):
            if note not in known:
                add_note(original, note)
        with contextlib.suppress(AttributeError):  # a subclass may have made it read-only
            object.__setattr__(original, "may_have_executed", error.may_have_executed)
        return original
    if isinstance(original, BaseException):
        set_cause(error, original)
    return error
