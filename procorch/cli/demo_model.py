"""The part of ``procorch demo --model`` before the candidates are executed: a model writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from procorch.cli import screen, streams
from procorch.cli.demo_report import news
from procorch.demo.humaneval import Candidate, Problem
from procorch.demo.rows import Row
from procorch.demo.run import Writing
from procorch.demo.writer import prepare


def write(
    problems: Sequence[Problem], model: str, journal: Path, resume: bool, workers: int,
    add: Callable[[Row], None], as_json: bool,
) -> tuple[list[Candidate], str]:  # fmt: skip
    """Have the candidates written, and show how far that is.

    Args:
        journal: of the evaluation to come.
        add: takes the row of a problem that the model failed to answer.

    Returns:
        What was written, in the order of the problems, and what that took, for the summary.

    Raises:
        KeyboardInterrupt: its text says how far it was.
        MissingPackage, AgentError, JournalError: see `prepare` and `Writing`.
    """
    prepare(lambda line: streams.note(line))
    items: list[Candidate] = []
    with screen.meter("written", len(problems), data_flows=as_json) as meter:
        try:
            with Writing(problems, model, out=journal, resume=resume, workers=workers) as writing:
                for made in writing:
                    if isinstance(made, Candidate):
                        items.append(made)
                        meter.step()
                    else:
                        add(made)
                        meter.step(news(made))
        except KeyboardInterrupt as interrupt:
            interrupt.args = (f"{len(items)} of {len(problems)} were written",)
            raise
    pace = writing.tokens / writing.seconds if writing.seconds else 0.0
    author = (
        f"{model} wrote {len(items)} of them: {writing.tokens} tokens, {pace:.0f} a second in "
        "each agent"
    )
    return sorted(items, key=lambda item: item.index), author
