"""Calls of models and requests of handlers that count for a limit: each takes a permit (N23).

A call of a model that the service has refused is tried again, when the limit allows it. So the
client of the service does not try again by itself: nobody would count those attempts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeVar

from procorch.agents.context import Context, installed
from procorch.agents.permits import CallEnd, Permit

T = TypeVar("T")

_LOST = 2
"""How often a call that failed for a passing reason is tried again, as clients of services do."""
_DELAY = 0.5
"""Seconds before the first of these attempts; the second one waits twice as long."""


class Attempts:
    """Counts the attempts at one call of a model.

    Args:
        worker: the worker that makes it.
        limit: the limit that it counts for.
    """

    def __init__(self, worker: Context, limit: str) -> None:
        self._refusals_left = worker.limits.retries.get(limit, 0)
        self._losses_left = _LOST if worker.client_retries else 0
        self._delay = _DELAY

    async def again(self, end: CallEnd) -> bool:
        """Whether to try again now; returns after the wait for that.

        A call that was refused waits for its next permit instead.
        """
        if end.refused:
            self._refusals_left -= 1
            return self._refusals_left >= 0
        if end.passing and self._losses_left:
            import asyncio

            self._losses_left -= 1
            await asyncio.sleep(self._delay)
            self._delay *= 2
            return True
        return False


async def model_call(
    call: Callable[[], Awaitable[T]],
    worker: Context | None,
    limit: str | None,
    tokens: Callable[[T], int],
    repeatable: Callable[[], bool] = lambda: True,
) -> T:
    """Make one call of a model, with a permit if a limit counts it.

    Args:
        call: makes it.
        worker: the worker that makes it; None: this process is none.
        limit: name of the limit; None: there is none.
        tokens: how many tokens the answer has taken.
        repeatable: whether an attempt that failed had no effect that its caller can see.
    """
    if worker is None or limit is None:
        return await call()
    tries = Attempts(worker, limit)
    while True:
        permit = await worker.limit(limit).__aenter__()
        try:
            answer = await call()
        except BaseException as error:
            end = permit.end(error)
            if not repeatable() or not await tries.again(end):
                raise
        else:
            permit.used(tokens(answer))
            permit.end()
            return answer


def permitted(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The handler, which waits for a permit first if its agent has the setting ``limit``."""
    worker = installed()
    if worker is None or worker.limits.own is None:
        return handler
    limit = worker.limit

    async def respond_async(payload: Any) -> Any:
        async with limit():
            return await handler(payload)

    def respond(payload: Any) -> Any:
        permit = limit().__enter__()
        try:
            value = handler(payload)
            if isawaitable(value):
                return _awaited(value, permit)
        except BaseException as error:
            permit.end(error)
            raise
        permit.end()
        return value

    asynchronous = iscoroutinefunction(handler) or iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004  # the method of an object's class
    )
    return respond_async if asynchronous else respond


async def _awaited(value: Any, permit: Permit) -> Any:
    try:
        answer = await value
    except BaseException as error:
        permit.end(error)
        raise
    permit.end()
    return answer
