"""The relay: the part of a node's actor that holds one worker (`relay_actor`).

The worker itself is a child process, started by the launcher of one machine: so exit codes,
signals, process groups, limits, output and the status page work as ever. The relay passes on what
parent and worker tell each other.

It lives on a lease (`lease`). Without a grant of the bridge it kills the worker. If somebody has
stopped this process, the worker's zygote does so at the same time, and the kernel if that is
stopped as well (`forkserver.deadline`).
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
from importlib import metadata
from typing import Any

import msgspec
import psutil

from procorch import memory
from procorch.errors import AgentError
from procorch.launch.base import Cause, ExitInfo, Spec, Stream, Where, WorkerProcess
from procorch.launch.forkserver import deadline
from procorch.launch.forkserver.client import ForkedProcess, ZygoteLauncher
from procorch.launch.process import LocalProcess
from procorch.launch.ray import messages
from procorch.launch.ray.asyncio_loop import AsyncioLoop
from procorch.launch.ray.lease import HeldLease
from procorch.launch.ray.ordering import Answers, Inbox
from procorch.launch.ray.transport import Message, Packet, portable, received
from procorch.wire import headers
from procorch.wire.frame import Frame, Kind

_TICK = 0.05
"""Seconds between two looks at the lease and at the worker."""
_FEW = 200
"""Messages that may wait for the bridge until the worker's output is read more slowly."""
_PAUSE = 0.1
"""Seconds of such a pause."""
_FORGOTTEN = 30.0
"""Seconds after the end of its worker for which a relay waits to be asked how that ended; and after
its own start, for the first grant."""


