"""An input that changes while the batch runs: nothing is called finished that is not."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import BatchInputChanged, BatchInputWarning, BatchRun, run_batch
from procorch.batch import input_check
from tests.batch import agents

COUNT = 300  # more than is read ahead
Change = Callable[[Path], Any]


def line(n: int, value: object = 1) -> str:
    return f'{{"id": "q{n:03}", "n": {value}}}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of many items."""
    made = tmp_path / "in.jsonl"
    made.write_text("".join(map(line, range(COUNT))))
    return made


@pytest.fixture(autouse=True)
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where agents look whether the input has been changed."""
    monkeypatch.setenv("GATE", str(tmp_path / "the input was changed"))


def shrink(path: Path) -> None:
    # Its second half goes, in place: what was read ahead of it is still there.
    os.truncate(path, len(line(0)) * 200)


def rewrite(path: Path) -> None:
    text = path.read_text().replace(line(290), line(290, 2))
    path.write_text(text)  # of the same size


def replace(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("".join(map(line, range(1, COUNT))))
    new.rename(path)


def extend(path: Path) -> None:
    with path.open("a") as file:
        file.write(line(900))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def remove(path: Path) -> None:
    path.unlink()


def half_a_line(path: Path) -> None:
    os.truncate(path, len(line(0)) * 200 - 5)


CHANGES = [
    (shrink, r"100 items no longer there, not run: q200, q201, q202, q203, q204 and 95 more"),
    (rewrite, r"1 item with another input: q290"),
    (replace, r"1 item no longer there(, not run)?: q000"),
    (extend, r"1 item new, not run: q900"),
    (empty, r"not run: q\d+, q"),
    (remove, r"No such file"),
    (
        half_a_line,
        r"in\.jsonl:200: not JSON: .*in order when .* has changed since; not run: q199, ",
    ),
]


def changed_after(
    first: int, path: Path, change: Change, run: BatchRun, at_the_end: Change | None = None
) -> int:
    """Run it all, and change its input after some items; how many there were."""
    done = 0
    for _ in run:
        done += 1
        if done == first:
            change(path)
            Path(os.environ["GATE"]).touch()  # now the others run, see `after_the_first`
        if done == COUNT and at_the_end is not None:
            at_the_end(path)
    return done


@pytest.mark.parametrize(("change", "says"), CHANGES)
@pytest.mark.parametrize("journal", [True, False])
def test_a_file_that_changes_after_some_items(
    path: Path, tmp_path: Path, journal: bool, change: Change, says: str
) -> None:
    out = tmp_path / "run.db" if journal else None
    with (
        run_batch(agents.after_the_first, path, out=out, workers=1) as run,
        pytest.raises(BatchInputChanged, match=says),
    ):
        changed_after(1, path, change, run)
    summary = run.progress()
    assert (summary.total, summary.ended) == (COUNT, "broken")
    assert summary.done <= COUNT, "what is new is not run"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shrink, r"100 items no longer there: q200"),
        (rewrite, r"1 item with another input: q290"),
        (extend, "1 item new, not run: q900"),
        (remove, "No such file"),
    ],
)
def test_a_file_that_changes_when_it_was_read_already(
    path: Path, tmp_path: Path, change: Change, says: str
) -> None:
    with (
        run_batch(agents.echo, path, out=tmp_path / "run.db", workers=1) as run,
        pytest.raises(BatchInputChanged, match=says),
    ):
        changed_after(COUNT, path, change, run)
    assert run.progress().ok == COUNT, "the outcomes are kept"


def test_a_file_that_changed_and_changed_back_is_noticed(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    with (
        run_batch(agents.after_the_first, path, out=tmp_path / "run.db", workers=1) as run,
        pytest.raises(BatchInputChanged, match=r"1 item with another input: q290"),
    ):
        changed_after(1, path, rewrite, run, at_the_end=lambda path: path.write_text(text))


def test_the_same_content_is_no_change(path: Path, tmp_path: Path) -> None:
    def touch(path: Path) -> None:
        text = path.read_text()
        path.unlink()
        path.write_text(text)

    with run_batch(agents.echo, path, out=tmp_path / "run.db", workers=1) as run:
        assert changed_after(COUNT, path, touch, run) == COUNT
    assert run.progress().ended == "finished"


def test_accepting_changes_makes_a_warning_of_it_and_the_next_run_takes_them(
    path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.db"
    with (
        run_batch(agents.echo, path, out=out, workers=1, accept_changes=True) as run,
        pytest.warns(BatchInputWarning, match="1 item new, not run: q900"),
    ):
        changed_after(COUNT, path, extend, run)
    assert run.progress().ended == "finished"
    with run_batch(agents.echo, path, out=out, workers=1, resume=True, accept_changes=True) as run:
        summary = run.summary()
    assert (summary.ok, summary.resumed, summary.total) == (COUNT + 1, COUNT, COUNT + 1)


@pytest.mark.parametrize("how", [{"limit": 50}, {"shard": "2/2"}, {"shuffle": True}])
def test_only_the_items_of_this_batch_count(
    path: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    """Item q290 is beyond the limit, and of the first part."""
    with run_batch(agents.after_the_first, path, out=tmp_path / "run.db", workers=1, **how) as run:
        if how.get("shuffle"):
            with pytest.raises(BatchInputChanged, match="q290"):
                changed_after(1, path, rewrite, run)
        else:
            changed_after(1, path, rewrite, run)
            assert run.progress().ended == "finished"


@pytest.mark.parametrize(
    ("change", "says", "named"),
    [
        (shrink, "it had 300 items, and has 200", ""),
        (rewrite, "it had 300 items, and has 300", "; 1 item with another input: q290"),
        (extend, "it had 300 items, and has 301", "; 1 item new, not run: q900"),
    ],
)
@pytest.mark.parametrize("journal", [True, False])
def test_of_very_many_items_the_outcomes_are_compared(
    path: Path, tmp_path: Path, change: Change, says: str, named: str, journal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(input_check, "_KNOWN", 100)
    out = tmp_path / "run.db" if journal else None
    text = says + (named if journal else "") + r"\. The outcomes"
    with (
        run_batch(agents.echo, path, out=out, workers=1) as run,
        pytest.raises(BatchInputChanged, match=text),
    ):
        changed_after(COUNT, path, change, run)
    assert run.progress().done == COUNT


def test_of_very_many_items_none_is_run_that_is_new(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_check, "_KNOWN", 100)
    with (
        run_batch(agents.after_the_first, path, out=tmp_path / "run.db", workers=1) as run,
        pytest.raises(BatchInputChanged, match="1 item new, not run: q900"),
    ):
        changed_after(1, path, extend, run)
    assert run.progress().done == COUNT


def test_a_list_that_loses_items_while_it_is_read(tmp_path: Path) -> None:
    items = list(range(COUNT))
    with (
        run_batch(agents.after_the_first, items, out=None, workers=1) as run,
        pytest.raises(
            BatchInputChanged, match=r"a list has changed .* it had 300 items, and has 200"
        ),
    ):
        changed_after(1, tmp_path, lambda _: items.__delitem__(slice(200, None)), run)


def test_files_of_a_folder_that_come_go_and_change(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(5):
        (folder / f"{n}.txt").write_text("old")

    def change(folder: Path) -> None:
        (folder / "1.txt").unlink()
        (folder / "2.txt").write_text("new text")
        (folder / "5.txt").write_text("new file")

    with (
        run_batch(agents.echo, folder, out=tmp_path / "run.db", workers=1) as run,
        pytest.raises(BatchInputChanged) as caught,
    ):
        changed_after(5, folder, change, run)
    for part in ("no longer there: 1.txt", "another input: 2.txt", "new, not run: 5.txt"):
        assert part in str(caught.value)


def test_what_is_packed_is_compared_as_well(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress((line(1) + line(2)).encode()))
    with (
        run_batch(agents.echo, path, out=tmp_path / "run.db", workers=1) as run,
        pytest.raises(BatchInputChanged, match="1 item no longer there: q002"),
    ):
        changed_after(2, path, lambda path: path.write_bytes(gzip.compress(line(1).encode())), run)
