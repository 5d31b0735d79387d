"""Batches of programs: what is checked before any of them is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeAlias

from procorch.agents.command import Command, find_program
from procorch.batch.errors import BatchError, BatchInputError
from procorch.batch.records import SourceItem
from procorch.errors import CommandFailed, UnknownField

OnCommand: TypeAlias = Callable[[str, list[str]], object]
"""Called with the name of an item and its command line."""


def command_check(
    factory: Callable[[], Any], on_command: OnCommand | None = None
) -> Callable[[SourceItem], None] | None:
    """Refuses items that do not fit a command line; None: the factory is no program.

    Args:
        on_command: called for those that do.
    """
    if not isinstance(factory, Command):
        return None

    def check(item: SourceItem) -> None:
        try:
            argv = factory.check(item.value)
        except UnknownField as error:
            raise BatchInputError(f"{item.where}: {error}") from None
        except CommandFailed as error:
            raise BatchInputError(f"{item.where}: {error.what}") from None
        if on_command is not None:
            on_command(item.id, argv)

    return check


def find_program_of(factory: Callable[[], Any]) -> None:
    """Refuse a program that is not installed.

    Raises:
        BatchError: the text says what is missing.
    """
    if isinstance(factory, Command):
        try:
            find_program(factory.template.program)
        except FileNotFoundError as error:
            raise BatchError(str(error)) from None


def with_results(
    factory: Callable[[], Any], folder: str | os.PathLike[str], items: object
) -> Command[Any]:
    """The factory, whose programs leave their output in a folder.

    Raises:
        ValueError: it is no program.
        BatchInputError: the files would be items of the input.
    """
    if not isinstance(factory, Command):
        raise ValueError("results= (--results) is for programs: command(), --exec")
    path = os.path.realpath(folder)
    if isinstance(items, str | os.PathLike) and os.path.isdir(items):
        read = os.path.realpath(items)
        if os.path.commonpath([path, read]) == read:
            raise BatchInputError(f"{path} is in the input {items}: results would be items")
    return factory.with_results(path)


def make_results_folder(factory: Callable[[], Any]) -> None:
    """Make the folder that programs leave their output in.

    Raises:
        BatchError: it cannot be made, or files cannot be made in it.
    """
    folder = factory.results if isinstance(factory, Command) else None
    if folder is None:
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise BatchError(f"the folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BatchError(f"the folder {folder} cannot be written: Permission denied")
