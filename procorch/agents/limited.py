"""Calls of models and requests of handlers that count for a limit: each takes a permit (N23).

A call of a model that the service has refused is tried again, when the limit allows it. So the
client of the service does not try again by itself: nobody would count those attempts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeVar

from procorch.agents.context import Context
from procorch.agents.current import current, installed
from procorch.agents.permits import CallEnd, Permit, Spent

T = TypeVar("T")

_LOST = 2
"""How often a call that failed for a passing reason is tried again, as clients of services do."""
_DELAY = 0.5
"""Seconds before the first of these attempts; the second one waits twice as long."""


class Attempts:
    """Counts the attempts at one call of a model.

    Args:
        worker: the worker that makes it.
        limit: the limit that it counts for. Without one its client tries again by itself.
    """

    def __init__(self, worker: Context, limit: str | None) -> None:
        self._refusals_left = worker.limits.retries.get(limit or "", 0)
        self._losses_left = _LOST if limit is not None and worker.client_retries else 0
        self._delay = _DELAY

    async def again(self, end: CallEnd) -> bool:
        """Whether to try again now; returns after the wait for that.

        A call that was refused waits for its next permit instead.
        """
        if end.refused and self._refusals_left:
            self._refusals_left -= 1
            return True
        if end.passing and not end.refused and self._losses_left:
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
    spent: Callable[[T], Spent],
    repeatable: Callable[[], bool] = lambda: True,
) -> T:
    """Make one call of a model, with a permit, and report what it has used.

    Args:
        call: makes it.
        worker: the worker that makes it; None: this process is none.
        limit: name of the limit; None: there is none.
        spent: what the answer has taken.
        repeatable: whether an attempt that failed had no effect that its caller can see.
    """
    if worker is None:
        return await call()
    tries = Attempts(worker, limit)
    while True:
        permit = await worker.permit(limit).__aenter__()
        try:
            answer = await call()
        except BaseException as error:
            end = permit.end(error)
            if not repeatable() or not await tries.again(end):
                raise
        else:
            permit.used(*spent(answer))
            permit.end()
            return answer


def permitted(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The handler, which waits for a permit first if a limit or a budget is about its agent."""
    rules = getattr(installed(), "limits", None)
    if rules is None or not (rules.own or rules.budgeted):
        return handler

    def limit() -> Permit:
        return current().permit(rules.own)

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
