"""The lifecycle of a worker: build the agent, answer one request after the other, exit.

Everything runs on the main thread. The agent's code may raise:

* an ``Exception``, ``KeyboardInterrupt``, ``GeneratorExit`` or ``asyncio.CancelledError``: the
  request fails with it, and the worker goes on;
* ``SystemExit``: the process exits with that code during the request. This is a crash (N0), like
  ``os._exit``;
* an error while a reply is serialised: that request fails, and the worker goes on.

The order of writes gives an exact account after a death: the status page says "started" before the
agent gets the request, the whole reply is written, then the page says "done".
"""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procorch.agents import context, current, trace_context
from procorch.agents.agent import Agent, as_agent
from procorch.agents.permits import LimitRules
from procorch.agents.text_messages import message_of_text
from procorch.errors import RequestCancelled, SerializationError, StartError
from procorch.errors.base import describe_failure
from procorch.errors.plain_data import to_plain
from procorch.messages import Cost, Usage
from procorch.wire import codec, headers, payload, used
from procorch.wire.frame import Frame, Kind
from procorch.wire.item_list import SIMPLE, ItemList, opened
from procorch.wire.payload import Buffer
from procorch.wire.status import StatusPage
from procorch.worker import conversations, limits, randomness, service_run, settling
from procorch.worker.chunk import ChunkRun
from procorch.worker.error_reply import describe, error_head, refuse_too_large
from procorch.worker.fork_guard import leave_if_forked
from procorch.worker.interrupts import Interrupted, InterruptGate, interruptible
from procorch.worker.meter import Meter
from procorch.worker.orphans import Reaper
from procorch.worker.parent_link import ParentLink
from procorch.worker.services import Services

if TYPE_CHECKING:
    import asyncio

_UNWIND = 1.0
"""Seconds between two cancellations of a task whose event loop was interrupted."""


def _same(error: SystemExit) -> BaseException:
    return error


