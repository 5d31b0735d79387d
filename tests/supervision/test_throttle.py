"""N23: one pause for all replicas behind a queue, load that comes back step by step, and a rate."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch.errors import AgentFailure, ModelThrottled, NetworkError
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, StopStage
from procorch.supervision.throttle import FlowControl, Pause, Throttle, is_throttled
from tests.supervision.conftest import Bench

GOOD = AgentFailure("no")
TIMES = st.floats(0, 1e4)


def busy(retry_after: float | None = None) -> ModelThrottled:
    return ModelThrottled("slow down", retry_after=retry_after)


# ---- the decision alone


@pytest.mark.parametrize(
    ("error", "asks"),
    [
        (busy(), True),
        (busy(3.0), True),
        (NetworkError("503", retry_after=1.0), True),
        (AgentFailure("my own", retry_after=1.0), True),
        (NetworkError("down"), False),
        (AgentFailure("wrong"), False),
        (None, False),
    ],
)
def test_who_asks_for_a_pause(error: Any, asks: bool) -> None:
    assert is_throttled(error) is asks


@given(st.one_of(st.none(), st.floats()), TIMES, st.integers(1, 100))
def test_a_pause_is_as_long_as_asked_within_its_bounds(asked: Any, now: float, under: int) -> None:
    flow = FlowControl(Throttle(longest=60))
    pause = flow.throttled(busy(asked), now, under)
    assert flow.until == now + pause
    wanted = asked if asked is not None and asked > 0 else 0.0
    assert pause == pytest.approx(min(60.0, max(0.25, wanted)))
    assert flow.opens_at(now, 0) == flow.until
    assert flow.opens_at(flow.until, 0) <= flow.until
    assert flow.opens_at(flow.until, 1) > flow.until


@given(st.integers(1, 200), st.data())
def test_load_comes_back_step_by_step_and_wholly(width: int, data: st.DataObject) -> None:
    flow = FlowControl(Throttle())
    flow.throttled(busy(1.0), 0.0, data.draw(st.integers(1, width)))
    answers, before = 0, 1
    while flow.allowed is not None:
        assert flow.allowed <= before + 1
        before = flow.allowed
        flow.answered(2.0, width)
        answers += 1
    assert width - 1 <= max(1, answers) <= width**2
    assert not flow.active
    assert flow.opens_at(2.0, width) <= 2.0


def test_pauses_that_do_not_help_grow_and_a_success_makes_them_short_again() -> None:
    flow, now, seen = FlowControl(Throttle()), 0.0, []
    for _ in range(8):
        flow.throttled(busy(), now, 1)
        seen.append(flow.until - now)
        now = flow.until
    assert seen == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    flow.answered(now, 2)
    flow.throttled(busy(), now, 1)
    assert flow.until - now == 0.25


def test_who_was_under_way_when_the_pause_began_neither_begins_another_nor_ends_it() -> None:
    flow = FlowControl(Throttle())
    assert flow.throttled(busy(10.0), 0.0, 4)
    assert not flow.throttled(busy(10.0), 0.1, 4)
    assert not flow.answered(0.2, 4)
    assert flow.allowed == 1
    assert flow.opens_at(0.3, 0) == pytest.approx(10.1)
    assert flow.throttled(busy(60.0), 0.4, 4), "a much longer one is told"


def test_answers_that_take_long_do_not_keep_load_away() -> None:
    flow = FlowControl(Throttle())
    flow.throttled(busy(1.0), 0.0, 8)
    assert flow.opens_at(1.0, 1) == 2.0
    assert flow.opens_at(2.0, 1) <= 2.0
    assert flow.opens_at(2.0, 2) == 3.0
    assert flow.opens_at(3.0, 2) <= 3.0


def test_without_a_throttle_nothing_is_held_back() -> None:
    flow = FlowControl(None, 5.0)
    assert not flow.throttled(busy(10.0), 0.0, 1)
    assert flow.opens_at(0.0, 100) <= 0.0


@given(st.floats(0.1, 500), st.lists(st.floats(0, 0.5), min_size=1, max_size=300))
def test_no_window_has_more_requests_than_the_rate_allows(rate: float, waits: list[float]) -> None:
    """Whatever the gaps between them, and though a timer may be late by some milliseconds."""
    flow, now, sent = FlowControl(None, rate), 0.0, []
    for wait in waits:
        now = max(now + wait, flow.opens_at(now + wait, 0))
        flow.sent(now)
        sent.append(now)
    for at, first in enumerate(sent):
        last = sum(each <= first + 1 for each in sent[at:])
        assert last <= (1 + 0.02) * rate + 2


def test_a_late_timer_does_not_lower_the_rate() -> None:
    flow, now = FlowControl(None, 100), 0.0
    for _ in range(101):
        now = max(now, flow.opens_at(now, 0)) + 0.004
        flow.sent(now)
    assert now < 1.02


class Limit:
    """A service that takes 25 requests in each second and wants to be left alone for the rest."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def refuses(self, now: float) -> float | None:
        second = int(now)
        self.counts[second] = self.counts.get(second, 0) + 1
        return second + 1 - now if self.counts[second] > 25 else None


