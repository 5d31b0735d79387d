"""`procorch bench` as a shell sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]

APP = """
def quick():
    return lambda x: x

def slow():
    return lambda x: sum(range(3_000_000))

def picky():
    def handle(x):
        if x != {"a": 1}:
            raise ValueError(f"got {x!r}")
    return handle

number = 3
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "agents_under_test.py"
    path.write_text(APP)
    return str(path)


def test_agents_are_measured_and_compared_with_the_first(run: Run, app: str) -> None:
    ended = run("bench", f"{app}:quick", f"{app}:slow", "--runs", "6", COLUMNS="200")
    assert ended.code == 0, ended.stderr
    head, quick, slow, verdict = ended.stdout.splitlines()
    assert head.split()[:3] == ["agent", "runs", "wall"]
    assert quick.split()[:2] == [f"{app}:quick", "6"]
    assert slow.split()[:2] == [f"{app}:slow", "6"]
    assert f"{app}:slow is slower than {app}:quick" in verdict
    assert "runs: 12 of 12" in ended.stderr


def test_data_is_json_or_markdown_and_a_file_can_be_compared_later(
    run: Run, app: str, tmp_path: Path
) -> None:
    first, second = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    ended = run("bench", f"{app}:quick", "--runs", "6", "--json", "--export-json", first)
    assert ended.code == 0, ended.stderr
    data = json.loads(ended.stdout)
    assert data == json.loads(Path(first).read_text())
    assert len(data["measurements"][0]["runs"]) == 6
    ended = run("bench", f"{app}:slow", "--runs", "6", "--markdown", "--export-json", second)
    assert ended.stdout.startswith("| agent | runs | wall |")
    ended = run("bench", "--compare", first, second)
    assert ended.code == 0, ended.stderr
    assert "is slower than" in ended.stdout
    Path(first).write_text("{}")
    ended = run("bench", "--compare", first, second)
    assert ended.code == 2
    assert ended.stderr.startswith(f"Error: {first}:")


def test_requests_are_json_or_text_or_lines_of_a_file(run: Run, app: str, tmp_path: Path) -> None:
    few = ("--runs", "1", "--warmup", "0")
    assert run("bench", f"{app}:picky", "-r", '{"a": 1}', *few).code == 0
    ended = run("bench", f"{app}:picky", "-r", "text", *few)
    assert ended.code == 1
    assert "failed: ValueError: got 'text'" in ended.stderr
    lines = tmp_path / "requests.jsonl"
    lines.write_text('{"a": 1}\n\n{"a": 1}\n')
    ended = run("bench", f"{app}:picky", "--requests", str(lines), "--json", *few)
    assert json.loads(ended.stdout)["measurements"][0]["requests"] == 2
    lines.write_text('1\n{"a": }\n')
    ended = run("bench", f"{app}:picky", "--requests", str(lines), *few)
    assert (ended.code, f"{lines}:2: no JSON" in ended.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "name what is to be measured"),
        (("APP:quick", "--json", "--markdown"), "--json or --markdown, not both"),
        (("APP:quick", "APP:quick"), "the same APP twice"),
        (("APP",), "names no factory"),
        (("APP:quik",), "did you mean 'quick'?"),
        (("APP:number",), "a factory is a function without arguments, not int"),
        (("no_such_module:f",), "does not import: ModuleNotFoundError"),
        (("gone.py:f",), "there is no file 'gone.py'"),
        (("--compare", "APP:quick", "x.json"), "two APPs or two files"),
    ],
    ids=str,
)
def test_wrong_usage_is_refused_with_the_reason(
    run: Run, app: str, arguments: tuple[str, ...], text: str
) -> None:
    ended = run("bench", *(each.replace("APP", app) for each in arguments))
    assert ended.code == 2
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_app_that_does_not_import_says_why_and_where(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "broken_app.py"
    path.write_text("x = 1\ny = 1 / 0\n")
    ended = run("bench", f"{path}:f")
    assert ended.code == 2
    assert f"'broken_app' does not import: ZeroDivisionError: division by zero ({path}:2)" in (
        ended.stderr
    )
