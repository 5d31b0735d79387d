"""``procorch demo``: the first run."""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from procorch.cli import signals, streams, verb
from procorch.cli.exits import ExitCode, Misconfigured
from procorch.cli.params import duration, size
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.demo.rows import Row

_MOST_WORKERS = 8
"""By default: all the canonical solutions together take less than a second."""
_MODELS = ("smollm2",)


@click.command("demo", cls=Verb)
@click.option(
    "--model", type=click.Choice(_MODELS),
    help="Have this model write the candidates; it runs on this machine.",
)  # fmt: skip
@click.option(
    "--backend", metavar="ray[:ADDRESS]",
    help="Run the agents on a Ray cluster: on three nodes that are started on this machine, one of "
    "which is killed in the middle, or on the cluster at ADDRESS.",
)  # fmt: skip
@click.option(
    "-j", "--workers", type=click.IntRange(min=1),
    help=f"Number of agents; one a core where it is not given, 2 to {_MOST_WORKERS}. With --model "
    "as many write, before that.", metavar="N",
)  # fmt: skip
@click.option(
    "--timeout", type=duration(least="50ms"), default="3s", show_default=True,
    help="Time for one candidate.",
)  # fmt: skip
@click.option(
    "--memory", type=size(least="64M"), default="256M", show_default=True,
    help="Resident memory allowed to a worker.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1),
    help="Only the first N problems.", metavar="N",
)  # fmt: skip
@click.option(
    "--resume", is_flag=True,
    help="Go on with a demo that was interrupted.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path),
    help="The journal; without it .procorch/demo.db, or demo-MODEL.db there.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="One JSON object an item on stdout, as items finish.",
)  # fmt: skip
def command(
    model: str | None, backend: str | None, workers: int | None, timeout: float, memory: float,
    limit: int | None, resume: bool, out: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Evaluate the 164 problems of HumanEval, four of the candidates hostile.

    The demo is a batch: a journal has the outcomes as they come, and after Ctrl-C the demo goes on
    with --resume.

    An agent executes each candidate program, in a process of its own. The candidates are the
    canonical solutions, but one dereferences a null pointer, one never ends, one eats memory and
    one calls os._exit(0). The demo needs no key and no network.

    With --model smollm2 agents that run a small language model write all the candidates before, in
    some minutes. The first time they fetch its weights (93 MB). Few of the programs are right. An
    agent's process is no sandbox: what the model writes runs with your rights.

    With --backend ray the agents run on three nodes of a Ray cluster, and the table is the same.
    The demo kills one node, and tries the candidates of that node again on the others.

    The exit code is 0 when the demo stopped the hostile ones by name and all others passed, and 1
    when not. With --model it is 0 when all exist and have run. After Ctrl-C it is 130.
    """
    from procorch.batch.errors import BatchError
    from procorch.cli import places, screen
    from procorch.cli.demo_model import write
    from procorch.cli.demo_report import Figures, news, print_summary, print_table
    from procorch.demo.cluster import NodeNotStarted
    from procorch.demo.humaneval import MissingPackage, candidates, problems
    from procorch.demo.outage import NODES, Outage
    from procorch.demo.run import Evaluation
    from procorch.errors import AgentError

    if backend is not None:
        _check_backend(backend, model)
    count = workers or (_usual_workers() if backend is None else NODES)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        if as_json:
            streams.emit(json.dumps(asdict(row)))

    began = time.monotonic()
    author = None
    try:
        total = len(problems(limit))
        if out is None:
            places.make_home()
        journal = out or places.HOME / ("demo.db" if model is None else f"demo-{model}.db")
        if model is None:
            items = candidates(limit)
        else:
            items, author = write(problems(limit), model, journal, resume, count, add, as_json)
            began = time.monotonic()
        with (
            nullcontext() if backend is None else Outage(backend, len(items)) as outage,
            screen.meter("candidates", len(items), data_flows=as_json) as meter,
            Evaluation(
                items, out=journal, resume=resume, workers=count, timeout=timeout,
                memory=int(memory), backend=None if outage is None else outage.backend,
            ) as run,
        ):  # fmt: skip
            for row in run:
                add(row)
                meter.step(news(row))
                if outage is not None and outage.step(run.busy):
                    streams.note(str(outage.killed))
    except NodeNotStarted as error:
        raise click.ClickException(str(error)) from error
    except MissingPackage as missing:
        raise Misconfigured(str(missing)) from None
    except KeyboardInterrupt as interrupt:
        done = str(interrupt) or f"{len(rows)} of {total} candidates"
        again = verb.again("--resume")
        streams.note(f"interrupted after {done}; {again} --resume goes on")
        return signals.exit_code(interrupt)
    except BatchError as error:
        raise Misconfigured(str(error)) from None
    except AgentError as error:
        raise click.ClickException(str(error)) from error
    lost = None
    if outage is not None and outage.killed is not None:
        lost = f"{outage.killed}; in work there, and tried again: {', '.join(run.lost()) or 'none'}"
    figures = Figures(count, run.replaced, time.monotonic() - began, run.resumed, author, lost)
    if as_json:
        print_summary(screen.stderr(), rows, figures)
    else:
        console = screen.stdout()
        print_table(console, rows)
        print_summary(console, rows, figures)
    return ExitCode.DONE if all(row.as_expected for row in rows) else ExitCode.SOME_FAILED


def _check_backend(backend: str, model: str | None) -> None:
    from procorch.errors import ClusterError
    from procorch.launch.ray.backend import backend_of

    if model is not None:
        raise click.UsageError("--model runs on this machine, so it goes without --backend")
    try:
        backend_of(backend)
    except (ValueError, ClusterError) as error:
        raise Misconfigured(str(error)) from None


def _usual_workers() -> int:
    # Two at least: while an endless loop waits for its deadline, the others go on.
    return min(_MOST_WORKERS, max(2, len(os.sched_getaffinity(0))))
