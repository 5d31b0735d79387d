"""N23: a limit that many processes share; the decisions alone, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from typing import Any

import pytest

from procorch.errors import ModelThrottled
from procorch.supervision.shared_limit import Limit, LimitState, SharedLimit


def shared(**settings: Any) -> SharedLimit[int]:
    return SharedLimit(Limit("service", **settings))


def asked(limit: SharedLimit[int], count: int) -> SharedLimit[int]:
    for ticket in range(count):
        limit.ask(ticket)
    return limit


def refusal(retry_after: float | None = None) -> ModelThrottled:
    return ModelThrottled("slow down", retry_after=retry_after)


def test_permits_are_granted_in_order_and_no_more_than_may_be_under_way() -> None:
    limit = asked(shared(concurrent=2), 4)
    assert limit.grant(0.0) == [0, 1]
    assert limit.grant(9.0) == []
    assert limit.opens_at(9.0) == math.inf
    limit.end(1, 10.0, 0)
    assert limit.grant(10.0) == [2]
    assert limit.state(10.0) == LimitState(2, 1, None)
    limit.end(0, 11.0, 0)
    limit.end(2, 11.0, 0)
    assert limit.grant(11.0) == [3]
    assert not limit.waiting


def test_calls_of_a_minute_are_spread_evenly() -> None:
    limit, now, begun = asked(shared(per_minute=120), 100), 0.0, []
    while limit.waiting:
        begun += [now] * len(limit.grant(now))
        now = max(limit.opens_at(now), now)
    assert begun[-1] == pytest.approx(99 * 0.5, abs=0.5)
    assert all(after - before > 0.4 for before, after in itertools.pairwise(begun))


def test_tokens_of_a_minute_are_kept_though_they_are_known_late() -> None:
    limit, now, running = asked(shared(tokens_per_minute=60_000), 200), 0.0, []
    used: list[tuple[float, int]] = []
    while limit.waiting or running:
        for ticket in limit.grant(now):
            heapq.heappush(running, (now + 2.0, ticket))
        opens_at = limit.opens_at(now) if limit.waiting else math.inf
        if running and running[0][0] <= opens_at:
            now, ticket = heapq.heappop(running)
            used.append((now, 3000))
            limit.end(ticket, now, 3000)
        else:
            now = opens_at
    assert len(used) == 200
    late = [at for at, _ in used[20:]]
    rate = (len(late) - 1) * 3000 / (late[-1] - late[0])
    assert rate == pytest.approx(1000, rel=0.05)


def test_after_a_refusal_nobody_gets_a_permit_before_the_pause_is_over() -> None:
    limit = asked(shared(concurrent=10), 30)
    assert len(limit.grant(0.0)) == 10
    assert limit.refused(3, refusal(4.0), 1.0) == 4.0
    limit.end(0, 1.5, 0)
    assert limit.grant(4.9) == []
    state = limit.state(2.0)
    assert state.under_way == 8
    assert state.pause is not None
    assert state.pause.left == pytest.approx(3.0)
    for ticket in (1, 2, *range(4, 10)):
        limit.end(ticket, 4.9, 0)
    assert limit.grant(5.0) == [10]  # one at first: the load comes back step by step
    limit.end(10, 5.1, 0)
    assert len(limit.grant(5.2)) == 2


def test_a_pause_is_not_longer_than_the_limit_allows() -> None:
    limit = asked(shared(longest="2m"), 1)
    limit.grant(0.0)
    assert limit.refused(0, refusal(3600.0), 0.0) == 120.0


def test_a_permit_comes_back_whoever_held_or_wanted_it() -> None:
    limit = asked(shared(concurrent=1), 3)
    assert limit.grant(0.0) == [0]
    assert limit.drop(1, 0.0)  # it waited
    assert not limit.drop(0, 1.0)  # it died in the middle of its call
    assert limit.grant(1.0) == [2]
    limit.end(0, 2.0, 500)  # what comes of it later does not count
    assert limit.refused(0, refusal(), 2.0) is None
    assert limit.state(2.0) == LimitState(1, 0, None)


def test_what_a_dropped_call_was_expected_to_take_is_free_again() -> None:
    limit = asked(shared(tokens_per_minute=1000), 2)
    assert limit.grant(0.0) == [0]
    assert limit.opens_at(0.0) == pytest.approx(60.0, abs=0.1)
    limit.drop(0, 1.0)
    assert limit.grant(1.0) == [1]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"name": ""}, TypeError, "non-empty"),
        ({"concurrent": 0}, ValueError, "concurrent must be 1 or more"),
        ({"concurrent": 2.5}, TypeError, "concurrent must be a whole number"),
        ({"per_minute": 0}, ValueError, "per_minute must be more than 0"),
        ({"per_minute": "1500"}, TypeError, "per_minute must be a number"),
        ({"per_minute": True}, TypeError, "per_minute must be a number"),
        ({"tokens_per_minute": -1}, ValueError, "tokens_per_minute must be more than 0"),
        ({"tokens_per_minute": math.nan}, ValueError, "tokens_per_minute must be more than 0"),
        ({"retries": -1}, ValueError, "retries must be 0 or more"),
        ({"longest": "soon"}, ValueError, "longest"),
    ],
)
def test_bad_numbers_are_refused(settings: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Limit(**{"name": "service", **settings})


class Service:
    """Answers 25 calls in each second, after 50 to 800 ms, and refuses the others."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._begun: list[float] = []
        self.calls = 0

    def call(self, now: float) -> tuple[float, bool]:
        """When the answer comes, and whether it is a refusal."""
        self.calls += 1
        self._begun = [at for at in self._begun if at > now - 1.0]
        if len(self._begun) >= 25:
            return now + 0.01, True
        self._begun.append(now)
        return now + self._random.uniform(0.05, 0.8), False


@pytest.mark.parametrize("workers", [20, 100])
@pytest.mark.parametrize(
    "settings", [{}, {"per_minute": 1500}, {"concurrent": 20, "per_minute": 1400}]
)
def test_2000_prompts_at_a_limited_service_cost_hardly_a_call_more(
    workers: int, settings: dict[str, Any]
) -> None:
    service, limit = Service(seed=workers), shared(**settings)
    left, answered, now = 2000, 0, 0.0
    running: list[tuple[float, int, bool]] = []
    numbers = itertools.count()
    for _ in range(workers):
        limit.ask(next(numbers))
        left -= 1
    while answered < 2000:
        for ticket in limit.grant(now):
            at, refused = service.call(now)
            heapq.heappush(running, (at, ticket, refused))
        opens_at = limit.opens_at(now) if limit.waiting else math.inf
        if not running or opens_at < running[0][0]:
            now = opens_at
            continue
        now, ticket, refused = heapq.heappop(running)
        if refused:
            limit.refused(ticket, refusal(1.0), now)
            limit.ask(next(numbers))
            continue
        limit.end(ticket, now, 0)
        answered += 1
        if left:
            limit.ask(next(numbers))
            left -= 1
    assert service.calls <= 2100
    assert now < 1.8 * 2000 / 25
