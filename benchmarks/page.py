"""A run as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks import wording
from benchmarks.figures import Outcome, Report

_HEAD = """\
# Performance

Written by `python -m benchmarks` from the figures of one run; do not edit it. Every figure that is
judged is a ratio, or a difference, to a reference of the same run: contenders take turns, round by
round (A B A B), each in an interpreter of its own, and a ratio is taken within a round. Absolute
times belong to the machine below and mean little elsewhere. The spread is the median absolute
deviation of the rounds.
"""

_REPEAT = """\
## To repeat it

```bash
git clone REPOSITORY procorch && cd procorch
python3 -m venv .venv && .venv/bin/pip install -e '.[bench,plots]'
.venv/bin/python -m benchmarks --quick                # some minutes
.venv/bin/python -m benchmarks --json figures.json    # the whole, for figures to be kept
.venv/bin/python -m benchmarks --from figures.json --markdown docs/explanation/performance.md
```

`python -m benchmarks P1 P2` runs some rows, `--list` says which there are, `--plot FILE` draws
them. `tox -e bench` runs the suite in an environment of its own. A peer that is not installed is
left out; Ray is measured where it is installed (`pip install ray`).

`python -m benchmarks.call_path` says how long the way of one warm `send_message` is: the Python
functions called in the caller's thread and the changes of module between them, the processor time
of parent and worker for a request, and the system calls of both where `strace` is installed. The
counts are the same on a busy machine. `python -m benchmarks.where` shows where the time goes,
function by function. `python -m benchmarks.beside PYTHON` compares the processor time of a request
with that of another version, installed in the environment of the interpreter PYTHON, in turns.

Peers are used with their own defaults, as their documentation shows them. A machine that does other
things at the same time is no obstacle, as long as it does them evenly; a load that comes and goes
shows as a large spread.
"""


def markdown(report: Report) -> str:
    """The whole page."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield _HEAD
    yield from _summary(report)
    yield _REPEAT
    yield "## Targets\n"
    if report.scale != "full":
        yield f"From a run with `--{report.scale}`, which does less than the targets mean.\n"
    yield from _table(
        ["", "work", "figure", "is", "target", "", "stretch", ""],
        [_goal(outcome, number) for outcome in report.rows for number in _goals(outcome)],
        "llrlrlrl",
    )
    yield ""
    for outcome in report.rows:
        yield from _row(outcome)
    yield from _circumstances(report)


def _summary(report: Report) -> Iterator[str]:
    """How fast procorch is beside others, and which targets it misses."""
    yield "## In short\n"
    for outcome in report.rows:
        beside = [
            f"{wording.measured(verdict)} {wording.compared(verdict)}"
            for verdict in outcome.verdicts
            if verdict.how == "faster" and verdict.figure is not None
        ]
        if beside:
            yield f"- {outcome.id}, {outcome.work}: {'; '.join(beside)}"
    judged = [
        (outcome, verdict)
        for outcome in report.rows
        for verdict in outcome.verdicts
        if verdict.target_met is not None
    ]
    missed = [
        f"{outcome.id} ({wording.measured(verdict)} {wording.compared(verdict)}; "
        f"{wording.mark(verdict, verdict.target)})"
        for outcome, verdict in judged
        if not verdict.target_met
    ]
    yield f"\n{len(judged) - len(missed)} of {len(judged)} targets are met."
    if missed:
        yield f"Missed: {', '.join(missed)}."
    yield ""


def _goals(outcome: Outcome) -> range:
    return range(len(outcome.verdicts))


def _goal(outcome: Outcome, number: int) -> list[str]:
    verdict = outcome.verdicts[number]
    first = number == 0
    return [
        outcome.id if first else "",
        outcome.work if first else "",
        wording.measured(verdict),
        wording.compared(verdict),
        wording.mark(verdict, verdict.target),
        wording.met(verdict.target_met),
        wording.mark(verdict, verdict.stretch),
        wording.met(verdict.stretch_met),
    ]


def _row(outcome: Outcome) -> Iterator[str]:
    yield f"## {outcome.id}: {outcome.work}\n"
    yield f"{wording.scale(outcome)[0].upper()}{wording.scale(outcome)[1:]}.\n"
    several = len({each.metric for each in outcome.series}) > 1
    rows = []
    for each in outcome.series:
        name = f"**{each.contender}**" if each.contender.startswith("procorch") else each.contender
        cells = [name, wording.figure(each.median, each.unit), wording.spread(each)]
        rows.append([*([each.metric] if several else []), *cells, wording.tail(each)])
    if rows:
        names = ["contender", "median", "spread", "p99"]
        yield from _table(
            ["metric", *names] if several else names, rows, "llrrr" if several else "lrrr"
        )
        yield ""
    for note in outcome.notes:
        yield f"{note}\n"
    for name, reason in outcome.left_out.items():
        yield f"Without {name}: {reason.splitlines()[0]}.\n"


def _circumstances(report: Report) -> Iterator[str]:
    machine = report.machine
    yield "## Machine and versions\n"
    yield from _table(
        ["", ""],
        [
            ["processor", f"{machine.cpu}, {machine.cores_usable} of {machine.cores} cores"],
            [
                "memory",
                f"{wording.figure(machine.memory, 'B')}, "
                f"{wording.figure(machine.memory_free, 'B')} of it free",
            ],
            ["kernel", machine.kernel],
            ["load before", _load(machine.load_before)],
            ["load after", _load(machine.load_after)],
            ["begun", f"{machine.started}, {report.seconds:.0f} s, scale {report.scale}"],
            *([name, what] for name, what in report.versions.items()),
        ],
        "ll",
    )


def _load(averages: Sequence[float]) -> str:
    return ", ".join(f"{average:g}" for average in averages)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> Iterator[str]:
    rules = {"l": "---", "r": "---:"}
    yield f"| {' | '.join(names)} |"
    yield f"| {' | '.join(rules[side] for side in align)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
