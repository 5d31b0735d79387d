"""The ways to send a request: to an agent, or in one of its conversations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from procorch.agents.trace_context import checked
from procorch.futures.reply import ReplyFuture
from procorch.futures.stream import StreamReply
from procorch.messages import AgentMessage, AgentResult
from procorch.runtime.monitor import Monitor
from procorch.runtime.submit import SAID, Delivery, Submitter
from procorch.units import seconds, whole


class Sending:
    """The part of a handle that sends requests; safe to use from any thread and asyncio task."""

    _submitter: Submitter
    _monitor: Monitor

    def send_message(
        self, text: str, *, timeout: float | str | None = None, traceparent: str | None = None
    ) -> AgentResult:
        """Send ``text`` as a user message and wait for the answer.

        Args:
            timeout: seconds for the request, including its wait in the queue; default: the agent's
                ``request_timeout``.
            traceparent: the W3C trace context that the request belongs to, the agent's
                ``current().traceparent``; default: the span of OpenTelemetry that is under way.

        Returns:
            The agent's answer.

        Raises:
            AgentError: the request failed; `procorch.errors` has the classes.
            TypeError: ``text`` is not a string.
            ValueError: ``traceparent`` has not the form of one.
        """
        if not isinstance(text, str):
            raise TypeError(f"send_message() takes text, not {type(text).__name__}")
        return self._call(text, timeout, traceparent)

    def send_messages(
        self,
        messages: Sequence[AgentMessage],
        *,
        timeout: float | str | None = None,
        traceparent: str | None = None,
    ) -> AgentResult:
        """Send a list of messages unchanged and wait for the answer; else like `send_message`."""
        if isinstance(messages, str | bytes) or not isinstance(messages, Iterable):
            raise TypeError(
                f"send_messages() takes a list of messages, not {type(messages).__name__}; "
                "send_message() takes text"
            )
        return self._call(list(messages), timeout, traceparent)

    def _call(
        self, request: Any, timeout: float | str | None, trace: str | None = None
    ) -> AgentResult:
        if os.getpid() != self._monitor.owner:
            self._monitor.must_be_ours()
        text = isinstance(request, str)
        if timeout is None and text and trace is None:
            return self._submitter.call(request, SAID)
        limit = None if timeout is None else seconds(timeout, "timeout")
        return self._submitter.call(request, Delivery(text, limit, trace=_trace(trace)))

    def submit(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        wait: bool = True,
        traceparent: str | None = None,
    ) -> ReplyFuture:
        """Send a request without waiting for the answer.

        Text is delivered as ``[UserMessage]``, anything else unchanged. While the agent's queue is
        full the sender waits: a thread waits here, an asyncio task when it awaits the future.

        Args:
            timeout: seconds for the request, including its wait in the queue; default: the agent's
                ``request_timeout``.
            retries: how often it is tried again after its worker died; default: the agent's
                ``retries``.
            wait: False raises `MailboxFull` if the sender would have to wait.
            traceparent: as for `send_message`.

        Returns:
            A future, which can also be awaited. If the agent has ended, it fails (`AgentStopped`).

        Raises:
            SerializationError: the request cannot be serialised; the error has the path inside it.
            MessageTooLarge: it is larger than ``max_message``.
            MailboxFull: the queue is full, and ``wait`` is False.
        """
        if os.getpid() != self._monitor.owner:
            self._monitor.must_be_ours()
        limit = None if timeout is None else seconds(timeout, "timeout")
        again = None if retries is None else whole(retries, "retries")
        text = isinstance(request, str)
        trace = _trace(traceparent)
        delivery = Delivery(text, limit, retries=again, wait=wait, trace=trace)
        return self._submitter.send(request, self._submitter.reply, delivery)

    def stream(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        wait: bool = True,
        traceparent: str | None = None,
    ) -> StreamReply:
        """Send a request and read the answer while it comes.

        The pieces are the text that the agent produces before the answer is complete: the turns of
        a model, or the arguments of ``current().emit`` in a handler. A slow reader slows the agent
        down. The request is never tried again, because pieces of it have been read.

        Args:
            request: as for `submit`.
            timeout: seconds for the whole request.
            wait, traceparent: as for `submit`.

        Returns:
            An iterator of text, sync and async, which is also a future of the whole answer. Leaving
            it as a context manager before its end cancels the request.

        Raises:
            AgentError: as for `submit`.
        """
        self._monitor.must_be_ours()
        limit = None if timeout is None else seconds(timeout, "timeout")
        kind = partial(self._submitter.stream, confirm=self._monitor.confirm)
        text = isinstance(request, str)
        trace = _trace(traceparent)
        delivery = Delivery(text, limit, retries=0, wait=wait, trace=trace)
        return self._submitter.send(request, kind, delivery)


def _trace(given: str | None) -> str | None:
    return None if given is None else checked(given)
