"""A service that asks for a pause gets it from the whole pool (N23)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentExecutor,
    AgentFailure,
    AgentPool,
    ModelThrottled,
    Throttle,
)

PAUSE = 0.6
Factory = Callable[[], Any]


@pytest.fixture
def service(tmp_path: Path) -> Factory:
    """An agent of a service that throttles whoever comes within `PAUSE` of the first one.

    Each call is a line of the file ``calls``; the item is answered with itself.
    """
    calls, first = str(tmp_path / "calls"), str(tmp_path / "first")

    def factory():
        import os
        import time

        import procorch

        def handle(item):
            with open(calls, "a") as file:
                file.write(f"{item} {time.time()}\n")
            if not os.path.exists(first):
                with open(first, "w") as file:
                    file.write(str(time.time() + PAUSE))
            with open(first) as file:
                until = float(file.read() or "inf")
            if time.time() < until:
                raise procorch.ModelThrottled("slow down", retry_after=PAUSE)
            return item

        return handle

    return factory


def calls(tmp_path: Path) -> list[tuple[str, float]]:
    lines = (tmp_path / "calls").read_text().splitlines()
    return [(item, float(at)) for item, at in (line.split() for line in lines)]


def test_no_item_fails_and_few_are_sent_while_the_service_wants_to_be_left_alone(
    service: Factory, tmp_path: Path
) -> None:
    with AgentPool(service, 3) as pool:
        assert list(pool.imap(range(60))) == list(range(60))
        assert pool.info().state == "RUNNING"
    seen = calls(tmp_path)
    assert sum(at < seen[0][1] + PAUSE for _, at in seen) <= 3 + 2


def test_items_of_a_chunk_are_tried_again_from_the_one_that_was_throttled(
    service: Factory, tmp_path: Path
) -> None:
    (tmp_path / "first").write_text("0")

    def factory():
        handle = service()
        throttled = []

        def once(item):
            if item == 5 and not throttled:
                throttled.append(item)
                raise ModelThrottled("slow down", retry_after=0.1)
            return handle(item)

        return once

    with AgentPool(factory, 1) as pool:
        assert pool.map(range(10), chunksize=10) == list(range(10))
    assert [item for item, _ in calls(tmp_path)] == [str(n) for n in range(10)]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_an_item_that_is_always_throttled_fails_alone(chunksize: int) -> None:
    def factory():
        import procorch

        def handle(item):
            if item == 1:
                raise procorch.ModelThrottled("slow down", retry_after=0.01)
            return item

        return handle

    with AgentPool(factory, 2, throttle=Throttle(retries=2)) as pool:
        outcomes = list(pool.imap(range(6), chunksize=chunksize, outcomes=True))
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True, True, True]
    assert isinstance(outcomes[1].error, ModelThrottled)


def test_without_a_throttle_the_item_fails_at_once(service: Factory, tmp_path: Path) -> None:
    with AgentPool(service, 1, throttle=None) as pool:
        with pytest.raises(ModelThrottled):
            pool.submit(1).result()
        assert isinstance(pool.submit(2).exception(), ModelThrottled)
    assert len(calls(tmp_path)) == 2


def test_a_pause_is_told_in_events_and_shown_until_it_is_over(
    service: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    with AgentPool(service, 2) as pool:
        events = pool.events()
        reply = pool.submit(1)
        paused = next(event for event in events if type(event).__name__ == "Throttled")
        info = pool.info()
        assert info.state == "PAUSED"
        assert info.allowed == 0
        assert info.pause is not None
        assert 0 < info.pause.left <= PAUSE
        assert str(info.pause) == "paused 1 s: throttled by agent 'pool': slow down"
        assert {replica.state for replica in info.replicas} == {"PAUSED"}
        assert (paused.asked, str(paused.error)) == (PAUSE, "agent 'pool': slow down")
        assert paused.delay == PAUSE
        assert reply.result().output == 1
        assert next(event for event in events if type(event).__name__ == "Recovered")
        assert pool.info().allowed == 2
    assert "agent 'pool': paused 0.6 s: throttled by agent 'pool': slow down" in caplog.text


def test_an_exception_of_ones_own_that_says_when_to_come_back_is_one(tmp_path: Path) -> None:
    done = str(tmp_path / "done")

    def factory():
        import os

        class Busy(Exception):
            retry_after = 0.1

        def handle(item):
            if not os.path.exists(done):
                open(done, "w").close()
                raise Busy
            return item

        return handle

    with AgentPool(factory, 1) as pool:
        assert pool.submit(1).result().output == 1


def test_an_executor_raises_what_the_function_raises_and_calls_it_once(tmp_path: Path) -> None:
    path = str(tmp_path / "called")

    def function():
        with open(path, "a") as file:
            file.write(".")
        raise ModelThrottled("slow down", retry_after=30)

    with AgentExecutor(1) as executor:
        with pytest.raises(ModelThrottled):
            executor.submit(function).result()
        assert executor.submit(len, "abc").result() == 3
    assert (tmp_path / "called").read_text() == "."


def test_an_error_that_asks_for_nothing_is_no_pause() -> None:
    def factory():
        def handle(item):
            raise ValueError(item)

        return handle

    with AgentPool(factory, 1) as pool:
        assert isinstance(pool.submit(1).exception(), AgentFailure)
        assert pool.info().state == "RUNNING"


def test_closing_at_once_does_not_wait_for_a_pause() -> None:
    def factory():
        import procorch

        def handle(item):
            raise procorch.ModelThrottled("slow down", retry_after=1e9)

        return handle

    began = time.monotonic()
    with AgentPool(factory, 2) as pool:
        events = pool.events()
        replies = [pool.submit(n) for n in range(10)]
        next(event for event in events if type(event).__name__ == "Throttled")
        assert pool.info().pause is not None
        pool.close(drain=False)
    assert [type(reply.exception()).__name__ for reply in replies] == ["Aborted"] * 10
    assert time.monotonic() - began < 20


# ---- a rate


def test_a_rate_holds_for_all_replicas_and_single_items(service: Factory, tmp_path: Path) -> None:
    (tmp_path / "first").write_text("0")
    with AgentPool(service, 3, rate="20/s") as pool:
        assert pool.map(range(11)) == list(range(11))
        with pytest.raises(ValueError, match="chunksize=2 and a rate"):
            pool.map(range(4), chunksize=2)
    times = sorted(at for _, at in calls(tmp_path))
    assert times[-1] - times[0] >= 0.4
