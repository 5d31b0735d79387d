"""Journals that go away or are damaged under a batch: said in one line, and never a success."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from procorch import JournalError, run_batch
from procorch.batch.failed_items import write_failed
from procorch.batch.writer import WriterFailed
from tests.batch import agents


def remove(path: Path, how: str) -> None:
    match how:
        case "file":
            path.unlink()
        case "folder":
            shutil.rmtree(path.parent)
        case "replaced":
            shutil.copyfile(path, path.with_name("other"))
            os.replace(path.with_name("other"), path)


@pytest.mark.parametrize("how", ["file", "folder", "replaced"])
@pytest.mark.parametrize("at", [0, 20])
def test_a_journal_that_is_removed_ends_the_batch(tmp_path: Path, how: str, at: int) -> None:
    """Also after the last outcome: what has no name is lost with the process."""
    out = tmp_path / "runs" / "run.db"
    out.parent.mkdir()
    with run_batch(agents.double, range(20), out=out, workers=1) as run:
        for _ in range(at):
            next(run)
        remove(out, how)
        with pytest.raises(JournalError, match="was removed while the batch ran"):
            run.wait()
        assert run.progress().ended == "broken"


@pytest.mark.timeout(120)
def test_an_outcome_that_comes_after_the_end_of_the_journal_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for = tmp_path / "asked for"
    out = tmp_path / "run.db"
    with run_batch(agents.waits_for, [str(asked_for)], out=out, workers=1) as run:
        loop = run._loop
        while not loop.active:  # another thread reads the items
            run.step(1.0)
        loop._inbox.put(WriterFailed(JournalError("the journal is gone")))
        run.step(1.0)
        assert loop.ended == "broken", "the news came while the item ran"
        asked_for.touch()
        monkeypatch.setattr(loop._store, "put", lambda *fact: None)  # its writer has ended
        for active in loop.active.values():
            assert active.reply is not None
            active.reply.await_outcome()
        with pytest.raises(JournalError, match="the journal is gone"):
            run.wait()


def test_a_journal_that_is_moved_goes_on(tmp_path: Path) -> None:
    out, moved = tmp_path / "a" / "run.db", tmp_path / "b"
    out.parent.mkdir()
    with run_batch(agents.double, range(20), out=out, workers=1) as run:
        next(run)
        out.parent.rename(moved)
        assert run.summary().ok == 20
    with contextlib.closing(sqlite3.connect(moved / "run.db")) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (20,)


def test_a_journal_without_events_gives_its_failed_items(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    with run_batch(agents.double, [{"id": "a"}], out=out, workers=1) as run:
        run.wait()
    with contextlib.closing(sqlite3.connect(out)) as connection:
        connection.execute("DELETE FROM events")
        connection.commit()
    written = write_failed(out)
    assert written == tmp_path / "run.failed.jsonl"
    assert [json.loads(line)["id"] for line in written.read_text().splitlines()] == ["a"]
    assert write_failed(out) == written, "it is known as its own"
