"""`procorch batch --exec`: a program for each item."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch.cli.batch_exec import shell_words
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory, with a table of three rows."""
    (tmp_path / "in.csv").write_text("id,word,n\na,one two,1\nb/c,$HOME,2\nd,it's,3\n")
    return tmp_path


def items(ended: Ended) -> dict[str, dict[str, object]]:
    return {item["id"]: item for item in map(json.loads, ended.stdout.splitlines())}


def test_forty_jobs_one_crashes_one_fails_and_one_hangs(tmp_path: Path, run: Run) -> None:
    jobs = [f"echo {n}" for n in range(37)]
    jobs[10:10] = ["kill -SEGV $$", "echo why >&2; exit 7", "sleep 1000"]
    (tmp_path / "jobs.txt").write_text("\n".join(jobs))
    arguments = ("batch", "--exec", "sh -c {line}", "jobs.txt", "-o", "run.db", "-j", "4",
                 "--timeout", "4s", "--memory", "256M", "--json")  # fmt: skip
    ended = run(*arguments)
    assert ended.code == 1
    found = items(ended)
    assert len(found) == 40
    assert sorted(str(item["output"]) for item in found.values() if item["ok"]) == sorted(
        f"{n}\n" for n in range(37)
    )
    bad = {int(name): (it["reason"], it["place"]) for name, it in found.items() if not it["ok"]}
    assert bad == {
        11: ("crashed", "SIGSEGV"),
        12: ("error", "exit code 7"),
        13: ("timeout", "deadline of 4 s"),
    }
    assert "0 workers" not in ended.stderr  # none was replaced
    assert "replaced" not in ended.stderr
    again = run(*arguments[:-1], "--resume")
    assert "40 of them in earlier runs" in again.stdout
    shown = run("show", "run.db", "12")
    assert "agent 'sh' failed: exit code 7: sh -c 'echo why >&2; exit 7': why" in shown.stdout
    assert "Traceback" not in shown.stdout
    log = run("export", "run.db", "--format", "joblog").stdout.splitlines()
    ends = Counter(tuple(line.split("\t")[6:8]) for line in log[1:])
    assert ends == {("0", "0"): 37, ("0", "11"): 1, ("7", "0"): 1, ("1", "0"): 1}


def test_failed_jobs_are_run_again_when_their_cause_is_mended(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in.txt").write_text("a\nb\n")
    arguments = ("batch", "--exec", "cat {line}", "in.txt", "-o", "run.db")
    (tmp_path / "a").write_text("A")
    assert run(*arguments).code == 1
    (tmp_path / "b").write_text("B")
    assert run(*arguments, "--retry-failed").code == 0
    rows = csv.DictReader(run("export", "run.db", "--format", "csv").stdout.splitlines())
    assert [(row["output"], row["attempts"]) for row in rows] == [("A", "1"), ("B", "2")]


def test_another_command_is_another_batch(folder: Path, run: Run) -> None:
    assert run("batch", "--exec", "echo {word}", "in.csv", "-o", "run.db").code == 0
    ended = run("batch", "--exec", "echo {n}", "in.csv", "-o", "run.db", "--resume")
    assert ended.code == 2
    assert "the factory exec:echo has changed" in ended.stderr
    assert "argv = ['echo', '{n}']" in ended.stderr


@pytest.mark.parametrize(
    "line",
    [
        r"a 'b c' \"d e\" f\ g",
        r'sh -c "kill -SEGV \$\$; echo \`date\`"',
        r"""'\$' "\\$x" "\\\$" \$ "\"" '"' "'" "\n" "" ''""",
        "a \\\n b\"c\\\nd\" 'e\\\nf' g\\\nh",
    ],
)
def test_a_command_line_is_split_as_a_shell_splits_it(line: str) -> None:
    line = line.replace("$x", "$")
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True)
    assert done.returncode == 0
    assert shell_words(line) == done.stdout.split("\0")[:-1]


