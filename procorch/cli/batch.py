"""``procorch batch``: many items, each with exactly one outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from procorch.cli import batch_exec, signals, streams, verb
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.input_warnings import told_warnings
from procorch.cli.params import ahead, duration, files, rate, resources, size
from procorch.cli.verb import Verb
from procorch.launch.launchers import METHODS

if TYPE_CHECKING:
    from procorch.batch.dry_run import Plan
    from procorch.batch.preparation import PreparedBatch

_TICK = 0.1
"""Seconds between two looks at what has happened."""
_GO_ON = ("--resume", "--retry-failed", "--redo", "--dry-run")


_option = click.option


@click.command("batch", cls=Verb)
@click.argument("app", envvar="PROCORCH_APP", shell_complete=files, required=False)
@click.argument("source", metavar="IN", envvar="PROCORCH_IN", shell_complete=files, required=False)
@batch_exec.with_options
@_option("-o", "--out", type=click.Path(path_type=Path), metavar="RUN",
         help="The journal, one file; without it .procorch/FACTORY-IN.db.")  # fmt: skip
@_option("-j", "--workers", type=click.IntRange(min=1), metavar="N",
         help="Number of agents; one a core where it is not given.")  # fmt: skip
@_option("--timeout", type=duration(least="50ms"), help="Time for one attempt at an item.")
@_option("--retries", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
         help="Further attempts after a death of the worker or a passing error.")  # fmt: skip
@_option("--retry-on", multiple=True, metavar="REASON",
         help="Try again whatever the error says: error, timeout, ... Repeatable.")  # fmt: skip
@_option("--memory", type=size(least="16M"), help="Memory allowed to a worker and its children.")
@_option("--allowed-failures", type=click.IntRange(min=0), default=2, show_default=True,
         metavar="N", help="Workers that an item may kill; one more and it is poison.")  # fmt: skip
@_option("--budget", metavar="AMOUNT",
         help="Dollars, or '200k tokens', of models; then nothing more is begun.")  # fmt: skip
@_option("--score", metavar="MODULE:FUNCTION",
         help="Scores each output: a function of the item and the output.")  # fmt: skip
@_option("--rate", type=rate, metavar="RATE",
         help="Items that all workers together may begin: 10/s, 600/m, 0.5/s.")  # fmt: skip
@_option("--max-pause", type=duration(least="0s"), default="5m", show_default=True,
         help="Longest pause of all workers for a service that asks for one; 0: none.")  # fmt: skip
@_option("--prefetch", type=ahead, default="auto", show_default=True, metavar="N",
         help="Items that a worker has at hand, 1 to 64; auto: by their time.")  # fmt: skip
@_option("--concurrency", type=click.IntRange(1, 128), default=1, show_default=True, metavar="N",
         help="Items that one worker of an asynchronous app runs at once.")  # fmt: skip
@_option("--halt", default="never", show_default=True, metavar="POLICY",
         help="End early: soon,fail=3 or now,fail=10%; also success, done.")  # fmt: skip
@_option("--resume", is_flag=True, help="Go on with a batch that was begun.")
@_option("--retry-failed", is_flag=True, help="Go on, and run what has failed again.")
@_option("--redo", is_flag=True, help="Forget the outcomes that there are and start over.")
@_option("--accept-changes", is_flag=True,
         help="Go on though input or factory have changed; changed items run again.")  # fmt: skip
@_option("--keep-order", is_flag=True, help="Print items in the order of the input (--json).")
@_option("--dry-run", is_flag=True, help="Read and check everything, run nothing.")
@_option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items.")
@_option("--shuffle", is_flag=True, help="In random order, within windows of 10,000 items.")
@_option("--seed", type=int, default=0, show_default=True, help="Decides the order of --shuffle.")
@_option("--shard", metavar="I/N", help="Only part I of N; parts follow from the items' ids.")
@_option("--id", "id_", metavar="FIELD", help="Field that names an item, in place of id.")
@_option("--format", "form", default="auto", show_default=True,
         type=click.Choice(["auto", "jsonl", "json", "csv", "tsv", "lines", "parquet", "dir"]),
         help="Of IN, where its suffix does not say it.")  # fmt: skip
@_option("--delimiter", metavar="CHAR",
         help="Between the fields of CSV, where it is no comma: ';', '|', tab.")  # fmt: skip
@_option("--allow-empty", is_flag=True, help="An input without items is no error.")
@_option("--grace", type=duration(least="0"), default="25s", show_default=True,
         help="Time to finish what is under way after SIGTERM or SIGHUP.")  # fmt: skip
@_option(
    "--start-method",
    type=click.Choice(METHODS),
    help="How workers are started; zygote where it is not given, forked from a warm process.",
)
@_option("--preload", multiple=True, metavar="MODULE",
         help="Imported once, in the process that workers are forked from.")  # fmt: skip
@_option("--backend", metavar="ray[:ADDRESS]",
         help="Run the workers on a Ray cluster; give -j as well.")  # fmt: skip
@_option("--resources", type=resources, metavar="NAME=AMOUNT,...",
         help="What a worker needs of a node: num_cpus=2,num_gpus=0.5.")  # fmt: skip
@_option("--watch", is_flag=True, help="Show what each worker is doing.")
@_option("--json", "as_json", is_flag=True,
         help="One JSON object an item on stdout, as items finish.")  # fmt: skip
def command(app: str | None, source: str | None, out: Path | None, **given: Any) -> int:
    """Run every item of an input on crash-isolated agents, durably.

    APP is package.module:factory or path/to/file.py:factory; the factory makes the agent, which
    gets the items unchanged. --exec COMMAND runs a program in its place.

    IN is a JSONL, JSON, CSV, TSV, text or Parquet file, a directory, or -
    for JSON lines on standard input.

    Each item gets exactly one outcome, whatever dies meanwhile. RUN has the outcomes as they come,
    so a batch goes on with --resume after an interruption or a kill. The items that failed are in
    a file beside RUN, which is input again.

    Ctrl-C finishes what is under way, a second one ends it. SIGTERM and SIGHUP finish it, too, for
    at most --grace. Items that take longer run again with --resume.

    The exit code is 0 when all items succeeded, 1 when some failed, and 2 when nothing began. It is
    5 after --halt or --budget, 130 after Ctrl-C, 143 after SIGTERM, and 129 after SIGHUP.
    """
    from procorch.agents.apps import App
    from procorch.api.orchestrator import AgentOrchestrator
    from procorch.batch.errors import BatchError, BatchHalted, BatchInputChanged, BatchInputError
    from procorch.cli import batch_report, places, screen
    from procorch.cli.app import load
    from procorch.cli.batch_screen import shown
    from procorch.errors import AgentError
    from procorch.telemetry.quiet import replacements

    context = click.get_current_context()
    program = batch_exec.chosen(given)
    app, source = batch_exec.arguments(app, source, program=program is not None)
    if batch_exec.wants_lines(program, source, given["form"]):
        given["form"] = "lines"
    context.with_resource(told_warnings())
    # Until the orchestrator is closed: it logs on a thread of its own, and may be late.
    replaced = context.with_resource(replacements())
    # One for the look at the app and for the run: the process that workers are forked from is
    # started once.
    try:
        orchestrator = AgentOrchestrator(
            start_method=given["start_method"], seed=given["seed"], preload=given["preload"],
            backend=given["backend"],
        )  # fmt: skip
    except (ValueError, AgentError) as error:
        raise Misconfigured(str(error)) from None
    context.call_on_close(lambda: orchestrator.close(drain=False))
    usual = out is None
    if out is None:
        out = places.usual_out(app if program is None else f":{program.name}", source)
    again = verb.again(*_GO_ON)
    try:
        prepared = _prepared(program or App.parse(app), source, out, given, again)
        prepared.check_early()
        if program is None:
            factory = load(app, orchestrator, bytecode=not given["dry_run"])
            prepared = msgspec.structs.replace(prepared, factory=factory)
        if given["score"] is not None:
            load(given["score"], orchestrator, bytecode=not given["dry_run"])
        if given["dry_run"]:
            lines = batch_exec.tell(given["as_json"])
            found = prepared.dry_run(makes_folder=usual, on_command=lines)
            return _tell(found, source, out, given)
        if usual:
            places.make_home()
        with (
            prepared.start(orchestrator) as run,
            signals.draining(lambda now: run.stop(now=now), given["grace"]) as drain,
        ):
            with shown(run, watch=given["watch"], data_flows=given["as_json"]) as view:
                while not run.over:
                    drain.look()
                    for item in run.step(_TICK):
                        if given["as_json"]:
                            streams.emit(json.dumps(batch_report.json_of(item)))
                        view.tell(item)
                    view.update()
            failure, summary = run.failure, run.progress()
    except (BatchError, ValueError, TypeError) as error:
        raise Misconfigured(str(error)) from None
    except AgentError as error:
        raise Misconfigured(f"the agent cannot be started: {error}") from None
    if isinstance(failure, BatchInputError) and not summary.done:
        raise Misconfigured(str(failure))
    if isinstance(failure, BatchInputChanged):
        again += " --accept-changes"
    failed = batch_report.write_failed(out)
    console = screen.stderr() if given["as_json"] else screen.stdout()
    batch_report.print_summary(console, summary, out, failed, again, replaced.count)
    if failure is not None and not isinstance(failure, BatchHalted):
        raise click.ClickException(str(failure))
    if summary.ended == "interrupted":
        return drain.code or ExitCode.INTERRUPTED
    if failure is not None:
        streams.note(str(failure))
        return ExitCode.HALTED
    return ExitCode.SOME_FAILED if summary.failed else ExitCode.DONE


def _prepared(
    factory: Any, source: str, out: Path, given: dict[str, Any], again: str
) -> PreparedBatch:
    from procorch import Throttle
    from procorch.agents.apps import App
    from procorch.batch.start import prepare_batch

    settings = {"prefetch": given["prefetch"], "concurrency": given["concurrency"]}
    if given["memory"] is not None:
        settings["memory_limit"] = int(given["memory"])
    if given["resources"] is not None:
        settings["resources"] = given["resources"]
    longest = given["max_pause"]
    return prepare_batch(
        factory, source, out=out, workers=given["workers"], timeout=given["timeout"],
        retries=given["retries"], retry_on=given["retry_on"],
        allowed_failures=given["allowed_failures"], halt=given["halt"], resume=given["resume"],
        retry_failed=given["retry_failed"], redo=given["redo"],
        accept_changes=given["accept_changes"], keep_order=given["keep_order"],
        limit=given["limit"], shuffle=given["shuffle"], seed=given["seed"], shard=given["shard"],
        id=given["id_"], format=given["form"], delimiter=given["delimiter"],
        allow_empty=given["allow_empty"], skip_known=True, results=given["results"], command=again,
        streams=streams.descriptors(), output="capture",
        start_method=given["start_method"], preload=given["preload"], backend=given["backend"],
        rate=given["rate"],
        budget=given["budget"], score=None if given["score"] is None else App.parse(given["score"]),
        throttle=Throttle(longest=longest) if longest else None, **settings,
    )  # fmt: skip


def _tell(found: Plan, source: str, out: Path, given: dict[str, Any]) -> int:
    if given["as_json"]:
        names = ("total", "ok", "failed", "changed", "left")
        streams.emit(json.dumps({name: getattr(found, name) for name in names}))
        return ExitCode.DONE
    say = streams.emit if given["exec_"] is None else streams.note  # the data are command lines
    say(f"{found.total} items in {source}")
    say(f"{found.ok} have succeeded and {found.failed} failed in {out}")
    if found.changed:
        say(f"{found.changed} of them have another input now")
    such = f", {', '.join(found.first)} first" if found.first and not given["shuffle"] else ""
    say(f"{found.left} are to be run{such}")
    return ExitCode.DONE
