"""Call the program and time the calls.

The clock runs around the call alone: its argument is made before, its answer is dropped after.
Calls that are shorter than the clock can tell are timed many at a time, and the time of an empty
loop over the same arguments is subtracted. A coroutine gets an event loop when the first one is
seen, so that other programs do not pay for asyncio.
"""

from __future__ import annotations

from itertools import repeat
from time import perf_counter as clock

from .program import Argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
    from typing import Any

ENOUGH = 0.005
"""Seconds that the inner loops of a run take together: the clock's error is nothing against it."""
_COPIES = 16
"""Arguments made at a time where each call needs its own: few, so that they take little memory."""
_EMPTY = 3
"""Empty loops, the fastest of which is subtracted: one may have been interrupted."""
_MOST = 10**9


class _NeedLoop:
    """To be awaited where an event loop has to run: the driver brings one."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield self


class Caller:
    """Calls one program.

    Args:
        call: what is called.
        arguments: of each request.
        tick: called with the phase and the index of the request before each call or inner loop.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        arguments: list[Argument],
        tick: Callable[[str, int], None],
    ) -> None:
        self._call = call
        self._arguments = arguments
        self._tick = tick
        self._loop: Any = None
        self._awaits = False
        self.returned: str = ""
        self.slowest: tuple[float, int] = (0.0, 0)
        """Seconds and request of the longest call since somebody set it back."""
        self.net: float = 1.0
        """The part of the last inner loops that was the calls, and not the loops themselves."""

    def once(self, phase: str) -> list[float]:
        """Seconds of each request, called once."""
        taken: list[float] = self.drive(self._once(phase))
        return taken

    def looped(self, loops: int) -> list[float]:
        """Seconds of one call of each request, the mean of ``loops``."""
        taken: list[float] = self.drive(self._looped(loops))
        return taken

    def calibrate(self, seconds: float) -> int:
        """How many inner loops it takes for a run to last `ENOUGH`; 1 where calls are long.

        Args:
            seconds: what a run takes without inner loops.
        """
        loops = 1
        while seconds * loops < ENOUGH and loops < _MOST:
            wanted = ENOUGH / max(seconds, 1e-9)
            loops = int(min(max(wanted, loops + 1), loops * 10))
            seconds = max(sum(self.looped(loops)), 1e-9)
        return loops

    def finish(self, value: Any) -> Any:
        """A value of the agent's `ready` or `close`, awaited if it has to be."""
        return self.drive(self._finish(value))

    async def _finish(self, value: Any) -> Any:
        if hasattr(value, "__await__"):
            if self._loop is None:
                await _NeedLoop()
            value = await value
        return value

    async def _once(self, phase: str) -> list[float]:
        call, taken = self._call, []
        for index, argument in enumerate(self._arguments):
            positional, keywords = argument.fresh()
            self._tick(phase, index)
            paused = 0.0
            began = clock()
            answer = call(*positional, **keywords)
            self._awaits = hasattr(answer, "__await__")
            if self._awaits:
                if self._loop is None:
                    paused = clock()
                    await _NeedLoop()
                    paused = clock() - paused
                answer = await answer
            taken.append(clock() - began - paused)
            self.slowest = max(self.slowest, (taken[-1], index))
            self.returned = type(answer).__name__
            del answer, positional, keywords
        return taken

    async def _looped(self, loops: int) -> list[float]:
        taken, gross = [], 0.0
        for index, argument in enumerate(self._arguments):
            self._tick("loop", index)
            total = 0.0
            for some in _portions(argument, loops):
                spent = await self._timed(argument, some)
                gross += spent
                total += spent - min(_empty(some()) for _ in range(_EMPTY))
            taken.append(max(total, 0.0) / loops)
        self.net = sum(taken) * loops / gross if gross else 1.0
        return taken

    async def _timed(self, argument: Argument, some: Callable[[], Iterable[Any]]) -> float:
        if self._awaits:
            return await _many_awaited(self._call, some(), argument.single)
        if not argument.single:
            return _many(self._call, some())
        return _many_of_one(self._call, some())

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it; without an event loop as long as nothing has to be awaited."""
        if self._loop is None:
            try:
                coroutine.send(None)
            except StopIteration as done:
                return done.value
            import asyncio

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(self._loop.create_task(coroutine))

    def way(self) -> float | None:
        """Seconds to serialise and load all requests and answers once; None if one cannot be."""
        way: float | None = self.drive(self._way())
        return way

    async def _way(self) -> float | None:
        import pickle

        total = 0.0
        for index, argument in enumerate(self._arguments):
            self._tick("way", index)
            positional, keywords = argument.fresh()
            answer = self._call(*positional, **keywords)
            if hasattr(answer, "__await__"):
                answer = await answer
            began = clock()
            try:
                for value in ((argument.positional, argument.keywords), answer):
                    pickle.loads(pickle.dumps(value, 5))
            except Exception:  # whatever a value's own methods raise: it cannot be sent
                return None
            total += clock() - began
        return total


def _portions(argument: Argument, loops: int) -> Iterator[Callable[[], Iterable[Any]]]:
    """Arguments for so many calls, a portion at a time; each can be gone through more than once."""
    if argument.shared:
        given = argument.positional[0] if argument.single else argument.fresh()
        yield lambda: repeat(given, loops)
        return
    for done in range(0, loops, _COPIES):
        fresh = [argument.fresh() for _ in range(min(_COPIES, loops - done))]
        copies: list[Any] = [positional[0] for positional, _ in fresh] if argument.single else fresh
        yield lambda copies=copies: copies  # type: ignore[misc]


def _many_of_one(call: Callable[..., Any], arguments: Iterable[Any]) -> float:
    began = clock()
    for argument in arguments:
        call(argument)
    return clock() - began


def _many(call: Callable[..., Any], arguments: Iterable[Any]) -> float:
    began = clock()
    for positional, keywords in arguments:
        call(*positional, **keywords)
    return clock() - began


async def _many_awaited(call: Callable[..., Any], arguments: Iterable[Any], single: bool) -> float:
    began = clock()
    for each in arguments:
        await (call(each) if single else call(*each[0], **each[1]))
    return clock() - began


def _empty(arguments: Iterable[Any]) -> float:
    began = clock()
    for _ in arguments:
        pass
    return clock() - began
