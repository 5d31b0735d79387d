"""A batch goes on as what it was, or says what has changed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import JournalMismatch, run_batch
from procorch.batch import identity
from procorch.batch.reader import Reader
from procorch.batch.report import failed_lines
from tests.batch import agents

Executed = Callable[[], list[str]]


def lines(path: Path, *items: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_a_changed_input_is_refused_with_what_has_changed(
    tmp_path: Path, executed: Executed
) -> None:
    out, path = tmp_path / "run.db", tmp_path / "in.jsonl"
    lines(path, {"id": "a", "x": 1}, {"id": "b", "x": 2}, {"id": "c", "x": 3})
    with run_batch(agents.echo, path, out=out, workers=1) as run:
        run.wait()
    lines(path, {"id": "a", "x": 1}, {"id": "b", "x": 20}, {"id": "d", "x": 4})
    with pytest.raises(JournalMismatch) as caught:
        run_batch(agents.echo, path, out=out, workers=1, resume=True)
    text = str(caught.value)
    assert "the input has changed since" in text
    assert f"other input for b ({path}:2)" in text
    assert "1 finished items are no longer there" in text
    assert "1 items are new" in text
    assert len(executed()) == 3, "nothing was begun"
    with run_batch(agents.echo, path, out=out, workers=1, resume=True, accept_changes=True) as run:
        found = {item.id: (item.output["x"], item.resumed) for item in run}
    assert found == {"a": (1, True), "b": (20, False), "d": (4, False)}


def test_a_changed_item_of_an_iterable_is_refused_when_it_comes(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    with run_batch(agents.echo, iter(["a", "b"]), out=out, workers=1) as run:
        run.wait()
    with (
        run_batch(agents.echo, iter(["a", "B"]), out=out, workers=1, resume=True) as run,
        pytest.raises(JournalMismatch, match=r"item '1' \(item 1\) is not what it was"),
    ):
        run.wait()


def test_an_iterable_may_come_in_another_order(tmp_path: Path, executed: Executed) -> None:
    out = tmp_path / "run.db"
    items = [{"id": name} for name in "abc"]
    with run_batch(agents.echo, items, out=out, workers=1) as run:
        run.wait()
    with run_batch(agents.echo, items[::-1], out=out, workers=1, resume=True) as run:
        assert [item.id for item in run] == ["c", "b", "a"]
    assert len(executed()) == 3


def test_a_longer_limit_goes_on_where_the_shorter_one_ended(
    tmp_path: Path, executed: Executed
) -> None:
    out, path = tmp_path / "run.db", tmp_path / "in.jsonl"
    lines(path, *({"id": n} for n in range(10)))
    for limit in (3, 7, None):
        with run_batch(agents.echo, path, out=out, workers=1, resume=True, limit=limit) as run:
            assert run.summary().total == run.summary().done == (limit or 10)
    assert len(executed()) == 10


def test_another_factory_is_refused_with_the_difference(tmp_path: Path) -> None:
    out = tmp_path / "run.db"

    def made(prompt: str) -> Callable[[], Any]:
        def factory() -> Callable[[Any], Any]:
            return lambda item: (prompt, item)

        return factory

    with run_batch(made("be brief"), [1], out=out, workers=1) as run:
        run.wait()
    with pytest.raises(JournalMismatch) as caught:
        run_batch(made("be kind"), [1], out=out, workers=1, resume=True)
    assert "-# prompt = 'be brief'\n+# prompt = 'be kind'" in str(caught.value)
    with pytest.raises(JournalMismatch, match=r"another factory: .*made.* not .*echo; accept"):
        run_batch(agents.echo, [1], out=out, workers=1, resume=True)
    with run_batch(
        made("be kind"), [1], out=out, workers=1, resume=True, accept_changes=True
    ) as run:
        assert [item.output for item in run] == [("be brief", 1)]


def test_another_shard_or_another_name_of_items_is_another_batch(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    items = [{"id": str(n), "name": str(n)} for n in range(9)]
    with run_batch(agents.echo, items, out=out, workers=1, shard="1/2") as run:
        run.wait()
    with pytest.raises(JournalMismatch, match="shard was 1/2, and is no shard"):
        run_batch(agents.echo, items, out=out, workers=1, resume=True)
    with pytest.raises(JournalMismatch, match="id was its field id, or its place, and is name"):
        run_batch(agents.echo, items, out=out, workers=1, resume=True, shard="1/2", id="name")


def test_failed_items_can_be_run_as_a_batch_of_their_own(tmp_path: Path) -> None:
    with run_batch(
        agents.hostile, range(72), out=tmp_path / "run.db", workers=2, timeout="300ms"
    ) as run:
        failed = [item.id for item in run if item.reason == "error"]
    with Reader(tmp_path / "run.db") as journal:
        kept = [row for row in journal.rows(failed_only=True) if row.reason == "error"]
        (tmp_path / "failed.jsonl").write_text("".join(failed_lines(kept, 1.0)))
    assert failed
    with run_batch(
        agents.double, tmp_path / "failed.jsonl", out=tmp_path / "again.db", workers=1
    ) as run:
        assert sorted((item.id, item.output) for item in run) == [("60", 120), ("70", 140)]


def test_a_recipe_is_the_same_in_every_process() -> None:
    assert identity.name_of(functools.partial(agents.double)) == "tests.batch.agents:double"
    assert "return item * 2" in identity.describe(agents.double)
    assert identity.describe(functools.partial(agents.double, 1)).startswith("# partial: (1) {}")
    assert identity.describe(object) == identity.describe(object)
