"""Kinds of values on the command line that click does not know, and what a shell completes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from procorch import units

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


_SHOWN = 100
"""Items that a shell is given to choose from."""


def duration(least: str) -> Callable[[str], float]:
    """A click type for ``30``, ``30s``, ``5m``: seconds, not fewer than ``least``."""
    return _measure("duration", units.seconds, least)


def size(least: str) -> Callable[[str], float]:
    """A click type for ``1048576``, ``512M``, ``2G``: bytes, not fewer than ``least``."""
    return _measure("size", units.size_in_bytes, least)


def rate(text: str) -> float:
    """A click type for ``10/s``, ``600/m``, ``0.5/s``: a number a second."""
    try:
        return units.per_second(text)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("rate: ")) from None


def ahead(text: str) -> int | Literal["auto"]:
    """A click type for ``auto`` and numbers from 1 to 64."""
    if text == "auto":
        return "auto"
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise click.BadParameter(f"{text!r} is neither 'auto' nor a number from 1 to 64.")
    return int(text)


def resources(text: str) -> dict[str, float]:
    """A click type for ``num_cpus=2,num_gpus=0.5``: names and amounts."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, given, amount = part.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            given = ""
        if not given or not name.strip():
            raise click.BadParameter(f"{part!r} is not of the form NAME=AMOUNT, as num_cpus=2 is.")
    return found


def share(text: str) -> float:
    """A click type for ``2%`` and ``0.02``: a part of one."""
    try:
        return units.share(text)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("share: ")) from None


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of files, for a shell to complete."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The batches in the usual folder, and the names of files."""
    from click.shell_completion import CompletionItem

    from procorch.cli.places import HOME, journals

    names = [path.stem for path in journals(HOME) if path.stem.startswith(incomplete)]
    # Files first: the script for bash forgets what came before them.
    return [*files(ctx, param, incomplete), *map(CompletionItem, names)]


def failed_items(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Items of the batch ``run`` that have failed: those are the ones that are looked at."""
    from click.shell_completion import CompletionItem

    from procorch.batch.errors import BatchError
    from procorch.batch.reader import Reader
    from procorch.cli.places import find

    try:
        with Reader(find(ctx.params["run"])) as journal:
            rows = journal.rows(failed_only=True)
            found = (row.id for row in rows if row.id.startswith(incomplete))
            return [CompletionItem(id) for id in itertools.islice(found, _SHOWN)]
    except (BatchError, click.ClickException):
        return []  # a shell that completes shows no errors


def _measure(name: str, read: Callable[[str, str], float], least: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            number = read(text, name)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from None
        if number < read(least, name):
            raise click.BadParameter(f"{text} is too little, it takes {least} or more.")
        return number

    convert.__name__ = name  # what the help calls it
    return convert
