"""A batch as its user holds it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from procorch.batch.admission import Intake
from procorch.batch.items import BatchItem
from procorch.batch.loop import Inbox, Loop, Stop
from procorch.batch.options import Work
from procorch.batch.reader import Group
from procorch.batch.report import BatchSummary
from procorch.batch.store import Memory
from procorch.batch.workers import Crew
from procorch.supervision.throttle import Pause


class BatchRun(Iterator[BatchItem]):
    """A batch under way: iterate over it for the items as they are finished, each exactly once.

    The work is done while you iterate, a little ahead of you; `wait` and `summary` do all that is
    left. A context manager: leaving the block ends the workers, at once if work is left, and what
    was committed is kept. Made by `run_batch`.
    """

    def __init__(
        self, loop: Loop, crew: Crew, memory: Memory, inbox: Inbox, intake: Intake,
        total: int | None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._crew = crew
        self._memory = memory
        self._inbox = inbox
        self._total = total
        self._began = time.monotonic()
        self._took: float | None = None
        self._seen: dict[int, float] = {}
        # Also where the run is dropped without a word, and at the end of the interpreter.
        self._release = weakref.finalize(self, _release, crew, memory, intake)

    def __next__(self) -> BatchItem:
        loop = self._loop
        while not loop.ready:
            if loop.over:
                if loop.failure is not None:
                    failure, loop.failure = loop.failure, None
                    raise failure
                raise StopIteration
            try:
                self._advance(None)
            except BaseException:  # Ctrl-C
                self.close()
                raise
        return loop.ready.popleft()

    def step(self, timeout: float) -> list[BatchItem]:
        """Items that are finished, maybe none: waits at most ``timeout`` seconds for the next.

        What ends the batch is not raised, see `failure`.
        """
        if not self._loop.ready and not self._loop.over:
            self._advance(timeout)
        found = list(self._loop.ready)
        self._loop.ready.clear()
        return found

    def _advance(self, timeout: float | None) -> None:
        self._loop.advance(timeout)
        if self._loop.over:
            self.close()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._loop.over and not self._loop.ready

    @property
    def failure(self) -> Exception | None:
        """What has ended the batch before its time; iterating raises it once."""
        return self._loop.failure

    @property
    def trouble(self) -> str | None:
        """What holds the batch up at the moment, such as a full disk."""
        return self._loop.trouble

    @property
    def pause(self) -> Pause | None:
        """What a throttled service holds all workers back for at the moment; None: nothing."""
        return None if self._loop.over else self._crew.pause()

    def stop(self, *, now: bool = False) -> None:
        """End the batch before its time, to be resumed; from any thread or signal handler.

        Args:
            now: end what is under way; False: let the workers finish the items that they have.
        """
        self._inbox.put(Stop(now))

    def wait(self) -> Self:
        """Run what is left, without handing it out.

        Raises:
            BatchError: as iterating does.
        """
        for _ in self:
            pass
        return self

    def summary(self) -> BatchSummary:
        """Run what is left, see `wait`, and say what it came to."""
        return self.wait().progress()

    def progress(self) -> BatchSummary:
        """The counts as they are now; once the batch has ended, those of its journal."""
        tally = self._loop.tally
        final = self._memory.final
        if final is not None:
            return self._summary(final.ok, final.failed, final.groups, final.gone)
        return self._summary(tally.ok, tally.failed, tally.groups(), 0)

    def _summary(self, ok: int, failed: int, groups: tuple[Group, ...], gone: int) -> BatchSummary:
        tally = self._loop.tally
        return BatchSummary(
            total=self._total,
            ok=ok,
            failed=failed,
            resumed=ok + failed - tally.fresh_ok - tally.fresh_failed,
            retried=tally.retried,
            seconds=time.monotonic() - self._began if self._took is None else self._took,
            ended=self._loop.ended,
            failures=groups,
            gone=gone,
        )

    def workers(self) -> list[Work]:
        """What each worker is doing at the moment."""
        now = time.monotonic()
        crew = self._crew.look()
        requests = [each.request for each in crew if each.request is not None]
        self._seen = {request: self._seen.get(request, now) for request in requests}
        found = []
        for each in crew:
            flight = None if each.request is None else self._loop.flights.get(each.request)
            item = None if flight is None else flight.item.id
            since = now if each.request is None else self._seen[each.request]
            found.append(Work(item, now - since, each.pid, each.state, each.rss))
        return found

    def close(self) -> None:
        """End the workers at once and keep what was finished. Closing twice is one close."""
        self._loop.abandon()
        if self._took is None:
            self._took = time.monotonic() - self._began
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


def _release(crew: Crew, memory: Memory, intake: Intake) -> None:
    intake.close()
    crew.close()
    memory.close(at_once=True)
