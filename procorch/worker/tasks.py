"""A worker that runs several requests at once, as tasks of one event loop (``concurrency``).

What differs from `lifecycle`:

* The event loop reads the socket. Each request is a task with a `Context` of its own, which tasks
  and threads begun by it share (`contextvars`).
* A request is cancelled by a frame, and only its task: no signal reaches the process. If the task
  does not end, the parent ends the process.
* The status page has a place for each request that has begun. It also has the request whose code
  runs, so that a death or a blocked loop has a name. That is unknown while code of another task
  runs which the request has created.
* With a heartbeat the event loop marks progress. So a loop that is blocked counts as hung, and a
  request that waits does not: ``request_timeout`` ends that.
* Once the parent has sent STOP, the worker finishes what it has, and exits.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from procorch.agents import current, trace_context
from procorch.agents.agent import Agent
from procorch.agents.context import Context
from procorch.agents.text_messages import message_of_text
from procorch.errors import RequestCancelled
from procorch.errors.plain_data import to_plain
from procorch.wire import codec, headers, payload, used
from procorch.wire.frame import Frame, Kind
from procorch.wire.status import StatusPage
from procorch.worker import conversations
from procorch.worker.error_reply import describe, error_head, refuse_too_large
from procorch.worker.fork_guard import leave_if_forked
from procorch.worker.lifecycle import Worker


class TaskWorker(Worker):
    """See `Worker`; it is chosen where `InitHead.concurrency` is more than 1."""

    _running: asyncio.AbstractEventLoop
    _stopped: asyncio.Future[None]

    def serve(self) -> None:
        """Run requests until the parent sends STOP or has ended; then finish those that run."""
        if self._loop is None:
            self._loop = self._new_loop()
            asyncio.set_event_loop(self._loop)
        self._running = loop = self._loop
        self._tasks: dict[int, _Request] = {}
        self._places = list(range(self._head.concurrency))
        self._stopped = loop.create_future()
        current.install(self._context, common=True)
        self._parent.serve_loop(loop, self._take)
        if self._head.tick:
            self._tick()
        loop.run_until_complete(self._until_stopped())
        self._finish(self._agent.close())
        self._parent.close()
        loop.close()

    async def _until_stopped(self) -> None:
        await self._stopped
        self._parent.leave_loop()
        while self._tasks:
            await asyncio.wait([each.task for each in self._tasks.values()])

    def _tick(self) -> None:
        self._page.touch()
        self._running.call_later(self._head.tick, self._tick)

    def _take(self, frame: Frame | None) -> None:
        """A frame has come; None: the parent has ended."""
        if frame is None or frame.kind is Kind.STOP:
            if not self._stopped.done():
                self._stopped.set_result(None)
        elif frame.kind is Kind.REQUEST:
            self._begin(frame)
        elif frame.kind is Kind.CANCEL:
            request = self._tasks.get(frame.request)
            if request is not None:
                request.context.cancel(frame.request)
                # Not at once: a task that has not begun yet would end without an answer.
                self._running.call_soon(request.task.cancel)

    def _begin(self, frame: Frame) -> None:
        if not self._tasks:
            self._meter.begin(at_once=False)
            if not self._page.is_suspected:
                self.gate.forget_stacks()
        place = self._places.pop()
        self._page.start_task(place, frame.request)
        head = headers.decode_request(frame.head)
        began = self._clock()
        own = self._new_context(during=frame.request)
        own.concurrent = True
        deadline = None if head.remaining is None else began + head.remaining
        own.begin(frame.request, deadline, streaming=head.stream, traceparent=head.trace)
        request = _Request(frame, head, own, self._agent.for_one(), began, place)
        variables = contextvars.copy_context()
        variables.run(current.lend, own)
        self._tasks[frame.request] = request
        run = _marked(self._answer_one(request), self._page, request)
        request.task = self._running.create_task(run, context=variables)

    async def _answer_one(self, request: _Request) -> None:
        """Run one request, and send its answer."""
        head, own, number = request.head, request.context, request.frame.request
        joined = trace_context.join(head.trace)
        failure: dict[str, Any] | None = None
        output = None
        paid = None
        seen = False
        try:
            if self._page.force(number):  # it was cancelled before it began
                raise _Cancelled
            content = payload.unpack(request.frame.body)
            if head.turn is not None:
                content, own.turn = conversations.opened(head.turn, content)
            message = codec.decode(content, what="request")
            seen = True
            if head.text:
                message = [message_of_text(message)]
            output = await self._outcome(request.agent, own, message)
            body = self._encode(output, what="reply")
            refuse_too_large(body, self._head.max_message, self._head.name)
            if own.turn is not None:
                conversations.store(self._parent, number, own.turn, self._head.max_message)
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            leave_if_forked()
            cancelled = isinstance(error, asyncio.CancelledError) and own.cancelled
            if cancelled or isinstance(error, _Cancelled):
                failure = to_plain(RequestCancelled(agent=self._head.name, request=number))
                body = []
            else:
                paid = request.agent.used if seen else None
                if paid is not None:
                    used.note(error, *paid)
                failure, body = describe(error, self._most_of_error, self._head.name)
                failure["figures"]["may_have_executed"] = seen
                if paid is not None:
                    used.put(failure, *paid)
        trace_context.leave(joined)
        resources = self._meter.of_one(self._clock() - request.began, request.cpu)
        spent = None if paid is not None else used.of_output(output)
        if failure is None:
            kind, answer = Kind.REPLY, headers.encode(headers.ReplyHead(resources, spent))
        else:
            kind, answer = Kind.ERROR, error_head(failure, resources, spent)
        if own.finished:
            # Before the reply, as in `lifecycle`. The parent sends STOP when all have ended.
            self._parent.send(Kind.BYE, 0, b"")
        self._parent.send(kind, number, answer, payload.pack(body))
        own.end()
        self._page.finish_task(request.place, number)
        self._places.append(request.place)
        del self._tasks[number]
        if not self._tasks:
            self.gate.forget_stacks()
            self.reaper.request_ended()

    async def _outcome(self, agent: Agent, own: Context, message: Any) -> Any:
        if own.turn is not None:
            return await conversations.respond_async(agent, own.turn, message)
        value = agent.respond(message)
        return await value if hasattr(value, "__await__") else value


class _Cancelled(BaseException):
    """The request was cancelled before its code began."""


class _Request:
    """A request under way; ``cpu``: the seconds of processor time that its code has used."""

    task: asyncio.Task[None]

    def __init__(
        self,
        frame: Frame,
        head: headers.RequestHead,
        own: Context,
        agent: Agent,
        began: float,
        place: int,
    ) -> None:
        self.frame = frame
        self.head = head
        self.context = own
        self.agent = agent
        self.began = began
        self.place = place
        self.cpu = 0.0


async def _marked(run: Coroutine[Any, Any, None], page: StatusPage, request: _Request) -> None:
    await _drive(run, page.run, request)


@types.coroutine
def _drive(
    steps: Coroutine[Any, Any, None], mark: Callable[[int], None], request: _Request
) -> Generator[Any, Any, None]:
    """``yield from steps``; says which request runs, and adds up the time that its code takes."""
    error: BaseException | None = None
    number, clock = request.frame.request, time.thread_time
    while True:
        mark(number)
        began = clock()
        try:
            waits_for = steps.send(None) if error is None else steps.throw(error)
        except StopIteration:
            mark(0)
            return
        # After any other exception, which ends the process, the mark stays.
        request.cpu += clock() - began
        mark(0)
        error = None
        leave_if_forked("it cannot wait in the event loop of the worker")
        try:
            yield waits_for
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as thrown:
            error = thrown