@pytest.mark.parametrize(("workers", "takes"), [(4, 0.01), (16, 0.01), (50, 0.05), (8, 0.3)])
@pytest.mark.parametrize("says", [True, False])
def test_a_limit_per_second_is_met_with_few_refusals_and_little_time(
    workers: int, takes: float, says: bool
) -> None:
    flow, limit, now = FlowControl(Throttle()), Limit(), 0.0
    waiting, refused = 2000, 0
    under: list[tuple[float, float | None]] = []  # when it is answered, and the pause it asks for
    while waiting or under:
        while waiting and len(under) < workers and flow.opens_at(now, len(under)) <= now:
            flow.sent(now)
            waiting -= 1
            under.append((now + takes, limit.refuses(now)))
        turns = [at for at, _ in under]
        if waiting and len(under) < workers:
            turns.append(flow.opens_at(now, len(under)))
        now = min(turns)
        for answer in [each for each in under if each[0] <= now]:
            if answer[1] is None:
                under.remove(answer)
                flow.answered(now, workers)
            else:
                flow.throttled(busy(answer[1] if says else None), now, len(under))
                under.remove(answer)
                waiting += 1
                refused += 1
    assert refused <= 100
    assert now <= 1.5 * 2000 / 25


def test_a_service_that_recovers_gets_full_speed_again() -> None:
    flow, now = FlowControl(Throttle()), 0.0
    for _ in range(100):
        flow.answered(now := now + 0.01, 4)
    flow.throttled(busy(1.0), now, 4)
    now += 1.0
    sent = 0
    while now < 200.0 and flow.active:
        now = max(now + 0.001, flow.opens_at(now, 0))
        flow.sent(now)
        flow.answered(now, 4)
        sent += 1
    assert not flow.active
    assert sent > 60 * 100


# ---- the machine


def pool(bench: Any, count: int, **settings: Any) -> list[int]:
    settings.setdefault("throttle", Throttle())
    first = bench.running(supervised=False, **settings)
    return [
        first,
        *(bench.running(mailbox=first, supervised=False, **settings) for _ in range(count - 1)),
    ]


def at_work(bench: Any, keys: list[int]) -> dict[int, int]:
    found = {}
    for key in keys:
        a = bench.machine.instances.get(key)
        if a is not None and a.process.inflight:
            found[key] = a.process.inflight[0].id
    return found


def told(bench: Any) -> list[str]:
    return [
        type(action.notice).__name__
        for action in bench.log
        if isinstance(action, actions.Notify)
        and isinstance(action.notice, notices.Throttled | notices.Recovered)
    ]


def test_a_throttled_service_gets_no_request_in_the_pause_and_none_fails(bench: Any) -> None:
    keys = pool(bench, 4)
    requests = [bench.submit(keys[0]) for _ in range(50)]
    sent = len(bench.sent)
    assert sent == 4
    for key, request in at_work(bench, keys).items():
        bench.reply(key, request, busy(4.0))
    assert len(bench.sent) == sent
    assert told(bench) == ["Throttled"]
    bench.wait(3.9)
    assert len(bench.sent) == sent
    bench.wait(0.1)
    assert len(bench.sent) == sent + 1, "one tries it"
    ((key, request),) = at_work(bench, keys).items()
    assert request in requests[:4]
    bench.reply(key, request)
    assert len(at_work(bench, keys)) == 2
    while working := at_work(bench, keys):
        bench.reply(*next(iter(working.items())))
    assert told(bench) == ["Throttled", "Recovered"]
    assert [bench.error(request) for request in requests] == [None] * 50


def test_a_replica_that_is_throttled_again_and_again_gets_no_request_while_another_is_free(
    bench: Any,
) -> None:
    """Its key is used up, and theirs are not."""
    keys = pool(bench, 3)
    requests = [bench.submit(keys[0]) for _ in range(30)]
    refused = 0
    while working := at_work(bench, keys):
        for key, request in working.items():
            refused += key == keys[0]
            bench.reply(key, request, busy(0.5) if key == keys[0] else None)
        bench.wait(1.0)
    assert [bench.error(request) for request in requests] == [None] * 30
    assert refused <= 10


def test_a_request_that_is_always_throttled_fails_after_its_retries(bench: Any) -> None:
    keys = pool(bench, 2, throttle=Throttle(retries=3))
    request = bench.submit(keys[0])
    for _ in range(4):
        ((key, number),) = at_work(bench, keys).items()
        assert number == request
        bench.reply(key, request, busy(1.0))
        bench.wait(5.0)
    assert isinstance(bench.error(request), ModelThrottled)
    assert len(bench.sent) == 4


