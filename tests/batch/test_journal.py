"""The journal: nothing that it has acknowledged is lost, and nobody else writes it."""

from __future__ import annotations

import os
import queue
import random
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from procorch import (
    JournalBusy,
    JournalDamaged,
    JournalError,
    JournalFenced,
    JournalMismatch,
    run_batch,
)
from procorch.batch import writer as writing
from procorch.batch.journal import Journal
from procorch.batch.reader import Reader
from procorch.batch.records import AttemptRecord, ItemRecord
from procorch.batch.writer import Committed, Writer, WriterBlocked, WriterEvent, WriterFailed
from tests.batch import agents
from tests.batch.journal_kills import acknowledged_and_kept

HOLDER = """
import pathlib, sys, time
from procorch.batch.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def row(id: str, **known: object) -> ItemRecord:
    fields = {"position": 0, "digest": b"d" * 16, "ok": True, "output": "1", "finished": 1.0}
    return ItemRecord(id=id, **(fields | known))  # type: ignore[arg-type]


def opened(path: Path) -> Journal:
    journal = Journal(path)
    journal.begin({"factory": "m:f"}, "started", afresh=False)
    return journal


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        row("a", wall=0.5, cpu=0.25, peak_rss=5, pid=7, log="said"),
        row("b", position=1, ok=False, reason="error", place="x", error="{}", input="[1]"),
        row("ü\x00", position=2, output=b"\x80\x05"),
    ]
    attempt = AttemptRecord(id="b", number=1, reason="error", place="x", error="{}", finished=2.0)
    journal = opened(tmp_path / "run.db")
    journal.write([*rows, attempt, ("noted", "something")])
    journal.close()
    with Reader(tmp_path / "run.db") as reader:
        assert list(reader.rows()) == rows
        assert list(reader.rows(failed_only=True)) == rows[1:2]
        assert reader.find("ü\x00") == rows[2]
        assert reader.find("c") is None
        assert reader.attempts("b") == [attempt]
        assert reader.counts() == (2, 1)
        assert [event[2:] for event in reader.events()] == [("started", ""), ("noted", "something")]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = opened(tmp_path / "run.db")
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


# ---- one writer


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalBusy, match=f"is being written by process {holder.pid} on "):
            Journal(path)
        with Reader(path) as reader:
            assert reader.counts() == (0, 0)
    finally:
        holder.kill()
        holder.communicate()
    Journal(path).close()  # its lock has gone with it


def test_a_runner_that_was_replaced_writes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    orphan = opened(path)
    orphan.write([row("a")])
    (tmp_path / "run.db.lock").unlink()
    heir = opened(path)
    with pytest.raises(JournalFenced, match=r"taken over by another process \(epoch 2, ours is 1"):
        orphan.write([row("b")])
    heir.write([row("c")])
    orphan.close()
    with pytest.raises(JournalBusy):  # closing the orphan has not freed the heir's lock
        Journal(path)
    heir.close()
    with Reader(path) as reader:
        assert [each.id for each in reader.rows()] == ["a", "c"]


# ---- files that are something else


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    text, other, newer = (tmp_path / name for name in ("text.db", "other.db", "newer.db"))
    text.write_text("not a database, but long enough to be taken for one by its size" * 100)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    opened(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    (tmp_path / "link.db").symlink_to(newer)
    for name, kind, says in (
        ("text.db", JournalMismatch, "is not a run of procorch"),
        ("other.db", JournalMismatch, "a database, but not a run of procorch"),
        ("newer.db", JournalMismatch, "written by a newer procorch"),
        ("link.db", JournalError, "symbolic link"),
        ("missing/run.db", JournalError, "cannot be written"),
        ("text.db/run.db", JournalError, "cannot be written"),
    ):
        with pytest.raises(kind, match=says):
            Journal(tmp_path / name)
    assert not list(tmp_path.glob("*.lock"))
    with pytest.raises(JournalError, match="there is no run"):
        Reader(tmp_path / "nowhere.db")
    with pytest.raises(JournalMismatch):
        Reader(other)


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    """As `mktemp` makes them, and as a runner leaves one that was killed at its first write."""
    (tmp_path / "run.db").touch()
    opened(tmp_path / "run.db").close()
    with Reader(tmp_path / "run.db") as reader:
        assert reader.counts() == (0, 0)


def test_a_run_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    journal = opened(tmp_path / "run.db")
    journal.write([row("a")])
    journal.close()
    tmp_path.chmod(0o500)
    try:
        with Reader(tmp_path / "run.db") as reader:
            assert reader.counts() == (1, 0)
    finally:
        tmp_path.chmod(0o700)
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


# ---- damage


def test_a_row_that_is_not_what_was_written_is_found_and_named(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with run_batch(agents.echo, ["a", "b"], out=path, workers=1) as run:
        run.wait()
    with sqlite3.connect(path) as db:
        db.execute("""UPDATE items SET output = '"A"' WHERE id = '0'""")
    db.close()
    with Reader(path) as reader:
        with pytest.raises(JournalDamaged, match="what is kept of item '0' is not what was"):
            reader.find("0")
        assert reader.damaged() == ["0"]
    with (
        run_batch(agents.echo, ["a", "b"], out=path, workers=1, resume=True) as run,
        pytest.raises(JournalDamaged, match="--retry-failed"),
    ):
        run.wait()
    with run_batch(agents.echo, ["a", "b"], out=path, workers=1, retry_failed=True) as run:
        assert [(item.output, item.resumed) for item in run] == [("b", True), ("a", False)]


def test_flipped_bits_are_an_error_of_ours_or_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    journal = opened(path)
    rows = [row(f"item {n}", position=n, output=f'"{n * 1000}"') for n in range(200)]
    journal.write(list(rows))
    journal.close()
    whole = path.read_bytes()
    chance = random.Random(4)
    found = 0
    for _ in range(150):
        data = bytearray(whole)
        place = chance.randrange(len(data))
        data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            with Reader(path) as reader:
                read = list(reader.rows())
                found += bool(reader.lost)
        except JournalError:
            found += 1
            continue
        assert all(each in rows for each in read), "a row that nobody has written"
    assert found > 30  # the others are in what is not used, or cost nothing


# ---- the writer


def take(news: queue.SimpleQueue[WriterEvent], kind: type[WriterEvent]) -> WriterEvent:
    while not isinstance(found := news.get(timeout=20), kind):
        pass
    return found


def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own limit of pages stands in for the disk: its error is the same."""
    monkeypatch.setattr(writing, "PATIENCE", 0.01)
    journal = opened(tmp_path / "run.db")
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    news: queue.SimpleQueue[WriterEvent] = queue.SimpleQueue()
    writer = Writer(journal, news.put)
    for number in range(50):
        writer.put(row(str(number), output="x" * 1000), number)
    stuck = take(news, WriterBlocked)
    assert isinstance(stuck, WriterBlocked)
    assert "no room on the disk" in str(stuck.why)
    with Reader(tmp_path / "run.db") as reader:
        assert reader.counts()[0] < 50
    # The limit belongs to the connection, which the writer's thread is using at the moment.
    while True:
        try:
            journal._connection.execute("PRAGMA max_page_count = 100000").fetchall()
            break
        except sqlite3.OperationalError:
            time.sleep(0.001)
    assert take(news, WriterBlocked) == WriterBlocked(None)
    writer.close()
    with Reader(tmp_path / "run.db") as reader:
        assert reader.counts() == (50, 0)


