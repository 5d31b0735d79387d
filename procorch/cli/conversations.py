"""``procorch conversations``: what a store of conversations has, and how one is forgotten."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import streams
from procorch.cli.exits import Misconfigured, UnknownName
from procorch.cli.params import files
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.api.conversations.reader import ConversationInfo, ConversationReader


@click.command("conversations", cls=Verb)
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), shell_complete=files
)
@click.argument("name", required=False)
@click.option("--agent", metavar="NAME", help="Only conversations with this agent.")
@click.option("--forget", is_flag=True, help="Remove the conversation NAME from the file.")
@click.option(
    "--json", "as_json", is_flag=True,
    help="One JSON object a conversation; with NAME one object with its messages.",
)  # fmt: skip
def command(file: Path, name: str | None, agent: str | None, forget: bool, as_json: bool) -> int:
    """List the conversations of a file, print one or forget one.

    FILE is what AgentOrchestrator(conversations=FILE) has written. With NAME it prints the
    messages of that conversation. A program may be writing FILE, but for --forget it must have
    ended.
    """
    from procorch.api.conversations.reader import ConversationReader
    from procorch.errors import ConversationStoreError

    if forget and name is None:
        raise click.UsageError("--forget needs the NAME of a conversation")
    try:
        with ConversationReader(file) as store:
            if name is None:
                _list(store.list(agent), as_json)
                return 0
            found = _one(store, name, agent)
            if not forget:
                _show(store, found, as_json)
                return 0
        _forget(file, found)
    except ConversationStoreError as error:
        raise Misconfigured(str(error)) from None
    streams.note(f"forgotten: conversation {found.name!r} with agent {found.agent!r}")
    return 0


def _one(store: ConversationReader, name: str, agent: str | None) -> ConversationInfo:
    from procorch.errors.texts import did_you_mean

    found = store.list(agent, name)
    if not found:
        names = [each.name for each in store.list(agent)]
        raise UnknownName(f"there is no conversation {name!r}{did_you_mean(name, names)}")
    if len(found) > 1:
        agents = ", ".join(sorted(each.agent for each in found))
        raise click.UsageError(f"several agents have a conversation {name!r}: --agent {agents}")
    return found[0]


def _list(found: list[ConversationInfo], as_json: bool) -> None:
    if as_json:
        for each in found:
            streams.emit(json.dumps(dataclasses.asdict(each)))
        return
    if not found:
        streams.note("no conversations")
        return
    from rich.table import Table

    from procorch.cli import screen

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("agent", "name", "turns", "messages", "bytes", "changed"):
        right = header in ("turns", "messages", "bytes")
        table.add_column(header, justify="right" if right else "left", overflow="fold")
    for each in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.changed))
        numbers = (str(each.turns), str(each.messages), str(each.size))
        table.add_row(each.agent, each.name, *numbers, when)
    screen.stdout().print(table)


def _show(store: ConversationReader, found: ConversationInfo, as_json: bool) -> None:
    from procorch.agents.json_form import plain
    from procorch.api.conversations.messages import opened
    from procorch.errors import SerializationError

    try:
        messages = opened(store.read(found.agent, found.name))
    except SerializationError as error:
        raise Misconfigured(f"conversation {found.name!r}: {error}") from None
    if as_json:
        said = [{"role": _role(each), **plain(each)} for each in messages]
        streams.emit(json.dumps({**dataclasses.asdict(found), "messages": said}))
        return
    for each in messages:
        text = getattr(each, "text", None)
        streams.emit(f"{_role(each)}: {json.dumps(plain(each)) if text is None else text}")


def _role(message: Any) -> str:
    """What a message is called: user, assistant, tool or custom."""
    return type(message).__name__.removesuffix("Message").removesuffix("Result").lower()


def _forget(file: Path, found: ConversationInfo) -> None:
    from procorch.api.conversations.file import ConversationFile

    store = ConversationFile(file)
    try:
        with store.transaction():
            store.forget(found.agent, found.name)
        store.settle()
    finally:
        store.close()
