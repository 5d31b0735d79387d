"""Merges parts of a batch that were run separately, usually on several machines."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct

from procorch.batch import schema
from procorch.batch.errors import JournalError, JournalMismatch
from procorch.batch.journal import Fact, Journal
from procorch.batch.output_file import refuse, with_companions
from procorch.batch.reader import Reader
from procorch.batch.store import remove

_GROUP = 1000


class Merged(Struct, frozen=True):
    """What the parts came to.

    Args:
        ok: items that have succeeded, ``failed`` those that have not.
        missing: parts that were not given, such as "2/3".
        unfinished: what has no outcome in the parts that were given, each for a person.
        command: goes on with the whole, with ``--resume``; None where it is not known.
    """

    ok: int
    failed: int
    missing: tuple[str, ...]
    unfinished: tuple[str, ...]
    command: str | None

    @property
    def complete(self) -> bool:
        """Whether each item of the input has its outcome."""
        return not (self.missing or self.unfinished)

    def __str__(self) -> str:
        parts = [f"part {', '.join(self.missing)} is missing"] if self.missing else []
        return "; ".join([*parts, *self.unfinished])


def merge(parts: Sequence[Path], out: Path) -> Merged:
    """Write the outcomes of all parts to ``out``, which must not exist.

    Returns:
        What they came to: look at `Merged.complete`. What is not finished can be gone on with.

    Raises:
        JournalMismatch: the parts are not of one batch, or an item is in two of them.
        JournalError: one cannot be read, or ``out`` not be written.
        OutputRefused: ``out`` is one of the parts, or belongs to one.
    """
    refuse(out, [path for part in parts for path in with_companions(part)])
    if os.path.lexists(out):
        raise JournalMismatch(f"{out} is there already")
    if not out.parent.is_dir():
        raise JournalError(f"{out} cannot be written: there is no folder {out.parent}")
    beside = out.with_name(f".{out.name}.{os.urandom(4).hex()}.tmp")
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(path)) for path in parts]
        headers = [reader.header() for reader in readers]
        for path, header in zip(parts, headers, strict=True):
            _is_of_one_batch(parts[0], headers[0], path, header)
        shards = _shards(parts, headers)
        missing = _missing(shards)
        try:
            with schema.explained(out):
                merged = _write(readers, headers, missing, sorted(shards), beside, out)
            _put(beside, out)
        except JournalError as error:
            raise type(error)(str(error).replace(str(beside), str(out))) from error
        finally:
            remove(beside)
    return merged


def _is_of_one_batch(
    first: Path, known: dict[str, Any], path: Path, header: dict[str, Any]
) -> None:
    if not header:
        raise JournalMismatch(f"{path} has no batch in it: nothing was begun")
    for word, what in (
        ("recipe", "factory"), ("fingerprint", "input"), ("id", "name of items"), ("limit", "limit")
    ):  # fmt: skip
        if header.get(word) != known.get(word):
            raise JournalMismatch(
                f"{first} and {path} are not parts of one batch: each has another {what}"
            )


def _shards(parts: Sequence[Path], headers: Sequence[dict[str, Any]]) -> dict[str, Path]:
    """Which parts of how many are there; what was merged before may be several."""
    found: dict[str, Path] = {}
    for path, header in zip(parts, headers, strict=True):
        for shard in header.get("parts") or [header.get("shard")]:
            if shard is None:
                continue
            if shard in found:
                raise JournalMismatch(f"{found[shard]} and {path} are both part {shard}")
            found[shard] = path
    counts = {shard.partition("/")[2] for shard in found}
    if len(counts) > 1:
        raise JournalMismatch(f"these are parts of different partitions: {', '.join(found)}")
    return found


def _missing(shards: dict[str, Path]) -> tuple[str, ...]:
    if not shards:
        return ()
    count = int(next(iter(shards)).partition("/")[2])
    return tuple(f"{n}/{count}" for n in range(1, count + 1) if f"{n}/{count}" not in shards)


def _write(
    readers: Sequence[Reader], headers: Sequence[dict[str, Any]], missing: tuple[str, ...],
    shards: list[str], beside: Path, out: Path,
) -> Merged:  # fmt: skip
    totals = [header.get("total") for header in headers]
    known = [total for total in totals if total is not None]
    total = None
    if len(known) == len(totals) and not missing:
        total = sum(known) if shards else max(known)
    command = _command(headers[0].get("command"), out)
    whole = headers[0] | {
        "shard": None, "total": total, "at": time.time(), "command": command,
        "parts": shards if missing else None,
    }  # fmt: skip
    with Journal(beside) as journal:
        journal.begin(whole, "merged", afresh=False)
        unfinished = []
        taken = 0
        for reader, of in zip(readers, totals, strict=True):
            count = _take_over(reader, journal)
            taken += count
            unfinished += _left(reader, count, of if shards or len(readers) == 1 else None)
        if total is not None and taken < total and not unfinished:
            unfinished = [f"{total - taken} of {total} items have no outcome in any part"]
        merged = Merged(*journal.counts(), missing, tuple(unfinished), command)
        parts = ", ".join(str(reader.path) for reader in readers)
        end = "finished" if merged.complete else "incomplete"
        journal.write([(end, f"merged from {parts}{'' if merged.complete else f'; {merged}'}")])
        return merged


def _take_over(reader: Reader, journal: Journal) -> int:
    """Returns how many outcomes of items of the input there are."""
    facts: list[Fact] = []
    count = 0
    for row in reader.rows():
        if journal.find(row.id) is not None:
            raise JournalMismatch(
                f"item {row.id!r} of {reader.path} has an outcome in another part as well"
            )
        count += 1
        facts += [row, *(reader.attempts(row.id) if row.attempts > 1 or not row.ok else ())]
        if len(facts) >= _GROUP:
            journal.write(facts)
            facts.clear()
    journal.write(facts)
    return count


def _left(reader: Reader, count: int, total: int | None) -> list[str]:
    """What a part has not finished, for a person."""
    state = reader.state()
    if total is not None and count < total:
        lost = f", {len(reader.lost)} of them damaged" if reader.lost else ""
        what = f"{total - count} of {total} items have no outcome{lost}"
        return [f"{reader.path}: {what} ({state})"]
    if reader.lost:
        return [f"{reader.path}: {len(reader.lost)} outcomes are damaged"]
    if total is None and state != "finished":
        return [f"{reader.path}: it is not finished ({state})"]
    return []


def _command(command: str | None, out: Path) -> str | None:
    """The command of a part as that of the whole: without its part, with another journal."""
    if command is None:
        return None
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        name = word.partition("=")[0]
        if word in ("--shard", "-o", "--out"):
            next(words, None)
        elif name not in ("--shard", "--out") and not (word[:2] == "-o" and len(word) > 2):
            kept.append(word)
    return shlex.join([*kept, "-o", str(out)])


def _put(beside: Path, out: Path) -> None:
    """Give it its name, unless somebody else has taken that in between."""
    try:
        os.link(beside, out)
    except FileExistsError:
        raise JournalMismatch(f"{out} is there already") from None
    except OSError:  # a file system without hard links
        os.rename(beside, out)
