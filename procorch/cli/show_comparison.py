"""``procorch show RUN --against RUN``: two runs, item by item."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from procorch.batch.scores import Change, compare_runs
from procorch.cli import screen, streams
from procorch.cli.exits import ExitCode

if TYPE_CHECKING:
    from procorch.batch.reader import Reader

_SHOWN = 20
"""Items that are shown, the worse ones first."""


def tell(before: Reader, after: Reader, as_json: bool) -> int:
    """Print what differs between two runs, the earlier one first."""
    found = compare_runs(before.rows(), after.rows())
    if as_json:
        known = dataclasses.asdict(found) | {"better": found.better, "worse": found.worse}
        streams.emit(json.dumps(known))
        return ExitCode.DONE
    console = screen.stdout()
    for name, (old, new) in found.means.items():
        console.print(f"{name}: mean {old:.4g} before, {new:.4g} now ({new - old:+.4g})")
    other = len(found.changes) - found.better - found.worse
    console.print(
        f"{found.both} items in both runs: {found.better} better, {found.worse} worse, "
        f"{other} different in another way, {found.both - len(found.changes)} the same"
    )
    if found.only_before or found.only_after:
        console.print(
            f"{found.only_before} items only in {before.path}, {found.only_after} only in "
            f"{after.path}",
            soft_wrap=True,
        )
    if found.changes:
        console.print(_table(sorted(found.changes, key=_worst_first)[:_SHOWN]))
    if len(found.changes) > _SHOWN:
        console.print(f"and {len(found.changes) - _SHOWN} more; --json has all")
    return ExitCode.DONE


def _worst_first(change: Change) -> int:
    return {False: 0, None: 1, True: 2}[change.better]


def _table(changes: list[Change]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("item", "before", "now", ""):
        table.add_column(header)
    for change in changes:
        told = {True: Text("better", "green"), False: Text("worse", "red"), None: Text("")}
        table.add_row(
            Text(change.id),
            _outcome(change.ok_before, change.before),
            _outcome(change.ok_after, change.after),
            told[change.better],
        )
    return table


def _outcome(ok: bool, scores: Mapping[str, float]) -> str:
    if not ok:
        return "failed"
    if len(scores) == 1:
        return f"{next(iter(scores.values())):g}"
    return ", ".join(f"{name} {score:g}" for name, score in scores.items()) or "ok"
