"""Kinds of values on the command line that click does not know."""

from __future__ import annotations

from collections.abc import Callable

import click

from procorch import units


def duration(least: str) -> Callable[[str], float]:
    """A click type for ``30``, ``30s``, ``5m``: seconds, not fewer than ``least``."""
    return _measure("duration", units.seconds, least)


def size(least: str) -> Callable[[str], float]:
    """A click type for ``1048576``, ``512M``, ``2G``: bytes, not fewer than ``least``."""
    return _measure("size", units.size_in_bytes, least)


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
