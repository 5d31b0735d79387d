"""The result of a batch: counts, groups of failures, and failed items as new input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from procorch.batch.reader import FailureGroup
from procorch.batch.records import ItemRecord, usage_of
from procorch.batch.scores import ScoreSummary, ScoreTally
from procorch.messages import Cost, Usage
from procorch.supervision.budgets import ModelUse

EndState: TypeAlias = Literal["running", "finished", "interrupted", "halted", "broken"]

_GROUPS = 200
"""Groups of failures at most; further kinds of failures are counted in one more group."""


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The counts of a batch at one moment.

    Args:
        total: items in the input; None where that is not known.
        ok: items that have succeeded, earlier runs included.
        failed: items that have failed, earlier runs included.
        resumed: how many of these items are of earlier runs.
        retried: attempts beyond the first of an item, in this run.
        seconds: since this run began.
        ended: "running", "finished", "interrupted" (can be resumed), "halted" by the halt policy,
            "broken" by an error.
        failures: the failures by reason and place, the most frequent first.
        gone: outcomes of items that are no longer in the input; they are in none of these counts.
        usage: tokens of models that were used for these items, earlier runs included.
        cost: the same in US dollars; 0 where nobody knows the price.
        scores: the mean of each score, and the items by their score, earlier runs included.
        models: what this run has used of each model, by its name, failed attempts included.

    Example:
        >>> run = run_batch(lambda: len, ["one", "three"], out=None, workers=1)
        >>> summary = run.summary()
        >>> summary.total, summary.ok, summary.failed
        (2, 2, 0)
        >>> run.close()
    """

    total: int | None
    ok: int
    failed: int
    resumed: int
    retried: int
    seconds: float
    ended: EndState
    failures: tuple[FailureGroup, ...]
    gone: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)
    scores: tuple[ScoreSummary, ...] = ()
    models: Mapping[str, ModelUse] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Items that have their outcome."""
        return self.ok + self.failed

    @property
    def rate(self) -> float:
        """Items per second in this run."""
        return (self.done - self.resumed) / self.seconds if self.seconds else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds that the remaining items take at this rate; None: unknown."""
        rate = self.rate
        if self.total is None or not rate:
            return None
        return max(0, self.total - self.done) / rate

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        lines = [f"{self.ok} ok, {self.failed} failed{of} items in {self.seconds:.1f} s"]
        if self.gone:
            lines.append(gone_words(self.gone))
        if self.usage.total:
            lines.append(used_words(self.usage, self.cost))
        lines += model_words(self.models)
        lines += map(str, self.scores)
        lines += [f"  {g.count} x {g.reason}: {g.place} (as {g.example})" for g in self.failures]
        return "\n".join(lines)


def used_words(usage: Usage, cost: Cost) -> str:
    """What is said of the tokens of a batch."""
    read = usage.input + usage.cache_read + usage.cache_write
    price = f", {cost.total:.4f} $" if cost.total else ""
    return f"{read} tokens in, {usage.output} out{price}"


def model_words(models: Mapping[str, ModelUse]) -> list[str]:
    """What is said of the models of a run, a line each; nothing if there is only one."""
    if len(models) < 2:
        return []
    return [
        f"  {name or 'other'}: {use.calls} calls, {used_words(use.usage, use.cost)}"
        for name, use in sorted(models.items())
    ]


def gone_words(count: int) -> str:
    """A sentence about outcomes of items that are no longer in the input."""
    what = "outcome is of an item that is" if count == 1 else "outcomes are of items that are"
    return f"{count} more {what} no longer in the input"


class Tally:
    """Counts outcomes, in an amount of memory that does not grow with the number of items."""

    def __init__(self) -> None:
        self.fresh_ok: int = 0
        self.fresh_failed: int = 0
        self.known_ok: int = 0
        self.known_failed: int = 0
        self.retried = 0
        self.usage: Usage = Usage()
        self.cost: Cost = Cost()
        self.scores: ScoreTally = ScoreTally()
        self._groups: dict[tuple[str, str], list[int | str]] = {}

    @property
    def ok(self) -> int:
        """Items that have succeeded, earlier runs included."""
        return self.fresh_ok + self.known_ok

    @property
    def failed(self) -> int:
        """Items that have failed, earlier runs included."""
        return self.fresh_failed + self.known_failed

    @property
    def resumed(self) -> int:
        """Items of earlier runs."""
        return self.known_ok + self.known_failed

    def add(self, row: ItemRecord, *, fresh: bool) -> None:
        """Count an item that has its outcome; ``fresh``: from this run."""
        if row.used is not None:
            self.scores.add(row)
            usage, cost = usage_of(row)
            self.usage += usage
            self.cost += cost
        if row.ok:
            self.fresh_ok += fresh
            self.known_ok += not fresh
            return
        self.fresh_failed += fresh
        self.known_failed += not fresh
        reason = row.reason or "error"
        key = (reason, row.place or "")
        if key not in self._groups and len(self._groups) >= _GROUPS:
            key = (reason, "of other kinds")
        entry = self._groups.setdefault(key, [0, row.id])
        entry[0] = int(entry[0]) + 1

    def groups(self) -> tuple[FailureGroup, ...]:
        """The failures by reason and place, the most frequent first."""
        found = [
            FailureGroup(reason, place, int(count), str(example))
            for (reason, place), (count, example) in self._groups.items()
        ]
        return tuple(sorted(found, key=lambda g: (-g.count, g.reason, g.place)))


def failed_lines(rows: Iterable[ItemRecord], batch: float) -> Iterator[str]:
    """Failed items as lines of JSON that are valid input again, with their ids.

    Args:
        batch: when the batch was begun; it identifies the lines that this batch has written.

    An item whose input is not plain JSON is left out: ``--resume --retry-failed`` runs it again.
    """
    for row in rows:
        if row.input is not None:
            head = {"procorch": 1, "id": row.id, "reason": row.reason, "place": row.place}
            head["batch"] = batch
            yield f'{msgspec.json.encode(head).decode()[:-1]},"input":{row.input}}}\n'
