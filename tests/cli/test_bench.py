"""`procorch bench` as a shell sees it."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Ended, environment

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

def double(n):
    return 2 * n

def flaky():
    calls = []
    def handle(x):
        import os
        calls.append(x)
        if len(calls) == 3:
            os.abort()
        return sum(range(500_000))
    return handle

def slow_to_answer():
    def handle(x):
        import time
        time.sleep(0.2)
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
        (("APP:quick", "--resume"), "name it"),
        (("APP:double",), "it needs n: give a request (-r VALUE) or a parameter (-P n=VALUE)"),
        (("APP:double", "-r", "1", "-P", "m=1"), "the parameter 'm' is used nowhere"),
        (("APP:quick", "-P", "n"), "write a parameter as NAME=VALUE,VALUE"),
        (("APP:quick", "--python", "no-such-python"), "there is no interpreter 'no-such-python'"),
        (("APP:quick", "--cpu", "99999"), "the processors that may be used are"),
        (("APP:quick", "--export-json", "no/such/folder.json"), "cannot be written"),
        (("APP:double", "-P", "n=1", "--plot", "x.xyz"), "plot"),
        (("APP",), "names no factory or function"),
        (("APP:quik",), "did you mean 'quick'?"),
        (("APP:number",), "a factory is a function without arguments, not int"),
        (("no_such_module:f",), "does not import: ModuleNotFoundError"),
        (("gone.py:f",), "there is no file 'gone.py'"),
        (("folder/app:f",), "'folder/app' is no module: write folder/app.py"),
        (("--compare", "APP:quick", "x.json"), "the file comes first"),
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
    assert f"{str(path)!r} does not import: ZeroDivisionError: division by zero ({path}:2)" in (
        ended.stderr
    )


def measurements(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["measurements"]
    return found


def test_a_run_that_fails_costs_only_itself(run: Run, app: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    few = ("--runs", "6", "--processes", "2", "--warmup", "0", "--loops", "1")
    ended = run("bench", f"{app}:quick", f"{app}:flaky", *few, "--export-json", str(out))
    assert ended.code == 1
    assert "ok 4/6, 2 SIGABRT" in ended.stdout
    assert "crashed: SIGABRT" in ended.stderr
    quick, flaky = measurements(out)
    assert (len(quick["runs"]), len(flaky["runs"]), len(flaky["failures"])) == (6, 4, 2)


def test_one_that_always_fails_is_told_with_the_reason(run: Run, app: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    ended = run("bench", f"{app}:picky", "--runs", "8", "--export-json", str(out))
    assert ended.code == 1
    assert "ok 0/5, 5 ValueError" in ended.stdout
    assert "failed: ValueError: got None" in ended.stderr
    assert "given up after 5 runs" in ended.stderr
    assert measurements(out)[0]["success"] == "ok 0/5, 5 ValueError"


def test_each_app_imports_from_its_own_folder(run: Run, tmp_path: Path) -> None:
    for folder, size in (("before", 20_000), ("after", 200_000)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text(f"N = {size}\n")
        (tmp_path / folder / "app.py").write_text(
            "import sys\nfrom helper import N\n"
            "def work():\n    return lambda x=None: [sum(range(N)), N][1:]\n"
        )
    ended = run("bench", "before/app.py:work", "after/app.py:work", "--runs", "8", "--fast")
    assert ended.code == 0, ended.stderr
    assert "after/app.py:work is slower than before/app.py:work" in ended.stdout
    ended = run("bench", "before/app.py:work", "after/app.py:work", "--runs", "6")
    assert "after/app.py:work is slower than before/app.py:work" in ended.stdout


def test_an_app_may_have_the_name_of_a_module_of_python(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "resource.py").write_text("def f(n):\n    return n\n")
    ended = run("bench", "folder/resource.py:f", "-r", "1", "--runs", "1", "--warmup", "0")
    assert ended.code == 0, ended.stderr


def test_a_file_of_a_package_may_import_its_neighbours(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "package" / "part"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (package.parent / "other.py").write_text("N = 3\n")
    (package / "app.py").write_text("from ..other import N\ndef f(n):\n    return n * N\n")
    ended = run("bench", "package/part/app.py:f", "-r", "1", "--runs", "1", "--warmup", "0")
    assert ended.code == 0, ended.stderr


def test_an_app_may_be_measured_against_itself(run: Run, app: str) -> None:
    ended = run("bench", f"{app}:quick", f"{app}:quick", "--runs", "2", "--warmup", "0")
    assert ended.code == 0, ended.stderr
    assert f"{app}:quick (a)" in ended.stdout
    assert f"{app}:quick (b)" in ended.stdout


def test_interpreters_need_not_have_procorch(run: Run, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    bare = str(tmp_path / "bare" / "bin" / "python")
    (tmp_path / "app.py").write_text(
        "def bare():\n    try:\n        import click\n    except ImportError:\n"
        "        return lambda x: x\n    raise RuntimeError('it has packages of the runner')\n"
    )
    few = ("--runs", "1", "--warmup", "0", "--json")
    ended = run("bench", "app.py:bare", "--python", bare, *few)
    assert ended.code == 0, ended.stderr
    (measured,) = json.loads(ended.stdout)["measurements"]
    assert measured["plan"]["python"] == bare
    ended = run("bench", "app.py:bare", "--python", bare, "--python", sys.executable, *few)
    assert ended.code == 1
    names = [each["name"] for each in json.loads(ended.stdout)["measurements"]]
    assert names == [f"app.py:bare ({bare})", f"app.py:bare ({sys.executable})"]


def test_plain_functions_and_sweeps(run: Run, app: str, tmp_path: Path) -> None:
    few = ("--runs", "1", "--warmup", "0", "--json")
    ended = run("bench", f"{app}:double", "-P", "n=10,100", *few)
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [each["name"] for each in found["measurements"]] == [
        f"{app}:double n=10",
        f"{app}:double n=100",
    ]
    assert [each["plan"]["params"] for each in found["measurements"]] == [{"n": 10}, {"n": 100}]
    assert "comparisons" not in found
    ended = run("bench", f"{app}:picky", "-r", '{"a": {n}}', "-P", "n=1", *few)
    assert ended.code == 0, ended.stderr


@pytest.mark.parametrize("values", ["n=1,10", 'n="a","b"'])
def test_a_sweep_is_drawn_or_the_extra_is_named(
    run: Run, app: str, tmp_path: Path, values: str
) -> None:
    few = ("--runs", "1", "--warmup", "0", "--plot", "x.svg")
    ended = run("bench", f"{app}:double", "-P", values, *few)
    if importlib.util.find_spec("matplotlib") is None:
        assert ended.code == 2
        assert "pip install 'procorch[plots]'" in ended.stderr
    else:
        assert ended.code == 0, ended.stderr
        assert "<svg" in (tmp_path / "x.svg").read_text()
    ended = run("bench", f"{app}:quick", *few)
    assert (ended.code, "there is no sweep to draw" in ended.stderr) == (2, True)


def test_names_do_not_wrap_in_a_pipe(run: Run, tmp_path: Path) -> None:
    name = "a_module_with_a_name_that_is_" + "very_" * 12 + "long"
    (tmp_path / f"{name}.py").write_text("def f(n):\n    return n\n")
    ended = run("bench", f"{name}.py:f", "-r", "1", "--runs", "1", "--warmup", "0", COLUMNS="80")
    assert f"{name}.py:f" in ended.stdout
    assert len(ended.stdout.splitlines()) == 2


def test_what_an_app_prints_is_not_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("print('import')\ndef f(n):\n    print('call')\n")
    few = ("-r", "1", "--runs", "1", "--warmup", "0", "--loops", "1", "--json")
    for more in ((), ("--fast",), ("--show-output",)):
        ended = run("bench", "loud.py:f", *few, *more)
        assert ended.code == 0, ended.stderr
        json.loads(ended.stdout)
        assert ("call" in ended.stderr) is (more == ("--show-output",))


def test_a_line_for_each_request(run: Run, app: str) -> None:
    few = ("--runs", "1", "--warmup", "0", "--each")
    ended = run("bench", f"{app}:double", "-r", "1", "-r", "2", *few)
    assert [line.split()[:2] for line in ended.stdout.splitlines()[2:]] == [
        ["request", "1"],
        ["request", "2"],
    ]


def test_a_file_that_is_read_is_not_overwritten(run: Run, app: str, tmp_path: Path) -> None:
    lines = tmp_path / "requests.jsonl"
    lines.write_text("1\n")
    ended = run("bench", f"{app}:quick", "--requests", str(lines), "--export-json", str(lines))
    assert (ended.code, lines.read_text()) == (2, "1\n")
    assert "it is the same file as" in ended.stderr


def test_a_full_disk_does_not_cost_the_figures(run: Run, app: str) -> None:
    few = ("--runs", "1", "--warmup", "0", "--export-json", "/dev/full")
    ended = run("bench", f"{app}:quick", *few)
    assert ended.code == 1
    assert f"{app}:quick" in ended.stdout
    assert "/dev/full cannot be written: No space left on device" in ended.stderr


def interrupted(app: str, out: Path, number: signal.Signals) -> subprocess.Popen[str]:
    """A command that was ended by a signal after its first turn."""
    command = [*COMMAND, "bench", f"{app}:slow_to_answer", "--runs", "30", "--processes", "1"]
    process = subprocess.Popen(
        [*command, "--export-json", str(out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({}),
    )
    while not out.exists() or not out.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    return process


def test_ctrl_c_keeps_what_is_finished(app: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    process = interrupted(app, out, signal.SIGINT)
    shown, said = process.communicate()
    assert process.returncode == 130, said
    (measured,) = measurements(out)
    assert not measured["complete"]
    assert 1 <= len(measured["runs"]) < 30
    assert f"{app}:slow_to_answer" in shown
    assert "interrupted" in said
    assert "--resume" in said


def test_a_killed_measurement_is_resumed(run: Run, app: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    process = interrupted(app, out, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = measurements(out)[0]["runs"]
    assert before
    again = ("bench", f"{app}:slow_to_answer", "--export-json", str(out), "--resume")
    ended = run(*again, "--runs", "29", "--processes", "1")
    assert ended.code == 2
    assert "runs was 30 and is 29" in ended.stderr
    ended = run(*again, "--runs", "30", "--processes", "1")
    assert ended.code == 0, ended.stderr
    (measured,) = measurements(out)
    assert measured["complete"]
    assert measured["runs"][: len(before)] == before
    assert [each["turn"] for each in measured["runs"]] == list(range(30))
