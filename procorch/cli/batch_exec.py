"""``procorch batch --exec``: a program in the place of an app."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from procorch.cli import streams

if TYPE_CHECKING:
    from procorch.agents.command import Command

_QUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.""", re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_IN_DOUBLE_QUOTES = {r"\$": "$", r"\`": "`", "\\\n": ""}

_ONLY = ("results", "stdin", "stdout", "errors")

Decorator = Callable[[Any], Any]

OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--exec", "exec_", metavar="COMMAND",
        help="Run a program for each item, in place of APP. {name} is a field of the item, {line} "
        "or {} the item; {{ is a brace. Split as a shell would, no shell is started.",
    ),
    click.option(
        "--results", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="With --exec: keep each item's output in DIR, in ID.out and ID.err.",
    ),
    click.option(
        "--stdin", type=click.Choice(["none", "text", "json"]), default="none", show_default=True,
        help="With --exec: what the program reads on standard input, besides its arguments.",
    ),
    click.option(
        "--stdout", type=click.Choice(["text", "json", "jsonl", "bytes", "none"]), default="text",
        show_default=True, help="With --exec: what its standard output is.",
    ),
    click.option(
        "--errors", type=click.Choice(["strict", "replace", "backslashreplace"]), default="strict",
        show_default=True, help="With --exec: what becomes of output that is not UTF-8.",
    ),
)  # fmt: skip


def with_options(command: Any) -> Any:
    """A verb with the options of programs."""
    for decorate in reversed(OPTIONS):
        command = decorate(command)
    return command


def chosen(given: dict[str, Any]) -> Command[Any] | None:
    """The program of ``--exec``; None: there is an app.

    Raises:
        click.UsageError: an option goes with ``--exec`` alone, or its command line is wrong.
    """
    text = given["exec_"]
    of_app = [name for name in ("app", "source") if _source(name) is ParameterSource.COMMANDLINE]
    if len(of_app) == 2 and _source("exec_") is ParameterSource.ENVIRONMENT:
        _forget("exec_")
        given["exec_"] = text = None
    if text is None:
        for name in _ONLY:
            if _source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} goes with --exec.")
        return None
    return parse(
        text,
        input=None if given["stdin"] == "none" else given["stdin"],
        output=None if given["stdout"] == "none" else given["stdout"],
        errors=given["errors"],
    )


def shell_words(text: str) -> list[str]:
    """The words of a command line, as a POSIX shell without variables splits it.

    Raises:
        ValueError: a quotation is not closed.
    """
    # shlex keeps the backslash before $ and ` in double quotes, and does not join lines.
    return shlex.split(_QUOTED.sub(_without_shell_escapes, text))


def _without_shell_escapes(found: re.Match[str]) -> str:
    part = found[0]
    if part.startswith("'"):
        return part
    if part.startswith('"'):
        return _ESCAPED.sub(lambda escaped: _IN_DOUBLE_QUOTES.get(escaped[0], escaped[0]), part)
    return "" if part == "\\\n" else part


def parse(text: str, **how: Any) -> Command[Any]:
    """The program of a command line; ``how``: see `procorch.command`.

    Raises:
        click.BadParameter: it is wrong.
    """
    from procorch.agents.command import command

    try:
        return command(shell_words(text), **how)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--exec") from None


def arguments(app: str | None, source: str | None, *, program: bool) -> tuple[str, str]:
    """APP and IN as they are meant: with a program the first argument is IN.

    Raises:
        click.UsageError: one is missing, or there is one too many.
    """
    context = click.get_current_context()
    params = {str(each.name): each for each in context.command.params}
    if program:
        written = [
            context.params[name]
            for name in ("app", "source")
            if _source(name) is ParameterSource.COMMANDLINE
        ]
        if len(written) > 1:
            raise click.UsageError(
                f"--exec takes the place of APP: {written[0]!r} is one too many."
            )
        _forget("app")
        if written:
            _forget("source")
        app, source = "", written[0] if written else source
    for name, value in (("app", app), ("source", source)):
        if value is None:
            raise click.MissingParameter(ctx=context, param=params[name])
    return str(app), str(source)


def wants_lines(program: Command[Any] | None, source: str, form: str) -> bool:
    """Whether each line of standard input is an item: the command names no field but the line."""
    if program is None or source != "-" or form != "auto":
        return False
    fields = program.template.fields
    return bool(fields) and set(fields) <= {"line", ""}


def _source(name: str) -> ParameterSource | None:
    return click.get_current_context().get_parameter_source(name)


def _forget(name: str) -> None:
    """Have the command that goes on not repeat a variable that was not used (`verb.again`)."""
    if _source(name) is ParameterSource.ENVIRONMENT:
        click.get_current_context().set_parameter_source(name, ParameterSource.DEFAULT)


def tell(as_json: bool) -> Callable[[str, list[str]], None]:
    """Prints the command line of an item: what a dry run is for."""

    def line(item: str, argv: list[str]) -> None:
        text = json.dumps({"id": item, "argv": argv}) if as_json else shlex.join(argv)
        streams.emit(text)

    return line
