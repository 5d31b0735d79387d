"""The services of `procorch.current()` that need the parent: questions, pieces, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procorch.agents.context import enter
from procorch.agents.conversation_turn import ConversationTurn
from procorch.agents.current import installed
from procorch.agents.permits import CallEnd, Spent
from procorch.agents.trace_context import of_this_place
from procorch.errors import (
    AgentError,
    AgentStopped,
    MessageTooLarge,
    ModelThrottled,
    SerializationError,
)
from procorch.errors.copying import add_note, set_cause
from procorch.messages import AgentResult
from procorch.wire import codec, headers, payload, used
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Parts
from procorch.worker.parent_link import ParentLink

if TYPE_CHECKING:
    from procorch.agents.stream_events import StreamEvent

CHECKPOINT_LIMIT = 64 << 20
"""The largest checkpoint in bytes; the parent keeps one for each agent."""


_PIECES, _BYTES = 16, 1 << 16
"""Pieces of an answer, and bytes, that are sent before the worker waits for the reader."""


class Services:
    """The agent's requests to the parent.

    Args:
        limit: the largest message, in bytes.
        during: the request that they are for, if several run at once; else 0.
    """

    def __init__(self, parent: ParentLink, limit: int, during: int = 0) -> None:
        self._parent = parent
        self._limit = limit
        self._during = during
        self._pieces = self._bytes = 0

    def ask(self, agent: str, name: str, message: Any, remaining: float | None) -> Any:
        """See `Context.ask`."""
        number = self._parent.put(*self._sealed(agent, name, message, remaining))
        return self._open(self._parent.await_answer(number), agent)

    async def ask_async(self, agent: str, name: str, message: Any, remaining: float | None) -> Any:
        """See `Context.ask_async`."""
        number = self._parent.put(*self._sealed(agent, name, message, remaining))
        return self._open(await self._answer_to(number), agent)

    async def _answer_to(self, number: int) -> Frame | None:
        """The answer to a question, which is cancelled with this task."""
        import asyncio

        if self._parent.is_in_loop:
            try:
                return await self._parent.answer_async(number)
            except asyncio.CancelledError:
                self._parent.forget(number)
                raise
        # The wait in the executor is not cancelled with this task: each answer must be taken.
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(None, self._parent.answer, number)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._parent.forget(number)
            raise

    def begin_call(self, agent: str, limit: str | None, request: int | None) -> int:
        """See `agents.permits.CallServices`."""
        number = self._put_call(limit, request)
        return self._permitted(self._parent.await_answer(number), number, agent)

    async def begin_call_async(self, agent: str, limit: str | None, request: int | None) -> int:
        """See `agents.permits.CallServices`."""
        number = self._put_call(limit, request)
        return self._permitted(await self._answer_to(number), number, agent)

    def _put_call(self, limit: str | None, request: int | None) -> int:
        return self._parent.put(headers.encode(headers.CallHead(limit, request)), kind=Kind.CALL)

    def _permitted(self, answer: Frame | None, number: int, agent: str) -> int:
        if answer is None or answer.kind is not Kind.ANSWER:
            self._open(answer, agent)  # raises
        return number

    def end_call(
        self, number: int, request: int | None, error: BaseException | None, spent: Spent
    ) -> CallEnd:
        """See `agents.permits.CallServices`."""
        known = error if isinstance(error, AgentError) else None
        if error is not None and known is None:
            from procorch.agents.adapters.error_map import service_error

            known = service_error(error)
        refused = known is not None and (
            isinstance(known, ModelThrottled) or known.retry_after is not None
        )
        tokens, money = spent.usage, spent.cost
        head = headers.CallEndHead(
            request,
            refused,
            known.retry_after if known else None,
            spent.model,
            (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write),
            (money.input, money.output, money.cache_read, money.cache_write),
        )
        self._parent.send(Kind.CALL_END, number, headers.encode(head))
        return CallEnd(refused, known is not None and known.is_retryable)

    def _sealed(
        self, agent: str, name: str, message: Any, remaining: float | None
    ) -> tuple[bytes, Parts]:
        body = codec.encode(message, what=f"question to agent {name!r}")
        self._check(agent, "question", sum(map(len, body)), self._limit)
        worker = installed()
        trace = of_this_place() or (None if worker is None else worker.traceparent)
        head = headers.AskHead(name, isinstance(message, str), remaining, trace, self._during)
        return headers.encode(head), payload.pack(body)

    @staticmethod
    def _open(answer: Frame | None, agent: str) -> Any:
        if answer is None:
            raise AgentStopped("the orchestrator has ended", agent=agent)
        if answer.kind is Kind.ANSWER:
            return codec.decode(payload.unpack(answer.body))
        error = used.error_with(headers.decode_answer_error(answer.head).error)
        if error.usage is not None:  # the asker pays for it all the same
            enter(AgentResult(usage=error.usage, cost=error.cost))
        if len(answer.body):
            try:
                original = codec.decode(payload.unpack(answer.body), what="exception")
            except SerializationError as broken:
                add_note(error, f"the original exception does not load here: {broken}")
                raise error from None
            if isinstance(original, AgentError):
                error = original
            elif isinstance(original, BaseException):
                set_cause(error, original)
        raise error

    def emit(self, agent: str, request: int, piece: str | StreamEvent) -> None:
        """See `Context.emit`."""
        number = self._piece(agent, request, piece)
        if number:
            self._parent.confirmed(number)

    async def emit_async(self, agent: str, request: int, piece: str | StreamEvent) -> None:
        """See `Context.emit_async`."""
        number = self._piece(agent, request, piece)
        if number and self._parent.is_in_loop:
            await self._parent.answer_async(number)
        elif number:
            import asyncio

            # As for a question: each confirmation must be taken.
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(None, self._parent.answer, number))

    def _piece(self, agent: str, request: int, piece: str | StreamEvent) -> int:
        event = not isinstance(piece, str)
        if isinstance(piece, str):
            data = piece.encode("utf-8", "replace")
        else:
            from procorch.agents.stream_events import dumped  # loaded: the event comes from there

            data = dumped(piece)
        self._check(agent, "piece of an answer", len(data), self._limit)
        self._pieces += 1
        self._bytes += len(data)
        full = self._pieces >= _PIECES or self._bytes >= _BYTES
        if full:
            self._pieces = self._bytes = 0
        return self._parent.piece(request, data, confirm=full, event=event)

    def checkpoint(self, agent: str, state: Any, turn: ConversationTurn | None) -> None:
        """See `Context.checkpoint`."""
        body = codec.encode(state, what="checkpoint")
        self._check(agent, "checkpoint", sum(map(len, body)), CHECKPOINT_LIMIT)
        if turn is not None:
            turn.checkpoint = body
            return
        self._parent.send(Kind.CHECKPOINT, 0, b"", body)

    @staticmethod
    def _check(agent: str, what: str, size: int, limit: int) -> None:
        if size > limit:
            raise MessageTooLarge(agent=agent, what=what, size=size, limit=limit)
