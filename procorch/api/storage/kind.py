"""What is particular to one kind of file: its mark, its tables, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileKind:
    """One kind of SQLite file.

    Args:
        noun: what one file is, with its article.
        absent: what a user calls one that is not there.
        lock: whose lock it has, for a text such as "the lock of a batch".
        other: what a user is to name in place of a file that cannot be used.
        application_id: SQLite's mark for it.
        migrations: each is SQL that changes a file from one version to the next.
        error: makes the error of a file that cannot be used; ``busy``: of one that another process
            writes; ``fenced``: of one that another process has taken over; ``mismatch``: of one of
            another kind or a newer version; ``damaged``: of one that is not what was written.
        mending: what to do about a damaged file, the end of its error.
    """

    noun: str
    absent: str
    lock: str
    other: str
    application_id: int
    migrations: tuple[str, ...]
    error: Callable[[str], Exception]
    busy: Callable[[str], Exception]
    fenced: Callable[[str], Exception]
    mismatch: Callable[[str], Exception]
    damaged: Callable[[str], Exception]
    mending: str
