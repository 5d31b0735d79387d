"""The future of one request, decoded by the thread that asks for its result.

The monitor only stores the frame. The thread that calls `result` unpickles it, so a reply that is
huge, hostile or broken costs its own caller and nobody else (docs/explanation/guarantees.md).
Callbacks are the user's code and run on the orchestrator's callback thread, never on the monitor's.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import Any, Generic, TypeVar

from procorch.agents.text_messages import result_of_text
from procorch.clock import REAL, Clock
from procorch.errors import AgentError, RequestCancelled
from procorch.futures import socket_readers
from procorch.futures.callbacks import Notification
from procorch.futures.fork_guard import is_ours, must_be_ours, refusal
from procorch.futures.lock_free import Lazy, LockFreeFuture, RunCallback
from procorch.futures.outcome import ReplyOutcome, unpack_body, with_original
from procorch.futures.wakeups import wakeup
from procorch.messages import AgentResult, Out, RequestMetrics, metrics_of, to_result
from procorch.wire import codec
from procorch.wire.payload import Buffer, Lease

_RLock = type(threading.RLock())  # `threading.RLock` is a function of Python around it

_UNDECODED: Any = object()
"""The result of a future that has an answer, until the answer is decoded."""

_T = TypeVar("_T")


class _Cancelled(RequestCancelled, concurrent.futures.CancelledError):
    """What a cancelled future raises: procorch's error and the standard library's in one."""


class Reply(LockFreeFuture[_T], Generic[_T]):
    """A `concurrent.futures.Future` of one request that can also be awaited (asyncio).

    ``result()`` raises what the request failed with (an `AgentError`). ``cancel()`` takes the
    request out of the queue or ends it where it runs (N8); it returns False only if the request
    already had its outcome. Several threads may ask for the result; it is decoded once.

    Attributes:
        request: the request's number, as errors and events name it.
        agent: name of the agent it was sent to.
        metrics: what the request cost, also where it failed, once it is done. If the worker died,
            only times and sizes are known. None if no worker had it.
        stdout: the last 64 KiB written to standard output during the request, if that is captured
            (setting ``output``).
        stderr: the last 64 KiB written to standard error during the request.
        started: a worker has it, or has had it.
        failure: the error as the monitor knows it, before any object of the user is loaded; for
            procorch's own use.
    """

    # A finalizer may cancel at the end of the interpreter, when the module has lost its names.
    _is_ours, _must_be_ours = staticmethod(is_ours), staticmethod(must_be_ours)

    stdout: str = ""
    stderr: str = ""
    failure: AgentError | None = None
    started: bool = False
    _figures: tuple[Any, ...] | None = None
    _undecoded: ReplyOutcome | None = None
    _executed: bool | None = None
    _decode_lock = Lazy(_RLock)
    _drop_once = Lazy(lambda: [None])
    _executed_waiters = Lazy(list[threading.Event])

    def __init__(
        self,
        request: int,
        agent: str,
        drop: Callable[[int], None],
        run_callback: RunCallback,
        clock: Clock = REAL,
        owner: int | None = None,
    ) -> None:
        # Not by the constructor of the standard library, see `LockFreeFuture`.
        self.request = request
        self.agent = agent
        self._drop = drop
        self._run_callback = run_callback
        self._clock = clock
        self._owner = os.getpid() if owner is None else owner

    @property
    def metrics(self) -> RequestMetrics | None:
        """See the class."""
        return metrics_of(self._figures)

    @property
    def ours(self) -> bool:
        """Whether this process has sent the request.

        In the child of a fork the outcome never arrives, and methods that would wait for it or
        change it raise `AgentStopped`.
        """
        return self._is_ours(self._owner)

    def disown(self) -> None:
        """Fail the future in the child of a fork, so that no thread there waits for it.

        Its locks may be held by threads that do not exist in the child; its callbacks belong to the
        parent.
        """
        self._decode_lock = threading.RLock()
        self.renounce(refusal(self._owner))

    @abstractmethod
    def decode(self, body: Buffer) -> _T:
        """Make the result of the body of the reply; called once, on the thread that asks first.

        Raises:
            SerializationError: the body cannot be loaded here.
        """

    def convert_error(self, error: AgentError) -> BaseException:
        """Make what the caller gets of an error; called once, as `decode` is."""
        return error

    def running(self) -> bool:
        """Whether a worker has the request; a running request can be cancelled, too."""
        return self.started and not self.done()

    def settle(self, outcome: ReplyOutcome) -> None:
        """Fix the outcome. A future that was cancelled at the same moment stays cancelled."""
        if type(outcome.body) is Lease:
            unpack_body(outcome, self.agent)
        if outcome.withdrawn:
            self.cancel()
            self._set_executed(outcome.error or RequestCancelled())
            return
        if self.__dict__.setdefault("_ended_by", FINISHED) != FINISHED:
            self._set_executed(outcome.error)
            return
        self._figures = outcome.figures
        if outcome.stdout or outcome.stderr:
            self.stdout = outcome.stdout
            self.stderr = outcome.stderr
        if outcome.error is None:
            self._result = _UNDECODED
        else:
            self.failure = self._exception = outcome.error
        self._undecoded = outcome
        self._state = FINISHED
        self._tell_end()

    def _tell_end(self) -> None:
        """Wake who waits, after result and state were written."""
        on_end, condition = self.on_end, self._lazy_condition
        if on_end is not None:
            on_end()
        if condition is not None:
            self.wake_waiting(condition)

    def _set_executed(self, error: AgentError | None) -> None:
        """Note whether a cancelled request may have run, and wake the threads that ask for it.

        Args:
            error: the error that would have been its outcome; None: it had an answer.
        """
        self._executed = error is None or error.may_have_executed
        while self._executed_waiters:
            self._executed_waiters.pop().set()

    def cancel(self) -> bool:
        """See the class."""
        self._must_be_ours(self._owner)
        if self.__dict__.setdefault("_ended_by", CANCELLED) != CANCELLED:
            return False
        try:
            # Exactly one thread can pop the element. A lock instead could be held by the code that
            # a signal handler has interrupted.
            self._drop_once.pop()
        except IndexError:
            return True
        self._state = CANCELLED_AND_NOTIFIED
        self._tell_end()
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
        return self._result  # type: ignore[return-value]

    def result_for_sender(self) -> _T:
        """The same as `result`, for a thread that has sent the request and given this future to
        nobody: no other thread decodes it."""
        outcome = self._undecoded
        if outcome is None:
            return self.result()
        body: Any = outcome.body
        result, error = self._decoded(outcome, body)
        if error is not None:
            try:
                raise error
            finally:
                del error, outcome, self
        return result  # type: ignore[return-value]

    def await_outcome(self, timeout: float | None = None) -> None:
        """Wait until the outcome is fixed, and decode nothing; raises like `exception`."""
        if os.getpid() != self._owner:
            must_be_ours(self._owner)
        if self._state == FINISHED:
            return
        socket_readers.give_back()
        timeout = self._clock.attend(self.done, timeout)
        try:
            super().exception(timeout)
        except concurrent.futures.CancelledError:
            raise _Cancelled(
                agent=self.agent, request=self.request, may_have_executed=self._has_executed()
            ) from None

    def _has_executed(self) -> bool:
        """Whether a worker had begun the cancelled request.

        Only the monitor knows. It handles the cancellation soon and never blocks. A thread that
        asks first registers its event and then reads the answer; the monitor first sets the answer
        and then looks for events. So no event is missed.
        """
        known = threading.Event()
        self._executed_waiters.append(known)
        if self._executed is None:
            self._clock.attend(known.is_set, None)
            known.wait()
        return bool(self._executed)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the request failed with, or None; waits and raises like `result` otherwise."""
        self.await_outcome(timeout)
        self._decode_once()
        return self._exception

    def _decode_once(self) -> None:
        """Turn the outcome into the result or the exception that the caller gets.

        The first thread decodes, the others wait for it. The lock is re-entrant, because loading
        runs the user's code, which a signal handler or a finalizer may interrupt and ask again. The
        interrupting call gets an object of its own, made from a copy of the body.
        """
        if self._undecoded is None:
            return
        with self._decode_lock:
            outcome = self._undecoded
            if outcome is None:
                return
            body: Any = outcome.body  # `settle` has unpacked it
            if outcome.decoding:
                body = bytes(body)
            outcome.decoding = True
            result, error = self._decoded(outcome, body)
            if self._undecoded is not None:
                self._result, self._exception, self._undecoded = result, error, None

    def _decoded(
        self, outcome: ReplyOutcome, body: Buffer
    ) -> tuple[_T | None, BaseException | None]:
        """The result, or the error: it is not raised, since its traceback would keep the body."""
        if outcome.error is not None:
            return None, self.convert_error(with_original(outcome.error, body))
        try:
            return self.decode(body), None
        except AgentError as error:
            error.agent = self.agent
            error.may_have_executed = True
            return None, self.convert_error(error)

    def __repr__(self) -> str:
        about = "cancelled" if self.cancelled() else "running" if self.running() else "pending"
        if self.done() and not self.cancelled():
            self._decode_once()
            error = self._exception
            verb, what = ("returned", self._result) if error is None else ("raised", error)
            about = f"finished {verb} {type(what).__name__}"
        return f"<{type(self).__name__} at {id(self):#x} state={about}>"

    def notify(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the outcome is fixed, or now if it is; for procorch's own use.

        It runs on the thread that fixes the outcome, usually the monitor's, and must neither block
        nor raise. It does not wait for callbacks of the user.
        """
        must_be_ours(self._owner)
        self.add_done_callback(Notification(wake))

    def __await__(self) -> Generator[Any, None, _T]:
        must_be_ours(self._owner)
        import asyncio  # a slow import, which a program that awaits has already done

        settled, wake = wakeup(asyncio.get_running_loop())
        self.notify(wake)
        try:
            yield from settled
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.result()


class ReplyFuture(Reply[AgentResult[Out]], Generic[Out]):
    """The future of an `AgentResult`: it can be awaited, and its ``cancel()`` ends work that runs.

    See `Reply` for its other methods and attributes.

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", ScriptedAgent(["Rome"]))
        ...     future = orch.spawn("solver").submit("Where?")
        ...     print(future.result(timeout=10).text, future.done())
        Rome True
    """

    def decode(self, body: Buffer) -> AgentResult[Out]:
        """See `Reply.decode`."""
        value = codec.decode(body)
        if type(value) is str:
            return result_of_text(value, self._figures)
        return to_result(value, metrics_of(self._figures))


class ValueReply(Reply[_T]):
    """The future of what the agent returned, whatever that is."""

    def decode(self, body: Buffer) -> _T:
        """See `Reply.decode`."""
        value: _T = codec.decode(body)
        return value
