"""Names of agents on a command line: the arguments, and what a shell completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from procorch.cli.daemon.link import Decorator, linked

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_PATIENCE = 0.5
"""Seconds that a person who has pressed Tab is kept waiting by a daemon that does not answer."""


def agent_names(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The agents and groups of the daemon; none where there is no daemon, or it does not answer."""
    from click.shell_completion import CompletionItem

    try:
        with linked(ctx.params.get("folder"), _PATIENCE) as daemon:
            groups = daemon.names()
    except click.ClickException:
        return []  # a shell that completes shows no errors
    found = [*groups, *sorted({f"{group}:*" for group in groups.values() if group})]
    given = set(ctx.params.get(str(param.name)) or ()) if param.nargs == -1 else set()
    return [
        CompletionItem(name) for name in found if name.startswith(incomplete) and name not in given
    ]


def names_argument(*, required: bool) -> Decorator:
    """The argument ``NAME...``: names, globs and ``GROUP:GLOB``."""
    return click.argument(
        "names", metavar="NAME..." if required else "[NAME]...", nargs=-1, required=required,
        shell_complete=agent_names,
    )  # fmt: skip


name_argument: Decorator = click.argument("name", metavar="NAME", shell_complete=agent_names)
"""The argument ``NAME``: one agent."""
