"""Scores of the items of a batch: their means and values, and two runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from procorch.batch.records import ItemRecord, scores_of

_VALUES = 10
"""Values of one score that are told apart; more are put together into so many ranges."""
_KEPT = 10_000
"""Values of one score that are counted exactly; further ones count for the nearest of these."""


@dataclass(frozen=True, slots=True)
class ScoreGroup:
    """Items with the same score, or with one from ``least`` to ``most``; ``example``: one's id."""

    least: float
    most: float
    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.least:g}" if self.least == self.most else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """One score over all items that have it.

    Args:
        name: its name; "score" where the scorer gave none.
        count: how many items have it.
        mean: its mean.
        groups: the items by their score, the lowest first.
    """

    name: str
    count: int
    mean: float
    groups: tuple[ScoreGroup, ...]

    def __str__(self) -> str:
        groups = (f"{group}: {group.count} (as {group.example})" for group in self.groups)
        return f"{self.name}: mean {self.mean:.4g} of {self.count} items; {', '.join(groups)}"


class ScoreTally:
    """Counts scores, in an amount of memory that does not grow with the number of items."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._seen: dict[str, dict[float, tuple[int, str]]] = {}

    def add(self, row: ItemRecord) -> None:
        """Count the scores of an item, if it has some."""
        for name, score in scores_of(row).items():
            self._sums[name] = self._sums.get(name, 0.0) + score
            seen = self._seen.setdefault(name, {})
            if score not in seen and len(seen) >= _KEPT:
                score = min(seen, key=lambda known: abs(known - score))
            count, example = seen.get(score, (0, row.id))
            seen[score] = count + 1, example

    def summaries(self) -> tuple[ScoreSummary, ...]:
        """Each score, in the order of their names."""
        found = []
        for name, seen in sorted(self._seen.items()):
            count = sum(each for each, _ in seen.values())
            groups = tuple(_groups(seen))
            found.append(ScoreSummary(name, count, self._sums[name] / count, groups))
        return tuple(found)


def _groups(seen: Mapping[float, tuple[int, str]]) -> Iterator[ScoreGroup]:
    values = sorted(seen)
    size = -(-len(values) // _VALUES)
    for start in range(0, len(values), size):
        part = values[start : start + size]
        count = sum(seen[value][0] for value in part)
        yield ScoreGroup(part[0], part[-1], count, seen[part[0]][1])


@dataclass(frozen=True, slots=True)
class Change:
    """An item whose outcome differs between two runs.

    Args:
        id: name of the item.
        before, after: its scores in the run it is compared with, and in this one; empty where it
            failed or has no score.
        ok_before, ok_after: whether it succeeded.
        better: whether it is better in this run; None: better in one score and worse in another, or
            another output without a score.
    """

    id: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    ok_before: bool
    ok_after: bool
    better: bool | None


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs, item by item.

    Args:
        both: items that have an outcome in both.
        only_before, only_after: items that have one in only one of them.
        means: of each score over the items that have it in both runs: before, and after.
        changes: the items that differ, in the order of the input of this run.
    """

    both: int
    only_before: int
    only_after: int
    means: Mapping[str, tuple[float, float]]
    changes: tuple[Change, ...]

    @property
    def better(self) -> int:
        """How many items are better in this run."""
        return sum(change.better is True for change in self.changes)

    @property
    def worse(self) -> int:
        """How many are worse."""
        return sum(change.better is False for change in self.changes)


def compare_runs(before: Iterable[ItemRecord], after: Iterable[ItemRecord]) -> RunComparison:
    """Compare the outcomes of two runs of the same items, by their ids.

    A higher score counts as better, and so does an item that succeeds where it had failed.
    """
    old = {row.id: (row.ok, scores_of(row), row.output) for row in before}
    sums: dict[str, list[float]] = {}
    changes: list[Change] = []
    both = only_after = 0
    for row in after:
        known = old.pop(row.id, None)
        if known is None:
            only_after += 1
            continue
        both += 1
        ok, scores, output = known
        new = scores_of(row)
        for name in scores.keys() & new.keys():
            total = sums.setdefault(name, [0, 0.0, 0.0])
            total[0] += 1
            total[1] += scores[name]
            total[2] += new[name]
        if (ok, scores) != (row.ok, new) or (not scores and not new and output != row.output):
            better = _is_better((ok, scores), (row.ok, new))
            changes.append(Change(row.id, scores, new, ok, row.ok, better))
    means = {name: (old / n, new / n) for name, (n, old, new) in sorted(sums.items())}
    return RunComparison(both, len(old), only_after, means, tuple(changes))


def _is_better(
    before: tuple[bool, Mapping[str, float]], after: tuple[bool, Mapping[str, float]]
) -> bool | None:
    if before[0] != after[0]:
        return after[0]
    old, new = before[1], after[1]
    steps = {new[name] > old[name] for name in old.keys() & new.keys() if new[name] != old[name]}
    return steps.pop() if len(steps) == 1 else None
