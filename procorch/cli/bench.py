"""``procorch bench``: measure agents, each run in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import signals, streams
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.params import duration, files, size
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.bench import Comparison, Measurement


@click.command("bench", cls=Verb)
@click.argument("apps", metavar="APP...", nargs=-1, shell_complete=files)
@click.option(
    "-r", "--request", "requests", multiple=True, metavar="VALUE",
    envvar="PROCORCH_REQUEST", show_envvar=True,
    help="A request of each run, as JSON; what is no JSON is text. May be repeated.",
)  # fmt: skip
@click.option(
    "--requests", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", envvar="PROCORCH_REQUESTS", show_envvar=True,
    help="The requests of each run, one JSON value a line.",
)  # fmt: skip
@click.option(
    "--runs", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
    envvar="PROCORCH_RUNS", show_envvar=True, help="How many runs count.",
)  # fmt: skip
@click.option(
    "--warmup", type=click.IntRange(min=0), default=1, show_default=True, metavar="N",
    envvar="PROCORCH_WARMUP", show_envvar=True, help="Runs before those, which do not count.",
)  # fmt: skip
@click.option(
    "--warm", is_flag=True, envvar="PROCORCH_WARM", show_envvar=True,
    help="One process for all runs, and not a fresh one for each.",
)  # fmt: skip
@click.option(
    "--timeout", type=duration(least="1ms"), envvar="PROCORCH_TIMEOUT", show_envvar=True,
    help="Time for one request.",
)  # fmt: skip
@click.option(
    "--memory", type=size(least="16M"), envvar="PROCORCH_MEMORY", show_envvar=True,
    help="Memory allowed to a worker and its children.",
)  # fmt: skip
@click.option(
    "--compare", nargs=2, metavar="A B", envvar="PROCORCH_COMPARE", show_envvar=True,
    help="Compare B with A, each an APP or a file written with --export-json.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, envvar="PROCORCH_JSON", show_envvar=True,
    help="The measurements as JSON on stdout.",
)  # fmt: skip
@click.option(
    "--markdown", is_flag=True, envvar="PROCORCH_MARKDOWN", show_envvar=True,
    help="The table as Markdown on stdout.",
)  # fmt: skip
@click.option(
    "--export-json", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE", envvar="PROCORCH_EXPORT_JSON", show_envvar=True,
    help="Write the measurements to FILE, too.",
)  # fmt: skip
def command(
    apps: tuple[str, ...],
    requests: tuple[str, ...],
    file: Path | None,
    runs: int,
    warmup: int,
    warm: bool,
    timeout: float | None,
    memory: float | None,
    compare: tuple[str, str] | None,
    as_json: bool,
    markdown: bool,
    export_json: Path | None,
) -> int:
    """Measure agents: wall and cpu time, peak memory, start.

    APP is package.module:factory or path/to/file.py:factory. Each run sends all requests to an
    agent in a fresh process; several APPs take turns and are compared with the first.

    The exit code is 0, 1 when an agent failed, 2 for what cannot be measured, 130 after Ctrl-C.
    """
    from procorch.bench import Comparison
    from procorch.errors import AgentError

    if bool(apps) == bool(compare):
        raise click.UsageError("name what is to be measured: APP..., or --compare A B.")
    if as_json and markdown:
        raise click.UsageError("--json or --markdown, not both.")
    named = list(compare or apps)
    if len(set(named)) < len(named):
        raise click.UsageError("the same APP twice: there is nothing to compare.")
    try:
        if compare and all(name.endswith(".json") for name in named):
            measured = [_read(Path(name)) for name in named]
        else:
            how = {"runs": runs, "warmup": warmup, "fresh": not warm, "timeout": timeout}
            if memory is not None:
                how["memory_limit"] = int(memory)
            measured = _measure(named, _requests(requests, file), how, data_flows=as_json)
    except KeyboardInterrupt as interrupt:
        streams.note("interrupted")
        return signals.exit_code(interrupt)
    except AgentError as error:
        raise click.ClickException(str(error)) from error
    comparisons = [Comparison(measured[0], other) for other in measured[1:]]
    if export_json is not None:
        export_json.write_text(_json(measured, comparisons), encoding="utf-8")
    if as_json:
        streams.emit(_json(measured, comparisons), nl=False)
    else:
        _print(measured, comparisons, markdown=markdown)
    return ExitCode.DONE


def _measure(
    named: Sequence[str], requests: list[Any], how: dict[str, Any], *, data_flows: bool
) -> list[Measurement]:
    from procorch.bench import measure_together
    from procorch.cli import app, screen
    from procorch.telemetry.quiet import replacements

    if any(name.endswith(".json") for name in named):
        raise Misconfigured("--compare takes two APPs or two files: they must be measured in turn")
    factories: dict[str, Callable[[], Any]] = {name: app.load(name) for name in named}
    total = how["runs"] * len(factories)
    with replacements(), screen.meter("runs", total, data_flows=data_flows) as meter:
        found = measure_together(factories, requests, on_run=lambda name, run: meter.step(), **how)
    return list(found.values())


def _requests(given: Sequence[str], file: Path | None) -> list[Any]:
    values = [_value(text) for text in given]
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    values.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise Misconfigured(f"{file}:{number}: no JSON: {error}") from None
        if not values:
            raise Misconfigured(f"{file}: there are no requests in it")
    return values or [None]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read(path: Path) -> Measurement:
    from procorch.bench import Measurement

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        measurements = found["measurements"] if isinstance(found, dict) else []
        if len(measurements) != 1:
            raise ValueError(f"{len(measurements)} measurements in place of one")
        return Measurement.from_dict(measurements[0])
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError) as error:
        raise Misconfigured(f"{path}: {error}") from error


def _json(measured: Sequence[Measurement], comparisons: Sequence[Comparison]) -> str:
    data: dict[str, Any] = {"measurements": [each.to_dict() for each in measured]}
    if comparisons:
        data["comparisons"] = [
            {
                "a": each.a.name,
                "b": each.b.name,
                "verdict": each.verdict,
                "wall": each.wall._asdict(),
                "cpu": each.cpu._asdict(),
                "peak_rss": each.peak_rss._asdict(),
                "warnings": list(each.warnings),
            }
            for each in comparisons
        ]
    return json.dumps(data, indent=2) + "\n"


def _print(
    measured: Sequence[Measurement], comparisons: Sequence[Comparison], *, markdown: bool
) -> None:
    from procorch.bench.markdown import HEADERS, rows, table
    from procorch.cli import screen

    console = screen.stdout()
    if markdown:
        streams.emit(table(measured), nl=False)
    else:
        from rich.table import Table

        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for header in HEADERS:
            if header == "agent":
                shown.add_column(header, overflow="fold")
            else:
                shown.add_column(header, justify="right", no_wrap=True)
        for row in rows(measured):
            shown.add_row(*row)
        console.print(shown)
        errors = screen.stderr()
        for each in measured:
            for warning in each.warnings:
                errors.print(f"{each.name}: {warning}", style="yellow", soft_wrap=True)
    for comparison in comparisons:
        streams.emit(("\n" if markdown else "") + str(comparison))
