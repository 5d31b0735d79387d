"""The table of `status`: aligned text for files and pipes, colours and what fits on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from procorch.cli.daemon.status_rows import COLUMNS, RIGHT, Row, heading, rows

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_GAP = 2
"""Columns of a terminal between two of the table."""
_DISPENSABLE = (
    "RELEASE", "CURRENT", "LAST-EXIT", "UPTIME", "QUEUE", "RESTARTS", "CPU", "MEMORY", "PID",
)  # fmt: skip
"""What a narrow terminal does without, the first first."""
_STATE = 24
"""The least room for the state, whose longer text is folded."""
_COLOURS = {
    "READY": "green", "BUSY": "cyan", "RUNNING": "green", "COMPLETED": "green",
    "STARTING": "yellow", "BACKOFF": "yellow", "WAITING": "yellow", "PAUSED": "yellow",
    "DRAINING": "yellow", "STOPPING": "yellow", "HUNG": "red", "FAILED": "red",
    "CANCELLED": "red", "STOPPED": "dim", "EMPTY": "dim",
}  # fmt: skip


def plain(status: dict[str, Any]) -> list[str]:
    """The lines of a status, aligned, nothing left out."""
    table = [COLUMNS, *(row.cells for row in rows(status["agents"]))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        padded = (
            cell.rjust(width) if column in RIGHT else cell.ljust(width)
            for cell, width, column in zip(cells, widths, COLUMNS, strict=True)
        )
        lines.append((" " * _GAP).join(padded).rstrip())
    return [heading(status["daemon"]), "", *lines, *notes(status)]


def notes(status: dict[str, Any]) -> list[str]:
    """What the marks in the table mean."""
    lines = [
        f"* {agent['name']}: {'; '.join(agent['drift'])}"
        for agent in status["agents"]
        if agent["drift"]
    ]
    return ["", *lines] if lines else []


def coloured(status: dict[str, Any], width: int) -> RenderableType:
    """The same for a terminal of ``width`` columns."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        Text(heading(status["daemon"]), style="bold"),
        "",
        table(rows(status["agents"]), width),
        *(Text(line, style="yellow") for line in notes(status)),
    )


def table(
    shown: Sequence[Row],
    width: int,
    *,
    selected: int | None = None,
    sorted_by: str | None = None,
    folds: bool = True,
) -> Table:
    """The table for a terminal.

    Args:
        width: columns of the terminal; columns of the table that find no room are left out.
        selected: number of the row that is marked.
        sorted_by: the column that is marked.
        folds: a long state takes several lines; else its end is left out.
    """
    from rich.table import Table
    from rich.text import Text

    columns = _fitting(shown, width)
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name in columns:
        made.add_column(
            Text(name, style="underline" if name == sorted_by else ""),
            justify="right" if name in RIGHT else "left",
            width=columns[name],
            no_wrap=not folds or name not in ("STATE", "NAME"),
            overflow="fold" if folds else "ellipsis",
        )
    for number, row in enumerate(shown):
        cells = dict(zip(COLUMNS, row.cells, strict=True))
        colour = _COLOURS.get(row.state, "")
        made.add_row(
            *(Text(cells[name], style=colour if name == "STATE" else "") for name in columns),
            style="reverse" if number == selected else "",
        )
    return made


def _fitting(shown: Sequence[Row], width: int) -> dict[str, int]:
    """The columns for which there is room, each with its width; the state takes what is left."""
    widths = {
        name: max([len(name), *(len(row.cells[number]) for row in shown)])
        for number, name in enumerate(COLUMNS)
    }
    needed = widths["STATE"]
    widths["STATE"] = min(needed, _STATE)
    for name in _DISPENSABLE:
        if _total(widths) <= width:
            break
        del widths[name]
    widths["STATE"] = min(needed, widths["STATE"] + max(0, width - _total(widths)))
    return widths


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
