"""A run as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks import wording
from benchmarks.figures import Outcome, Report, Verdict

_HEAD = """\
# Performance

`python -m benchmarks` writes this page from the figures of one run; do not edit it.
"""

_READING = """\
"1.68 x the speed" means 1.68 times as fast, and "0.54 x the time" means that it takes 0.54 times as
long, both beside the library of that row, in the same run. Times of this machine mean little on
another one; ratios mean more.
"""

_METHOD = """\
## How it was measured

Contenders take turns, round by round (A B A B), each in an interpreter of its own, and a ratio is
that of one round. The spread is the median absolute deviation of the rounds. All libraries have
their own defaults, as their documentation shows them. A machine that does other things at the same
time is no obstacle, as long as it does them evenly. A load that comes and goes shows as a large
spread.
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

- `python -m benchmarks P1 P2` runs some rows. `--list` shows which there are, `--plot FILE` draws
  them, and `tox -e bench` runs the suite in an environment of its own.
- `python -m benchmarks.call_path` counts the Python functions, the changes of module and (with
  `strace`) the system calls of one warm `send_message`. It also has the processor time of parent
  and worker. A busy machine does not change the counts.
- `python -m benchmarks.where` shows where the time goes, function by function.
- `python -m benchmarks.beside PYTHON` compares the processor time of a request with that of another
  version, in the environment of the interpreter PYTHON.

The suite leaves out a library that is not there. To measure Ray, install it
(`pip install ray`).
"""

_USES = (
    ("`AgentExecutor` with its defaults", ("P2c",)),
    ("`AgentPool.map`", ("P2b",)),
    ("an agent, small requests", ("P1b", "P2")),
    ("an agent, 100 MB there and back", ("P3", "P3b")),
    ("a worker that dies", ("P4", "P5", "P10")),
    ("a batch with a journal", ("P9",)),
    ("1,000 agents", ("P6", "P7")),
    ("agents on a Ray cluster", ("R1", "R2", "R3", "R4", "R5")),
)
"""What a user uses, in the order of the summary, with the rows that measure it."""


def markdown(report: Report) -> str:
    """The whole page."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield _HEAD
    yield from _summary(report)
    yield _METHOD
    yield "## Targets\n"
    if report.scale != "full":
        yield f"From a run with `--{report.scale}`, which does less than the targets mean.\n"
    yield from _table(
        ["", "work", "figure", "is", "target", "", "stretch", ""],
        [_goal(outcome, number) for outcome in report.rows for number in _goals(outcome)],
        "llrlrlrl",
    )
    yield ""
    yield _REPEAT
    for outcome in sorted(report.rows, key=_by_use):
        yield from _row(outcome)
    yield from _circumstances(report)


def _by_use(outcome: Outcome) -> bool:
    """The rows of the executor come first: most readers know its interface."""
    return outcome.id not in _USES[0][1]


def _summary(report: Report) -> Iterator[str]:
    """Half a page: for each use of procorch what was found, and which rows miss a target."""
    rows = []
    for use, ids in _USES:
        found = [
            _phrase(verdict)
            for outcome in report.rows
            if outcome.id in ids
            for verdict in outcome.verdicts
            if verdict.figure is not None
        ]
        if found:
            rows.append([use, "; ".join(found), ", ".join(ids)])
    yield "## In short\n"
    yield from _table(["you use", "figures", "rows"], rows, "lll")
    judged = [
        (outcome.id, verdict.target_met)
        for outcome in report.rows
        for verdict in outcome.verdicts
        if verdict.target_met is not None
    ]
    missed = dict.fromkeys(name for name, met in judged if not met)
    yield f"\n{_READING}"
    yield f"{sum(met for _, met in judged)} of {len(judged)} [targets](#targets) are met."
    if missed:
        yield f"Rows that miss one: {', '.join(missed)}."
    yield ""


def _phrase(verdict: Verdict) -> str:
    """ "submit: **1.68 x** the speed of ProcessPoolExecutor"."""
    what = "" if verdict.metric in ("time", "rate") else f"{verdict.metric}: "
    if verdict.of != "procorch":
        what = f"{verdict.of.removeprefix('procorch, ')}: {what}"
    if verdict.tail:
        what = f"{what}p99: "
    how = {"times": "the time of", "faster": "the speed of", "over": "over", "within": ""}
    beside = f" {how[verdict.how]} {verdict.against}" if how[verdict.how] else ""
    return f"{what}**{wording.figure(verdict.figure or 0.0, verdict.unit)}**{beside}"


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