def test_fields_are_single_arguments_whatever_is_in_them(folder: Path, run: Run) -> None:
    ended = run("batch", "--exec", "printf '%s|' {word} x{n} '{{}}'", "in.csv", "--json")
    assert {name: item["output"] for name, item in items(ended).items()} == {
        "a": "one two|x1|{}|",
        "b/c": "$HOME|x2|{}|",
        "d": "it's|x3|{}|",
    }
    assert sorted(os.listdir(".procorch")) == ["printf-in.db"]


def test_a_dry_run_shows_the_command_lines(folder: Path, run: Run) -> None:
    arguments = ("batch", "--exec", "wc -w {word} --files0-from={n}", "in.csv", "-o", "run.db")
    ended = run(*arguments, "--dry-run")
    assert ended.code == 0
    assert [shlex.split(line) for line in ended.stdout.splitlines()] == [
        ["wc", "-w", "one two", "--files0-from=1"],
        ["wc", "-w", "$HOME", "--files0-from=2"],
        ["wc", "-w", "it's", "--files0-from=3"],
    ]
    assert "3 are to be run" in ended.stderr
    lines = [
        json.loads(line) for line in run(*arguments, "--dry-run", "--json").stdout.splitlines()
    ]
    assert lines[0] == {"id": "a", "argv": ["wc", "-w", "one two", "--files0-from=1"]}
    assert lines[-1]["left"] == 3
    assert not (folder / "run.db").exists()


