"""Serialises requests and factories, and submits requests, on the caller's thread."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from procorch.agents.trace_context import of_this_place
from procorch.errors import (
    AgentError,
    MailboxFull,
    MessageTooLarge,
    RequestTimeout,
    TakesNoRequests,
)
from procorch.futures import socket_readers
from procorch.futures.chunk import ChunkReply
from procorch.futures.outcome import ReplyOutcome
from procorch.futures.reply import Reply, ReplyFuture
from procorch.futures.stream import StreamReply
from procorch.messages import AgentResult
from procorch.runtime.cargo import Cargo
from procorch.runtime.instance_runtime import AgentRuntime
from procorch.runtime.ports import RequestPort
from procorch.supervision.request import Request
from procorch.wire import codec
from procorch.wire.bulk import keep
from procorch.wire.item_list import ItemList
from procorch.wire.payload import STREAMED, THRESHOLD, Buffer, Lease, Parts

_Reply = TypeVar("_Reply", bound=Reply[Any])

_numbers = itertools.count(1)
_own_numbers = itertools.count(1 << 62)


@contextlib.contextmanager
def numbered_apart() -> Iterator[None]:
    """Number the requests of this block separately, so that users see theirs from 1 on."""
    global _numbers
    before, _numbers = _numbers, _own_numbers
    try:
        yield
    finally:
        _numbers = before


def next_number() -> int:
    """The number of a new request; no two requests of this process have the same."""
    return next(_numbers)


class Delivery(NamedTuple):
    """How a request is to be delivered.

    Args:
        text: the payload is a string to be delivered as a user message.
        timeout: seconds; None: the agent's ``request_timeout``.
        from_dispatch: the timeout counts from the time at which the agent gets the request; else
            from the submission.
        retries: how often it is tried again after its worker died; None: the agent's setting.
        wait: wait for a place in the mailbox; False: refuse the request if there is none.
        priority: of the waiting requests the highest goes first.
        trace: the span that it belongs to, a `traceparent`; None: that of the caller, if any.
    """

    text: bool = False
    timeout: float | None = None
    from_dispatch: bool = False
    retries: int | None = None
    wait: bool = True
    priority: int = 0
    trace: str | None = None


SAID = Delivery(text=True)
"""Text, without anything special."""

_CHUNK = Delivery(from_dispatch=True, retries=0)


class Submitter:
    """Makes requests for one agent, waits for a place in its mailbox, and submits them.

    Args:
        agent: the agent.
        limit: the largest request, in bytes.
        requests: accepts them.
    """

    reply: type[ReplyFuture[Any]] = ReplyFuture
    """The class of the futures of its requests; ``stream``: of those that are read as they come."""
    stream: type[StreamReply] = StreamReply

    def __init__(self, agent: AgentRuntime, limit: int, requests: RequestPort) -> None:
        self._agent = agent
        self._limit = limit
        self._requests = requests
        self._about_reply = (
            agent.name, requests.drop, requests.run_callback, requests.clock, requests.owner
        )  # fmt: skip

    def call(self, payload: Any, delivery: Delivery) -> AgentResult[Any]:
        """Submit a request and wait for its outcome; otherwise like `send`."""
        try:
            body = codec.encode(payload, what="request")
        except AgentError as error:
            error.agent = self._agent.name
            raise
        reply: ReplyFuture[Any] = ReplyFuture(next(_numbers), *self._about_reply)
        request = self._request(body, reply, delivery)
        if request is not None:
            self._requests.call(request, reply)
        return reply.result_for_sender()

    def send(self, payload: Any, kind: Callable[..., _Reply], delivery: Delivery) -> _Reply:
        """Submit a request.

        Args:
            kind: the class of its future.

        Raises:
            MailboxFull: there is no place, and ``delivery.wait`` is False.
            SerializationError: it cannot be serialised; the error has the path inside it.
            MessageTooLarge: it is larger than the limit; the error has both sizes.
        """
        body = self._encode(payload)
        reply = kind(next(_numbers), *self._about_reply)
        request = self._request(body, reply, delivery)
        if request is not None:
            self._requests.submit(request)
        return reply

    def send_chunk(
        self, items: Sequence[Any] | ItemList, *, priority: int, whole: bool
    ) -> ChunkReply:
        """Submit items as one request that has no deadline and no retries.

        Args:
            items: the items, or an `ItemList` of serialised ones.
            whole: see `Items`.

        Raises:
            SerializationError: one of them cannot be serialised.
            MessageTooLarge: together they are too large.
        """
        try:
            if not isinstance(items, ItemList):
                items = ItemList.of(items, what="request")
            body = items.dump()
        except AgentError as error:
            error.agent = self._agent.name
            raise
        reply = ChunkReply(next(_numbers), *self._about_reply, whole=whole)
        request = self._request([body], reply, _CHUNK._replace(priority=priority))
        if request is not None:
            self._requests.submit(request)
        return reply

    def failed(self, kind: Callable[..., _Reply], error: AgentError) -> _Reply:
        """The future of a request that could not be sent."""
        reply = kind(next(_numbers), *self._about_reply)
        reply.settle(ReplyOutcome(error=error))
        return reply

    def _encode(self, payload: Any) -> list[Buffer]:
        try:
            return codec.encode(payload, what="request")
        except AgentError as error:
            error.agent = self._agent.name
            raise

    def _request(self, body: list[Buffer], reply: Reply[Any], delivery: Delivery) -> Request | None:
        """The request, which holds a place; None: it got no place in time, and has failed."""
        agent, settings = self._agent, self._agent.settings
        if agent.service:
            raise TakesNoRequests(agent=agent.name)
        size = len(body[0]) if len(body) == 1 else sum(map(len, body))
        if size > self._limit:
            raise MessageTooLarge(agent=agent.name, what="request", size=size, limit=self._limit)
        timeout = settings.request_timeout if delivery.timeout is None else delivery.timeout
        patience = None if delivery.from_dispatch else timeout
        now = self._requests.clock.now()
        if not agent.mailbox.enter_at_once() and not self._enter(patience, delivery.wait):
            overdue = RequestTimeout(agent=agent.name, timeout=timeout, request=reply.request)
            reply.settle(ReplyOutcome(error=overdue))
            return None
        items = reply.items if type(reply) is ChunkReply else None
        stream = isinstance(reply, StreamReply)
        parts: Parts = body
        if size >= THRESHOLD and items is None:
            try:
                parts = keep(body)
            except BaseException:  # Ctrl-C
                agent.mailbox.leave()
                raise
        cargo = Cargo(
            agent.name, agent.mailbox, reply, delivery.text, parts, size, now, stream, items
        )
        if delivery.trace is not None:
            cargo.trace = delivery.trace
        elif "opentelemetry.trace" in sys.modules and items is None:
            cargo.trace = of_this_place()
        return Request(
            reply.request,
            agent.mailbox.key,
            timeout,
            None if patience is None else now + patience,
            settings.retries if delivery.retries is None else delivery.retries,
            settings.allowed_failures,
            delivery.priority,
            items is None and not stream,
            cargo,
            size >= STREAMED or isinstance(parts, Lease),
        )

    def _enter(self, patience: float | None, wait: bool) -> bool:
        """Wait for a place in the full mailbox for at most ``patience`` seconds, and take it.

        Raises:
            MailboxFull: there is none, and ``wait`` is False.
        """
        mailbox = self._agent.mailbox
        if not wait:
            raise MailboxFull(agent=self._agent.name, capacity=mailbox.capacity)
        if _on_event_loop():
            # The task waits when it awaits the future. Its thread must not wait here.
            mailbox.enter_beyond()
            return True
        socket_readers.give_back()
        return mailbox.enter(self._requests.clock.attend(mailbox.has_place, patience))


def _on_event_loop() -> bool:
    """Whether this thread runs an asyncio event loop at the moment."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
