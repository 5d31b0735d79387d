"""Where batches are kept, and how they are called."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from procorch.cli.exits import Misconfigured, UnknownName

HOME = Path(".procorch")
"""The folder of batches that were given no place of their own."""


def usual_out(app: str, source: str) -> Path:
    """Where a batch is kept that was given no place; the same for the same words."""
    factory = app.rpartition(":")[2]
    name = "stdin" if source == "-" else Path(source).name.split(".")[0]
    return usual(re.sub(r"[^\w.-]+", "-", f"{factory}-{name}").strip("-"))


def usual(name: str) -> Path:
    """The journal of that name in the usual folder, which is made.

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
    return HOME / f"{name}.db"


def find(run: str) -> Path:
    """The journal of a batch, by its path or by its name in the usual folder.

    Raises:
        UnknownName: there is none; the text has the nearest name.
    """
    for path in (Path(run), HOME / run, HOME / f"{run}.db"):
        if path.is_file():
            return path
    names = [path.stem for path in journals(HOME)]
    near = difflib.get_close_matches(run, names, n=1)
    known = f"; there is: {', '.join(names)}" if names else ""
    raise UnknownName(f"no run {run!r}" + (f"; did you mean {near[0]!r}?" if near else known))


def journals(folder: Path) -> list[Path]:
    """The journals in a folder, by name."""
    return sorted(folder.glob("*.db"))


def failed_file(journal: Path) -> Path:
    """Where the failed items of a batch are put."""
    return journal.with_suffix(".failed.jsonl")
