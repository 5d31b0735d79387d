"""Apps as users name and place them: files, links, parts of packages, names that are taken."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch import AgentExecutor, AgentPool
from procorch.batch.journal import Reader
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]

BODY = """
import dataclasses

@dataclasses.dataclass
class Out:
    value: int

def g():
    return lambda item: {"module": __name__, "item": item}

def made():
    return Out
"""
METHODS = pytest.mark.parametrize("method", ["zygote", "spawn"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_text("1\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def output(run: Run, app: str, *more: str) -> object:
    """What the app makes of the item 1."""
    ended = run("batch", app, "in.jsonl", "-o", "run.db", "--redo", "--json", *more)
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)["output"]


@pytest.mark.parametrize(
    "name", ["grader.v2.py", "grader-2.py", "2024 run ü.py", "queue.py", "dill.py", "__init__.py"]
)
@pytest.mark.parametrize("factory", ["g", "made"])
def test_a_file_may_have_any_name(name: str, factory: str, folder: Path, run: Run) -> None:
    write(folder / "sub" / name, BODY)
    found = output(run, f"sub/{name}:{factory}")
    assert found["item" if factory == "g" else "value"] == 1  # type: ignore[index]


def test_a_link_may_have_another_name_and_its_target_may_have_helpers(
    folder: Path, run: Run
) -> None:
    write(folder / "store" / "abc123.py", "import helper\n" + BODY)
    write(folder / "store" / "helper.py", "")
    os.symlink("store/abc123.py", "agent.py")
    assert output(run, "agent.py:g") == {"module": "agent", "item": 1}


def test_a_file_in_a_package_is_a_part_of_it(folder: Path, run: Run) -> None:
    write(folder / "pkg" / "__init__.py", "")
    write(folder / "pkg" / "util.py", "")
    write(folder / "pkg" / "logging.py", "raise RuntimeError('it hides the one of Python')")
    write(folder / "pkg" / "agent.py", "from . import util\n" + BODY)
    write(folder / "pkg" / "script.py", "import util\n" + BODY)
    assert output(run, "pkg/agent.py:g") == {"module": "pkg.agent", "item": 1}
    assert output(run, "pkg.agent:g") == {"module": "pkg.agent", "item": 1}
    assert output(run, "pkg/script.py:g") == {"module": "pkg.script", "item": 1}


HIDING = ("gzip", "dill", "logging", "select", "asyncio", "token", "msgspec", "traceback", "copy")


@METHODS
@pytest.mark.parametrize("place", ["beside the app", "in the working folder"])
def test_files_with_the_names_of_modules_disturb_nothing(
    place: str, method: str, folder: Path
) -> None:
    app = folder / "sub" / "mine.py"
    write(app, "import helper\nasync def h(item):\n    return item\n\ndef g():\n    return h\n")
    write(app.with_name("helper.py"), "")
    where = folder if place == "in the working folder" else app.parent
    for name in HIDING:
        write(where / f"{name}.py", "raise RuntimeError('a file of the user')\n")
    # A file in a folder of its own, as an installed command is: `python -c` looks around itself.
    write(folder / "bin" / "procorch", COMMAND[2].replace("; ", "\n"))
    done = subprocess.run(
        [
            COMMAND[0], "bin/procorch", "batch", "sub/mine.py:g", "in.jsonl", "-o", "run.db",
            "--start-method", method,
        ],
        capture_output=True, text=True, timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    assert (done.returncode, "1 ok" in done.stdout) == (0, True), done.stderr


@METHODS
def test_an_app_that_changes_the_folder_changes_that_of_its_worker_alone(
    method: str, folder: Path, run: Run
) -> None:
    write(folder / "mine.py", "import os\nos.chdir('/')\n" + BODY)
    assert output(run, "mine.py:made", "--start-method", method) == {"value": 1}
    assert (folder / "run.db").exists()


def test_an_app_is_imported_in_workers_only(folder: Path, run: Run) -> None:
    write(folder / "mine.py", "import os\nopen('pids', 'a').write(f'{os.getppid()}\\n')\n" + BODY)
    process = subprocess.Popen(
        [*COMMAND, "batch", "mine.py:g", "in.jsonl", "-o", "run.db", "--start-method", "spawn"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment({}),
    )  # fmt: skip
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert set((folder / "pids").read_text().split()) == {str(process.pid)}


def test_a_journal_of_version_0_1_is_that_of_the_same_factory(folder: Path, run: Run) -> None:
    """What a worker says of a factory is what the runner itself found before."""
    write(folder / "mine.py", BODY)
    output(run, "mine.py:g")
    with Reader(folder / "run.db") as journal:
        header = journal.header()
    assert header["factory"] == "mine:g"
    assert header["recipe"] == BODY[BODY.index("def g()") : BODY.index("\ndef made")]
    assert header["folder"] == str(folder)


# ---- a working folder that was deleted


def double(n: int) -> int:
    return n * 2


@METHODS
@pytest.mark.parametrize("when", ["before", "later"])
def test_a_deleted_working_folder_stops_nothing(
    when: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.syspath_prepend("")
    if when == "before":
        (tmp_path / "gone").rmdir()
    with AgentExecutor(1, start_method=method) as executor:
        assert executor.submit(double, 1).result() == 2
        if when == "later":
            (tmp_path / "gone").rmdir()
        assert executor.submit(lambda n: n * 3, 1).result() == 3
        with AgentPool(lambda: double, 1, start_method=method) as pool:
            assert pool.map([1, 2]) == [2, 4]


@METHODS
def test_a_batch_needs_no_working_folder(method: str, folder: Path) -> None:
    write(folder / "mine.py", BODY)
    (folder / "gone").mkdir()
    done = subprocess.run(
        [
            "sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh", *COMMAND, "batch",
            f"{folder}/mine.py:g", f"{folder}/in.jsonl", "-o", f"{folder}/run.db",
            "--start-method", method,
        ],
        capture_output=True, text=True, timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    assert (done.returncode, "1 ok" in done.stdout) == (0, True), done.stderr


def test_looking_at_an_app_leaves_no_trace(folder: Path, run: Run) -> None:
    """The look takes no number, and no name: this app is called what the look calls its own."""
    write(folder / "mine.py", "import os\ndef app():\n    return lambda item: os.abort()\n")
    ended = run("batch", "mine.py:app", "in.jsonl", "-o", "run.db", "-j", "1")
    assert ended.code == 1, ended.stderr
    shown = run("show", "run.db", "1").stdout
    assert "SIGABRT on request 1\n" in shown


def test_an_app_and_its_workers_come_from_one_process(folder: Path, run: Run) -> None:
    write(folder / "mine.py", "import os\nSEEN = os.getppid()\n")
    with (folder / "mine.py").open("a") as file:
        file.write("open('parents', 'a').write(f'{SEEN}\\n')\n")
        file.write("def app():\n    return lambda item: 1\n")
    ended = run("batch", "mine.py:app", "in.jsonl", "-o", "run.db", "-j", "2")
    assert ended.code == 0, ended.stderr
    parents = (folder / "parents").read_text().split()
    assert len(parents) == 2  # for the check of the app, and once for all workers
    assert len(set(parents)) == 1


def test_an_app_that_ends_its_process_is_told_of_in_one_line(folder: Path, run: Run) -> None:
    write(folder / "mine.py", "import os\nos._exit(4)\n")
    ended = run("batch", "mine.py:app", "in.jsonl", "-o", "run.db")
    assert ended.code == 2
    assert ended.stderr == ("Error: 'mine.py:app' ends the process that imports it: exit code 4\n")