def test_a_full_disk_holds_up_nobody_who_gives_up(tmp_path: Path) -> None:
    journal = opened(tmp_path / "run.db")
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    news: queue.SimpleQueue[WriterEvent] = queue.SimpleQueue()
    writer = Writer(journal, news.put)
    writer.put(row("a", output="x" * 100_000), "a")
    take(news, WriterBlocked)
    writer.close(at_once=True)
    assert news.empty()
    Journal(tmp_path / "run.db").close()


def test_a_fenced_writer_says_so_and_ends(tmp_path: Path) -> None:
    journal = opened(tmp_path / "run.db")
    news: queue.SimpleQueue[WriterEvent] = queue.SimpleQueue()
    writer = Writer(journal, news.put)
    writer.put(row("a"), "a")
    assert take(news, Committed) == Committed(["a"])
    (tmp_path / "run.db.lock").unlink()
    heir = opened(tmp_path / "run.db")
    writer.put(row("b"), "b")
    broken = take(news, WriterFailed)
    assert isinstance(broken, WriterFailed)
    assert isinstance(broken.error, JournalFenced)
    writer.close()
    heir.close()


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """A thousand of these are in `tox -e soak-batch`."""
    chance = random.Random(os.getpid())
    for trial in range(6):
        acknowledged, kept = acknowledged_and_kept(
            tmp_path / f"{trial}.db", chance.uniform(0.0, 0.03)
        )
        assert acknowledged <= kept
        assert kept - acknowledged <= 1000, "no more than one transaction"
