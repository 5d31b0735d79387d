"""One evaluation: candidates as a durable batch, rows out as they are ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from procorch.batch.start import run_batch
from procorch.demo.humaneval import Candidate
from procorch.demo.rows import Row, row_of
from procorch.demo.solver import solver
from procorch.telemetry.quiet import replacements

AGENT = solver.__name__


class Evaluation:
    """Runs candidates, each in the process of an agent; iterate over it for the rows.

    A context manager: leaving the block ends the workers, at once when work is left.

    Args:
        out: the journal; what it holds is forgotten, unless ``resume`` says to go on with it.
        workers: number of agents.
        timeout: seconds for one candidate, from the moment its agent gets it.
        memory: resident bytes allowed to a worker.

    Raises:
        AgentError: the workers do not start.
        JournalError: the journal cannot be used, or is that of other candidates.
    """

    def __init__(
        self,
        items: Sequence[Candidate],
        *,
        out: Path,
        resume: bool,
        workers: int,
        timeout: float,
        memory: int,
    ) -> None:
        self._items = items
        with ExitStack() as stack:
            self._replaced = stack.enter_context(replacements())
            self._run = stack.enter_context(
                run_batch(
                    solver, items, out=out, resume=resume, redo=not resume, workers=workers,
                    timeout=timeout, memory_limit=memory, id=lambda candidate: candidate.id,
                )
            )  # fmt: skip
            self._stack = stack.pop_all()

    @property
    def replaced(self) -> int:
        """How many workers were replaced; complete after the end of the block."""
        return self._replaced.count

    @property
    def resumed(self) -> int:
        """How many candidates were done in an earlier run."""
        return self._run.progress().resumed

    def __iter__(self) -> Iterator[Row]:
        for item in self._run:
            yield row_of(self._items[item.position], item, AGENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stack.close()
