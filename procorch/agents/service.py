"""Services: what a worker runs by itself, as one request without an end.

`AgentOrchestrator.add_service` registers a `Service` as the agent. Its worker begins the request by
itself (`worker.lifecycle`), and leaves when the function has returned or raised: there is nothing
else that it could do.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any

from procorch.agents.child_program import ChildProgram
from procorch.agents.command import Command, find_program
from procorch.agents.context import Context
from procorch.agents.current import current
from procorch.agents.readiness import STEP, Readiness
from procorch.errors import CommandCrashed, CommandFailed
from procorch.errors.texts import signal_name


def factory_of(run: object, *, says_ready: bool) -> Callable[[], Service]:
    """The factory of a service.

    Args:
        run: a function without arguments, or a `Command` without fields.
        says_ready: it calls ``current().ready()`` itself. A program does not: it is ready when its
            check has passed (``command(..., ready=)``), or at once without one.

    Raises:
        TypeError: it is neither.
        ValueError: the command has fields or an input, and a service has no request to fill them.
    """
    if isinstance(run, Command):
        if run.template.fields or run.input is not None:
            raise ValueError(
                f"the service runs {run.name} without a request: there is nothing for "
                "{fields} of its command line, or for its input"
            )
        says_ready = run.ready is not None
    elif not callable(run):
        raise TypeError(
            f"a service runs a function without arguments, or a command(...), not "
            f"{type(run).__name__}"
        )
    else:
        _must_take_nothing(run)
    return functools.partial(Service, run, says_ready)


def _must_take_nothing(run: Callable[..., Any]) -> None:
    try:
        inspect.signature(run).bind()
    except TypeError as error:
        name = getattr(run, "__name__", repr(run))
        raise TypeError(f"a service calls {name}() without arguments: {error}") from None
    except ValueError:  # a function of C says nothing about its arguments
        pass


class Service:
    """The agent of a service.

    Args:
        run, says_ready: see `factory_of`.
    """

    def __init__(self, run: Any, says_ready: bool) -> None:
        self._says_ready = says_ready
        self._run = functools.partial(_run_program, run) if isinstance(run, Command) else run

    def handle(self, request: object) -> Awaitable[None] | None:
        """Run the function once; the worker leaves afterwards."""
        worker = current()
        try:
            if not self._says_ready:
                # Not earlier: who stops a service that is ready stops a function that has begun.
                worker.ready()
            value = self._run()
        except BaseException:
            worker.finished = True
            raise
        if inspect.isawaitable(value):
            return _awaited(value, worker)
        worker.finished = True
        return None


async def _awaited(value: Awaitable[object], worker: Context) -> None:
    try:
        await value
    finally:
        worker.finished = True


def _run_program(command: Command[Any]) -> None:
    """Run a program until it ends or the service is to stop; it writes to the worker's output.

    Raises:
        CommandFailed, CommandCrashed: it has ended by itself, and not with exit code 0, or before
            it was ready.
    """
    worker, template = current(), command.template
    argv = template.fill(None)
    readiness = None if command.ready is None else Readiness(command.ready)
    sinks = [_to(fd) if readiness is None else readiness.reading(_to(fd)) for fd in (1, 2)]
    try:
        path = find_program(template.program)
        child = ChildProgram(path, argv, os.environ, None, *sinks)
        child.start()
    except OSError as error:
        raise CommandFailed(reason=f"it cannot be started: {error}") from None
    before_ready = ""
    try:
        if readiness is not None:
            before_ready = f" before it was ready ({readiness.check})"
            if _becomes_ready(child, readiness, worker):
                before_ready = ""
                worker.ready()
        if not child.run_until(lambda: worker.cancelled):
            return
        code = child.run().code
    finally:
        child.end(command.grace, keep=True)
    shown = template.shown(argv)
    if code > 0 or (code == 0 and before_ready):
        reason = before_ready and f"exit code {code}{before_ready}"
        raise CommandFailed(code=code, reason=reason, command=shown)
    if code < 0:
        raise CommandCrashed(
            exitcode=code, signal=signal_name(-code), pid=child.pid, command=shown,
            generation=worker.generation,
        )  # fmt: skip


def _becomes_ready(child: ChildProgram, readiness: Readiness, worker: Context) -> bool:
    """Wait until the check of a program has passed; False: it has ended, or is to stop."""
    readiness.start()
    try:
        ended = child.run_until(lambda: worker.cancelled or readiness.passed, STEP)
        return readiness.passed and not ended
    finally:
        readiness.stop()


def _to(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]

    return write
