"""Folders as inputs: links, what is no file, and what the batch itself writes there."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from procorch import BatchInputError, BatchInputWarning, run_batch
from procorch.batch.journal_files import OutputFiles, failed_file
from procorch.batch.sources import open_source
from tests.batch import agents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files a and sub/b."""
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    (made / "a").write_text("a")
    (made / "sub/b").write_text("b")
    return made


def names(folder: Path, journal: Path | None = None) -> list[str]:
    source = open_source(folder, outputs=OutputFiles(journal))
    return [item.id for item in source.items()]


def test_links_to_files_and_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/00").write_text("blob")
    (folder / "file").symlink_to("../blobs/00")
    (folder / "more").symlink_to(tmp_path / "blobs")
    assert names(folder) == ["a", "file", "more/00", "sub/b"]
    (tmp_path / "top").symlink_to(folder)
    assert names(tmp_path / "top") == ["a", "file", "more/00", "sub/b"]


def test_the_fingerprint_sees_what_is_behind_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("one")
    (folder / "link").symlink_to("../blob")
    (before,) = (i for i in open_source(folder).items() if i.id == "link")
    (tmp_path / "blob").write_text("other")
    (after,) = (i for i in open_source(folder).items() if i.id == "link")
    assert before.more != after.more


def test_a_loop_of_links_is_left_out_with_a_warning(folder: Path) -> None:
    (folder / "sub/up").symlink_to("..")
    with pytest.warns(BatchInputWarning, match=r"sub/up \(a link to a folder that it is in\)"):
        assert names(folder) == ["a", "sub/b"]


@pytest.mark.parametrize("target", ["nowhere", "self"])
def test_a_link_that_leads_nowhere_is_refused(folder: Path, target: str) -> None:
    (folder / "self").symlink_to(target)
    with pytest.raises(BatchInputError, match=f"in/self is a link to {target}, which cannot be"):
        names(folder)


def test_what_is_no_file_is_left_out_with_a_warning(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.warns(BatchInputWarning, match=r"in/pipe \(not a file\)"):
        assert names(folder) == ["a", "sub/b"]


@pytest.mark.parametrize("name", ["run.db", "run", "sub/run.2026-11-27"])
def test_a_journal_in_the_folder_is_no_item(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(folder)
    out = tmp_path / "link" / name  # the same folder by another name
    with run_batch(agents.echo, folder, out=out, workers=1) as run:
        assert run.summary().total == 2
    failed_file(out).write_text('{"procorch":1,"id":"x","input":1}\n')
    failed_file(out, 2).write_text('{"procorch":1,"id":"x","input":1}\n')
    (folder / f"{name}-shm").write_text("as of a runner that was killed")
    with run_batch(agents.echo, folder, out=folder / name, workers=1, resume=True) as run:
        summary = run.summary()
        assert (summary.total, summary.resumed, summary.ended) == (2, 2, "finished")


def test_a_file_of_the_user_that_has_the_name_of_failed_items_is_an_item(folder: Path) -> None:
    (folder / "run.failed.jsonl").write_text('{"id": 1}\n')
    assert names(folder, folder / "run.db") == ["a", "run.failed.jsonl", "sub/b"]


def test_the_journal_of_another_batch_is_left_out_with_a_warning(folder: Path) -> None:
    with run_batch(agents.echo, [1], out=folder / "other.db", workers=1) as run:
        run.wait()
    (folder / "other.failed.jsonl").write_text('{"procorch":1,"id":"x","input":1}\n')
    with sqlite3.connect(folder / "users.db") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    with pytest.warns(BatchInputWarning, match=r"other\.db \(the journal of another batch\)$"):
        assert names(folder) == ["a", "sub/b", "users.db"]


def test_a_folder_of_hidden_files_is_empty_and_says_why(tmp_path: Path) -> None:
    (tmp_path / ".x").touch()
    with pytest.raises(BatchInputError, match=r"has no items \(hidden files are left out\)"):
        run_batch(agents.echo, tmp_path, out=None, workers=1)


def test_an_input_that_the_batch_would_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": 1}\n')
    (tmp_path / "soft.jsonl").symlink_to(path)
    os.link(path, tmp_path / "hard.jsonl")
    os.link(path, tmp_path / "x.db-wal")
    for given in (path, tmp_path / "soft.jsonl", tmp_path / "hard.jsonl"):
        for out in (path, tmp_path / "hard.jsonl", tmp_path / "x.db"):
            before = sorted(os.listdir(tmp_path))
            with pytest.raises(BatchInputError, match="is the input, and this batch writes"):
                run_batch(agents.echo, given, out=out, workers=1)
            assert path.read_text() == '{"id": 1}\n'
            assert sorted(os.listdir(tmp_path)) == before
