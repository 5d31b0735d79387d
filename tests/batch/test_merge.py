"""Parts of a batch put together by the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from procorch import JournalMismatch, run_batch
from procorch.batch import merge as merging
from procorch.batch.merge import merge
from procorch.batch.reader import Reader
from tests.batch import agents


def parts(tmp_path: Path, *shards: str) -> list[Path]:
    paths = []
    for shard in shards:
        path = tmp_path / f"{shard.partition('/')[0]}.db"
        with run_batch(agents.echo, range(12), out=path, workers=1, shard=shard) as run:
            run.wait()
        paths.append(path)
    return paths


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    merged = merge(parts(tmp_path, "1/3", "3/3"), tmp_path / "all.db")
    assert not merged.complete
    assert merged.missing == ("2/3",)
    assert str(merged) == "part 2/3 is missing"
    with Reader(tmp_path / "all.db") as reader:
        assert reader.state() == "incomplete"
    with run_batch(agents.echo, range(12), out=tmp_path / "all.db", resume=True) as run:
        assert run.summary().ok == 12


def test_parts_of_different_partitions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalMismatch, match="different partitions: 1/2, 2/3"):
        merge(parts(tmp_path, "1/2", "2/3"), tmp_path / "all.db")
    assert not (tmp_path / "all.db").exists()


def test_a_file_that_came_up_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out, write = parts(tmp_path, "1/2", "2/2"), tmp_path / "all.db", merging._write

    def slowly(*known: object) -> object:
        out.write_text("of somebody else")
        return write(*known)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "_write", slowly)
    with pytest.raises(JournalMismatch, match="is there already"):
        merge(given, out)
    assert out.read_text() == "of somebody else"
    assert {path.name for path in tmp_path.iterdir()} == {"1.db", "2.db", "all.db"}
