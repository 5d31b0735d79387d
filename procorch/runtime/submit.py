"""Where what callers hand in becomes bytes: requests and factories, on the caller's thread."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from procorch.clock import Clock
from procorch.errors import AgentError, MailboxFull, MessageTooLarge, RequestTimeout
from procorch.futures import socket_readers
from procorch.futures.chunk import ChunkReply, Items
from procorch.futures.reply import Outcome, Reply, Run
from procorch.futures.stream import StreamReply
from procorch.launch.base import WorkerProcess
from procorch.runtime.instance_runtime import Link
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.output import Output
from procorch.supervision import events as ev
from procorch.wire import codec
from procorch.wire.item_list import Several
from procorch.wire.payload import Buffer, Parts, pack

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


class Settles(Protocol):
    """Who waits for an outcome."""

    def begun(self) -> None:
        """A worker has it; called on the monitor thread, once for each worker."""
        ...

    def settle(self, outcome: Outcome) -> None:
        """Here it is; called once, on the monitor thread."""
        ...


@dataclass(slots=True, eq=False)
class Outgoing:
    """One request on its way: what is to be written, and who waits for the answer.

    Args:
        agent: name of the agent it is for.
        text: the body is a string to be delivered as a user message.
        stream: pieces of the answer are wanted as they come.
        submitted: when, monotonic seconds; ``deadline`` on the same clock.
        timeout: seconds allowed; without a ``deadline`` they count from the dispatch.
        sent: when it was written to ``process``, ``generation`` the generation of that (0: none
            yet).
        output: what that worker's agent writes; ``mark``: how much of it was there before.
        waiting: it holds a place in its mailbox.
        handed_in: the machine knows of it by the caller's own hand.
        items: of a chunk, what the monitor sees of it besides its end.
    """

    id: int
    agent: str
    mailbox: Mailbox
    reply: Settles
    text: bool
    body: Parts = field(repr=False)
    size: int
    submitted: float
    timeout: float | None = None
    deadline: float | None = None
    stream: bool = False
    retries: int = 0
    allowed_failures: int = 0
    sent: float | None = None
    process: WorkerProcess | None = None
    generation: int = 0
    output: Output | None = None
    mark: tuple[int, int] = (0, 0)
    waiting: bool = True
    in_backlog: bool = False
    handed_in: bool = False
    priority: int = 0
    items: Items | None = None

    def event(self) -> ev.Submit:
        """What the machine is told of it."""
        return ev.Submit(
            self.mailbox.key,
            self.id,
            self.deadline,
            self.timeout,
            self.retries,
            self.allowed_failures,
            self.priority,
            self.items is None and not self.stream,
        )


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
        accept: Callable[[Outgoing], None],
        call: Callable[[Outgoing, Reply[Any]], None],
        drop: Callable[[int], None],
        run: Run,
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

    def send_chunk(
        self, items: list[Any] | Several, *, priority: int, lead: int, whole: bool
    ) -> ChunkReply:
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
            partial(ChunkReply, lead=lead, whole=whole),
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
        request = Outgoing(
            id=number,
            agent=self._link.name,
            mailbox=self._link.mailbox,
            reply=reply,
            text=text,
            body=body,
            size=size,
            submitted=now,
            timeout=timeout,
            deadline=None if patience is None else now + patience,
            stream=isinstance(reply, StreamReply),
            retries=retries,
            allowed_failures=settings.allowed_failures,
            priority=priority,
            items=items,
        )
        if not wait:
            patience = 0.0
        limited = not (wait and _on_event_loop())
        if limited and wait:
            if not request.mailbox.has_place():
                socket_readers.give_back()
            patience = self._clock.attend(request.mailbox.has_place, patience)
        if request.mailbox.enter(patience, wait=limited):
            try:
                request.body = pack(body) if items is None else body
            except BaseException:  # Ctrl-C
                request.mailbox.leave()
                raise
            if attend:
                self._call(request, reply)
            else:
                self._accept(request)
        elif not wait:
            raise MailboxFull(agent=self._link.name, capacity=request.mailbox.capacity)
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
