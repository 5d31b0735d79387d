"""``procorch export``: outcomes for other tools."""

from __future__ import annotations

import os
from pathlib import Path

import click

from procorch.cli import streams
from procorch.cli.exits import Misconfigured
from procorch.cli.params import runs
from procorch.cli.verb import Verb


@click.command("export", cls=Verb)
@click.argument("run", envvar="PROCORCH_RUN", shell_complete=runs)
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv", "joblog", "parquet"]), default="jsonl",
    show_default=True, envvar="PROCORCH_FORMAT", show_envvar=True,
    help="joblog is that of GNU parallel.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), envvar="PROCORCH_OUT", show_envvar=True,
    help="A file in place of stdout.",
)  # fmt: skip
@click.option(
    "--failed", is_flag=True, envvar="PROCORCH_FAILED", show_envvar=True,
    help="Only what has failed.",
)  # fmt: skip
def command(run: str, form: str, out: Path | None, failed: bool) -> int:
    """Print the outcomes of a batch as JSON lines, CSV, Parquet or a joblog.

    RUN is a journal, or its name in .procorch. One row an item, in the order of the input: id, ok,
    output, reason, place, error, attempts, wall, cpu, peak_rss, pid.
    """
    from procorch.batch import export
    from procorch.batch.errors import BatchError
    from procorch.batch.journal import Reader
    from procorch.cli.places import find

    if form == "parquet" and out is None:
        raise Misconfigured("Parquet is no text: say where to put it, -o FILE")
    try:
        with Reader(find(run)) as journal:
            rows, folder = journal.rows(failed_only=failed), journal.header().get("folder")
            if form == "parquet":
                assert out is not None
                export.write_parquet(rows, out, folder)
            elif out is None:
                for line in export.TEXTS[form](rows, folder):
                    streams.emit(line, nl=False)
            else:
                with out.open("w", encoding="utf-8", newline="") as file:
                    file.writelines(export.TEXTS[form](rows, folder))
    except BatchError as error:
        raise Misconfigured(str(error)) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Misconfigured(f"{out} cannot be written: {why}") from None
    return 0
