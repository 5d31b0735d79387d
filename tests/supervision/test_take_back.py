"""``prefetch="auto"``: how much is sent ahead, and what becomes of it behind a slow request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch.errors import NetworkError
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.allowance import ENOUGH, MOST, WINDOW, Allowance
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.states import StopStage

QUICK = 0.0001


# ---- how many


def test_it_is_one_until_the_time_is_known() -> None:
    allowance = Allowance()
    amounts = []
    for _ in range(ENOUGH):
        amounts.append(allowance.amount)
        allowance.note(QUICK)
    assert amounts == [1] * ENOUGH
    assert allowance.amount == 11


@pytest.mark.parametrize(
    ("wall", "amount"), [(0.0, MOST), (1e-5, MOST), (0.0003, 4), (0.0011, 1), (2.0, 1)]
)
def test_what_is_ahead_takes_a_millisecond_together(wall: float, amount: int) -> None:
    allowance = Allowance()
    for _ in range(ENOUGH):
        allowance.note(wall)
    assert allowance.amount == amount


@given(
    st.lists(
        st.tuples(st.sampled_from((0.0, 1e-5, 2e-4, 5e-4, 0.1)), st.integers(1, 40)), min_size=1
    )
)
def test_the_slowest_of_the_last_ones_counts(runs: list[tuple[float, int]]) -> None:
    walls = [QUICK] * ENOUGH + [wall for wall, times in runs for _ in range(times)]
    allowance = Allowance()
    for wall in walls:
        allowance.note(wall)
    slowest = max(walls[-WINDOW:])
    assert allowance.amount == min(MOST, 1 + int(0.001 / max(slowest, 1e-6)))


# ---- who gets them


def quick(bench: Any, amount: int = 2, **settings: Any) -> list[int]:
    """Replicas whose requests have been quick so far."""
    keys = [bench.running(prefetch="auto", **settings)]
    for _ in range(amount - 1):
        keys.append(bench.spawn(mailbox=keys[0], prefetch="auto", **settings))
        bench.ready(keys[-1])
    for _ in range(ENOUGH):
        sent = [bench.submit(keys[0]) for _ in keys]
        for key, _, request in bench.sent[-amount:]:
            assert request in sent
            bench.reply(key, request, wall=QUICK)
    bench.sent.clear()
    return keys


def at(bench: Any, key: int) -> list[int]:
    """The requests that a replica has, the one that runs first."""
    process = bench.machine.instances[key].process
    return [request.id for request in (*process.inflight, *process.ahead)]


def taken(bench: Any, key: int, *, further: int = 0) -> list[actions.Action]:
    """The worker gives back what it has not claimed; it has claimed ``further`` more than runs."""
    asked = [a for a in bench.log if isinstance(a, actions.TakeBack) and a.key == key]
    process = bench.machine.instances[key].process
    claimed = process.inflight[0].place + further
    return bench.step(ev.TakenBack(key, process.generation, claimed, asked[-1].number))


def test_idle_replicas_come_first_and_then_those_with_least(bench: Any) -> None:
    keys = quick(bench, 3)
    for _ in range(9):
        bench.submit(keys[0])
    assert [key for key, _, _ in bench.sent] == keys * 3


def test_a_replica_that_is_slow_already_gets_nothing_ahead(bench: Any) -> None:
    first, second = quick(bench)
    runs, other = bench.submit(first), bench.submit(first)
    bench.wait(0.002)
    waits = bench.submit(first)
    assert at(bench, first) == [runs]
    bench.reply(second, other, wall=QUICK)
    assert at(bench, second) == [waits]


def test_without_fences_nothing_is_sent_ahead(bench: Any) -> None:
    key = bench.spawn(prefetch="auto")
    bench.ready(key, gives_back=False)
    for _ in range(ENOUGH):
        bench.reply(key, bench.submit(key), wall=QUICK)
    runs, _ = bench.submit(key), bench.submit(key)
    assert at(bench, key) == [runs]


def test_a_large_body_is_never_sent_ahead(bench: Any) -> None:
    (key,) = quick(bench, 1)
    runs, large, after = bench.submit(key), bench.submit(key, alone=True), bench.submit(key)
    assert at(bench, key) == [runs]
    bench.reply(key, runs, wall=QUICK)
    assert at(bench, key) == [large, after]


# ---- taking back


def test_what_waits_behind_a_slow_request_is_taken_back_for_an_idle_replica(bench: Any) -> None:
    first, second = quick(bench)
    requests = [bench.submit(first) for _ in range(6)]
    for request in requests[1::2]:
        bench.reply(second, request, wall=QUICK)
    assert at(bench, first) == requests[::2]
    assert not [a for a in bench.wait(0.0005) if isinstance(a, actions.TakeBack)]
    assert actions.TakeBack(first, 1, ENOUGH + 3) in bench.wait(0.0006)
    taken(bench, first)
    assert at(bench, first) == requests[:1]
    assert at(bench, second) == requests[2::2]


def test_idle_replicas_share_what_is_taken_back(bench: Any) -> None:
    keys = quick(bench, 3)
    requests = [bench.submit(keys[0]) for _ in range(9)]
    for each in range(1, 9, 3):
        bench.reply(keys[1], requests[each], wall=QUICK)
        bench.reply(keys[2], requests[each + 1], wall=QUICK)
    bench.wait(0.002)
    taken(bench, keys[0])
    assert [at(bench, key) for key in keys] == [[requests[0]], [requests[3]], [requests[6]]]


def test_one_that_joins_takes_what_waits_behind_a_slow_request(bench: Any) -> None:
    (first,) = quick(bench, 1)
    runs, waits = bench.submit(first), bench.submit(first)
    bench.wait(5.0)
    assert at(bench, first) == [runs, waits]
    second = bench.spawn(mailbox=first, prefetch="auto")
    bench.ready(second)
    bench.wait(0.0)
    taken(bench, first)
    assert at(bench, second) == [waits]


def test_a_number_fixes_it_and_nothing_is_taken_back(bench: Any) -> None:
    first = bench.running(prefetch=4)
    second = bench.spawn(mailbox=first, prefetch=4)
    bench.ready(second)
    requests = [bench.submit(first) for _ in range(6)]
    bench.reply(first, requests[0], wall=QUICK)
    bench.wait(5.0)
    assert at(bench, second) == requests[1::2]
    assert not [a for a in bench.log if isinstance(a, actions.TakeBack)]


def test_what_the_worker_has_claimed_stays_with_it(bench: Any) -> None:
    first, second = quick(bench)
    requests = [bench.submit(first) for _ in range(8)]
    bench.wait(0.002)
    taken(bench, first, further=2)
    assert at(bench, first) == [requests[0], requests[2], requests[4]]
    bench.reply(first, requests[0], wall=QUICK)
    bench.reply(first, requests[2], wall=QUICK)
    assert at(bench, first)[0] == requests[4]
    assert second


def test_a_request_that_stayed_and_has_not_begun_waits_again(bench: Any) -> None:
    first, second = quick(bench)
    requests = [bench.submit(first) for _ in range(4)]
    bench.wait(0.002)
    taken(bench, first, further=1)
    bench.reply(first, requests[0], wall=QUICK)
    assert at(bench, first) == [requests[2]]
    place = bench.machine.instances[first].process.inflight[0].place
    done = bench.step(ev.NotBegun(first, 1, requests[2], place))
    assert any(isinstance(a, actions.Withdraw) for a in done)
    assert requests[2] in at(bench, first) + at(bench, second)
    assert bench.sent[-1][2] == requests[2]
    for key in (first, second):
        for request in at(bench, key):
            bench.reply(key, request, wall=QUICK)
    assert all(bench.outcomes[request][0].error is None for request in requests)


def test_the_answer_about_one_that_was_sent_once_more_is_known_by_its_place(bench: Any) -> None:
    first, second = quick(bench)
    requests = [bench.submit(first) for _ in range(4)]
    old = bench.machine.instances[first].process.ahead[0].place
    bench.wait(0.002)
    taken(bench, first)
    bench.reply(first, requests[0], wall=QUICK)
    assert at(bench, first) == [requests[2]]
    done = bench.step(ev.NotBegun(first, 1, requests[2], old))
    assert done == []
    assert at(bench, first) == [requests[2]]
    assert second


def test_the_end_of_one_that_was_sent_once_more_is_not_the_answer_about_the_first_time(
    bench: Any,
) -> None:
    first, second = quick(bench)
    requests = [bench.submit(first) for _ in range(4)]
    old = bench.machine.instances[first].process.ahead[0].place
    bench.wait(0.002)
    taken(bench, first)
    bench.reply(first, requests[0], wall=QUICK)
    assert at(bench, first) == [requests[2]]
    bench.step(ev.Cancel(first))
    bench.step(ev.NotBegun(first, 1, requests[2], old))
    assert bench.pressed(first) == [StopStage.COOPERATE]
    assert second


def test_a_cancelled_one_that_stayed_and_has_not_begun_spares_the_worker(bench: Any) -> None:
    first, _ = quick(bench)
    requests = [bench.submit(first) for _ in range(4)]
    bench.wait(0.002)
    taken(bench, first, further=1)
    bench.reply(first, requests[0], wall=QUICK)
    bench.step(ev.CancelRequest(requests[2]))
    assert bench.pressed(first) == [StopStage.COOPERATE]
    place = bench.machine.instances[first].process.inflight[0].place
    bench.step(ev.NotBegun(first, 1, requests[2], place))
    bench.wait(60.0)
    assert bench.pressed(first) == [StopStage.COOPERATE]
    assert bench.generation(first) == 1


def test_while_a_policy_thinks_others_take_what_was_ahead(bench: Any) -> None:
    first, second = quick(bench)
    requests = [bench.submit(first) for _ in range(4)]
    for request in requests[1::2]:
        bench.reply(second, request, wall=QUICK)
    bench.reply(first, requests[0], NetworkError("lost"))
    bench.wait(0.002)
    bench.step(ev.TakenBack(first, 1, ENOUGH + 1, ENOUGH + 2))
    assert at(bench, second) == [requests[2]]
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.sent[-1][2] == requests[2]


def test_an_old_process_that_finishes_begins_nothing_more(bench: Any) -> None:
    (key,) = quick(bench, 1, restart="permanent")
    runs, waits = bench.submit(key), bench.submit(key)
    bench.step(ev.Restart(key))
    bench.step(ev.AgentFinished(key, 1))
    bench.reply(key, runs, wall=QUICK)
    bench.die(key, started=runs)
    bench.ready(key)
    assert bench.sent[-1] == (key, 2, waits)
