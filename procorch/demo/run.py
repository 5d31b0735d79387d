"""One evaluation: candidates as a durable batch, rows out as they are ready.

Where a model writes the candidates, that is a batch of its own before it: what was written is kept,
and an evaluation that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from procorch.batch.items import BatchItem
from procorch.batch.journal import Journal
from procorch.batch.reader import Reader
from procorch.batch.records import AttemptRecord
from procorch.batch.start import run_batch
from procorch.batch.store import remove
from procorch.demo.humaneval import CANONICAL, LOOP, Candidate, Problem, written
from procorch.demo.rows import Row, row_of, unwritten
from procorch.demo.solver import solver
from procorch.demo.writer import writer
from procorch.errors.plain_data import from_plain
from procorch.telemetry.quiet import replacements

AGENT = solver.__name__
WRITER = writer.__name__

_FOR_ONE = 120.0
"""Seconds for one candidate to be written; the longest takes about ten."""


class Writing:
    """Has a model write a candidate for each problem; iterate over it for them.

    What comes is a `Candidate`, or the `Row` of a problem that the model failed to answer. A
    context manager, as `Evaluation` is.

    Args:
        model: its name, which the candidates bear.
        out: the journal of the evaluation that follows. This one's is beside it, and both are begun
            anew, unless ``resume`` says to go on with them.
        workers: number of agents; each runs the model on one core.

    Raises:
        AgentError, JournalError: see `Evaluation`.
    """

    def __init__(
        self, problems: Sequence[Problem], model: str, *, out: Path, resume: bool, workers: int
    ) -> None:
        self._problems = problems
        self._model = model
        self.tokens: int = 0
        """How many the model has written so far, and ``seconds`` of the workers' time for it."""
        self.seconds: float = 0.0
        with ExitStack() as stack:
            stack.enter_context(replacements())
            self._run = stack.enter_context(
                run_batch(
                    writer, problems, out=out.with_name(f"{out.stem}-written.db"), resume=resume,
                    redo=not resume, workers=workers, timeout=_FOR_ONE, retries=1, id="task_id",
                )
            )  # fmt: skip
            if not resume:
                _forget(out)
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[Candidate | Row]:
        for item in self._run:
            yield self._made(item)

    def _made(self, item: BatchItem) -> Candidate | Row:
        if not item.ok:
            return unwritten(item, self._model, WRITER)
        self.tokens += item.output["tokens"]
        self.seconds += item.cost.wall or 0.0
        problem = self._problems[item.position]
        return written(problem, item.position, self._model, **item.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stack.close()


def _forget(journal: Path) -> None:
    """Remove outcomes of what was written before.

    Raises:
        JournalError: it is no journal, or another process works on it.
    """
    if journal.exists():
        Journal(journal).close()
        remove(journal)


class Evaluation:
    """Runs candidates, each in the process of an agent; iterate over it for the rows.

    A context manager: leaving the block ends the workers, at once when work is left.

    Args:
        out: the journal; what it holds is forgotten, unless ``resume`` says to go on with it.
        workers: number of agents.
        timeout: seconds for one candidate, from the moment its agent gets it.
        memory: resident bytes allowed to a worker.
        backend: the cluster that the agents run on, where a candidate has a second attempt because
            its node may be lost; None: this machine.

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
        backend: str | None = None,
    ) -> None:
        self._items = items
        self._out = out
        self._repeated: list[str] = []
        with ExitStack() as stack:
            self._replaced = stack.enter_context(replacements())
            self._run = stack.enter_context(
                run_batch(
                    solver, items, out=out, resume=resume, redo=not resume, workers=workers,
                    timeout=timeout, memory_limit=memory, id=lambda candidate: candidate.id,
                    **({} if backend is None else _remote(backend)),
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

    def busy(self) -> dict[int, bool]:
        """Processes that work on a candidate, those that have had theirs the longest first, and
        whether it may be lost with its process. One that kills its worker may not: if it is in its
        second attempt already, there is none left that shows what it does."""
        calm = {each.id for each in self._items if each.kind in (CANONICAL, LOOP)}
        workers = sorted(self._run.workers(), key=lambda worker: -worker.seconds)
        return {worker.pid: worker.item in calm for worker in workers if worker.pid and worker.item}

    def lost(self) -> list[str]:
        """Candidates that were in work on a node that was lost, by the journal."""
        reader = Reader(self._out)
        try:
            return [id for id in self._repeated if any(map(_is_lost, reader.attempts(id)))]
        finally:
            reader.close()

    def __iter__(self) -> Iterator[Row]:
        for item in self._run:
            candidate = self._items[item.position]
            if item.attempts > 1:
                self._repeated.append(candidate.id)
            yield row_of(candidate, item, AGENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stack.close()


def _is_lost(attempt: AttemptRecord) -> bool:
    return bool(getattr(from_plain(msgspec.json.decode(attempt.error)), "lost", False))


def _remote(backend: str) -> dict[str, Any]:
    return {"backend": backend, "retries": 1, "placement": "spread"}
