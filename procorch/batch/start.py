"""`run_batch`: all arguments and the input are checked before anything is started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast, overload

from procorch.agents.apps import App
from procorch.agents.protocols import AsyncFactory, Factory
from procorch.agents.scored import Scorer
from procorch.batch.commands import command_check, with_results
from procorch.batch.halt import Halt
from procorch.batch.input_check import scan
from procorch.batch.journal_files import OutputFiles
from procorch.batch.options import BatchOptions
from procorch.batch.preparation import PreparedBatch
from procorch.batch.reasons import REASONS
from procorch.batch.runner import BatchRun
from procorch.batch.selection import Selection, Shard
from procorch.batch.settings import BatchSettings
from procorch.batch.sources import IdOf, open_source
from procorch.errors.texts import did_you_mean
from procorch.messages import Out
from procorch.supervision.budgets import Amount
from procorch.supervision.keywords import CommonSettings, WorkerSettings
from procorch.supervision.shared_limit import Limit
from procorch.supervision.throttle import Throttle
from procorch.units import seconds, whole

if TYPE_CHECKING:
    from procorch.launch.ray.backend import RayBackend

Input: TypeAlias = str | os.PathLike[str] | Iterable[Any]
"""A path, ``"-"`` for standard input, or an iterable."""


@overload
def run_batch(
    factory: AsyncFactory[Any, Out], items: Input, *, out: str | os.PathLike[str] | None,
    **settings: Unpack[BatchSettings],
) -> BatchRun[Out]: ...  # fmt: skip
@overload
def run_batch(
    factory: Factory[Any, Out], items: Input, *, out: str | os.PathLike[str] | None,
    **settings: Unpack[BatchSettings],
) -> BatchRun[Out]: ...  # fmt: skip
@overload
def run_batch(
    factory: Callable[[], Any], items: Input, *, out: str | os.PathLike[str] | None,
    **settings: Unpack[BatchSettings],
) -> BatchRun[Any]: ...  # fmt: skip
def run_batch(
    factory: Callable[[], Any],
    items: Input,
    *,
    out: str | os.PathLike[str] | None,
    **settings: Unpack[BatchSettings],
) -> BatchRun[Any]:
    """Run every item on one of several workers; each item gets exactly one outcome.

    Outcomes are written to a journal, one SQLite file, and are handed out once they are committed.
    A batch that was interrupted, by Ctrl-C or by SIGKILL, goes on with ``resume=True``: items that
    have an outcome are not run again.

    Args:
        factory: makes the agent, in each worker; see `AgentOrchestrator.add_agent`.
        items: a path (JSONL, CSV, TSV, lines, Parquet, a directory; ``.gz`` is unpacked), ``"-"``
            for standard input, or any iterable; read lazily. Items are delivered unchanged.
        out: path of the journal; None: outcomes are not kept.
        workers: number of processes; None: one for each core.
        timeout: seconds for one attempt, from the moment a worker gets the item; None: no limit.
        retries: further attempts at an item whose error is retryable (`AgentError.is_retryable`);
            the death of its worker is. Unless the worker died, an attempt follows after a delay.
        memory_limit: bytes that a worker and its descendants may hold, mapped files not counted, or
            text such as ``"512M"``.
        rate: items that all workers together may begin in a second, or text such as ``"10/s"``,
            ``"600/m"``, ``"0.5/s"``; None: any number.
        throttle: how the batch reacts if a service asks for a pause (an error with a
            ``retry_after``, a `ModelThrottled`): all workers pause, the item is tried again without
            using up one of its ``retries``, and the load is increased again step by step. None:
            only this item waits, and uses up a retry.
        shared_limit: the limit that the calls of the workers count for, shared with agents and
            pools that are given the same `Limit`; None: there is none.
        budget: US dollars, or text such as ``"200k tokens"``, that the items may use of models,
            earlier runs included. When it is used up, nothing more is begun, what is under way is
            finished, and the batch ends with `BatchHalted`; its cause is a `BudgetExceeded`.
        score: ``(item, output) -> score``, called in the worker after each answer, plain or async:
            a number, a bool, or several by name. The scores are in `BatchItem.scores`,
            `BatchSummary.scores` and the journal. An item whose scorer raises has failed.
        allowed_failures: workers that an item may kill; one more and it is poison, whatever
            ``retries`` allows.
        retry_on: reasons (`BatchItem.reason`) that are tried again whatever the error says.
        resume: go on with the batch in ``out``; start it if there is none.
        retry_failed: when resuming, run failed items again.
        redo: remove the outcomes in ``out`` and start over; not with ``resume`` or
            ``retry_failed``.
        accept_changes: resume though the input or the factory has changed; what has changed in the
            input is run again, outcomes of another factory stay. An input that changes while the
            batch runs is a warning and no error.
        keep_order: hand items out in the order of the input.
        halt: end early: ``"soon,fail=3"`` when three items of this run have failed,
            ``"now,fail=10%"`` (now: without finishing what is under way); also ``success`` and
            ``done``.
        limit: only the first ``limit`` items.
        shuffle: in random order, drawn from a window of 10,000 items; ``seed`` decides it.
        seed: decides the order of ``shuffle``, and is what ``current().seed`` is derived from.
        shard: ``"2/8"``: only the second of eight parts; the parts follow from the ids alone.
        id: field that names an item, or a function of the item. None: its field ``id``, or its
            place: the line of a file, the index in an iterable.
        format: of a file: "auto" (by its suffix), "jsonl", "json", "csv", "tsv", "lines",
            "parquet".
        delimiter: what separates the fields of CSV, one character. None: a comma (TSV: a tab), or
            what the first two rows show, with a warning.
        allow_empty: an input without items is a batch of none. False: it is an error.
        skip_known: do not hand out the items of earlier runs.
        results: folder for the output of each item's program, if the factory is a
            `procorch.command`: ``NAME.out`` and, if there is any, ``NAME.err``.
        command: the command line that goes on with this batch, for `procorch show`.
        streams: descriptors of standard output and error; the files they lead to are no input.
        start_method: how workers are started, see `AgentOrchestrator`.
        preload: modules that are imported once, in the process that workers are forked from.
        backend: where the workers run, see `AgentOrchestrator`; the journal stays here. Give
            ``workers`` as well: the default is the number of cores of this machine.
        settings: of the workers, see `procorch.supervision.keywords.Settings`.

    Returns:
        The batch; the work is done while you iterate over it.

    Raises:
        BatchInputError: the input is missing, malformed or empty, or the batch would write it.
        BatchInputChanged: while you iterate: it is not what it was when the batch began.
        JournalMismatch: ``out`` holds a batch and none of ``resume`` and ``redo`` is given, or
            another batch than this one; the text shows the difference.
        JournalBusy: another process works on it.
        JournalError: it cannot be written, or is damaged.
        StartError: the agent cannot be started; nothing was begun.
        ValueError, TypeError: an argument or a setting is wrong.

    Example:
        >>> with run_batch(lambda: len, ["one", "three"], out=None, workers=1) as run:
        ...     for item in run:
        ...         print(item.id, item.output)
        0 3
        1 5
    """
    return prepare_batch(factory, items, out=out, **settings).start()


def prepare_batch(
    factory: Callable[[], Any],
    items: Input,
    *,
    out: str | os.PathLike[str] | None,
    workers: int | None = None,
    timeout: float | str | None = None,
    retries: int = 0,
    memory_limit: int | str | None = None,
    rate: float | str | None = None,
    throttle: Throttle | None = Throttle(),  # noqa: B008  # a frozen value
    shared_limit: Limit | None = None,
    budget: float | str | None = None,
    score: Scorer | App | None = None,
    allowed_failures: int = 2,
    retry_on: Collection[str] = (),
    resume: bool = False,
    retry_failed: bool = False,
    redo: bool = False,
    accept_changes: bool = False,
    keep_order: bool = False,
    halt: str = "never",
    limit: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
    shard: str | None = None,
    id: IdOf = None,
    format: str = "auto",
    delimiter: str | None = None,
    allow_empty: bool = False,
    skip_known: bool = False,
    results: str | os.PathLike[str] | None = None,
    command: str | None = None,
    streams: Collection[int] = (1, 2),
    start_method: str | None = None,
    preload: Sequence[str] = (),
    backend: str | RayBackend | None = None,
    **settings: Unpack[WorkerSettings],
) -> PreparedBatch:
    """Check the arguments and the input of a batch, and start nothing; see `run_batch`."""
    if redo and (resume or retry_failed):
        other = "resume" if resume else "retry_failed"
        raise ValueError(f"redo forgets what {other} would go on with: give only one of them")
    options = BatchOptions(
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        retries=whole(retries, "retries"),
        allowed_failures=whole(allowed_failures, "allowed_failures"),
        retry_on=_reasons(retry_on),
        throttle=throttle,
        budget=None if budget is None else Amount.of(budget, "budget"),
        score=_scorer(score),
        keep_order=keep_order,
        halt=Halt.parse(halt),
        retry_failed=retry_failed,
        accept_changes=accept_changes,
        skip_known=skip_known,
    )
    count = len(os.sched_getaffinity(0)) if workers is None else whole(workers, "workers", least=1)
    selection = Selection(
        None if shard is None else Shard.parse(shard),
        None if limit is None else whole(limit, "limit", least=1),
        seed if shuffle else None,
        allow_empty,
    )
    all_settings: CommonSettings = {
        "client_retries": options.retries == 0,  # or every attempt would be several
        **cast(CommonSettings, settings),
        "memory_limit": memory_limit,
        "rate": rate,
        "throttle": throttle,
        "limit": shared_limit,
    }
    journal_path = None if out is None else Path(os.fspath(out))
    outputs = OutputFiles(journal_path, streams)
    source = open_source(items, form=format, id=id, delimiter=delimiter, outputs=outputs)
    if results is not None:
        factory = with_results(factory, results, items)
    found = scan(source, selection, command_check(factory)) if source.repeatable else None
    total = None if found is None else found.total
    header = {
        "input": source.name,
        "cwd": _here(),
        "fingerprint": None if found is None else found.fingerprint,
        "shard": shard,
        "id": id if isinstance(id, str) else None,
        "total": total,
        "limit": limit,
        "command": command,
        "at": time.time(),
    }
    return PreparedBatch(
        factory, source, selection, found, options, header, journal_path, count, all_settings,
        start_method, preload, seed, resume or retry_failed, redo, backend,
    )  # fmt: skip


def _scorer(given: Scorer | App | None) -> Scorer | App | None:
    if given is not None and not callable(given):
        raise TypeError(f"score must be a function (item, output), not {type(given).__name__}")
    return given


def _here() -> str | None:
    """The folder that relative paths refer to; None: it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _reasons(given: Collection[str]) -> frozenset[str]:
    if isinstance(given, str):
        raise TypeError(f"retry_on must be a list of reasons, not the text {given!r}")
    for word in given:
        if word not in REASONS:
            hint = did_you_mean(str(word), REASONS, listed="known")
            raise ValueError(f"retry_on: {word!r} is not a reason{hint}")
    return frozenset(given)