def test_what_may_not_be_repeated_is_not_but_has_the_pause_all_the_same(bench: Any) -> None:
    (key,) = pool(bench, 1)
    request, other = bench.submit(key, repeatable=False), bench.submit(key)
    bench.reply(key, request, busy(2.0))
    assert isinstance(bench.error(request), ModelThrottled)
    assert other not in [sent[2] for sent in bench.sent]
    bench.wait(2.0)
    assert other in [sent[2] for sent in bench.sent]


def test_a_retry_has_its_time_for_itself(bench: Any) -> None:
    (key,) = pool(bench, 1)
    request = bench.submit(key, timeout=1.0)
    bench.reply(key, request, busy(10.0))
    bench.wait(10.9)
    bench.reply(key, request)
    assert bench.error(request) is None


def test_a_deadline_is_kept_in_a_pause(bench: Any) -> None:
    (key,) = pool(bench, 1)
    request = bench.submit(key, deadline=bench.now + 3.0, timeout=3.0)
    bench.reply(key, request, busy(10.0))
    bench.wait(3.0)
    assert type(bench.error(request)).__name__ == "RequestTimeout"


def test_what_waits_in_a_pause_can_be_cancelled(bench: Any) -> None:
    (key,) = pool(bench, 1)
    request, other = bench.submit(key), bench.submit(key)
    bench.reply(key, request, busy(10.0))
    for number in (request, other):
        bench.step(ev.CancelRequest(number))
        assert type(bench.error(number)).__name__ == "RequestCancelled"
    assert [bench.error(number).may_have_executed for number in (request, other)] == [True, False]
    bench.wait(10.0)
    assert len(bench.sent) == 1


def test_the_timer_of_a_pause_ends_with_its_queue(bench: Any) -> None:
    key = bench.running(throttle=Throttle())
    bench.reply(key, bench.submit(key), busy(60.0))
    assert bench.machine.next_due() == bench.now + 60
    bench.step(ev.Cancel(key))
    bench.live[key].clear()
    bench.step(ev.Exited(key, 1, ev.Exit(code=0)))
    assert bench.finished
    assert bench.machine.next_due() is None


@pytest.mark.parametrize("prefetch", [1, 4])
def test_a_drain_waits_for_the_pause(bench: Any, prefetch: int) -> None:
    keys = pool(bench, 2, prefetch=prefetch)
    requests = [bench.submit(keys[0]) for _ in range(6)]
    for key, request in at_work(bench, keys).items():
        bench.reply(key, request, busy(4.0))
    bench.step(ev.Close(drain=True, deadline=bench.now + 60))
    assert [bench.phase(key) for key in keys] == [Phase.READY] * 2
    bench.wait(4.0)
    while working := at_work(bench, keys):
        bench.reply(*next(iter(working.items())))
    for key in keys:
        bench.die(key, signal=None)
        assert bench.status(key) is AgentStatus.STOPPED
    assert [bench.error(request) for request in requests] == [None] * 6


def test_what_was_sent_ahead_is_not_begun_in_a_pause(bench: Any) -> None:
    (key,) = pool(bench, 1, prefetch=4)
    requests = [bench.submit(key) for _ in range(4)]
    bench.reply(key, requests[0], busy(4.0))
    assert not any(isinstance(action, actions.Proceed) for action in bench.log)
    bench.wait(4.0)
    assert any(isinstance(action, actions.Proceed) for action in bench.log)
    while working := at_work(bench, [key]):
        bench.reply(*next(iter(working.items())))
    assert [bench.error(request) for request in requests] == [None] * 4


def test_a_process_that_is_old_in_a_pause_is_replaced_and_what_was_ahead_waits_again(
    bench: Any,
) -> None:
    (key,) = pool(bench, 1, prefetch=4, max_age=15.0)
    requests = [bench.submit(key) for _ in range(4)]
    bench.reply(key, requests[0], busy(20.0))
    bench.wait(15.0)
    assert bench.pressed(key) == [StopStage.LEAVE], "no answer is to come that it could wait for"
    bench.die(key, signal=None)
    bench.ready(key)
    bench.wait(6.0)
    while working := at_work(bench, [key]):
        bench.reply(*next(iter(working.items())))
    assert [bench.error(request) for request in requests] == [None] * 4


def test_an_abort_does_not_wait_for_a_pause(bench: Any) -> None:
    keys = pool(bench, 2, prefetch=4)
    requests = [bench.submit(keys[0]) for _ in range(10)]
    for key, request in at_work(bench, keys).items():
        bench.reply(key, request, busy(100.0))
    bench.step(ev.Close(drain=False, deadline=bench.now + 5))
    for key in keys:
        bench.die(key, signal=None)
    assert all(type(bench.error(request)).__name__ == "Aborted" for request in requests)
    assert bench.machine.idle


