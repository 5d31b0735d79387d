"""``procorch scale``: the number of instances of agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from procorch.cli.daemon import link
from procorch.cli.daemon.actions import tell
from procorch.cli.daemon.names import agent_names
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    found = agent_names(ctx, param, incomplete)
    return [CompletionItem(f"{item.value}=") for item in found]


@click.command("scale", cls=Verb)
@click.argument("counts", metavar="NAME=N...", nargs=-1, required=True, shell_complete=_completed)
@link.folder_option
@link.limit_option("Time for new instances to be ready, and for old ones to finish.")
@link.json_option("One JSON object with a row for each agent.")
def command(
    counts: tuple[str, ...], folder: Path | None, timeout: float | None, as_json: bool
) -> int:
    """Change the number of instances of agents.

    NAME=N is an agent and its number of instances, which may be 0. NAME may be a pattern or
    'GROUP:*'. The change lasts until the next reload, also over a restart of the daemon.
    """
    wanted: dict[str, int] = {}
    for each in counts:
        name, equals, number = each.rpartition("=")
        if not equals or not name or not (number.isascii() and number.isdecimal()):
            raise click.UsageError(f"{each!r} is not NAME=N, such as solver=4")
        if name in wanted:
            raise click.UsageError(f"{name!r} is given twice")
        wanted[name] = int(number)
    with link.linked(folder) as daemon:
        return tell(daemon.scale(wanted, timeout=timeout), as_json)
