"""``procorch export``: outcomes for other tools."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from procorch.cli import streams
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.params import runs
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.batch.reader import Reader

_NAMES = 10
"""Names of lost items that are told."""


@click.command("export", cls=Verb)
@click.argument("run", envvar="PROCORCH_RUN", shell_complete=runs)
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv", "joblog", "parquet"]), default="jsonl",
    show_default=True,
    help="joblog is that of GNU parallel.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path),
    help="A file in place of stdout (-).",
)  # fmt: skip
@click.option(
    "--failed", is_flag=True,
    help="Only what has failed.",
)  # fmt: skip
@click.option(
    "--all", "everything", is_flag=True,
    help="Also outcomes of items that are no longer in the input.",
)  # fmt: skip
def command(run: str, form: str, out: Path | None, failed: bool, everything: bool) -> int:
    """Print the outcomes of a batch as JSON lines, CSV, Parquet or a joblog.

    RUN is a journal, or its name in .procorch. One row an item, in the order of the input: id, ok,
    output, reason, place, error, attempts, wall, cpu, peak_rss, pid.
    """
    from procorch.batch import export, output_file
    from procorch.batch.errors import BatchError
    from procorch.batch.reader import Reader
    from procorch.batch.report import gone_words
    from procorch.cli.places import find

    if form == "parquet" and out is None:
        raise Misconfigured("Parquet is no text: say where to put it, -o FILE")
    place = output_file.STDOUT if out is None else out
    data = streams.data()
    stdout = 1 if data is None else data.fileno()
    try:
        path = find(run)
        with Reader(path) as journal:
            header = journal.header()
            read = [
                *output_file.with_companions(path),
                Path(header.get("cwd") or "", header.get("input") or path.absolute()),
            ]
            output_file.refuse(place, read, stdout=stdout)
            rows = journal.rows(failed_only=failed, gone=everything)
            folder = header.get("folder")
            with _errors_named(place), output_file.replacing(place, stdout=stdout) as file:
                if form == "parquet":
                    export.write_parquet(rows, file, folder)
                else:
                    for line in export.TEXTS[form](rows, folder):
                        file.write(line.encode())
            if not everything and (gone := journal.gone()):
                streams.note(f"{gone_words(gone)}; --all gives them, too")
            return tell_lost(journal)
    except BatchError as error:
        raise Misconfigured(str(error)) from None


def tell_lost(journal: Reader) -> ExitCode:
    """Say which outcomes could not be read.

    Returns:
        The exit code of what has read the others.
    """
    lost = sorted(journal.lost)
    if not lost and not journal.incomplete:
        return ExitCode.DONE
    more = f" and {len(lost) - _NAMES} more" if len(lost) > _NAMES else ""
    if not lost:
        streams.note(f"{journal.path} is damaged: outcomes may be missing, and none can be named")
    else:
        streams.note(
            f"{journal.path} is damaged: {len(lost)} of {journal.outcomes()} outcomes cannot be "
            f"read: {', '.join(lost[:_NAMES])}{more}"
        )
    again = journal.header().get("command")
    if again:
        streams.note(f"to run them again:\n  {again} --retry-failed")
    return ExitCode.SOME_FAILED


@contextlib.contextmanager
def _errors_named(place: Path) -> Iterator[None]:
    """Say what could not be written; a reader that has had enough is no error of ours."""
    from procorch.batch.output_file import NO_ROOM

    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        what = "standard output" if str(place) == "-" else place
        # A place that is wrong is wrong usage; one without room has failed.
        kind = click.ClickException if error.errno in NO_ROOM else Misconfigured
        raise kind(f"{what} cannot be written: {error.strerror or error}") from None
