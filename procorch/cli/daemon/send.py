"""``procorch send``: a request to an agent, and its answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.types import StringParamType

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import name_argument
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.params import duration
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.client.client import DaemonClient
    from procorch.errors import AgentError

_OUTPUT = "\0"
"""The value of ``--json`` without one: then it is about the output, as with other verbs."""


class _Json(StringParamType):
    """The value of ``--json``: a document, or nothing."""

    name = "json"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """A document has blanks in it."""
        return [rv]


@click.command("send", cls=Verb)
@name_argument
@click.argument("text", metavar="[TEXT|@FILE]", required=False)
@click.option("--json", "documents", type=_Json(), multiple=True, is_flag=False,
              flag_value=_OUTPUT, metavar="[J]",
              help="With a value: send this JSON document, or @FILE with one. Without: print one "
              "JSON object.")  # fmt: skip
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="What is printed: the text of the answer, or one JSON object.")  # fmt: skip
@click.option("--wait/--no-wait", default=True, help="Wait for the answer; so far it always does.")
@click.option("--stream", is_flag=True, help="Print the answer while it comes.")
@click.option("--timeout", type=duration(least="10ms"), 
              help="Time for the answer; else the agent's own.")  # fmt: skip
@link.folder_option
def command(
    name: str,
    text: str | None,
    documents: tuple[str, ...],
    output: str,
    wait: bool,
    stream: bool,
    timeout: float | None,
    folder: Path | None,
) -> int:
    """Send a request to an agent and print its answer.

    TEXT goes out as the message of a user. @FILE sends the text of a file, @- that of standard
    input. Write @@ for a text that begins with @. --json '{"path": "a.py"}' sends a document as it
    is, --json @FILE that of a file.

    --json without a value, at the end or before another option, prints one JSON object with the
    answer, as --output json does.

    The exit code is 1 when the request has failed; its error is on standard error. Ctrl-C cancels
    the request.
    """
    if not wait:
        raise click.UsageError(
            "--no-wait is not there yet: it needs requests that are kept on disk (inbox = "
            '"durable"), which a later version has; leave it out, and the answer is waited for'
        )
    as_json = output == "json" or _OUTPUT in documents
    if stream and as_json:
        raise click.UsageError("--stream prints the text of the answer: leave out JSON as output")
    message = _message(text, [each for each in documents if each != _OUTPUT])
    with link.linked(folder) as daemon:
        if stream:
            return _stream(daemon, name, message, timeout)
        return _send(daemon, name, message, timeout, as_json)


def _message(text: str | None, documents: list[str]) -> Any:
    """What is to be sent.

    Raises:
        UsageError: it is missing, or given twice.
        Misconfigured: a file cannot be read, or holds no JSON.
    """
    if len(documents) + (text is not None) != 1:
        hint = ""
        if len(documents) == 1 and not documents[0].startswith(("{", "[", '"', "@")):
            hint = (
                f"; {documents[0]!r} was taken as the value of --json, which may stand at the end"
            )
        given = "two are given" if text is not None or documents else "none is given"
        raise click.UsageError(f"one message is needed, {given}: TEXT, @FILE or --json J{hint}")
    if text is None:
        return _document(documents[0])
    if text.startswith("@@"):
        return text[1:]
    return _content(text[1:]) if text.startswith("@") else text


def _document(given: str) -> Any:
    source = given if given.startswith("@") else "--json"
    try:
        return json.loads(_content(given[1:]) if given.startswith("@") else given)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{source} is not JSON: {error}") from None


def _content(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read()
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{file} is not text in UTF-8") from None


def _send(
    daemon: DaemonClient, name: str, message: Any, timeout: float | None, as_json: bool
) -> int:
    from procorch.daemon.client.remote import failure_of
    from procorch.errors.plain_data import to_json

    answer = daemon.send(name, message, timeout=timeout)
    failed = answer["state"] != "done"
    if as_json:
        error = to_json(failure_of(answer)) if failed else None
        form.emit_json({**answer, "error": error})
    elif not failed:
        text = text_of(answer)
        streams.emit(text, nl=not text.endswith("\n"))
    if failed:
        _tell(failure_of(answer))
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def _stream(daemon: DaemonClient, name: str, message: Any, timeout: float | None) -> int:
    from procorch.errors import AgentError

    last = "\n"
    try:
        with daemon.handle(name).stream(message, timeout=timeout) as pieces:
            for last in pieces:
                streams.emit(last, nl=False)
    except AgentError as error:
        _end_line(last)
        _tell(error)
        return ExitCode.SOME_FAILED
    _end_line(last)
    return ExitCode.DONE


def _end_line(last: str) -> None:
    if not last.endswith("\n"):
        streams.emit("")


def _tell(error: AgentError) -> None:
    from procorch.batch.reasons import place_of
    from procorch.errors import PluginError

    text = (error.source if isinstance(error, PluginError) else "") or str(error)
    streams.note(f"Error: {type(error).__name__}: {form.visible(text)}")
    place = place_of(error)
    if place not in ("", type(error).__name__) and place not in text:
        streams.note(f"  {form.line_of(place)}")


def text_of(answer: dict[str, Any]) -> str:
    """What is printed of an answer: its text, or its output as JSON where it is not text."""
    output = answer["output"]
    if answer["text"] or output is None or isinstance(output, str):
        return str(answer["text"])
    return json.dumps(output, ensure_ascii=False)
