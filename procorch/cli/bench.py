"""``procorch bench``: measure agents and functions, in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import batch_exec, signals, streams
from procorch.cli.bench_options import with_options
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.agents.argv_template import ArgvTemplate
    from procorch.bench import Measurement
    from procorch.bench.session import Session
    from procorch.cli.bench_verdicts import Verdicts


@click.command("bench", cls=Verb)
@with_options
def command(apps: tuple[str, ...], **given: Any) -> int:
    """Measure agents, functions and programs: wall and cpu time, peak memory, start.

    APP is package.module:name or path/to/file.py:name, of a factory or a plain function; --exec
    COMMAND is a program. Each run executes all requests. Several APPs take turns, each in processes
    of its own, and the report compares them with the first. A run that fails costs only itself.

    The exit code is 0, or 1 when a run failed. It is 2 for what has no figures, 5 when a figure was
    beyond --fail-if, and 130 after Ctrl-C, which keeps the runs that have ended.
    """
    from procorch.bench.cases import NotMeasurable
    from procorch.errors import AgentError

    try:
        return _bench(apps, given)
    except NotMeasurable as error:
        raise Misconfigured(str(error)) from error
    except AgentError as error:  # no process could be started at all
        raise click.ClickException(str(error)) from error


def _bench(apps: tuple[str, ...], given: dict[str, Any]) -> int:
    compare: tuple[str, str] | None = given["compare"]
    programs = [batch_exec.parse(text).template for text in given["execs"]]
    if bool(apps or programs) == bool(compare):
        raise click.UsageError(
            "name what is to be measured: APP..., --exec COMMAND, or --compare A B."
        )
    if programs and not apps and (given["pythons"] or given["function"]):
        raise click.UsageError("--python and --function are about APP, and there is none.")
    if given["as_json"] and given["markdown"]:
        raise click.UsageError("--json or --markdown, not both.")
    if given["resume"] and given["export_json"] is None:
        raise click.UsageError("--resume goes on with the file of --export-json: name it.")
    if given["fail_if"] and len(apps) + len(programs) == 1 and given["baseline"] is None:
        raise click.UsageError("--fail-if is about a comparison: name --baseline or --compare.")
    if given["baseline"] is not None and compare:
        raise click.UsageError("--baseline or --compare, not both.")
    named = list(compare or apps)
    stored = [Path(name) for name in named if name.endswith(".json")]
    read = stored if given["baseline"] is None else [*stored, given["baseline"]]
    _check_files(given, read)
    if stored:
        return _compare_stored(named, given)
    return _measure([*named, *programs], given, given["baseline"])


def _compare_stored(named: list[str], given: dict[str, Any]) -> int:
    """Compare two of which one is a file, or both are."""
    from procorch.cli import bench_verdicts
    from procorch.cli.bench_plan import read

    if not given["compare"]:
        raise click.UsageError("APP is what is measured; of files: --compare A B.")
    first, second = named
    if first.endswith(".json") and second.endswith(".json"):
        before, after = read(Path(first)), read(Path(second))
        found = bench_verdicts.of_suites(before, after, given["min_effect"])
        measured = [*before, *after] if found.suite is None else after
        return _show(measured, found, given)
    if second.endswith(".json"):
        raise Misconfigured("--compare FILE APP: the file comes first, as it is the older one")
    again = bench_verdicts.app_of(Path(first), second)
    return _measure([again, second], given) if again else _measure([second], given, Path(first))


def _check_files(given: dict[str, Any], sources: list[Path]) -> None:
    from procorch.cli.bench_plan import check_writable

    if given["file"] is not None:
        sources = [*sources, given["file"]]
    exported = [path for _, path in given["exports"]]
    for path in (given["export_json"], given["plot"], *exported):
        if path is not None:
            check_writable(path, sources)
    if given["plot"] is not None:
        from procorch.bench import plot

        if not given["params"] and not sources:
            raise Misconfigured(plot.NO_SWEEP)
        plot.check(given["plot"])


def _measure(
    named: Sequence[str | ArgvTemplate], given: dict[str, Any], baseline: Path | None = None
) -> int:
    """Measure, and compare with each other or with the measurements in a file."""
    from procorch.cli import bench_verdicts, screen
    from procorch.cli.bench_plan import read, session
    from procorch.telemetry.quiet import replacements

    ended: KeyboardInterrupt | None = None
    with ExitStack() as shown:
        before = [] if baseline is None else read(baseline)
        again = named[:1] if given["floor"] else []
        found = session(given, [*named, *again], lambda name, run: meter.step())
        shown.enter_context(replacements())
        total = found.left
        meter = shown.enter_context(screen.meter("runs", total, data_flows=given["as_json"]))
        try:
            found.execute()
        except KeyboardInterrupt as interrupt:
            ended = interrupt
    if ended is not None:
        return _interrupted(found, given, ended)
    measured, effect = found.measurements(), given["min_effect"]
    floor = bench_verdicts.take_floor(measured) if given["floor"] else None
    if baseline is None:
        verdicts = bench_verdicts.of_measured(measured, effect)
    else:
        verdicts = bench_verdicts.of_suites(before, measured, effect)
    verdicts.floor = floor
    return _show(measured, verdicts, given)


def _interrupted(found: Session, given: dict[str, Any], ended: KeyboardInterrupt) -> int:
    """Tell what is finished."""
    streams.note("interrupted")
    from procorch.cli import bench_verdicts

    measured = found.measurements()
    data_wanted = given["as_json"] or given["export_json"] is not None
    if measured and (data_wanted or any(each.tried for each in measured)):
        _show(measured, bench_verdicts.of_measured(measured, given["min_effect"]), given)
        if given["export_json"] is not None:
            from procorch.cli.verb import again

            streams.note(f"to go on: {again('--resume')} --resume")
    return signals.exit_code(ended)


def _show(measured: list[Measurement], verdicts: Verdicts, given: dict[str, Any]) -> int:
    from procorch.bench.exports import FORMATS
    from procorch.cli import bench_report
    from procorch.cli.bench_plan import write

    text = bench_report.as_json(measured, verdicts)
    if given["as_json"]:
        streams.emit(text, nl=False)
    else:
        bench_report.show(measured, verdicts, markdown=given["markdown"], each=given["each"])
    bench_report.tell_failures(measured)
    # After the table, which must not be lost with a file that cannot be written.
    if given["export_json"] is not None:
        write(given["export_json"], text)
    for form, path in given["exports"]:
        write(path, FORMATS[form](measured))
    if given["plot"] is not None:
        from procorch.bench.plot import draw

        draw(measured, given["plot"])
    beyond = verdicts.exit_code(given["fail_if"])
    if beyond is not ExitCode.DONE:
        return beyond
    return ExitCode.SOME_FAILED if any(each.failures for each in measured) else ExitCode.DONE
