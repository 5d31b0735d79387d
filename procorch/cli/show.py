"""``procorch show``: one batch, or one of its items."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import procorch
from procorch.cli import streams
from procorch.cli.exits import ExitCode, Misconfigured, UnknownName
from procorch.cli.params import failed_items, runs
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.batch.reader import Reader
    from procorch.batch.records import AttemptRecord, ItemRecord
    from procorch.batch.scores import ScoreSummary


@click.command("show", cls=Verb)
@click.argument("run", envvar="PROCORCH_RUN", shell_complete=runs)
@click.argument("item", required=False, envvar="PROCORCH_ITEM", shell_complete=failed_items)
@click.option(
    "--check", is_flag=True,
    help="Look at every row, and list those that are damaged.",
)  # fmt: skip
@click.option(
    "--against", metavar="RUN", shell_complete=runs,
    help="Compare the run with this one, item by item.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="One JSON object.",
)  # fmt: skip
def command(run: str, item: str | None, check: bool, against: str | None, as_json: bool) -> int:
    """Tell what became of a batch, or of one of its items.

    RUN is a journal, or its name in .procorch; it may be running. With ITEM, the id of an item, it
    tells all attempts at it, with the stacks of their failures and their output.

    With --against it compares the two runs: the mean of each score over the items of both, and
    the items that are better, worse, or different.
    """
    from procorch.batch.errors import BatchError
    from procorch.batch.reader import Reader
    from procorch.cli import show_comparison
    from procorch.cli.places import find

    if against is not None and (item is not None or check):
        raise click.UsageError("--against compares whole runs: give neither ITEM nor --check")
    try:
        with Reader(find(run)) as journal:
            if against is not None:
                with Reader(find(against)) as other:
                    return show_comparison.tell(other, journal, as_json)
            if check:
                return _check(journal, as_json)
            return _item(journal, item, as_json) if item is not None else _run(journal, as_json)
    except BatchError as error:
        raise Misconfigured(str(error)) from None


def _check(journal: Reader, as_json: bool) -> int:
    damaged = journal.damaged()
    if as_json:
        streams.emit(json.dumps({"damaged": damaged}))
    else:
        for id in damaged:
            streams.emit(id)
        streams.note(f"{len(damaged)} of {journal.outcomes()} outcomes are damaged")
    return ExitCode.SOME_FAILED if damaged else ExitCode.DONE


def _run(journal: Reader, as_json: bool) -> int:
    from procorch.batch.report import gone_words
    from procorch.cli import screen
    from procorch.cli.batch_report import print_groups
    from procorch.cli.export import tell_lost

    header, (ok, failed), groups = journal.header(), journal.counts(), journal.groups()
    state = journal.state()
    if as_json:
        keys = ("factory", "input", "shard", "total", "command")
        known: dict[str, Any] = {key: header.get(key) for key in keys}
        known |= {"state": state, "ok": ok, "failed": failed, "gone": journal.gone()}
        known["failures"] = [
            {"reason": g.reason, "place": g.place, "count": g.count, "example": g.example}
            for g in groups
        ]
        scores = _scores(journal)
        known["scores"] = {
            score.name: {"mean": score.mean, "count": score.count} for score in scores
        }
        known["lost"] = sorted(journal.lost)
        streams.emit(json.dumps(known))
        return tell_lost(journal)
    console = screen.stdout()
    of = "" if header.get("total") is None else f" of {header['total']}"
    console.print(f"{header.get('factory')} on {header.get('input')}: {state}", soft_wrap=True)
    console.print(f"{ok} ok, {failed} failed{of} items")
    if gone := journal.gone():
        console.print(gone_words(gone))
    print_groups(console, tuple(groups))
    for score in _scores(journal):
        console.print(str(score), soft_wrap=True)
    for at, epoch, kind, text in journal.events():
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        console.print(f"{when}  {kind} (runner {epoch}){': ' + text if text else ''}")
    again = header.get("command")
    if again and state != "finished" and not state.startswith("running"):
        console.print(f"to go on:\n  {again} --resume", soft_wrap=True)
    if again and failed and not state.startswith("running"):
        console.print(f"to run again what has failed:\n  {again} --retry-failed", soft_wrap=True)
    return tell_lost(journal)


def _scores(journal: Reader) -> tuple[ScoreSummary, ...]:
    from procorch.batch.scores import ScoreTally

    tally = ScoreTally()
    for row in journal.rows():
        tally.add(row)
    return tally.summaries()


def _item(journal: Reader, id: str, as_json: bool) -> int:
    from procorch.batch.export import fields_of

    row, attempts = journal.find(id), journal.attempts(id)
    fields = {} if row is None else fields_of(row, journal.header().get("folder"))
    if row is None and not attempts:
        raise UnknownName(f"no item {id!r} has an outcome in {journal.path}")
    if as_json:
        known = fields if row is None else fields | {"log": row.log}
        known["gone"] = journal.is_gone(id)
        known["failed_attempts"] = [_fields(attempt) for attempt in attempts]
        streams.emit(json.dumps(known))
        return 0
    for attempt in attempts:
        streams.emit(f"attempt {attempt.number}: {attempt.reason}: {attempt.place}{_cost(attempt)}")
        told = _fields(attempt)
        for part in (told["error"], _shortened(told["stack"]), attempt.log):
            if part:
                streams.emit("  " + part.rstrip().replace("\n", "\n  "))
    if row is None:
        streams.emit("it has no outcome yet")
    elif row.ok:
        streams.emit(f"attempt {row.attempts}: ok{_cost(row)}")
        streams.emit(f"  {json.dumps(fields['output'])}")
        if row.log:
            streams.emit("  " + row.log.rstrip().replace("\n", "\n  "))
    else:
        streams.emit(f"failed for good: {row.reason}")
    if journal.is_gone(id):
        streams.emit("it is no longer in the input")
    return 0


def _fields(attempt: AttemptRecord) -> dict[str, Any]:
    from procorch.batch.outcomes import error_of

    error = error_of(attempt)
    stack = getattr(error, "last_stack", "") or getattr(error, "remote_traceback", "")
    return {
        "number": attempt.number, "reason": attempt.reason, "place": attempt.place,
        "error": str(error), "stack": stack, "wall": attempt.wall, "cpu": attempt.cpu,
        "peak_rss": attempt.peak_rss, "pid": attempt.pid, "log": attempt.log,
    }  # fmt: skip


def _shortened(stack: str) -> str:
    """A stack with one line in place of the frames of procorch itself; ``--json`` has them all."""
    own = re.escape(str(Path(procorch.__file__).parent))
    frames = re.compile(
        rf'(?:^ *File "{own}/[^"]+", line \d+ in .+\n)+(?:^ *File "<string>", .+\n)?', re.MULTILINE
    )
    return frames.sub(lambda found: f"  ... {found[0].count(chr(10))} frames of procorch\n", stack)


def _cost(fact: ItemRecord | AttemptRecord) -> str:
    parts = [] if fact.wall is None else [f"{fact.wall:.3g} s"]
    parts += [] if fact.peak_rss is None else [f"{fact.peak_rss / 2**20:.0f} MiB"]
    parts += [] if fact.pid is None else [f"pid {fact.pid}"]
    return f" ({', '.join(parts)})" if parts else ""
