"""``procorch bench``: measure agents and functions, in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import signals, streams
from procorch.cli.bench_options import with_options
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.bench import Measurement
    from procorch.bench.session import Session


@click.command("bench", cls=Verb)
@with_options
def command(apps: tuple[str, ...], **given: Any) -> int:
    """Measure agents and functions: wall and cpu time, cold and warm, peak memory, start.

    APP is package.module:name or path/to/file.py:name, of a factory or a plain function. Each run
    executes all requests. Several APPs take turns, each in processes of its own, and are compared
    with the first. A run that fails costs only itself.

    The exit code is 0, 1 when a run failed, 2 for what cannot be measured, 130 after Ctrl-C, which
    keeps what is finished.
    """
    from procorch.bench.cases import NotMeasurable

    try:
        return _bench(apps, given)
    except NotMeasurable as error:
        raise Misconfigured(str(error)) from error


def _bench(apps: tuple[str, ...], given: dict[str, Any]) -> int:
    compare: tuple[str, str] | None = given["compare"]
    if bool(apps) == bool(compare):
        raise click.UsageError("name what is to be measured: APP..., or --compare A B.")
    if given["as_json"] and given["markdown"]:
        raise click.UsageError("--json or --markdown, not both.")
    if given["resume"] and given["export_json"] is None:
        raise click.UsageError("--resume goes on with the file of --export-json: name it.")
    named = list(compare or apps)
    stored = [name.endswith(".json") for name in named]
    if any(stored) and not all(stored):
        raise Misconfigured("--compare takes two APPs or two files: they must be measured in turn")
    _check_files(given, [Path(name) for name in named] if all(stored) else [])
    if all(stored):
        return _show([_single(Path(name)) for name in named], given)
    return _measure(named, given)


def _check_files(given: dict[str, Any], sources: list[Path]) -> None:
    from procorch.cli.bench_plan import check_writable

    if given["file"] is not None:
        sources = [*sources, given["file"]]
    for path in (given["export_json"], given["plot"]):
        if path is not None:
            check_writable(path, sources)
    if given["plot"] is not None:
        from procorch.bench.plot import check

        check(given["plot"])


def _measure(named: Sequence[str], given: dict[str, Any]) -> int:
    from procorch.cli import screen
    from procorch.cli.bench_plan import session
    from procorch.telemetry.quiet import replacements

    ended: KeyboardInterrupt | None = None
    with ExitStack() as shown:
        found = session(given, named, lambda name, run: meter.step())
        shown.enter_context(replacements())
        total = found.left
        meter = shown.enter_context(screen.meter("runs", total, data_flows=given["as_json"]))
        try:
            found.execute()
        except KeyboardInterrupt as interrupt:
            ended = interrupt
    if ended is not None:
        return _interrupted(found, given, ended)
    return _show(found.measurements(), given)


def _interrupted(found: Session, given: dict[str, Any], ended: KeyboardInterrupt) -> int:
    """Tell what is finished."""
    streams.note("interrupted")
    measured = [each for each in found.measurements() if each.tried]
    if measured:
        _show(measured, given)
        if given["export_json"] is not None:
            from procorch.cli.verb import again

            streams.note(f"to go on: {again('--resume')} --resume")
    return signals.exit_code(ended)


def _show(measured: list[Measurement], given: dict[str, Any]) -> int:
    from procorch.bench import Comparison
    from procorch.cli import bench_report
    from procorch.cli.bench_plan import write

    comparisons = [Comparison(first, other) for first, other in _pairs(measured)]
    text = bench_report.as_json(measured, comparisons)
    if given["export_json"] is not None:
        write(given["export_json"], text)
    if given["as_json"]:
        streams.emit(text, nl=False)
    else:
        bench_report.show(measured, comparisons, markdown=given["markdown"], each=given["each"])
    bench_report.tell_failures(measured)
    if given["plot"] is not None:
        from procorch.bench.plot import draw

        draw(measured, given["plot"])
    return ExitCode.SOME_FAILED if any(each.failures for each in measured) else ExitCode.DONE


def _pairs(measured: list[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Each measurement with the first one that has the same parameters."""
    firsts: dict[str, Measurement] = {}
    pairs = []
    for each in measured:
        params = repr(each.plan.params if each.plan else None)
        first = firsts.setdefault(params, each)
        if first is not each:
            pairs.append((first, each))
    return pairs


def _single(path: Path) -> Measurement:
    from procorch.cli.bench_plan import read

    measured = read(path)
    if len(measured) != 1:
        raise Misconfigured(f"{path}: {len(measured)} measurements in place of one")
    return measured[0]
