"""A batch that is being run, as its user sees it."""

from __future__ import annotations

import time
import weakref
from types import TracebackType
from typing import Generic, Self

from procorch.batch.admission import Admission
from procorch.batch.items import BatchItem
from procorch.batch.loop import BatchLoop, Inbox, StopRequest
from procorch.batch.options import BatchWorker
from procorch.batch.reader import FailureGroup
from procorch.batch.report import BatchSummary
from procorch.batch.store import Store
from procorch.batch.workers import Workers
from procorch.messages import Out
from procorch.supervision.throttle import Pause


class BatchRun(Generic[Out]):
    """A batch that is being run; iterating over it gives each item once, when it is finished.

    Items are run while you iterate, a little ahead of you; `wait` and `summary` run all that are
    left. A context manager: leaving the block ends the workers, and the items that they still have
    are run when the batch is resumed. Made by `run_batch`.

    Example:
        >>> run = run_batch(lambda: len, ["one", "three"], out=None, workers=1)
        >>> run.wait().summary().ok
        2
        >>> run.close()
    """

    def __init__(
        self, loop: BatchLoop, workers: Workers, store: Store, inbox: Inbox,
        admission: Admission, total: int | None, began: float,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._workers = workers
        self._store = store
        self._inbox = inbox
        self._total = total
        self._started = began
        self._seconds: float | None = None
        self._first_seen: dict[int, float] = {}
        # Also when the run is collected without `close`, and at the end of the interpreter.
        self._release = weakref.finalize(self, _release, workers, store, admission)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchItem[Out]:
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

    def step(self, timeout: float) -> list[BatchItem[Out]]:
        """Items that have finished meanwhile, waiting at most ``timeout`` seconds for one.

        What ends the batch is not raised here, see `failure`.
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
        """Whether all items were handed out, or the batch has ended early."""
        return self._loop.over and not self._loop.ready

    @property
    def failure(self) -> Exception | None:
        """The error that has ended the batch early; iterating raises it once."""
        return self._loop.failure

    @property
    def trouble(self) -> str | None:
        """What holds the batch up at the moment, such as a full disk; None: nothing."""
        return self._loop.trouble

    @property
    def pause(self) -> Pause | None:
        """The pause of all workers that a service has asked for; None: they do not pause."""
        return None if self._loop.over else self._workers.pause()

    def stop(self, *, now: bool = False) -> None:
        """End the batch early; it can be resumed. May be called by any thread or signal handler.

        Args:
            now: cancel the items that workers have; False: let the workers finish them.
        """
        self._inbox.put(StopRequest(now))

    def wait(self) -> Self:
        """Run the items that are left, without handing them out.

        Raises:
            BatchError: as iterating does.
        """
        for _ in self:
            pass
        return self

    def summary(self) -> BatchSummary:
        """Run the items that are left, and return the counts of the finished batch."""
        return self.wait().progress()

    def progress(self) -> BatchSummary:
        """The counts at the moment; once the batch has ended, the counts of its journal."""
        tally = self._loop.tally
        final = self._store.final
        if final is not None:
            return self._summary(final.ok, final.failed, final.groups, final.gone)
        return self._summary(tally.ok, tally.failed, tally.groups(), 0)

    def _summary(
        self, ok: int, failed: int, groups: tuple[FailureGroup, ...], gone: int
    ) -> BatchSummary:
        tally = self._loop.tally
        elapsed = time.monotonic() - self._started
        seconds = elapsed if self._seconds is None else self._seconds
        return BatchSummary(
            total=self._total,
            ok=ok,
            failed=failed,
            resumed=ok + failed - tally.fresh_ok - tally.fresh_failed,
            retried=tally.retried,
            seconds=seconds,
            ended=self._loop.ended,
            failures=groups,
            gone=gone,
            usage=tally.usage,
            cost=tally.cost,
            scores=tally.scores.summaries(),
            models=self._workers.usage(),
        )

    def workers(self) -> list[BatchWorker]:
        """What each worker is doing at the moment."""
        now = time.monotonic()
        states = self._workers.states()
        requests = [state.request for state in states if state.request is not None]
        self._first_seen = {request: self._first_seen.get(request, now) for request in requests}
        found = []
        for state in states:
            active = None if state.request is None else self._loop.active.get(state.request)
            item = None if active is None else active.item.id
            since = now if state.request is None else self._first_seen[state.request]
            found.append(BatchWorker(item, now - since, state.pid, state.state, state.rss))
        return found

    def close(self) -> None:
        """End the workers at once; what was committed is kept. A second call does nothing."""
        self._loop.abandon()
        if self._seconds is None:
            self._seconds = time.monotonic() - self._started
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


def _release(workers: Workers, store: Store, admission: Admission) -> None:
    admission.close()
    workers.close()
    store.close(at_once=True)
