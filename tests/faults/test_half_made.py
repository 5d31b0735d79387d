"""A process that is killed while it makes a file leaves one that the next process can use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from procorch.api.conversations.file import ConversationFile
from procorch.batch import schema
from procorch.batch.journal import Journal
from procorch.batch.output_file import replacing
from procorch.daemon.history.file import open_to_read, open_to_write, write_drift
from procorch.daemon.logs.folder import LogFolder

TIMEOUT = 120


# ---- the history of a daemon


def begin_history(folder: Path) -> None:
    with closing(open_to_write(folder / "history.sqlite")) as connection:
        write_drift(connection, {"echo": {"instances": 3}})


def use_history(folder: Path) -> str | None:
    begin_history(folder)
    with closing(open_to_read(folder / "history.sqlite")) as connection:
        kept = connection.execute("SELECT agent FROM drift").fetchall()
    aside = [path.name for path in folder.glob("*damaged*")]
    return None if not aside and kept == [("echo",)] else f"{aside} {kept}"


def spoil_history(folder: Path) -> None:
    begin_history(folder)
    with (folder / "history.sqlite").open("r+b") as file:
        file.write(b"no database")


def replace_history(folder: Path) -> None:
    open_to_write(folder / "history.sqlite").close()


def use_new_history(folder: Path) -> str | None:
    begin_history(folder)
    aside = list(folder.glob("*damaged*-1"))
    return None if len(aside) == 1 else f"{sorted(folder.iterdir())}"


# ---- the journal of a batch


def begin_journal(folder: Path) -> None:
    with closing(Journal(folder / "run.db")) as journal:
        journal.begin({"factory": "echo"}, "started", afresh=False)
        journal.write([("note", "one")])


def use_journal(folder: Path) -> str | None:
    begin_journal(folder)
    with closing(Journal(folder / "run.db")) as journal:
        texts = [text for *_, text in journal.events()]
    return None if "one" in texts else f"{texts}"


def begin_old_journal(folder: Path) -> None:
    begin_journal(folder)
    with closing(schema.connect(folder / "run.db")) as connection:
        connection.executescript(
            "ALTER TABLE items DROP COLUMN used; DROP TABLE gone; PRAGMA user_version = 1;"
        )


# ---- a store of conversations


def begin_conversations(folder: Path) -> None:
    with closing(ConversationFile(folder / "conversations.db")) as file, file.transaction():
        if file.number("planner", "trip") is None:
            file.seed("planner", "trip", 1, b"[]")


def use_conversations(folder: Path) -> str | None:
    begin_conversations(folder)
    with closing(ConversationFile(folder / "conversations.db")) as file:
        return None if file.number("planner", "trip") is not None else "it is lost"


# ---- files that are written beside, and renamed


def write_log(folder: Path) -> None:
    (folder / "echo.log").write_bytes(b"a line\n" * 1000)


def rotate_log(folder: Path) -> None:
    with closing(LogFolder(folder)) as logs:
        logs.pack(logs.rotate("echo.log", 1), lambda: False)


def read_log(folder: Path) -> str | None:
    with closing(LogFolder(folder)) as logs:
        for name in logs.clean():
            logs.pack(name, lambda: False)
        opened = [logs.open_rotated("echo.log", file.number) for file in logs.rotated("echo.log")]
        data = b"".join(file.read() for file in [*opened, logs.open_to_read("echo.log")] if file)
    wrong = [path.name for path in folder.iterdir() if path.suffix == ".tmp"]
    return None if data == b"a line\n" * 1000 and not wrong else f"{len(data)} bytes, {wrong}"


def write_report(folder: Path) -> None:
    (folder / "report.html").write_bytes(b"before")


def replace_report(folder: Path) -> None:
    with replacing(folder / "report.html") as file:
        file.write(b"after!")


def read_report(folder: Path) -> str | None:
    text = (folder / "report.html").read_bytes()
    return None if text in (b"before", b"after!") else repr(text)


def nothing(folder: Path) -> None:
    """An empty folder."""


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize(
    ("prepare", "work", "check"),
    [
        pytest.param(nothing, begin_history, use_history, id="a new history"),
        pytest.param(spoil_history, replace_history, use_new_history, id="a damaged history"),
        pytest.param(nothing, begin_journal, use_journal, id="a new journal"),
        pytest.param(begin_old_journal, begin_journal, use_journal, id="an old journal"),
        pytest.param(nothing, begin_conversations, use_conversations, id="new conversations"),
        pytest.param(write_log, rotate_log, read_log, id="a log"),
        pytest.param(write_report, replace_report, read_report, id="a report"),
    ],
)
def test_a_kill_at_any_call_leaves_a_file_that_the_next_one_can_use(
    prepare: Callable[[Path], None],
    work: Callable[[Path], None],
    check: Callable[[Path], str | None],
    tmp_path: Path,
) -> None:
    names = [prepare.__name__, work.__name__, check.__name__]
    command = [sys.executable, "-m", "tests.faults.stepping", __name__, *names, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["wrong"] == {}, f"of {found['kills']}"
    assert found["kills"] >= 3  # otherwise nothing was tried
