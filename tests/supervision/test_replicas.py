"""Several instances behind one queue: who takes what, and when."""

from __future__ import annotations

from typing import Any

import pytest

from procorch.errors import AgentStopped
from procorch.supervision import events as ev
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase


def two(bench: Any, **settings: Any) -> tuple[int, int]:
    first = bench.running(**settings)
    second = bench.running(mailbox=first, **settings)
    return first, second


def takers(bench: Any) -> list[int]:
    return [key for key, _, _ in bench.sent]


def order(bench: Any) -> list[int]:
    return [request for _, _, request in bench.sent]


def test_no_more_are_busy_than_the_width_allows(bench: Any) -> None:
    first, second = two(bench)
    bench.step(ev.SetWidth(first, 1))
    requests = [bench.submit(first) for _ in range(3)]
    assert order(bench) == requests[:1]
    bench.reply(first, requests[0])
    assert takers(bench) == [first, first]
    bench.step(ev.SetWidth(first, 2))
    assert takers(bench) == [first, first, second]


def test_a_spare_takes_over_from_one_that_died_before_the_policy_has_answered(bench: Any) -> None:
    first, second = two(bench)
    bench.step(ev.SetWidth(first, 1))
    requests = [bench.submit(first) for _ in range(2)]
    bench.die(first, started=requests[0])
    assert bench.phase(first) is Phase.AWAITING_POLICY
    assert bench.sent[-1][::2] == (second, requests[1])
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(first)
    assert len(bench.sent) == 2


def test_the_width_of_a_mailbox_that_is_gone_is_forgotten(bench: Any) -> None:
    first = bench.running()
    bench.step(ev.SetWidth(first, 1))
    bench.step(ev.SetWidth(77, 1))
    bench.step(ev.Cancel(first))
    bench.die(first)
    assert bench.machine._core.limited_mailboxes == set()


def test_a_replica_that_is_told_to_finish_leaves_the_queue_to_the_others(bench: Any) -> None:
    first, second = two(bench)
    requests = [bench.submit(first) for _ in range(4)]
    bench.step(ev.Retire(first))
    bench.reply(first, requests[0])
    assert bench.phase(first) is Phase.STOPPING
    bench.die(first)
    assert bench.status(first) is AgentStatus.COMPLETED
    for request in requests[1:]:
        bench.reply(second, request)
    assert takers(bench) == [first, second, second, second]


def test_an_agent_that_drains_finishes_its_queue_with_all_its_instances(bench: Any) -> None:
    first, second = two(bench)
    requests = [bench.submit(first) for _ in range(4)]
    bench.step(ev.Drain(first))
    assert bench.submit(first) in bench.outcomes  # nobody takes new ones
    assert isinstance(bench.error(5), AgentStopped)
    bench.reply(first, requests[0])
    bench.reply(second, requests[1])
    assert order(bench) == requests


def test_what_waits_goes_by_priority_and_then_in_order(bench: Any) -> None:
    key = bench.running()
    busy = bench.submit(key)
    low, usual, also, high = (bench.submit(key, priority=p) for p in (-1, 0, 0, 7))
    for request in (busy, high, usual, also):
        bench.reply(key, request)
    assert order(bench) == [busy, high, usual, also, low]


def test_a_request_that_is_tried_again_goes_before_its_equals_only(bench: Any) -> None:
    key = bench.running(charge_requests=True)
    first = bench.submit(key, retries=1)
    equal, higher = bench.submit(key), bench.submit(key, priority=1)
    bench.die(key, started=first)
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(key)
    bench.reply(key, higher)
    bench.reply(key, first)
    assert order(bench) == [first, higher, first, equal]


def test_a_process_is_replaced_early_by_its_part_of_the_jitter(bench_of: Any) -> None:
    bench = bench_of(chance=0.5)
    key = bench.running(max_requests=10, max_memory=1000, recycle_jitter=0.4)
    for served in range(1, 9):
        bench.reply(key, bench.submit(key))
        assert (bench.phase(key) is Phase.RETIRING) == (served == 8)
    bench = bench_of(chance=0.5)
    key = bench.running(max_age=100, recycle_jitter=0.4)
    bench.wait(79)
    assert bench.phase(key) is Phase.READY
    bench.wait(1)
    assert bench.phase(key) is Phase.RETIRING


def test_a_process_that_used_more_than_max_memory_is_replaced_after_the_request(
    bench: Any,
) -> None:
    key = bench.running(max_memory=1000)
    for peak, phase in ((1000, Phase.READY), (1001, Phase.RETIRING)):
        request = bench.submit(key)
        bench.step(ev.Replied(key, 1, request, None, None, peak))
        assert bench.phase(key) is phase


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan"), "0.1", True])
def test_a_jitter_is_a_part(jitter: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="recycle_jitter"):
        AgentSettings.of({"recycle_jitter": jitter})


def test_what_waits_for_one_that_ends_is_taken_by_one_that_was_retired(bench: Any) -> None:
    """It is there still, because it has a request to finish."""
    first, second = two(bench)
    runs, dies, waits = (bench.submit(first) for _ in range(3))
    bench.step(ev.Retire(first))
    assert takers(bench) == [first, second]
    bench.die(second, started=dies)
    bench.policy_says(SupervisorAction.STOP)
    bench.reply(first, runs)
    assert bench.sent[-1][::2] == (first, waits)


def test_ahead_of_their_turn_requests_go_to_whoever_has_least_to_do(bench: Any) -> None:
    first, second = two(bench, prefetch=2)
    for _ in range(5):
        bench.submit(first)
    assert takers(bench) == [first, second, first, second]
