"""What a caller holds of a running agent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, get_args

from procorch.api.info import AgentInfo, inspect
from procorch.futures.reply import ReplyFuture
from procorch.futures.stream import StreamReply
from procorch.launch.base import Stream
from procorch.messages import AgentMessage, AgentResult
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.monitor import Monitor
from procorch.runtime.submit import Delivery, Submitter
from procorch.supervision import events as ev
from procorch.supervision.states import AgentStatus
from procorch.units import seconds, whole


class OrchestratedHandle:
    """One instance of an agent; safe to use from any thread and any asyncio task.

    A handle stays valid over restarts: the process behind it changes, requests in the queue wait
    for the next one. Made by `AgentOrchestrator.spawn`.
    """

    def __init__(self, instance: InstanceRuntime, monitor: Monitor, max_message: int) -> None:
        self._instance = instance
        self._monitor = monitor
        self._submitter = Submitter(instance, max_message, monitor)

    @property
    def name(self) -> str:
        """The name it was registered under."""
        return self._instance.name

    @property
    def instance(self) -> int:
        """Tells two spawns of one name apart."""
        return self._instance.key

    @property
    def pid(self) -> int | None:
        """Process id of the present generation; None before the first start."""
        return self._instance.pid

    @property
    def generation(self) -> int:
        """How many processes this instance has had; 0 before the first start."""
        return self._instance.generation

    def send_message(self, text: str, *, timeout: float | str | None = None) -> AgentResult:
        """Send ``text`` as a user message and wait for the answer.

        Args:
            timeout: seconds for the request, waiting in the queue included.

        Raises:
            AgentError: what the request failed with; the tree is in `procorch.errors`.
        """
        if not isinstance(text, str):
            raise TypeError(f"send_message() takes text, not {type(text).__name__}")
        return self._call(text, timeout)

    def send_messages(
        self, messages: Sequence[AgentMessage], *, timeout: float | str | None = None
    ) -> AgentResult:
        """Send a list of messages as it is and wait for the answer; else like `send_message`."""
        if isinstance(messages, str | bytes) or not isinstance(messages, Iterable):
            raise TypeError(
                f"send_messages() takes a list of messages, not {type(messages).__name__}; "
                "send_message() takes text"
            )
        return self._call(list(messages), timeout)

    def _call(self, request: Any, timeout: float | str | None) -> AgentResult:
        if os.getpid() != self._monitor.owner:
            self._monitor.must_be_ours()
        limit = None if timeout is None else seconds(timeout, "timeout")
        return self._submitter.call(request, Delivery(type(request) is not list, limit)).result()

    def submit(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        wait: bool = True,
    ) -> ReplyFuture:
        """Send a request without waiting for the answer.

        Text is delivered as ``[UserMessage]``, anything else unchanged. A full channel makes the
        sender wait (seed): a thread waits here, an asyncio task where it awaits the future.

        Args:
            timeout: seconds for the request, waiting in the queue included; default: the agent's
                ``request_timeout``.
            retries: how often it is tried again after its worker died; default: the agent's.
            wait: False raises `MailboxFull` where the sender would have to wait.

        Returns:
            A future that can be awaited, too. An agent that has ended fails it (`AgentStopped`).

        Raises:
            SerializationError: the request cannot be serialised, with the path inside it.
            MessageTooLarge: it is larger than ``max_message``.
            MailboxFull: the channel is full, and ``wait`` is False.
        """
        self._monitor.must_be_ours()
        limit = None if timeout is None else seconds(timeout, "timeout")
        again = None if retries is None else whole(retries, "retries")
        text = isinstance(request, str)
        return self._submitter.send(
            request, ReplyFuture, Delivery(text, limit, retries=again, wait=wait)
        )

    def stream(
        self, request: Any, *, timeout: float | str | None = None, wait: bool = True
    ) -> StreamReply:
        """Send a request and read the answer while it comes.

        What comes is what the agent gives as text before it is done: the pieces of a model's turns,
        or what a handler hands to ``current().emit``. A reader that is slow slows the agent down.
        The request is never tried again: pieces of it have been read.

        Args:
            request: as for `submit`.
            timeout: seconds for the whole request; ``wait`` as for `submit`.

        Returns:
            An iterator of text, sync and async, and a future of the whole answer. Leaving it as a
            context manager in the middle cancels the request.

        Raises:
            as `submit` does.
        """
        self._monitor.must_be_ours()
        limit = None if timeout is None else seconds(timeout, "timeout")
        kind = partial(StreamReply, confirm=self._monitor.confirm)
        text = isinstance(request, str)
        return self._submitter.send(request, kind, Delivery(text, limit, retries=0, wait=wait))

    def deliver(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> ReplyFuture:
        """Like `submit` for work that is queued in bulk (pools, executors, batches).

        Text arrives as text, and the timeout counts from the moment the agent gets the request:
        how long it had to wait behind others is no fault of its own.

        Args:
            priority: of the requests that wait the highest goes first; equals in their order.
        """
        self._monitor.must_be_ours()
        return self._submitter.send(request, ReplyFuture, bulk(timeout, retries, priority))

    def await_result(self) -> AgentResult:
        """Close the channel, let the queue drain, and wait for the agent's end (seed).

        Returns:
            The final empty result.

        Raises:
            AgentError: what ended the agent: `Aborted` after a cancel, `PluginError` when its
                supervisor stopped it, its last error where it had none.
        """
        self._monitor.must_be_ours()
        self._monitor.post(ev.Drain(self._instance.key))
        return self._instance.ended.result()

    def drain(self) -> None:
        """Have the instance finish what it works on, and what waits if nobody else takes from its
        queue, and end. Returns at once."""
        self._monitor.must_be_ours()
        self._monitor.post(ev.Drain(self._instance.key))

    def stop(self, *, grace: float | str | None = None) -> None:
        """Stop the agent: finish what was accepted, then up the ladder; wait for the end (N8).

        Args:
            grace: seconds to finish in; default: the agent's ``shutdown.grace``.
        """
        self._monitor.must_be_ours()
        wait = self._instance.settings.shutdown.grace if grace is None else seconds(grace, "grace")
        self._monitor.post(ev.Stop(self._instance.key, wait))
        self.wait()

    def restart(self) -> None:
        """Give the agent a fresh process and wait until it is ready; not counted (N1).

        Raises:
            AgentError: it ended instead.
        """
        self._monitor.must_be_ours()
        self._monitor.restart(self._instance).result()

    def wait(self) -> None:
        """Wait until the agent has ended, however it ends."""
        self._monitor.must_be_ours()
        self._instance.ended.exception()

    def info(self) -> AgentInfo:
        """The agent as it is now; its process is looked up by psutil."""
        self._monitor.must_be_ours()
        instance = self._instance
        state, restarts, last_exit, request = self._monitor.look(instance)
        return inspect(
            None if self.is_done() else instance.pid,
            name=instance.name,
            instance=instance.key,
            generation=instance.generation,
            state=state,
            queue=len(instance.mailbox),
            restarts=restarts,
            last_exit=last_exit,
            request=request,
        )

    def output(self, stream: Stream = "stderr") -> str:
        """The last 64 KiB that its processes have written on a stream, whatever wrote it.

        What was written before an answer is there when you have the answer.

        Raises:
            ValueError: no such stream, or one that is not captured (``output="inherit"`` leaves
                standard output to your program's own).
        """
        self._monitor.must_be_ours()
        if stream not in get_args(Stream):
            raise ValueError(f"stream={stream!r}; known: {', '.join(get_args(Stream))}")
        kept = self._instance.output
        if stream == "stdout" and not kept.captures_stdout:
            raise ValueError(
                f"agent {self.name!r} writes on this program's own standard output; to have it "
                "captured, register it with output='capture' or a path"
            )
        return kept.text(stream)

    def cancel(self) -> None:
        """End the agent now (N14): its request in flight gets `Aborted`, it ends CANCELLED.

        Returns at once; `await_result` waits for the end. Calling it again changes nothing.
        """
        self._monitor.must_be_ours()
        self._monitor.post(ev.Cancel(self._instance.key))

    def status(self) -> AgentStatus:
        """RUNNING until it is fixed how the agent ends; its process may still be leaving then, see
        `is_done` and `wait`."""
        self._monitor.must_be_ours()
        return self._monitor.status(self._instance)

    def is_done(self) -> bool:
        """Whether the agent has ended, its process included."""
        self._monitor.must_be_ours()
        return self._instance.status is not AgentStatus.RUNNING

    def failure(self) -> BaseException | None:
        """What it has ended with; None while it runs, and where nothing was wrong."""
        self._monitor.must_be_ours()
        ended = self._instance.ended
        return ended.exception() if ended.done() else None

    def __repr__(self) -> str:
        return f"<OrchestratedHandle name={self.name!r} status={self._instance.status.name}>"


def bulk(timeout: float | str | None, retries: int | None, priority: int) -> Delivery:
    """How a request of `OrchestratedHandle.deliver` is delivered.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority must be a whole number, not {type(priority).__name__}")
    return Delivery(
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        from_dispatch=True,
        retries=None if retries is None else whole(retries, "retries"),
        priority=priority,
    )
