"""Sets up a process as a worker, before `lifecycle` begins."""

from __future__ import annotations

import os
import socket

from procorch.wire import codec, fence, headers
from procorch.wire.channel import Channel
from procorch.wire.status import StatusPage
from procorch.worker import fork_guard, process_title, stdio
from procorch.worker.error_reply import HEAD_LIMIT
from procorch.worker.lifecycle import Worker
from procorch.worker.limits import adopt_orphans, die_with, own_group, own_signals
from procorch.worker.meter import Meter
from procorch.worker.parent_link import ParentLink

_BOOT_FRAME = 1 << 40
"""The limit of the first frame in bytes, practically none: that frame has the real limit."""

_HEAD_ROOM = 16 * HEAD_LIMIT
"""Bytes that a frame to this worker may have beside its message."""


def main(sock_fd: int, page_fd: int, out_fd: int, err_fd: int, parent: int) -> None:
    """Run a worker on an inherited socket and status page until it is told to stop.

    Args:
        sock_fd: the socket to the parent.
        page_fd: the memory of the status page.
        out_fd: becomes its standard output.
        err_fd: becomes its standard error.
        parent: pid of the process that started this one.
    """
    die_with(parent)
    own_group()
    own_signals()
    adopt_orphans()
    sock_fd, page_fd, out_fd, err_fd = map(stdio.above_standard, (sock_fd, page_fd, out_fd, err_fd))
    stdio.install(out_fd, err_fd)
    # Child processes of the agent must not keep this end of the socket open.
    os.set_inheritable(sock_fd, False)
    os.set_inheritable(page_fd, False)
    # A second descriptor that is never closed: the socket closes when the process ends and not when
    # the interpreter clears its modules. So the end of file comes shortly before the exit.
    held = [sock_fd, page_fd, os.dup(sock_fd)]
    channel = Channel(socket.socket(fileno=sock_fd), _BOOT_FRAME)
    codec.set_role("worker")
    first = channel.receive_one()
    if first is None or channel.is_cut_off():  # the parent has given it up before its start
        return
    head = headers.decode_init(first.head)
    process_title.of_worker(head.name, head.slot, head.generation)
    channel.limit(head.max_message + _HEAD_ROOM)
    page = StatusPage(page_fd)
    if fence.register():  # before the agent has threads, which would make it slow
        page.promise_fences()
    kind = Worker
    if head.concurrency > 1:
        from procorch.worker.tasks import TaskWorker  # others do without asyncio

        kind = TaskWorker
    worker = kind(ParentLink(channel, first.generation), page, Meter(head.weigh), first)
    worker.gate.install(page_fd)
    own = [(fd, _identity(fd)) for fd in held]

    def release() -> None:
        worker.release()
        channel.abandon()
        for fd, identity in own:
            if _identity(fd) == identity:  # the agent may have closed it, and opened another
                os.close(fd)

    fork_guard.on_fork(release)
    worker.reaper.install()
    worker.reaper.handle()
    try:
        if worker.start():
            worker.serve()
    finally:
        fork_guard.leave_if_forked()


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
