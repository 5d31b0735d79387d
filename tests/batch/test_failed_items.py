"""Files beside a journal: what this batch did not write is neither overwritten nor removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from procorch import BatchInputError, JournalError, run_batch
from procorch.batch.failed_items import write_failed
from procorch.batch.journal_files import failed_file
from tests.batch import agents

OLD = '{"procorch":1,"id":"i0","input":1}\n'
MINE = '{"id": 1, "text": "of the user"}\n'


def batch(out: Path, *items: Any, factory: Any = agents.double, **how: Any) -> Path | None:
    """Run a batch, as the command does, and write its failed items; None has no double."""
    given = [{"id": f"i{n}", "n": item} for n, item in enumerate(items)]
    with run_batch(factory, given, out=out, workers=1, **how) as run:
        run.wait()
    return write_failed(out)


def ids(path: Path | None) -> list[str]:
    assert path is not None
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("journal", "failed"),
    [
        ("run.db", "run.failed.jsonl"),
        ("run", "run.failed.jsonl"),
        ("run.db.db", "run.db.failed.jsonl"),
        ("run.2026-11-27", "run.2026-11-27.failed.jsonl"),
        ("run.v1.db", "run.v1.failed.jsonl"),
    ],
)
def test_only_a_final_db_is_replaced(tmp_path: Path, journal: str, failed: str) -> None:
    assert failed_file(tmp_path / journal) == tmp_path / failed
    assert batch(tmp_path / journal, 1) == tmp_path / failed


@pytest.mark.parametrize(
    "text", [MINE, "no JSON", '{"procorch":1,"id":"i0","input":1}\n', "\0", ""]
)
def test_a_file_of_the_user_is_left_alone(tmp_path: Path, text: str) -> None:
    out, mine = tmp_path / "run.db", tmp_path / "run.failed.jsonl"
    mine.write_text(text)
    os.utime(mine, (1e9, 1e9))  # older than the batch
    second = tmp_path / "run.failed.2.jsonl"
    assert batch(out, 1, 2) == second
    assert ids(second) == ["i0", "i1"]
    assert batch(out, 1, 2, resume=True) == second, "its own file is written again"
    again = {"retry_failed": True, "accept_changes": True}
    assert batch(out, 1, 2, factory=agents.echo, **again) is None
    assert not second.exists(), "nothing has failed any more"
    assert mine.read_text() == text


def test_a_link_or_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text(MINE)
    (tmp_path / "run.failed.jsonl").symlink_to("target")
    (tmp_path / "run.failed.2.jsonl").mkdir()
    assert batch(tmp_path / "run.db", 1) == tmp_path / "run.failed.3.jsonl"
    assert (tmp_path / "target").read_text() == MINE
    assert (tmp_path / "run.failed.jsonl").is_symlink()


def test_two_journals_that_share_a_name_of_failed_items_each_keep_theirs(tmp_path: Path) -> None:
    one = batch(tmp_path / "run.db", 1)
    other = batch(tmp_path / "run", 1, 2)
    assert (ids(one), ids(other)) == (["i0"], ["i0", "i1"])
    assert batch(tmp_path / "run.db", 1, resume=True) == one
    assert batch(tmp_path / "run", 1, 2, resume=True) == other
    assert (ids(one), ids(other)) == (["i0"], ["i0", "i1"])


def test_a_journal_that_was_removed_leaves_its_failed_items(tmp_path: Path) -> None:
    one = batch(tmp_path / "run.db", 1)
    (tmp_path / "run.db").unlink()
    other = batch(tmp_path / "run.db", 1, 2)
    assert (ids(one), ids(other)) == (["i0"], ["i0", "i1"])


def test_a_file_that_0_1_wrote_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    path = batch(out, 1)
    assert path is not None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["batch"]
    old = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    path.write_text(old)
    assert batch(out, 1, resume=True) == path
    assert path.read_text() != old


def test_a_file_of_failed_items_is_no_input_of_its_own_batch(tmp_path: Path) -> None:
    """It is written again at the end, whichever of its names it has."""
    out = tmp_path / "run.db"
    (tmp_path / "run.failed.jsonl").write_text(MINE)
    second = batch(out, 1)
    assert second == tmp_path / "run.failed.2.jsonl"
    for path in (tmp_path / "run.failed.jsonl", second):
        before = path.read_text()
        with pytest.raises(BatchInputError, match="where the failed items of"):
            run_batch(agents.echo, path, out=out, workers=1, resume=True)
        assert path.read_text() == before
    with run_batch(agents.echo, second, out=tmp_path / "again.db", workers=1) as run:
        assert run.summary().ok == 1


def test_nothing_else_is_left_beside_the_journal(tmp_path: Path) -> None:
    batch(tmp_path / "run.db", 1)
    batch(tmp_path / "run.db", 1, resume=True)
    assert sorted(os.listdir(tmp_path)) == ["run.db", "run.failed.jsonl"]


@pytest.mark.parametrize("text", ["[[package]]\n", '{"packages": []}'])
def test_a_lock_file_of_another_tool_is_left_alone(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "poetry.lock"
    lock.write_text(text)
    with pytest.raises(JournalError, match=r"poetry\.lock is there already, and is not the lock"):
        run_batch(agents.echo, [1], out=tmp_path / "poetry", workers=1)
    assert lock.read_text() == text
    assert os.listdir(tmp_path) == ["poetry.lock"]


def test_the_lock_of_a_batch_that_was_killed_is_taken(tmp_path: Path) -> None:
    lock = tmp_path / "run.db.lock"
    lock.write_text('{"pid": 1, "host": "h", "since": "2026-11-27 10:00:00"}')
    with run_batch(agents.echo, [1], out=tmp_path / "run.db", workers=1) as run:
        assert run.summary().ok == 1
    assert not lock.exists()
