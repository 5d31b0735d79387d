"""The command ``python -m benchmarks``."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from benchmarks import machine, page, plot, progress, registry, running, screen
from benchmarks.figures import Outcome, Report, from_json, to_json
from benchmarks.rows import OURS, Row, Scale
from procorch.cli.exits import ExitCode
from procorch.cli.screen import stderr, stdout
from procorch.errors.texts import did_you_mean


def row_names(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """The rows that were asked for, all of them if none was, in the order of the registry.

    Raises:
        click.BadParameter: there is no such row; the text has the nearest.
    """
    known = {name.lower(): name for name in registry.IDS}
    for name in given:
        if name.lower() not in known:
            hint = did_you_mean(name.upper(), registry.IDS, listed="rows")
            raise click.BadParameter(f"there is no row {name!r}{hint}", ctx, param)
    wanted = {name.lower() for name in given}
    return [name for name in registry.IDS if not wanted or name.lower() in wanted]


class OutputFile(click.Path):
    """A file that will be written when the run is over: that it can be is looked at before."""

    def __init__(self, *, allow_dash: bool = True) -> None:
        super().__init__(dir_okay=False, writable=True, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: it cannot be written.
        """
        path = super().convert(value, param, ctx)
        directory = Path(value).absolute().parent
        if value != "-" and not os.access(directory, os.W_OK):
            self.fail(f"{str(directory)!r} is no directory that can be written to.", param, ctx)
        return path


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("rows", nargs=-1, metavar="[ROW]...", callback=row_names)
@click.option("--list", "only_list", is_flag=True, help="Say which rows there are.")
@click.option("--quick", is_flag=True, help="Fewer rounds and less work: some minutes.")
@click.option(
    "--smoke", is_flag=True, help="Only see that the code runs; the figures mean nothing."
)
@click.option(
    "--json", "json_path", type=OutputFile(), metavar="FILE", help="Write all figures; - is stdout."
)
@click.option("--markdown", type=OutputFile(), metavar="FILE", help="Write a page; - is stdout.")
@click.option(
    "--plot",
    "picture",
    type=OutputFile(allow_dash=False),
    metavar="FILE",
    help="Draw a picture: .svg, .png, .pdf.",
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measure nothing; take the figures that --json wrote. Of several files the rows are put "
    "together, those of later files in place of the same of earlier ones.",
)
@click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True,
              metavar="SECONDS", help="Time for one round of one contender.")  # fmt: skip
def command(
    rows: list[str],
    only_list: bool,
    quick: bool,
    smoke: bool,
    json_path: str | None,
    markdown: str | None,
    picture: str | None,
    sources: tuple[Path, ...],
    timeout: float,
) -> int:
    """Measure procorch beside what else does such work.

    ROWs are P1, P1b and so on; without one all are run. Peers that are not installed are left out
    (pip install -e '.[bench]'). Progress goes to stderr, the tables to stdout unless a file is -.

    The exit code is 0 whether targets are met or not, 1 when procorch itself could not be measured,
    2 for a mistake in the command line and 130 after Ctrl-C; what was measured by then is written.
    """
    if quick and smoke:
        raise click.UsageError("--quick and --smoke: only one of them")
    if sources and (quick or smoke):
        raise click.UsageError("--from measures nothing, so there is nothing to be made quick")
    if json_path == markdown == "-":
        raise click.UsageError("--json and --markdown cannot both go to stdout")
    if only_list:
        print_list(stdout(), rows)
        return ExitCode.DONE
    if picture is not None:
        try:
            plot.check(picture)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    console = stderr() if "-" in (json_path, markdown) else stdout()
    interrupted = False
    if not sources:
        scale = "quick" if quick else "smoke" if smoke else "full"
        report, interrupted = measure(rows, scale, timeout, console)
    else:
        report = together([read(source, rows) for source in sources])
        for outcome in report.rows:
            screen.print_row(console, outcome)
    screen.print_goals(console, report.rows)
    screen.print_circumstances(console, report)
    if json_path is not None:
        write(json_path, to_json(report))
    if markdown is not None:
        write(markdown, page.markdown(report).encode())
    if picture is not None and report.rows:
        plot.draw(report, picture)
    if interrupted:
        click.echo(f"interrupted after {len(report.rows)} of {len(rows)} rows", err=True)
        return ExitCode.INTERRUPTED
    failed = any(
        OURS in outcome.left_out and OURS not in running.absent(registry.row(outcome.id))
        for outcome in report.rows
    )
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def measure(
    chosen: Sequence[str], name: str, patience: float, console: Console
) -> tuple[Report, bool]:
    """Run rows one after the other.

    Args:
        name: of the scale.
        patience: seconds for a round of a contender.

    Returns:
        What was measured, and whether that ended by Ctrl-C.
    """
    began = time.monotonic()
    where = machine.look()
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        for number, each in enumerate(chosen, 1):
            row = registry.row(each)
            size = scale_of(row, name)
            title = f"{row.id} ({number} of {len(chosen)}): {row.work}"
            with progress.rounds(title, running.steps(row, size)) as step:
                outcomes.append(running.run(row, size, patience, step))
            screen.print_row(console, outcomes[-1])
    except KeyboardInterrupt:
        interrupted = True
    where = dataclasses.replace(where, load_after=machine.load())
    report = Report(name, time.monotonic() - began, where, machine.versions(), outcomes)
    return report, interrupted


def scale_of(row: Row, name: str) -> Scale:
    """How much of a row is done at a scale."""
    return {"full": row.full, "quick": row.quick, "smoke": row.smoke}[name]


def read(source: Path, chosen: Sequence[str]) -> Report:
    """Rows of a report that was written before.

    Raises:
        click.UsageError: the file is none.
    """
    try:
        report = from_json(source.read_bytes())
    except (ValueError, msgspec.MsgspecError) as error:
        raise click.UsageError(f"{source} is no report of this suite: {error}") from error
    return dataclasses.replace(report, rows=[row for row in report.rows if row.id in chosen])


def together(reports: Sequence[Report]) -> Report:
    """One report of several, in the order of the registry. The machine is that of the first."""
    found = {row.id: row for report in reports for row in report.rows}
    first = reports[0]
    begun = dict.fromkeys(report.machine.started for report in reports)
    versions = {name: what for report in reports for name, what in report.versions.items()}
    return dataclasses.replace(
        first,
        seconds=sum(report.seconds for report in reports),
        machine=dataclasses.replace(first.machine, started=", ".join(begun)),
        versions=versions | first.versions,
        rows=[found[name] for name in registry.IDS if name in found],
    )


def write(path: str, data: bytes) -> None:
    """To a file, or to stdout."""
    with click.open_file(path, "wb") as file:
        file.write(data)


def print_list(console: Console, chosen: Sequence[str]) -> None:
    """Which rows there are, and who takes part."""
    for name in chosen:
        row = registry.row(name)
        absent = running.absent(row)
        there = [contender for contender in row.contenders if contender not in absent]
        console.print(f"{row.id:4} {row.work}: {', '.join(there)}", soft_wrap=True)
        for contender, reason in absent.items():
            console.print(f"     without {contender}: {reason}", soft_wrap=True)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code: Any = command.main(args, prog_name="python -m benchmarks", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else 0