def test_a_death_lets_the_next_one_try(bench: Any) -> None:
    keys = pool(bench, 2, charge_requests=True)
    requests = [bench.submit(keys[0]) for _ in range(3)]
    for key, request in at_work(bench, keys).items():
        bench.reply(key, request, busy(1.0))
    bench.wait(1.0)
    ((key, request),) = at_work(bench, keys).items()
    bench.die(key, started=request)
    assert len(at_work(bench, keys)) == 1
    assert requests


def test_a_rate_holds_for_all_replicas_together(bench: Any) -> None:
    keys = pool(bench, 3, throttle=None, rate="2/s", prefetch=4)
    for _ in range(20):
        bench.submit(keys[0])
    begun = []
    for _ in range(8):
        begun.append(len(bench.sent))
        for key, request in at_work(bench, keys).items():
            bench.reply(key, request)
        bench.wait(0.5)
    assert begun == [1, 2, 3, 4, 5, 6, 7, 8]


def test_other_queues_have_no_part_in_a_pause(bench: Any) -> None:
    (one,), (other,) = pool(bench, 1), pool(bench, 1)
    bench.reply(one, bench.submit(one), busy(10.0))
    bench.submit(other)
    assert bench.sent[-1][0] == other


@given(
    workers=st.integers(1, 6),
    prefetch=st.integers(1, 3),
    asked=st.floats(0.5, 20),
    calm=st.floats(0, 60),
    order=st.randoms(use_true_random=False),
)
def test_whatever_comes_when_the_service_is_left_alone_and_each_request_is_answered_once(
    workers: int, prefetch: int, asked: float, calm: float, order: Any
) -> None:
    """A service that throttles until a time, asked by some workers, in any order of events."""
    bench = Bench()
    keys = pool(bench, workers, prefetch=prefetch, throttle=Throttle(retries=1000))
    requests = [bench.submit(keys[0]) for _ in range(20)]
    quiet = -math.inf
    calm += bench.now
    for _ in range(5000):
        working = at_work(bench, keys)
        if not working:
            before = len(bench.sent)
            due = bench.machine.next_due()
            if due is None:
                break
            bench.wait(max(0.0, due - bench.now))
            assert len(bench.sent) == before or bench.now >= quiet
            continue
        key = order.choice(sorted(working))
        before = len(bench.sent)
        if bench.now < calm:
            quiet = bench.now + asked
            bench.reply(key, working[key], busy(asked))
        else:
            bench.reply(key, working[key])
        if bench.now < quiet:
            assert len(bench.sent) == before
        if order.random() < 0.3:
            bench.wait(order.random())
    assert [bench.error(request) for request in requests] == [None] * 20


# ---- settings


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("10/s", 10),
        ("600/m", 10),
        ("0.5/s", 0.5),
        ("36000/h", 10),
        ("30/min", 0.5),
        (3, 3),
        ("1/10s", 0.1),
    ],
)
def test_a_rate_as_people_write_it(given: Any, rate: float) -> None:
    assert AgentSettings.of({"rate": given}).rate == pytest.approx(rate)


@pytest.mark.parametrize(
    "given", ["0/s", "-1/s", "10/x", "fast", "10/0s", "nan/s", 0, -1, True, "inf/s"]
)
def test_what_is_no_rate_is_refused(given: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="rate"):
        AgentSettings.of({"rate": given})


@pytest.mark.parametrize(
    "given", [{"retries": -1}, {"retries": 1.5}, {"longest": "soon"}, {"longest": -1}]
)
def test_a_throttle_is_checked(given: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="throttle"):
        Throttle(**given)


def test_a_throttle_is_a_throttle() -> None:
    with pytest.raises(TypeError, match=r"throttle must be Throttle\(...\)"):
        AgentSettings.of({"throttle": 5})


def test_a_pause_says_how_long_and_why():
    pause = Pause(left=3.2, error=ModelThrottled("slow down"))
    assert str(pause) == f"paused 4 s: throttled by {pause.error}"


def test_answers_of_an_idle_agent_show_what_its_service_takes(bench: Bench) -> None:
    """After a pause requests begin a little more slowly than they were answered before it."""
    key = bench.running(throttle=Throttle())
    for _ in range(30):
        bench.reply(key, bench.submit(key))
        bench.wait(0.1)
    refused = bench.submit(key)
    bench.reply(key, refused, busy(retry_after=1.0))
    bench.wait(1.0)
    bench.reply(key, refused)
    before = len(bench.sent)
    bench.submit(key)
    assert len(bench.sent) == before
    bench.wait(0.2)
    assert len(bench.sent) == before + 1
