"""``procorch merge``: parts of a batch put together."""

from __future__ import annotations

import json
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.params import files
from procorch.cli.verb import Verb


@click.command("merge", cls=Verb)
@click.argument("runs", nargs=-1, required=True, envvar="PROCORCH_RUNS", shell_complete=files)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True,
    help="The journal of the whole; must not exist.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="One JSON object.",
)  # fmt: skip
def command(runs: tuple[str, ...], out: Path, as_json: bool) -> int:
    """Put the journals of several parts of a batch together.

    The parts are runs of one input and one factory with --shard 1/N to N/N, on one machine or on
    several. No item may be in two of them. The exit code is 1 when a part is missing or has not
    ended. A batch can go on with the whole all the same.
    """
    from procorch.batch.errors import BatchError
    from procorch.batch.merge import merge
    from procorch.cli.places import find

    parts = [find(run) for run in runs]
    try:
        merged = merge(parts, out)
    except BatchError as error:
        raise Misconfigured(str(error)) from None
    code = ExitCode.DONE if merged.complete else ExitCode.SOME_FAILED
    if as_json:
        known = {
            "run": str(out), "ok": merged.ok, "failed": merged.failed, "parts": len(parts),
            "complete": merged.complete, "missing": merged.missing,
            "unfinished": merged.unfinished,
        }  # fmt: skip
        streams.emit(json.dumps(known))
    else:
        given = f"{len(parts)} part{'' if len(parts) == 1 else 's'}"
        streams.emit(f"{merged.ok} ok, {merged.failed} failed items of {given} in {out}")
    if not merged.complete:
        streams.note(f"the batch is not complete: {merged}")
        if merged.command is not None:
            streams.note(f"to go on with it:\n  {merged.command} --resume")
    return code
