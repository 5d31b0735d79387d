"""``procorch merge``: parts of a batch put together."""

from __future__ import annotations

import json
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.exits import Misconfigured
from procorch.cli.params import files
from procorch.cli.verb import Verb


@click.command("merge", cls=Verb)
@click.argument("runs", nargs=-1, required=True, envvar="PROCORCH_RUNS", shell_complete=files)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, envvar="PROCORCH_OUT",
    show_envvar=True, help="The journal of the whole; must not exist.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, envvar="PROCORCH_JSON", show_envvar=True,
    help="One JSON object.",
)  # fmt: skip
def command(runs: tuple[str, ...], out: Path, as_json: bool) -> int:
    """Put the journals of several parts of a batch together.

    The parts are runs of one input and one factory with --shard 1/N to N/N, on one machine or on
    several. No item may be in two of them.
    """
    from procorch.batch.errors import BatchError
    from procorch.batch.merge import merge
    from procorch.cli.places import find

    parts = [find(run) for run in runs]
    try:
        ok, failed = merge(parts, out)
    except BatchError as error:
        raise Misconfigured(str(error)) from None
    if as_json:
        streams.emit(json.dumps({"run": str(out), "ok": ok, "failed": failed, "parts": len(parts)}))
        return 0
    streams.emit(f"{ok} ok, {failed} failed items of {len(parts)} parts in {out}")
    return 0
