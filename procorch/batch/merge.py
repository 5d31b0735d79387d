"""Parts of a batch, run apart (on several machines, as a rule), put together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from procorch.batch.errors import JournalBusy, JournalMismatch
from procorch.batch.items import Attempt, Row
from procorch.batch.journal import Journal, Reader
from procorch.batch.memory import remove

_GROUP = 1000


def merge(parts: Sequence[Path], out: Path) -> tuple[int, int]:
    """Write the outcomes of all parts to ``out``, which must not exist.

    Returns:
        How many items have succeeded, and how many have failed.

    Raises:
        JournalMismatch: the parts are not of one batch, or an item is in two of them.
        JournalError: one cannot be read, or ``out`` not be written.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(path)) for path in parts]
        headers = [reader.header() for reader in readers]
        first = headers[0]
        for path, header in zip(parts, headers, strict=True):
            for word in ("recipe", "fingerprint", "id"):
                if header.get(word) != first.get(word):
                    what = {"recipe": "factory", "fingerprint": "input"}.get(word, "name of items")
                    raise JournalMismatch(
                        f"{parts[0]} and {path} are not parts of one batch: each has another {what}"
                    )
        if out.exists():
            raise JournalMismatch(f"{out} is there already")
        whole = first | {"shard": None, "total": None, "at": time.time()}
        try:
            with Journal(out) as journal:
                journal.begin(whole, "merged", afresh=False)
                for reader in readers:
                    _take_over(reader, journal)
                journal.write([("finished", f"merged from {', '.join(map(str, parts))}")])
                return journal.counts()
        except JournalBusy:
            raise  # somebody else makes it
        except BaseException:
            remove(out)  # half a batch is none
            raise


def _take_over(reader: Reader, journal: Journal) -> None:
    facts: list[Row | Attempt | tuple[str, str]] = []
    for row in reader.rows():
        if journal.find(row.id) is not None:
            raise JournalMismatch(
                f"item {row.id!r} of {reader.path} has an outcome in another part as well"
            )
        facts += [row, *(reader.attempts(row.id) if row.attempts > 1 or not row.ok else ())]
        if len(facts) >= _GROUP:
            journal.write(facts)
            facts.clear()
    journal.write(facts)
