"""One evaluation: candidates on a pool of agents, rows out as they are ready."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from procorch.demo.humaneval import Candidate
from procorch.demo.rows import Row, row_of
from procorch.demo.solver import solver
from procorch.pool import AgentPool

AGENT = "solver"


class Evaluation:
    """Runs candidates, each in the process of an agent; iterate over it for the rows.

    A context manager: leaving the block ends the workers, at once when it is left by an exception.

    Args:
        workers: number of agents.
        timeout: seconds for one candidate, from the moment its agent gets it.
        memory: resident bytes allowed to a worker.

    Raises:
        AgentError: the workers do not start.
    """

    def __init__(
        self, items: Sequence[Candidate], *, workers: int, timeout: float, memory: int
    ) -> None:
        self._items = items
        self._timeout = timeout
        self._events = _Replacements()
        logging.getLogger("procorch").addHandler(self._events)
        try:
            self._pool = AgentPool(solver, workers, name=AGENT, memory_limit=memory)
        except BaseException:
            self._stop_listening()
            raise

    @property
    def replaced(self) -> int:
        """How many workers were replaced; complete after the end of the block."""
        return self._events.count

    def __iter__(self) -> Iterator[Row]:
        outcomes = self._pool.imap_unordered(self._items, timeout=self._timeout, outcomes=True)
        for outcome in outcomes:
            yield row_of(self._items[outcome.index], outcome, AGENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        try:
            self._pool.close(drain=kind is None)
        finally:
            self._stop_listening()

    def _stop_listening(self) -> None:
        logging.getLogger("procorch").removeHandler(self._events)


class _Replacements(logging.Handler):
    """Counts the workers replaced, by the events that the library logs.

    Where no logging is configured the library's warnings go to the console; a handler of ours keeps
    them off it, and hands on only what the rows could not tell.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Called on the orchestrator's callback thread."""
        if type(getattr(record, "notice", None)).__name__ == "Restarting":
            self.count += 1
        if record.levelno >= logging.CRITICAL and logging.lastResort is not None:
            logging.lastResort.handle(record)
