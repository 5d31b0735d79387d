"""`run_batch`: each item gets exactly one outcome, and none is run again that has one."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentFailure,
    BatchError,
    BatchHalted,
    BatchInputError,
    JournalMismatch,
    ModelThrottled,
    PoisonRequest,
    RequestTimeout,
    StartError,
    Throttle,
    run_batch,
)
from procorch.batch import schema, writer
from procorch.batch.reader import Reader
from tests.batch import agents

Executed = Callable[[], list[str]]


def test_every_item_has_exactly_one_outcome_and_a_second_run_runs_nothing(
    tmp_path: Path, executed: Executed
) -> None:
    out = tmp_path / "run.db"
    with run_batch(agents.hostile, range(200), out=out, workers=2, timeout="300ms") as run:
        items = list(run)
        summary = run.summary()
    assert sorted(int(item.id) for item in items) == list(range(200))
    assert {item.id: item.reason for item in items} == {
        str(number): agents.expected(number) for number in range(200)
    }
    assert all(item.output == int(item.id) * 2 for item in items if item.ok)
    kinds = {type(item.error) for item in items}
    assert kinds == {type(None), AgentCrashed, RequestTimeout, AgentFailure}
    assert (summary.total, summary.ok, summary.failed, summary.ended) == (200, 184, 16, "finished")
    assert len(executed()) == 200

    with run_batch(agents.hostile, range(200), out=out, workers=1, resume=True) as again:
        known = list(again)
    assert len(executed()) == 200, "nothing was run again"
    assert [item.id for item in known] == [str(number) for number in range(200)]
    before = {item.id: item for item in items}
    for item in known:
        assert item.resumed
        assert (item.ok, item.output, item.reason) == (
            before[item.id].ok, before[item.id].output, before[item.id].reason,
        )  # fmt: skip
        assert str(item.error) == str(before[item.id].error)
        assert type(item.error) is type(before[item.id].error)


def test_failures_are_grouped_by_reason_and_place(tmp_path: Path) -> None:
    items = [70, 170, 270, 3, 1]
    with run_batch(agents.hostile, items, out=tmp_path / "run.db", workers=1) as run:
        groups = run.summary().failures
    assert [(group.reason, group.count) for group in groups] == [("error", 3), ("crashed", 1)]
    assert groups[0].place.startswith("ValueError at agents.py:")
    assert groups[0].place.endswith(" in handle")
    assert groups[1].place == "SIGKILL"
    with Reader(tmp_path / "run.db") as journal:
        assert journal.groups() == list(groups)


def test_a_worker_that_died_is_tried_again_and_every_attempt_is_kept(tmp_path: Path) -> None:
    counted = str(tmp_path / "attempts")
    with run_batch(
        agents.dies_twice, [counted], out=tmp_path / "run.db", workers=1, retries=2
    ) as run:
        (item,) = run
    assert (item.ok, item.output, item.attempts) == (True, "third time lucky", 3)
    with Reader(tmp_path / "run.db") as journal:
        attempts = journal.attempts(item.id)
    assert [(each.number, each.reason, each.place) for each in attempts] == [
        (1, "crashed", "SIGKILL"),
        (2, "crashed", "SIGKILL"),
    ]
    assert len({each.pid for each in attempts}) == 2


def test_an_exception_is_tried_again_only_where_it_is_asked_for(
    tmp_path: Path, executed: Executed
) -> None:
    for retry_on, attempts in ((), 1), (("error",), 3):
        with run_batch(
            agents.hostile, [70], out=None, workers=1, retries=2, retry_on=retry_on
        ) as run:
            (item,) = run
        assert (item.reason, item.attempts) == ("error", attempts)
    assert len(executed()) == 4


def test_items_at_hand_of_a_worker_that_dies_have_not_begun(
    tmp_path: Path, executed: Executed
) -> None:
    with run_batch(
        agents.hostile, range(60), out=tmp_path / "run.db", workers=2, timeout=1, prefetch=8
    ) as run:
        found = {item.position: item.reason for item in run}
    assert found == {n: agents.expected(n) for n in range(60)}
    assert set(Counter(executed()).values()) == {1}


def test_an_item_that_kills_too_many_workers_is_poison(tmp_path: Path, executed: Executed) -> None:
    with run_batch(
        agents.hostile, [3, 1], out=tmp_path / "run.db", workers=1, retries=9, allowed_failures=1
    ) as run:
        items = {item.position: item for item in run}
    assert isinstance(items[0].error, PoisonRequest)
    assert (items[0].reason, items[0].attempts) == ("poison", 2)
    assert [death.signal for death in items[0].error.deaths] == ["SIGKILL", "SIGKILL"]
    assert items[1].ok
    assert Counter(executed()) == {"3": 2, "1": 1}


def test_a_throttled_item_comes_back_after_the_time_it_was_told(tmp_path: Path) -> None:
    items = [[str(tmp_path / kind), 0.8, kind] for kind in ("model", "own")]
    with run_batch(
        agents.throttled, items, out=None, workers=1, retries=1, retry_on=["error"]
    ) as run:
        for item in run:
            assert item.attempts == 2
            assert item.output >= 0.79  # the clock of files is a little coarser


def test_a_service_that_wants_a_thousand_years_is_asked_again_sooner(tmp_path: Path) -> None:
    items = [[str(tmp_path / str(n)), 1e12, "model"] for n in range(2)]
    with run_batch(
        agents.throttled, items, out=None, workers=1, throttle=Throttle(longest="100ms")
    ) as run:
        assert [(item.ok, item.attempts) for item in run] == [(True, 2)] * 2


def test_a_batch_that_pauses_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    items = [[str(tmp_path / str(n)), 1e12, "model"] for n in range(20)]
    with run_batch(agents.throttled, items, out=out, workers=2) as run:
        while run.pause is None:
            run.step(0.01)
        assert str(run.pause).startswith("paused 300 s: throttled by agent 'throttled': ")
        assert {work.state for work in run.workers()} <= {"PAUSED", "BUSY"}
        run.stop()
        assert list(run) == []
        assert run.progress().ended == "interrupted"
        assert run.pause is None
    assert len(list(tmp_path.iterdir())) <= 2 + 2 + 3  # of the journal


def test_a_pause_costs_no_retries_and_each_attempt_is_kept(tmp_path: Path) -> None:
    items = [[str(tmp_path / "late"), 0.3, "model"], [str(tmp_path / "own"), 0.3, "own"]]
    out = tmp_path / "run.db"
    with run_batch(agents.throttled, items, out=out, workers=1) as run:
        assert [(item.ok, item.attempts) for item in run] == [(True, 2)] * 2
        assert run.summary().retried == 2
    with Reader(out) as journal:
        attempts = [attempt for n in "01" for attempt in journal.attempts(n)]
    assert [attempt.number for attempt in attempts] == [1, 1]


def test_what_is_always_throttled_fails_after_its_pauses_and_its_retries() -> None:
    with run_batch(
        agents.always_throttled, [1, 2], out=None, workers=2, retries=1,
        throttle=Throttle(retries=2, longest="10ms"),
    ) as run:  # fmt: skip
        found = {item.position: item for item in run}
    assert not found[0].ok
    assert found[0].attempts == 4
    assert isinstance(found[0].error, ModelThrottled)
    assert found[1].ok


def test_without_a_throttle_an_item_is_held_back_alone(tmp_path: Path) -> None:
    items = [[str(tmp_path / "late"), 1e12, "model"], [str(tmp_path / "soon"), 0.0, "model"]]
    with run_batch(agents.throttled, items, out=None, workers=1, retries=1, throttle=None) as run:
        assert next(run).position == 1
        assert run.pause is None
        run.stop()
        assert list(run) == []


def test_a_rate_holds_for_all_workers() -> None:
    began = time.monotonic()
    with run_batch(agents.echo, range(9), out=None, workers=3, rate="40/s") as run:
        assert all(item.ok for item in run)
    assert time.monotonic() - began >= 0.2


def test_what_has_failed_is_run_again_on_request_and_keeps_its_history(
    tmp_path: Path, executed: Executed
) -> None:
    out, counted = tmp_path / "run.db", str(tmp_path / "attempts")
    with run_batch(agents.dies_twice, [counted], out=out, workers=1) as run:
        assert next(run).attempts == 1
    with run_batch(agents.dies_twice, [counted], out=out, workers=1, resume=True) as run:
        assert next(run).resumed
    with run_batch(
        agents.dies_twice, [counted], out=out, workers=1, retry_failed=True, retries=1
    ) as run:
        (item,) = run
    assert (item.ok, item.attempts, item.resumed) == (True, 3, False)
    with Reader(out) as journal:
        assert journal.counts() == (1, 0)
        assert [attempt.number for attempt in journal.attempts("0")] == [1, 2]


def test_outputs_come_back_as_exactly_what_they_were(tmp_path: Path) -> None:
    values: list[Any] = [
        None, True, 0, -(2**70), 1.5, float("inf"), "text", "\ud800", b"bytes", (1, (2,)), {1: 2},
        {"a": [1, {"b": None}]}, {3, 4}, Path("a/b"), ValueError("x").args, 1 + 2j,
    ]  # fmt: skip
    for resume in False, True:
        with run_batch(
            agents.echo, values, out=tmp_path / "run.db", workers=1, resume=resume
        ) as run:
            found = {item.position: item.output for item in run}
        for position, value in enumerate(values):
            assert found[position] == value
            assert type(found[position]) is type(value)


def test_order_is_kept_on_request(tmp_path: Path) -> None:
    naps = [0.2, 0.0, 0.1, 0.0, 0.0]
    out = tmp_path / "run.db"
    with run_batch(agents.sleeper, naps, out=out, workers=2, keep_order=True) as run:
        assert [item.position for item in run] == [0, 1, 2, 3, 4]
    with run_batch(agents.sleeper, naps, out=out, workers=2, keep_order=True, resume=True) as run:
        assert [item.position for item in run] == [0, 1, 2, 3, 4]


def test_an_item_that_is_tried_again_holds_up_the_order_and_nothing_else(tmp_path: Path) -> None:
    items = [str(tmp_path / "attempts"), *(str(tmp_path / f"{n}") for n in range(30))]
    for path in items[1:]:
        Path(path).write_text("xx")
    with run_batch(
        agents.dies_twice, items, out=None, workers=2, retries=2, keep_order=True
    ) as run:
        assert [item.position for item in run] == list(range(31))


def test_an_endless_input_is_read_no_further_than_needed(tmp_path: Path) -> None:
    taken = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    with run_batch(agents.double, endless(), out=tmp_path / "run.db", workers=2) as run:
        for item in itertools.islice(run, 100):
            assert item.output == int(item.id) * 2
    assert len(taken) < 2500
    with run_batch(agents.double, endless(), out=None, workers=2, limit=20) as run:
        assert run.summary().ok == 20


def test_shards_are_a_partition_whatever_the_order(tmp_path: Path) -> None:
    seen: list[str] = []
    for index in 1, 2, 3:
        with run_batch(
            agents.double, range(30), out=None, workers=1, shard=f"{index}/3", shuffle=index == 2
        ) as run:
            seen += [item.id for item in run]
            assert run.summary().total == len(run.summary().failures) + run.summary().ok
    assert sorted(seen, key=int) == [str(number) for number in range(30)]


def test_a_batch_is_halted_by_its_failures_and_can_go_on(
    tmp_path: Path, executed: Executed
) -> None:
    out = tmp_path / "run.db"
    items = [70, 170, 270, *range(40)]
    with (
        run_batch(agents.hostile, items, out=out, workers=1, halt="soon,fail=2") as run,
        pytest.raises(BatchHalted, match=r"halted by soon,fail=2: [23] failed"),
    ):
        list(run)
    assert run.progress().ended == "halted"
    ran = len(executed())
    assert ran < 43
    with run_batch(agents.hostile, items, out=out, workers=1, resume=True) as run:
        assert run.summary().done == 43
    assert len(executed()) == 43


def test_halting_at_once_does_not_wait_for_what_is_under_way(tmp_path: Path) -> None:
    with (
        run_batch(agents.sleeper, [30, 0, 0, 0], out=None, workers=2, halt="now,done=3") as run,
        pytest.raises(BatchHalted),
    ):
        list(run)
    assert run.progress().seconds < 15


def test_stopping_lets_workers_finish_what_they_have(tmp_path: Path, executed: Executed) -> None:
    out = tmp_path / "run.db"
    naps = [0.3, *[0.05] * 50]
    with run_batch(agents.sleeper, naps, out=out, workers=2) as run:
        first = next(run)
        run.stop()
        items = [first, *run]
    assert run.progress().ended == "interrupted"
    assert {item.id for item in items} >= {"0"}, "the long one was finished"
    assert len(items) == len(executed()) < 51
    with run_batch(agents.sleeper, naps, out=out, workers=2, resume=True) as run:
        assert run.summary().ok == 51
    assert len(executed()) == 51


def test_stopping_now_leaves_what_is_under_way_to_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    with run_batch(agents.sleeper, [0, 30], out=out, workers=1) as run:
        next(run)
        run.stop(now=True)
        assert list(run) == []
    with Reader(out) as journal:
        assert journal.counts() == (1, 0)
        assert [event[2] for event in journal.events()] == ["started", "interrupted"]


def test_ctrl_c_ends_the_workers_and_keeps_what_was_finished(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    run = run_batch(agents.sleeper, [0, 30], out=out, workers=1)
    next(run)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(run)
    finally:
        timer.cancel()
    with Reader(out) as journal:
        assert journal.counts() == (1, 0)


def test_a_batch_that_is_dropped_leaves_nothing_running(tmp_path: Path) -> None:
    """`nothing_left_behind` looks for workers and threads after this."""
    for item in run_batch(agents.double, range(1000), out=tmp_path / "run.db", workers=1):
        assert item.ok
        break


def test_an_item_that_cannot_be_sent_fails_alone(tmp_path: Path) -> None:
    items = [1, threading.Lock(), 2]
    with run_batch(agents.echo, items, out=tmp_path / "run.db", workers=1) as run:
        found = {item.position: item for item in run}
    assert [found[n].ok for n in range(3)] == [True, False, True]
    assert found[1].reason == "serialization"


def test_an_id_that_is_there_twice_ends_the_batch(tmp_path: Path) -> None:
    far = [{"id": "a"}, *({"id": str(n)} for n in range(200)), {"id": "a"}]
    for items in ([{"id": "a"}, {"id": "a"}], far):
        out = tmp_path / f"{len(items)}.db"
        with pytest.raises(
            BatchInputError, match=f"there twice: item 0, and item {len(items) - 1}"
        ):
            run_batch(agents.echo, items, out=out, workers=1)
        assert not out.exists()  # what can be read twice is looked at first
        with (
            run_batch(agents.echo, iter(items), out=out, workers=1) as run,
            pytest.raises(BatchInputError, match="item 'a' is there twice"),
        ):
            list(run)
        with sqlite3.connect(tmp_path / f"{len(items)}.db") as db:
            ((count,),) = db.execute("SELECT count(*) FROM items WHERE id = 'a'").fetchall()
        db.close()
        assert count <= 1


def test_a_factory_that_fails_begins_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no model here"):
        run_batch(agents.broken, [1], out=tmp_path / "run.db", workers=1)
    assert list(tmp_path.iterdir()) == [], "no journal, no lock"


def test_workers_that_cannot_be_replaced_end_the_batch_and_lose_nothing(tmp_path: Path) -> None:
    marker, out = tmp_path / "marker", tmp_path / "run.db"

    def only_once() -> Callable[[int], int]:
        if marker.exists():
            raise RuntimeError("the licence is used up")
        marker.touch()
        return agents.hostile()

    with (
        run_batch(only_once, [1, 2, 3, 4], out=out, workers=1) as run,
        pytest.raises(BatchError, match="there are no workers any more"),
    ):
        list(run)
    with Reader(out) as journal:
        assert journal.counts() == (2, 1)


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({"workers": 0}, ValueError, "workers must be 1 or more"),
        ({"timeout": "soon"}, ValueError, "'soon' is not a duration"),
        ({"retries": -1}, ValueError, "retries must be 0 or more"),
        ({"redo": True, "retry_failed": True}, ValueError, "forgets what retry_failed would"),
        ({"retry_on": ["crash"]}, ValueError, "did you mean 'crashed'"),
        ({"retry_on": "error"}, TypeError, "a list of reasons"),
        ({"halt": "fail=3"}, ValueError, "write 'never', 'soon,fail=3'"),
        ({"shard": "3/2"}, ValueError, "write 2/8"),
        ({"format": "xml"}, ValueError, "known: auto"),
        ({"memory_limt": "1G"}, TypeError, "did you mean 'memory_limit'"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_made(
    wrong: dict[str, Any], kind: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        run_batch(agents.echo, [1], out=tmp_path / "run.db", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_batch_is_not_touched_without_a_word(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    with run_batch(agents.echo, [1, 2], out=out, workers=1) as run:
        run.wait()
    with pytest.raises(JournalMismatch, match=r"2 items succeeded, 0 failed\): resume=True"):
        run_batch(agents.echo, [1, 2], out=out, workers=1)
    with run_batch(agents.echo, [3], out=out, workers=1, redo=True) as run:
        assert [item.output for item in run] == [3]
    with Reader(out) as journal:
        assert journal.counts() == (1, 0)


def test_what_an_item_has_printed_is_kept_with_it(tmp_path: Path) -> None:
    words = ["hello", "die", "bye"]
    with run_batch(
        agents.talker, words, out=tmp_path / "run.db", workers=1, retries=1, output="capture"
    ) as run:
        logs = {item.position: item.log for item in run}
    assert logs[0] == "out hello\nerr hello\n"
    assert logs[1].startswith("out die\nerr die\n")
    assert logs[2] == "out bye\nerr bye\n"
    with Reader(tmp_path / "run.db") as journal:
        assert [row.log for row in journal.rows()] == [logs[n] for n in range(3)]
        assert all(each.log.startswith("out die\nerr die\n") for each in journal.attempts("1"))
        assert len(journal.attempts("1")) == 2


def test_a_full_disk_holds_up_the_batch_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own limit of pages stands in for the disk: its error is the same."""
    monkeypatch.setattr(writer, "PATIENCE", 0.01)
    made: list[sqlite3.Connection] = []
    connect = schema.connect

    def small(path: Path) -> sqlite3.Connection:
        made.append(connect(path))
        return made[-1]

    monkeypatch.setattr(schema, "connect", small)
    items = ["x" * 2000] * 3000
    with run_batch(agents.double, items, out=tmp_path / "run.db", workers=2) as run:
        made[0].execute("PRAGMA max_page_count = 40")
        done = 0
        while run.trouble is None:
            done += len(run.step(5.0))
        assert "no room on the disk for" in run.trouble
        assert not run.over
        while True:  # the writer's thread is using the connection at the moment
            try:
                made[0].execute("PRAGMA max_page_count = 100000").fetchall()
                break
            except sqlite3.OperationalError:
                continue
        assert run.summary().ok == 3000
        assert run.trouble is None
    assert done < 3000


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_a_batch_starts_its_workers_as_it_is_told(method: str, tmp_path: Path) -> None:
    parent = agents.parent_pid
    with run_batch(parent, [0], out=None, workers=1, start_method=method) as run:
        (item,) = run
    assert (item.output == os.getpid()) is (method == "spawn")


def test_an_unknown_start_method_begins_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="start_method='fork'; known: zygote, spawn"):
        run_batch(agents.echo, [0], out=tmp_path / "run.db", start_method="fork")
    assert list(tmp_path.iterdir()) == []
