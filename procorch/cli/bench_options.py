"""The options of ``procorch bench``, in groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from procorch.cli.params import duration, files, share, size

_FORMATS = ("pyperf", "pytest-benchmark", "benchstat")
"""Keys of `procorch.bench.exports.FORMATS`, which is not loaded for a help text."""

Decorator = Callable[[Any], Any]


def _limits(ctx: click.Context, param: click.Parameter, text: str | None) -> list[Any]:
    from procorch.bench.limits import read

    try:
        return [] if text is None else read(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


PROGRAMS: tuple[Decorator, ...] = (
    click.argument("apps", metavar="APP...", nargs=-1, shell_complete=files),
    click.option(
        "--exec", "execs", multiple=True, metavar="COMMAND",
        help="Measure a program, as 'sort {file}': {NAME} is a parameter (-P) or a field of a "
        "request. Split as a shell would, no shell is started. Repeated: each of them is measured.",
    ),
    click.option(
        "-r", "--request", "requests", multiple=True, metavar="VALUE",
        help="A request of each run, as JSON; what is no JSON is text. May be repeated.",
    ),
    click.option(
        "--requests", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE", help="The requests of each run, one JSON value a line.",
    ),
    click.option(
        "-P", "--param", "params", multiple=True, metavar="NAME=VALUE,VALUE",
        help="Measure each value of a parameter: of the function, the factory, or {NAME} in a "
        "request. May be repeated.",
    ),
    click.option(
        "--python", "pythons", multiple=True, metavar="PYTHON",
        help="The interpreter that executes APP. Repeated: each of them is measured.",
    ),
    click.option(
        "--function", is_flag=True, help="APP is what is measured, even if it returns an agent.",
    ),
)  # fmt: skip

AMOUNTS: tuple[Decorator, ...] = (
    click.option(
        "--runs", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
        help="How many runs count.",
    ),
    click.option(
        "--warmup", type=click.IntRange(min=0), default=1, show_default=True, metavar="N",
        help="Runs before those, which do not count.",
    ),
    click.option(
        "--processes", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
        help="New processes that the runs are distributed over.",
    ),
    click.option(
        "--warmup-calls", type=click.IntRange(min=0), default=1, show_default=True, metavar="N",
        help="Calls in each process before those that count. The first one is the cold figure. "
        "0: only first calls count.",
    ),
    click.option(
        "--loops", type=click.IntRange(min=1), metavar="N",
        help="Calls that a run is the mean of; default: as many as take 5 ms.",
    ),
    click.option(
        "--until", type=share, metavar="PERCENT",
        help="Make as many runs as it takes for a 95 % interval as narrow as give or take PERCENT.",
    ),
    click.option(
        "--max-time", type=duration(least="1s"), default="5m", show_default=True,
        help="Time after which --until ends even so.",
    ),
    click.option("--warm", is_flag=True, help="One process for all runs."),
    click.option(
        "--fast", is_flag=True,
        help="Fork processes instead of executing them: sooner, but clones with one hash seed.",
    ),
)  # fmt: skip

CONDITIONS: tuple[Decorator, ...] = (
    click.option(
        "--timeout", type=duration(least="1ms"), help="Time for one call. A longer one is ended.",
    ),
    click.option(
        "--memory", type=size(least="16M"),
        help="Memory allowed to a measured process and its children.",
    ),
    click.option(
        "--cpu", metavar="LIST", help="Processors for the measured processes, as 0 or 2-3.",
    ),
    click.option("--show-output", is_flag=True, help="Show on stderr what APP prints."),
)  # fmt: skip

VERDICTS: tuple[Decorator, ...] = (
    click.option(
        "--compare", nargs=2, metavar="A B",
        help="Compare B with A, each an APP or a file written with --export-json. Of two files, "
        "measurements of the same name are compared. The APP of a file is measured again, in turn "
        "with the other one, where it is another and still there.",
    ),
    click.option(
        "--baseline", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
        help="Compare each APP with the measurement of its name in FILE.",
    ),
    click.option(
        "--fail-if", metavar="LIMITS", callback=_limits,
        help="End with 5 where a comparison is beyond a limit, as slower:10%,memory:20%. Names: "
        "slower, cpu, memory, cold, start, fails.",
    ),
    click.option(
        "--min-effect", type=share, default="1%", show_default=True, metavar="PERCENT",
        help="A smaller difference is not called one.",
    ),
    click.option(
        "--floor", is_flag=True,
        help="Measure the first APP against itself, too, and say what cannot be told here.",
    ),
)  # fmt: skip

OUTPUT: tuple[Decorator, ...] = (
    click.option(
        "--json", "as_json", is_flag=True, help="The measurements as JSON on stdout.",
    ),
    click.option("--markdown", is_flag=True, help="The table as Markdown on stdout."),
    click.option("--each", is_flag=True, help="A line for each request, too."),
    click.option(
        "--export-json", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="Write the measurements to FILE, too, from the first turn on.",
    ),
    click.option(
        "--export", "exports", nargs=2, multiple=True, metavar="FORMAT FILE",
        type=(click.Choice(_FORMATS), click.Path(path_type=Path)),
        help="Write the runs in another tool's format: pyperf, pytest-benchmark or benchstat.",
    ),
    click.option(
        "--resume", is_flag=True,
        help="Go on where FILE of --export-json was interrupted.",
    ),
    click.option(
        "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="Draw the sweep of -P, as .png or .svg; needs procorch[plots].",
    ),
)  # fmt: skip


def with_options(command: Any) -> Any:
    """A command with the options of all groups, in their order."""
    for decorate in reversed((*PROGRAMS, *AMOUNTS, *CONDITIONS, *VERDICTS, *OUTPUT)):
        command = decorate(command)
    return command
