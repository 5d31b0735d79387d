"""Where batches are kept, and how they are called."""

from __future__ import annotations

import re
from pathlib import Path

from procorch.cli.exits import Misconfigured, UnknownName
from procorch.errors.texts import did_you_mean

HOME = Path(".procorch")
"""The folder of batches that were given no place of their own."""
_SUFFIX = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|txt|parquet)(\.gz)?$", re.IGNORECASE)
"""Only what says the format: data.2026-11-27.csv and data.2026-11-28.csv are two batches."""


def usual_out(app: str, source: str) -> Path:
    """Where a batch is kept that was given no place; the same for the same words."""
    factory = app.rpartition(":")[2]
    name = "stdin" if source == "-" else _SUFFIX.sub("", Path(source).name)
    name_of_run = _clean(f"{factory}-{name}")
    path = HOME / f"{name_of_run}.db"
    before = HOME / (_clean(f"{factory}-{name.split('.')[0]}") + ".db")
    return before if not path.exists() and _is_of(before, source) else path


def _clean(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def _is_of(journal: Path, source: str) -> bool:
    """Whether this is the batch of an input; 0.1 left out all of a name behind its first dot."""
    if not journal.is_file():
        return False
    from procorch.batch.errors import JournalError
    from procorch.batch.reader import Reader

    try:
        with Reader(journal) as reader:
            return reader.header().get("input") == source
    except JournalError:
        return False


def make_home() -> None:
    """Make the usual folder.

    Raises:
        Misconfigured: it cannot be made.
    """
    try:
        HOME.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"the folder {HOME} for journals cannot be made here: {error.strerror}; say where to "
            "keep it, -o FILE"
        ) from None


def find(run: str) -> Path:
    """The journal of a batch, by its path or by its name in the usual folder.

    Raises:
        UnknownName: there is none; the text has the nearest name.
    """
    for path in (Path(run), HOME / run, HOME / f"{run}.db"):
        if path.is_file():
            return path
    names = [path.stem for path in journals(HOME)]
    raise UnknownName(f"no run {run!r}{did_you_mean(run, names, listed='there is')}")


def journals(folder: Path) -> list[Path]:
    """The journals in a folder, by name."""
    return sorted(folder.glob("*.db"))