def test_a_dry_run_after_a_run_shows_what_is_left(folder: Path, run: Run) -> None:
    arguments = ("batch", "--exec", "test {n} != 2", "in.csv", "-o", "run.db")
    assert run(*arguments).code == 1
    assert run(*arguments, "--resume", "--dry-run").stdout == ""
    assert run(*arguments, "--retry-failed", "--dry-run").stdout == "test 2 '!=' 2\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exec", "touch made {wrod}", "in.csv"], "in.csv:2: there is no field 'wrod' in the "
         "request: it has id, word, n; did you mean 'word'?"),
        (["--exec", "touch made {line}", "in.csv"], "there is no field 'line'"),
        (["--exec", "touch made", "in.csv", "--stdin", "text"], "takes requests that are text"),
        (["--exec", "no-such-program {n}", "in.csv"], "'no-such-program' is not installed"),
        (["--exec", "no-such-program {n}", "in.csv", "--dry-run"], "is not installed"),
        (["--exec", "{word}", "in.csv"], "must not come from a request"),
        (["--exec", "touch 'made", "in.csv"], "No closing quotation"),
        (["--exec", "", "in.csv"], "names a program first"),
        (["--exec", "touch made"], "Missing argument 'IN'"),
        (["app.py:a", "--exec", "touch made", "in.csv"], "'app.py:a' is one too many"),
        (["app.py:a", "in.csv", "--results", "r"], "--results goes with --exec"),
        (["in.csv"], "Missing argument 'IN'"),
        ([], "Missing argument '[APP]'"),
        (["--exec", "touch made", ".", "--results", "r"], "results would be items"),
        (["--exec", "touch made", "in.csv", "--results", "in.csv/r"], "cannot be made"),
    ],
    ids=lambda each: " ".join(each)[:40] if isinstance(each, list) else "",
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_runs(
    folder: Path, run: Run, arguments: list[str], said: str
) -> None:
    ended = run("batch", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert not (folder / "made").exists()


def test_items_of_a_pipe_are_checked_one_by_one(folder: Path) -> None:
    lines = '{"id": "a", "n": 1}\n{"id": "b"}\n'
    done = subprocess.run(
        [*COMMAND, "batch", "--exec", "echo {n}", "-", "-o", "run.db", "--json"],
        input=lines, capture_output=True, text=True, timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    found = items(Ended(done.returncode, done.stdout, done.stderr))
    assert done.returncode == 1
    assert found["a"]["output"] == "1\n"
    assert (found["b"]["reason"], found["b"]["place"]) == ("error", "no field 'n'")


@pytest.mark.parametrize("field", ["{line}", "{}"])
def test_lines_of_a_pipe_are_items_of_a_command_without_other_fields(
    folder: Path, field: str
) -> None:
    """As with xargs; with names of fields they are JSON (above)."""
    done = subprocess.run(
        [*COMMAND, "batch", "--exec", f"echo {field}", "-", "-o", "run.db", "--json"],
        input="one two\nit's\n", capture_output=True, text=True, timeout=LIMIT,
        env=environment({}), cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs = [json.loads(line)["output"] for line in done.stdout.splitlines()]
    assert sorted(outputs) == ["it's\n", "one two\n"]


def test_the_input_may_come_from_the_environment(folder: Path, run: Run) -> None:
    given = {"PROCORCH_BATCH_IN": "in.csv", "PROCORCH_BATCH_EXEC": "false"}
    ended = run("batch", **given, PROCORCH_BATCH_APP="app.py:a")
    assert ended.code == 1
    assert "3 x error" in ended.stdout or "3  error" in ended.stdout
    assert "procorch batch --exec false in.csv --retry-failed" in ended.stdout
    assert run("batch", "in.csv", "-o", "x.db", PROCORCH_BATCH_EXEC="true").code == 0
    both = {"PROCORCH_BATCH_EXEC": "false", "PROCORCH_BATCH_IN": "none.csv"}
    assert "there is no file 'app.py'" in run("batch", "app.py:a", "in.csv", **both).stderr
    ended = run("batch", "in.csv", "-o", "y.db", **both)
    assert "procorch batch --exec false in.csv -o y.db --retry-failed" in ended.stdout


def test_output_may_be_json_and_input_the_item(folder: Path, run: Run) -> None:
    ended = run("batch", "--exec", "cat", "in.csv", "--stdin", "json", "--stdout", "json", "--json")
    assert items(ended)["a"]["output"] == {"id": "a", "word": "one two", "n": "1"}


def test_results_are_files_named_by_the_item(folder: Path, run: Run) -> None:
    script = 'printf "%s" "$1"; [ $2 -lt 2 ] || (echo no >&2; exit 1)'
    exec_ = shlex.join(["sh", "-c", script, "sh", "{word}", "{n}"])
    arguments = ("batch", "--exec", exec_, "in.csv", "-o", "run.db", "--results", "made/out")
    assert run(*arguments).code == 1
    out = folder / "made" / "out"
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "a.out": "one two",
        "b%2Fc.out": "$HOME",
        "b%2Fc.err": "no\n",
        "d.out": "it's",
        "d.err": "no\n",
    }


def test_results_of_a_program_that_was_ended_have_what_it_wrote(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in.txt").write_text("x\n")
    ended = run("batch", "--exec", "sh -c 'printf \"\\377\"; echo soon >&2; sleep 1000'", "in.txt",
                "--timeout", "2s", "--results", "out")  # fmt: skip
    assert ended.code == 1
    assert (tmp_path / "out" / "1.out").read_bytes() == b"\xff"
    assert (tmp_path / "out" / "1.err").read_text() == "soon\n"
    ended = run("batch", "--exec", "printf '\\377'", "in.txt", "-o", "b.db", "--results", "out")
    assert "standard output is not utf-8 (invalid start byte)" in ended.stdout
    assert not (tmp_path / "out" / "1.err").exists()
    for form, output in (("bytes", "/w=="), ("none", None)):
        ended = run("batch", "--exec", "printf '\\377'", "in.txt", "-o", f"{form}.db", "--stdout",
                    form, "--json")  # fmt: skip
        assert items(ended)["1"]["output"] == output


def test_a_batch_that_is_killed_takes_its_programs_along(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x\n")
    os.mkfifo(tmp_path / "told")
    runner = subprocess.Popen(
        [*COMMAND, "batch", "--exec", "sh -c 'trap : TERM; echo $$ > told; sleep 1000'", "in.txt"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment({}),
    )  # fmt: skip
    pid = int((tmp_path / "told").read_text())
    program = os.pidfd_open(pid)
    runner.send_signal(signal.SIGKILL)
    runner.wait(LIMIT)
    import select

    poll = select.poll()
    poll.register(program, select.POLLIN)
    assert poll.poll(LIMIT * 1000), "the program lives on"
    os.close(program)