class Relay:
    """One relay; see the top of this module. Its coroutines are what the bridge calls.

    Args:
        loop: whose thread uses it.
        host: the address of the node.
        node: its id.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, node: str) -> None:
        self._loop = loop
        self._host = host
        self._node = node
        self._process: ForkedProcess | LocalProcess | None = None
        self._ended = False
        self._overrun: int | None = None
        self._seen = messages.Seen(0, 0, 0)
        self._inbox: Inbox[Message] = Inbox()
        self._answers: Answers[Message] = Answers()
        self._early: list[Message] = []

    async def begin(
        self, version: str, length: float, begin: bytes, factory: Any
    ) -> tuple[str, str, str, str, int]:
        """Tell the bridge who this is. The worker starts with the first `beat`.

        Args:
            version: of procorch on the other side, which must be the same here.
            length: seconds of the lease.
            begin: a `messages.Begin`.
            factory: its body.

        Returns:
            The versions of procorch and of Python here, the address and the id of the node, and the
            first token of the lease; 0: the versions differ.
        """
        self._lease = HeldLease(length)
        ours, python = metadata.version("procorch"), platform.python_version()
        token = 0
        if ours == version:
            self._begin = messages.decode_command(begin)
            self._factory = bytes(received(factory))
            token = self._lease.issue(deadline.now())
        self._loop.call_later(_FORGOTTEN, self._leave_unless_started)
        return ours, python, self._host, self._node, token

    async def beat(self, token: int, taken: int) -> tuple[int, bytes]:
        """The bridge prolongs the lease, and has all messages up to number ``taken``.

        Returns:
            The next token, and how the worker is (`messages.Seen`).
        """
        now = deadline.now()
        self._answers.outbox.confirm(taken)
        if self._lease.grant(token) and not self._lease.is_over(now) and not self._ended:
            if self._process is None:
                self._start()
            else:
                self._launcher.renew(self._lease.until)
        return self._lease.issue(now), messages.encode(self._look())

    async def exchange(self, brought: Packet) -> Packet:
        """Messages of the parent; returns when there are messages to the parent."""
        for head, body in self._inbox.feed(brought.messages):
            if self._process is None:
                self._early.append((head, body))
            else:
                self._obey(messages.decode_command(head), body)
        batch = await self._answers.wait(brought.taken, again=brought.again)
        return Packet(batch, self._inbox.taken)

    # ---- the worker

    def _leave_unless_started(self) -> None:
        if self._process is None:
            os._exit(0)

    def _start(self) -> None:
        begin = self._begin
        assert isinstance(begin, messages.Begin)
        head = headers.decode_init(begin.init_head)
        own = list(sys.path)
        paths = [*own, *(path for path in head.sys_path if path not in own)]
        head = msgspec.structs.replace(head, sys_path=paths, surroundings=None, cgroup=None)
        spec = Spec(
            begin.key, begin.generation, begin.name, headers.encode(head), self._factory,
            capture=True, memory_limit=begin.memory_limit,
        )  # fmt: skip
        self._launcher = ZygoteLauncher(begin.max_frame, begin.preload, own)
        self._launcher.open(AsyncioLoop(self._loop), self)
        try:
            self._launcher.renew(self._lease.until)
            self._process = self._launcher.start(spec)
        except OSError as error:
            self._put_end(ExitInfo(Cause.START_FAILED, detail=str(error)))
            return
        for head_, body in self._early:
            self._obey(messages.decode_command(head_), body)
        self._early.clear()
        self._loop.call_later(_TICK, self._tick)
        if begin.memory_limit is not None:
            self._weighing = self._loop.create_task(self._weigh(begin.memory_limit))

    def _obey(self, command: messages.Command, body: Any) -> None:
        process = self._process
        if process is None or self._ended:
            return
        match command:
            case messages.Send(kind, request, head):
                process.send(Kind(kind), request, head, [received(body)])
            case messages.Cancel(request, force, signal=True):
                process.cancel(request, force=force)
            case messages.Cancel(request):
                process.revoke(request)
            case messages.DumpStacks():
                process.dump_stacks()
            case messages.ShowStacks(number, patience):
                process.show_stacks(
                    patience, lambda text: self._put(messages.Stacks(number), text.encode())
                )
            case messages.Kill(signum):
                process.kill(signal.Signals(signum))

    def _tick(self) -> None:
        process = self._process
        if self._ended or process is None:
            return
        if self._lease.is_over(deadline.now()):
            process.kill(signal.SIGKILL)
        elif process.progress != self._seen.progress:
            self._put(self._look())
        self._loop.call_later(_TICK, self._tick)

    def _look(self) -> messages.Seen:
        """How the worker is."""
        process = self._process
        if process is None or self._ended or process.where is None:
            return self._seen
        cpu, rss, peak = 0.0, 0, 0
        try:
            known = psutil.Process(process.where.pid)
            times = known.cpu_times()
            cpu, rss = times.user + times.system, known.memory_info().rss
            peak = memory.peak_rss(process.where.pid) or rss
        except psutil.Error:
            pass  # it is ending, which is reported next
        seen = messages.Seen(process.started, process.item, process.progress, cpu, rss, peak)
        self._seen = seen
        return seen

    async def _weigh(self, limit: int) -> None:
        """Kill a worker that holds more memory than its limit."""
        while not self._ended:
            await asyncio.sleep(_TICK)
            process = self._process
            if process is None or process.where is None or self._ended:
                continue
            held = await asyncio.to_thread(memory.held, process.where.pid, limit)
            if held > limit and not self._ended:
                self._overrun = held
                process.kill(signal.SIGKILL)
                return

    # ---- what its launcher reports, see `launch.base.Sink`

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        """See `Sink.on_started`."""
        self._put(messages.Started(where.pid, self._host, self._node))

    def on_waiting(self, process: WorkerProcess, why: str, *, connected: bool) -> None:
        """See `Sink.on_waiting`: the launcher of one machine never waits."""

    def on_node(self, where: Where, *, joined: bool, why: str) -> None:
        """See `Sink.on_node`: the launcher of one machine knows no nodes."""

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        """See `Sink.on_frame`."""
        report = messages.FromWorker(
            int(frame.kind), frame.request, frame.generation, frame.head, process.started,
            process.item, process.progress,
        )  # fmt: skip
        self._put(report, portable(frame.body))

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        """See `Sink.on_output`."""
        if data:
            self._put(messages.Output(stream), data)
        return _PAUSE if len(self._answers.outbox) > _FEW else 0.0

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        """See `Sink.on_broken`."""
        self._put(messages.Broken(str(error)))

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        """See `Sink.on_exit`."""
        self._put_end(exit)
        self._launcher.close()

    def _put_end(self, exit: ExitInfo) -> None:
        self._ended = True
        # The bridge has Ray kill this process. If Ray has forgotten it, nobody else ends it: Ray
        # waits for calls, and one is still here.
        self._loop.call_later(_FORGOTTEN, os._exit, 0)
        cause, detail = exit.cause, exit.detail
        if self._lease.is_over(deadline.now()):
            cause, detail = Cause.LOST, "its lease ended: the bridge did not prolong it"
        elif self._launcher.is_overdue:
            cause = Cause.LOST
        self._put(
            messages.Ended(
                cause.value, exit.code, exit.signal, False, exit.started, exit.item,
                exit.last_stack, detail, exit.peak_rss, self._overrun or exit.overrun,
                begun=exit.begun,
            )
        )  # fmt: skip

    def _put(self, report: messages.Report, body: Any = b"") -> None:
        self._answers.put((messages.encode(report), body))
