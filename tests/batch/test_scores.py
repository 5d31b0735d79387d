"""Evaluations: outputs are scored in the worker, and two runs are compared item by item."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentCrashed, AgentFailure, AgentOptions, Usage, run_batch
from procorch.agents.scored import scores_of
from procorch.batch.reader import Reader
from procorch.batch.records import ItemRecord, used
from procorch.batch.scores import ScoreTally, compare_runs
from procorch.messages import Cost
from tests.process.conftest import PATIENCE

APP = """
def answering(right):
    def factory():
        return lambda item: item["answer"] if item["n"] < right else "no idea"

    return factory


first, second = answering(6), answering(8)


def exact(item, output):
    if item["n"] == 9:
        raise ValueError("no answer is known")
    return output == item["answer"]


async def several(item, output):
    return {"exact": output == item["answer"], "length": len(output)}
"""


def items() -> list[dict[str, Any]]:
    return [{"id": f"q{n}", "n": n, "answer": f"answer {n}"} for n in range(10)]


def echo() -> Any:
    return lambda item: item


def test_outputs_are_scored_and_stay_what_they_are(tmp_path: Path) -> None:
    def score(item: int, output: int) -> float:
        assert item == output
        return item / 2

    with run_batch(echo, range(4), out=tmp_path / "a.db", workers=1, score=score) as run:
        found = {item.id: item for item in run}
        summary = run.summary()
    assert [found[str(n)].output for n in range(4)] == [0, 1, 2, 3]
    assert [found[str(n)].scores for n in range(4)] == [{"score": n / 2} for n in range(4)]
    (told,) = summary.scores
    assert (told.name, told.count, told.mean) == ("score", 4, 0.75)
    assert [(group.least, group.count, group.example) for group in told.groups] == [
        (0.0, 1, "0"), (0.5, 1, "1"), (1.0, 1, "2"), (1.5, 1, "3"),
    ]  # fmt: skip
    assert "score: mean 0.75 of 4 items; 0: 1 (as 0), 0.5: 1 (as 1)" in str(summary)
    with run_batch(
        echo, range(4), out=tmp_path / "a.db", workers=1, score=score, resume=True
    ) as run:
        assert {item.id: item.scores for item in run} == {i: it.scores for i, it in found.items()}
        assert run.summary().scores == summary.scores


def test_answers_of_models_are_scored_with_what_they_used() -> None:
    def factory() -> AgentOptions:
        def turn(context: Any) -> Any:
            yield "fine"
            yield Usage(input=3, output=1)

        return AgentOptions(stream_fn=turn, keep_history=False)

    async def score(item: str, output: str) -> dict[str, Any]:
        return {"said": output == "fine", "long": len(output)}

    with run_batch(factory, ["a"], out=None, workers=1, score=score) as run:
        (item,) = run
    assert (item.output, item.scores) == ("fine", {"said": 1.0, "long": 4.0})
    assert item.cost.usage == Usage(input=3, output=1)


def test_a_scorer_that_fails_or_dies_fails_its_item_alone() -> None:
    def score(item: int, output: int) -> Any:
        if item == 1:
            os._exit(3)
        if item == 2:
            raise KeyError("no such answer")
        return "good" if item == 3 else 1

    with run_batch(echo, range(5), out=None, workers=1, score=score) as run:
        found = {item.id: item for item in run}
    assert [found[str(n)].ok for n in range(5)] == [True, False, False, False, True]
    assert isinstance(found["1"].error, AgentCrashed)
    assert isinstance(found["2"].error, AgentFailure)
    assert "a scorer returns a number, a bool or a mapping" in str(found["3"].error)
    assert found["4"].scores == {"score": 1.0}


def test_what_is_no_scorer_is_refused() -> None:
    with pytest.raises(TypeError, match="score must be a function"):
        run_batch(echo, [1], out=None, score="exact")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="no score"):
        scores_of(float("nan"))


def row(id: str, *, ok: bool = True, output: str = "1", **scores: float) -> ItemRecord:
    known = used(Usage(), Cost(), None, scores)
    return ItemRecord(id=id, position=0, digest=b"", ok=ok, output=output, used=known)


def test_runs_are_compared_item_by_item() -> None:
    found = compare_runs(
        [row("a", s=0.5), row("b", s=1), row("c", s=1), row("d", s=1), row("gone", s=0), row("e"),
         row("f", s=1, t=0), row("g")],
        [row("a", s=1), row("b", s=0), row("c", s=1), row("d", ok=False), row("new", s=1),
         row("e", output="2"), row("f", s=0, t=1), row("g")],
    )  # fmt: skip
    assert (found.both, found.only_before, found.only_after) == (7, 1, 1)
    assert {change.id: change.better for change in found.changes} == {
        "a": True, "b": False, "d": False, "e": None, "f": None,
    }  # fmt: skip
    assert (found.better, found.worse) == (1, 2)
    assert found.means == {"s": (0.875, 0.5), "t": (0.0, 1.0)}


def test_many_values_are_told_in_ranges() -> None:
    tally = ScoreTally()
    for n in range(1000):
        tally.add(row(str(n), s=n / 1000))
    (told,) = tally.summaries()
    assert len(told.groups) == 10
    assert [group.count for group in told.groups] == [100] * 10
    assert str(told.groups[0]) == "0 to 0.099"


def procorch(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "procorch", *map(str, arguments)],
        capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, check=False,
    )  # fmt: skip


def test_an_evaluation_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "evaluation.py").write_text(APP)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(it) + "\n" for it in items()))
    for run in ("first", "second"):
        done = procorch(
            "batch", f"evaluation:{run}", "questions.jsonl", "--out", f"{run}.db", "--score",
            "evaluation:exact", "--workers", 1, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr  # the scorer knows no answer to one of them
    assert "score: mean 0.8889 of 9 items; 0: 1 (as q8), 1: 8 (as q0)" in done.stdout
    shown = procorch("show", "second.db", cwd=tmp_path)
    assert "score: mean 0.8889 of 9 items" in shown.stdout
    known = json.loads(procorch("show", "second.db", "--json", cwd=tmp_path).stdout)
    assert known["scores"] == {"score": {"mean": pytest.approx(8 / 9), "count": 9}}
    against = procorch("show", "second.db", "--against", "first.db", cwd=tmp_path)
    assert against.returncode == 0, against.stderr
    assert "score: mean 0.6667 before, 0.8889 now (+0.2222)" in against.stdout
    assert "10 items in both runs: 2 better, 0 worse, 0 different in another way, 8 the same" in (
        against.stdout
    )
    assert "q6" in against.stdout
    known = json.loads(
        procorch("show", "second.db", "--against", "first.db", "--json", cwd=tmp_path).stdout
    )
    assert (known["better"], known["worse"], known["both"]) == (2, 0, 10)
    assert [change["id"] for change in known["changes"]] == ["q6", "q7"]
    with Reader(tmp_path / "first.db") as journal:
        exported = procorch("export", "first.db", cwd=tmp_path).stdout.splitlines()
        assert json.loads(exported[0])["scores"] == {"score": 1.0}
        assert journal.counts() == (9, 1)


def test_what_cannot_score_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "evaluation.py").write_text(APP)
    (tmp_path / "questions.jsonl").write_text('{"n": 1, "answer": "x"}\n')
    done = procorch(
        "batch", "evaluation:first", "questions.jsonl", "--score", "evaluation:exakt", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "exakt" in done.stderr
    assert "exact" in done.stderr
    done = procorch("show", "a.db", "item", "--against", "b.db", cwd=tmp_path)
    assert done.returncode == 2
