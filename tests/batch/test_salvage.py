"""A damaged journal: what can be read is given, what is lost is named and run again."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch import JournalDamaged, run_batch
from procorch.batch.journal import Journal
from procorch.batch.reader import Reader
from procorch.batch.records import AttemptRecord, ItemRecord
from tests.batch import agents

PAGE = 4096
COUNT = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of 120 items in the order of their numbers; every tenth has failed."""
    path = tmp_path_factory.mktemp("whole") / "run.db"
    journal = Journal(path)
    journal.begin({"factory": "m:f"}, "started", afresh=False)
    for n in range(COUNT):
        ok = n % 10 != 0
        journal.write([
            ItemRecord(
                id=f"item {n}", position=n, digest=b"d" * 16, ok=ok, reason=None if ok else "error",
                place=None if ok else "x", output=json.dumps("v" * (n % 7) * 1500) if ok else None,
            ),
            *(
                [] if ok
                else [AttemptRecord(id=f"item {n}", number=1, reason="e", place="", error="{}")]
            ),
        ])  # fmt: skip
    journal.write([("finished", "")])
    journal.close()
    return path


def roots(path: Path) -> set[int]:
    """The first page of the file, and of each table and index: without it the rest is not found."""
    with sqlite3.connect(path) as db:
        found = {number for (number,) in db.execute("SELECT rootpage FROM sqlite_master")}
    db.close()
    return {0} | {number - 1 for number in found}


def damage(path: Path, page: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(data)


@pytest.mark.parametrize("kind", ["noise", "zeros", "shifted"])
def test_one_damaged_page_costs_the_rows_on_it(whole: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.db"
    expected = [f"item {n}" for n in range(COUNT)]
    pages = set(range(whole.stat().st_size // PAGE)) - roots(whole)
    assert len(pages) > 30
    for page in sorted(pages):
        shutil.copy(whole, path)
        before = path.read_bytes()[page * PAGE :][:PAGE]
        noise = {"noise": os.urandom(PAGE), "zeros": bytes(PAGE), "shifted": before[7:] + bytes(7)}
        damage(path, page, noise[kind])
        with Reader(path) as reader:
            found = [row.id for row in reader.rows()]
            lost = reader.lost
            assert len(lost) <= 12
            assert found == [id for id in expected if id not in lost]
            assert reader.outcomes() == COUNT
            assert len(reader.events()) == 2
            assert reader.header() == {"factory": "m:f"}


def test_the_index_of_the_names_is_not_needed(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    shutil.copy(whole, path)
    with sqlite3.connect(path) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()
    db.close()
    damage(path, root - 1, os.urandom(PAGE))
    with Reader(path) as reader:
        row = reader.find("item 7")
        assert row is not None
        assert row.position == 7
        assert len(list(reader.rows())) == COUNT


def test_what_is_lost_is_run_again(tmp_path: Path, executed: Callable[[], list[str]]) -> None:
    path = tmp_path / "run.db"
    items = [str(n) * 1000 for n in range(40)]
    with run_batch(agents.echo, items, out=path, workers=1) as run:
        run.wait()
    before = len(executed())
    damaged = None
    for page in sorted(set(range(path.stat().st_size // PAGE)) - roots(path)):
        copy = tmp_path / "copy.db"
        shutil.copy(path, copy)
        damage(copy, page, os.urandom(PAGE))
        with Reader(copy) as reader:
            if len(list(reader.rows())) < 40:
                damaged = sorted(reader.lost)
                shutil.copy(copy, path)
                break
    assert damaged
    with pytest.raises(JournalDamaged, match="--retry-failed"):
        run_batch(agents.echo, items, out=path, workers=1, resume=True)
    with run_batch(agents.echo, items, out=path, workers=1, retry_failed=True) as run:
        assert {item.output for item in run} == set(items)
    assert sorted(executed()[before:]) == sorted(items[int(id)] for id in damaged)
    with Reader(path) as reader:
        assert reader.counts() == (40, 0)
        assert not reader.damaged()
        kinds = [kind for _, _, kind, _ in reader.events()]
        assert kinds == ["started", "finished", "mended", "resumed", "finished"]
    with Reader(tmp_path / "run.db.damaged") as reader:
        assert len(list(reader.rows())) == 40 - len(damaged)


def test_the_number_of_the_last_runner_is_not_given_out_again(whole: Path, tmp_path: Path) -> None:
    """Or the outcomes of that runner would count as those of the new one."""
    path = tmp_path / "run.db"
    shutil.copy(whole, path)
    with sqlite3.connect(path) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'meta'").fetchone()
    db.close()
    damage(path, root - 1, os.urandom(PAGE))
    journal = Journal(path, mend=True)
    try:
        assert journal.begin({}, "resumed", afresh=False) == 2
        assert journal.counts() == (108, 12)
    finally:
        journal.close()


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_file_that_is_cut_off_gives_what_is_left(
    whole: Path, tmp_path: Path, share: float
) -> None:
    path = shutil.copy(whole, tmp_path / "run.db")
    size = path.stat().st_size
    os.truncate(path, int(size * share) // PAGE * PAGE + 100)
    with Reader(path) as journal:
        left = [row.id for row in journal.rows()]
        lost = journal.lost
        assert journal.incomplete
    assert len(left) >= COUNT * share / 2
    assert not lost.intersection(left)
    with Journal(path, mend=True) as mended:
        assert mended.mended is not None
    with Reader(path) as journal:
        assert [row.id for row in journal.rows()] == left
        assert not journal.incomplete
    assert (tmp_path / "run.db.damaged").exists()