class Worker:
    """One generation of one agent.

    Args:
        first: the parent's first frame, with the factory.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        parent: ParentLink,
        page: StatusPage,
        meter: Meter,
        first: Frame,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._head = head = headers.decode_init(first.head)
        self._body = memoryview(payload.unpack(first.body))
        self._page, self._parent = page, parent
        self._meter, self._clock = meter, clock
        self._context = self._new_context()
        self.gate: InterruptGate = InterruptGate(page, self._context)
        self.reaper: Reaper = Reaper()
        self._encode: Callable[..., list[Buffer]] = codec.encode
        self._most_of_error: int | None = head.max_message
        if head.as_json:
            from procorch.worker import json_reply  # most agents do without what it imports

            self._encode, self._most_of_error = json_reply.encode, None
        self._waits = self._is_ready = False
        self._at_once = False  # The next request had come before the last one was answered.
        self._ahead: deque[Frame] = deque()
        self._taken = 0  # requests that have come to their turn
        self._loop: asyncio.AbstractEventLoop | None = None
        if head.run:
            self._ahead.append(service_run.frame(head.run, first.generation))
        self._agent: Agent

    def _new_context(self, during: int = 0) -> context.Context:
        """The context of this worker; ``during``: that of one of several requests at once."""
        head, page = self._head, self._page
        return context.Context(
            agent=head.name,
            generation=head.generation,
            on_progress=page.touch,
            on_ready=self._say_ready,
            seed=context.Seed(head.seed, head.instance, lambda: page.item),
            services=Services(self._parent, head.max_message, during),
            clock=self._clock,
            client_retries=head.client_retries,
            limits=LimitRules(head.limits, head.limit, head.budgeted),
            max_message=head.max_message,
            on_child=self._meter.count_child,
            instance=head.slot,
        )

    def release(self) -> None:
        """In a fork of the worker: detach it from everything of the worker (N21)."""
        self._page.detach()
        self._context.finished = True  # It leaves a chunk after the current item.
        current.uninstall()
        self.gate.release()
        if self._loop is not None and self._loop.is_running():
            # For a task that the request does not await. Debug mode refuses other threads.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon(leave_if_forked, "it cannot go on in the worker's event loop")

    def start(self) -> bool:
        """Build the agent and send READY, or FAILED_START with the reason (N9)."""
        split = self._head.checkpoint
        phase = "settings"
        try:
            self._settle_in()
            phase = "decode"
            factory = codec.load_factory(self._body if split < 0 else self._body[:split])
            if split >= 0:
                self._context.restored = codec.decode(self._body[split:], what="checkpoint")
            phase = "factory"
            product = self._finish(factory())
            phase = "construct"
            self._agent = as_agent(product)
            if self._head.concurrency > 1:
                self._agent.run_several()
            phase = "ready"
            self._finish(self._agent.ready())
        except SystemExit:
            raise
        except BaseException as error:
            leave_if_forked()
            head = error_head(self._plain(error, phase))
            self._parent.send(Kind.FAILED_START, 0, head)
            return False
        if not self._head.run:
            self._say_ready()  # A service says so itself.
        return True

    def _say_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._parent.send(Kind.READY, 0, b"")

    def _settle_in(self) -> None:
        head = self._head
        if head.cgroup is not None:
            limits.enter(head.cgroup)
        settling.settle(head.sys_path, head.surroundings, head.env, head.cwd)
        randomness.reseed()
        current.install(self._context)
        limits.apply(head.nice, head.address_space, head.cpus)

    def _plain(self, error: BaseException, phase: str) -> dict[str, Any]:
        if isinstance(error, StartError):
            error.agent = error.agent or self._head.name
            return to_plain(error)
        cause = describe_failure(error, agent=self._head.name)
        failed = StartError(
            agent=self._head.name,
            phase=phase,
            permanent=isinstance(error, SerializationError),
            exc_type=getattr(cause, "exc_type", type(error).__name__),
            exc_str=getattr(cause, "exc_str", str(error)),
            remote_traceback=cause.remote_traceback,
        )
        return to_plain(failed)

    def serve(self) -> None:
        """Answer requests until the parent sends STOP or has ended, or the agent has finished."""
        while (frame := self._next()) is not None:
            if frame.kind is Kind.STOP:
                break
            self._answer(frame)
            if self._context.finished:
                break
        self._finish(self._agent.close())
        self._parent.close()
        if self._loop is not None:
            self._loop.close()

    def _next(self) -> Frame | None:
        """The next frame of the parent. After an error the worker begins no request that was sent
        ahead before the parent sends PROCEED: another process may have to run it."""
        self._at_once = not self._waits and (bool(self._ahead) or self._parent.has_frame)
        while self._waits:
            frame = self._parent.next_request()
            if frame is None or frame.kind is Kind.STOP:
                return frame
            if frame.kind is Kind.PROCEED:
                self._waits = False
            else:
                self._ahead.append(frame)
        return self._ahead.popleft() if self._ahead else self._parent.next_request()

    def _answer(self, frame: Frame) -> None:
        request = frame.request
        self._taken += 1
        if not self._page.claim(self._taken):
            place = headers.encode(headers.NotBegunHead(self._taken))
            self._parent.send(Kind.NOT_BEGUN, request, place)
            self._page.finish(request)
            return
        head = headers.decode_request(frame.head)
        # Also here: the signal for a stack may come after the answer that refutes the suspicion. A
        # worker that was stopped before it began this request has refuted nothing.
        if not self._page.is_suspected:
            self.gate.forget_stacks()
        self._page.start(request)
        began = self._meter.begin(at_once=self._at_once)
        deadline = None if head.remaining is None else began + head.remaining
        self._context.begin(request, deadline, streaming=head.stream, traceparent=head.trace)
        joined = trace_context.join(head.trace)
        failure: dict[str, Any] | None = None
        output = None  # Kept until the reply is sent: its finalizer may end the process.
        paid: tuple[Usage, Cost] | None = None
        tally = used.Tally() if head.chunk else None
        seen = head.chunk  # Whether the agent has got the request.
        try:
            if tally is not None:
                body = self._respond_to_all(request, payload.unpack(frame.body), head.whole, tally)
            else:
                content = payload.unpack(frame.body)
                if head.turn is not None:
                    content, self._context.turn = conversations.opened(head.turn, content)
                message = codec.decode(content, what="request")
                seen = True
                if head.text:
                    message = [message_of_text(message)]
                output = self._respond(request, message)
                body = self._encode(output, what="reply")
                refuse_too_large(body, self._head.max_message, self._head.name)
                if (turn := self._context.turn) is not None:
                    conversations.store(self._parent, request, turn, self._head.max_message)
        except SystemExit:
            raise
        except Interrupted:
            failure = to_plain(RequestCancelled(agent=self._head.name, request=request))
            body = []
            self._agent.take_back()
        except BaseException as error:
            paid = self._agent.used if seen else None
            if paid is not None:
                used.note(error, *paid)
            failure, body = describe(error, self._most_of_error, self._head.name)
            failure["figures"]["may_have_executed"] = seen
            if paid is not None:
                used.put(failure, *paid)
            self._agent.take_back()
        resources = self._meter.resources()
        trace_context.leave(joined)
        if not self._is_ready:
            self._parent.send(*service_run.failed_start(self._head.name, failure))
            return
        if self._context.finished:
            # Before the reply: the parent must not send a request between the two frames.
            self._parent.send(Kind.BYE, 0, b"")
        spent = None  # ``paid`` goes with the error
        if tally is not None:
            spent = tally.total
        elif paid is None:
            spent = used.of_output(output)
        if failure is None:
            kind, answer = Kind.REPLY, headers.encode(headers.ReplyHead(resources, spent))
        else:
            kind, answer = Kind.ERROR, error_head(failure, resources, spent)
            self._waits = self._head.waits
        self.gate.forget_stacks()
        self._parent.send(kind, request, answer, payload.pack(body))
        self._context.end()
        self._page.finish(request)
        self.reaper.request_ended()

    def _respond(self, request: int, message: Any) -> Any:
        self.gate.open(request)
        try:
            if (turn := self._context.turn) is not None:
                return conversations.respond(self._agent, turn, message, self._finish)
            value = self._agent.respond(message)
            return value if type(value) in SIMPLE else self._finish(value)
        finally:
            leave_if_forked()
            self.gate.close()

    def _respond_to_all(
        self, request: int, items: Buffer, whole: bool, tally: used.Tally
    ) -> list[Buffer]:
        def send(part: bytes) -> None:
            self._parent.send(Kind.PART, request, b"", [part])

        most, name = self._head.max_message, self._head.name
        run = ChunkRun(send, self._page, most, name, self._clock, tally)
        if whole:
            run.longest = math.inf
        chunk, respond, failed = ItemList.load(items, what="request"), self._agent.responder, _same
        self.gate.open(request)
        try:
            if chunk.prelude:
                respond, failed = respond(opened(chunk.prelude, what="request"))
            return [run.run(chunk, respond, self._finish, self._context)]
        except SystemExit as error:
            raise failed(error) from None
        finally:
            leave_if_forked()
            self.gate.close()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        return asyncio.new_event_loop()

    def _finish(self, value: Any) -> Any:
        """Return the value, awaited if it is awaitable; all awaits use one event loop."""
        if type(value) in SIMPLE or not inspect.isawaitable(value):
            return value
        import asyncio

        if self._loop is None:
            self._loop = self._new_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(interruptible(value, self.gate))
        self.gate.set_task(task)
        try:
            return self._loop.run_until_complete(task)
        except BaseException as error:
            # An exception has interrupted the loop. The task must not go on during the next
            # request. If it does not end, the parent ends the process (N8).
            while not task.done():
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task], timeout=_UNWIND))
                if isinstance(error, SystemExit):
                    break
            raise
        finally:
            self.gate.set_task(None)
