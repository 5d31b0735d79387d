"""Where what callers hand in becomes bytes: requests and factories, on the caller's thread."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from procorch.clock import Clock
from procorch.errors import AgentError, MailboxFull, MessageTooLarge, RequestTimeout
from procorch.futures import socket_readers
from procorch.futures.chunk import ChunkReply
from procorch.futures.outcome import Outcome
from procorch.futures.reply import Reply, RunCallback
from procorch.futures.stream import StreamReply
from procorch.runtime.cargo import Cargo
from procorch.runtime.instance_runtime import Link
from procorch.supervision.request import Request
from procorch.wire import codec
from procorch.wire.item_list import Several
from procorch.wire.payload import Buffer, pack

_Reply = TypeVar("_Reply", bound=Reply[Any])

_numbers = itertools.count(1)
_own_numbers = itertools.count(1 << 62)


@contextlib.contextmanager
def numbered_apart() -> Iterator[None]:
    """Number requests of our own apart until the block is left, so that users see theirs from 1."""
    global _numbers
    before, _numbers = _numbers, _own_numbers
    try:
        yield
    finally:
        _numbers = before


def next_number() -> int:
    """A request's number; no two requests of a process share one."""
    return next(_numbers)


class Entrance:
    """How requests get into one agent's mailbox.

    Args:
        link: the agent.
        limit: the largest request, in bytes.
        accept: takes a request that has its place; ``call`` does so and may wait for its outcome.
        drop: called with the number of a request whose future is cancelled.
        run: runs callbacks away from the monitor.
        clock: of the deadlines.
    """

    def __init__(
        self,
        link: Link,
        limit: int,
        accept: Callable[[Request], None],
        call: Callable[[Request, Reply[Any]], None],
        drop: Callable[[int], None],
        run: RunCallback,
        clock: Clock,
    ) -> None:
        self._link = link
        self._limit = limit
        self._accept = accept
        self._call = call
        self._drop = drop
        self._run = run
        self._clock = clock

    def send(
        self,
        payload: Any,
        *,
        text: bool,
        timeout: float | None,
        from_dispatch: bool,
        retries: int | None,
        wait: bool,
        kind: Callable[..., _Reply],
        priority: int = 0,
        attend: bool = False,
    ) -> _Reply:
        """Serialise a request, wait for a place if there is none, hand it in.

        Args:
            kind: the class of its future.
            timeout: seconds; None: the agent's ``request_timeout``.
            from_dispatch: they count from the moment the agent gets it, and not from now.
            retries: None: the agent's.
            wait: False: refuse a request for which there is no place.
            attend: its outcome will be waited for at once.

        Raises:
            MailboxFull: there is no place, and ``wait`` is False.
            SerializationError: with the path to what cannot be serialised.
            MessageTooLarge: with both sizes.
        """
        if timeout is None:
            timeout = self._link.settings.request_timeout
        try:
            body = codec.encode(payload, what="request")
        except AgentError as error:
            error.agent = self._link.name
            raise
        return self._hand_in(
            body,
            kind,
            text=text,
            timeout=timeout,
            from_dispatch=from_dispatch,
            retries=self._link.settings.retries if retries is None else retries,
            wait=wait,
            priority=priority,
            attend=attend,
        )

    def send_chunk(self, items: list[Any] | Several, *, priority: int, whole: bool) -> ChunkReply:
        """Serialise items as one request that has no deadline and no retries, and hand it in.

        Args:
            items: those that are sealed already go as they are.
            whole: see `Items`.

        Raises:
            SerializationError: one of them cannot be serialised.
            MessageTooLarge: together they are too large.
        """
        try:
            if not isinstance(items, Several):
                items = Several.of(items, what="request")
            body = items.dump()
        except AgentError as error:
            error.agent = self._link.name
            raise
        return self._hand_in(
            [body],
            partial(ChunkReply, whole=whole),
            text=False,
            timeout=None,
            from_dispatch=True,
            retries=0,
            wait=True,
            priority=priority,
            attend=False,
        )

    def failed(self, kind: Callable[..., _Reply], error: AgentError) -> _Reply:
        """The future of a request that could not be sent."""
        reply = kind(next_number(), self._link.name, self._drop, self._run, self._clock)
        reply.settle(Outcome(error=error))
        return reply

    def _hand_in(
        self,
        body: list[Buffer],
        kind: Callable[..., _Reply],
        *,
        text: bool,
        timeout: float | None,
        from_dispatch: bool,
        retries: int,
        wait: bool,
        priority: int,
        attend: bool,
    ) -> _Reply:
        settings = self._link.settings
        size = len(body[0]) if len(body) == 1 else sum(map(len, body))
        if size > self._limit:
            raise MessageTooLarge(
                agent=self._link.name, what="request", size=size, limit=self._limit
            )
        now = self._clock.now()
        patience = None if from_dispatch else timeout
        number = next_number()
        reply = kind(number, self._link.name, self._drop, self._run, self._clock)
        items = reply.items if isinstance(reply, ChunkReply) else None
        mailbox, stream = self._link.mailbox, isinstance(reply, StreamReply)
        cargo = Cargo(
            self._link.name, mailbox, reply, text, body, size, now, stream=stream, items=items
        )
        request = Request(
            number,
            mailbox.key,
            timeout,
            None if patience is None else now + patience,
            retries,
            settings.allowed_failures,
            priority,
            repeatable=items is None and not stream,
            cargo=cargo,
        )
        if not wait:
            patience = 0.0
        limited = not (wait and _on_event_loop())
        if limited and wait:
            if not mailbox.has_place():
                socket_readers.give_back()
            patience = self._clock.attend(mailbox.has_place, patience)
        if mailbox.enter(patience, wait=limited):
            try:
                cargo.body = pack(body) if items is None else body
            except BaseException:  # Ctrl-C
                mailbox.leave()
                raise
            if attend:
                self._call(request, reply)
            else:
                self._accept(request)
        elif not wait:
            raise MailboxFull(agent=self._link.name, capacity=mailbox.capacity)
        else:
            overdue = RequestTimeout(agent=self._link.name, timeout=timeout, request=number)
            reply.settle(Outcome(error=overdue))
        return reply


def seal(factory: Callable[[], Any]) -> bytes:
    """A factory as bytes for any worker to load.

    Raises:
        SerializationError: with the path to what cannot be serialised.
        TypeError: it is no callable.
    """
    return codec.dump_factory(factory)


def _on_event_loop() -> bool:
    """Whether this thread runs an asyncio event loop at the moment."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
