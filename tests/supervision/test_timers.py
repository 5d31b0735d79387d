"""Named points in time: what was armed last counts, and nothing is forgotten or kept for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from procorch.supervision.timers import Timers


def due(timers: Timers[str], now: float) -> list[str]:
    taken = []
    while (name := timers.take_due(now)) is not None:
        taken.append(name)
    return taken


def test_nothing_is_due_in_the_beginning() -> None:
    timers: Timers[str] = Timers()
    assert timers.next() is None
    assert timers.take_due(1e9) is None


def test_what_is_due_comes_in_the_order_of_its_times() -> None:
    timers: Timers[str] = Timers()
    for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0)):
        timers.arm(name, at)
    assert timers.next() == 1.0
    assert due(timers, 3.0) == ["a", "b", "c"]
    assert timers.next() == 4.0


def test_what_is_due_at_the_same_time_comes_in_the_order_of_arming() -> None:
    timers: Timers[str] = Timers()
    for name in "zyx":
        timers.arm(name, 1.0)
    assert due(timers, 1.0) == ["z", "y", "x"]


def test_a_time_is_due_at_that_time_and_not_before() -> None:
    timers: Timers[str] = Timers()
    timers.arm("a", 1.0)
    assert timers.take_due(0.999) is None
    assert timers.take_due(1.0) == "a"


def test_what_was_taken_is_disarmed() -> None:
    timers: Timers[str] = Timers()
    timers.arm("a", 1.0)
    timers.take_due(2.0)
    assert timers.take_due(2.0) is None
    assert timers.at("a") is None


def test_arming_again_replaces_the_time_sooner_or_later() -> None:
    timers: Timers[str] = Timers()
    timers.arm("a", 5.0)
    timers.arm("a", 9.0)
    assert timers.at("a") == 9.0
    assert timers.take_due(8.0) is None
    timers.arm("a", 1.0)
    assert timers.next() == 1.0
    assert due(timers, 100.0) == ["a"]


def test_disarming_forgets_and_forgetting_the_unknown_is_fine() -> None:
    timers: Timers[str] = Timers()
    timers.arm("a", 1.0)
    timers.disarm("a")
    timers.disarm("a")
    timers.disarm("never seen")
    assert timers.next() is None
    assert due(timers, 2.0) == []


def test_a_time_may_be_armed_again_while_what_is_due_is_taken() -> None:
    timers: Timers[str] = Timers()
    timers.arm("a", 1.0)
    assert timers.take_due(1.0) == "a"
    timers.arm("a", 2.0)
    assert timers.take_due(1.0) is None
    assert timers.take_due(2.0) == "a"


def test_times_that_were_disarmed_do_not_pile_up() -> None:
    timers: Timers[int] = Timers()
    for number in range(100_000):
        timers.arm(number, 1e6 + number)
        timers.disarm(number)
    assert len(timers._heap) < 1000
    timers.arm(-1, 5.0)
    assert timers.next() == 5.0


def test_times_that_are_armed_again_and_again_do_not_pile_up() -> None:
    timers: Timers[str] = Timers()
    for number in range(100_000):
        timers.arm("heartbeat", float(number))
    assert len(timers._heap) < 1000
    assert due(timers, 1e9) == ["heartbeat"]


NAMES = st.sampled_from("abcdef")
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), NAMES, st.floats(0, 100)),
        st.tuples(st.just("disarm"), NAMES, st.just(0.0)),
        st.tuples(st.just("take"), st.just(""), st.floats(0, 100)),
    ),
    max_size=200,
)


@given(CALLS)
def test_timers_behave_like_a_plain_dictionary_of_times(calls) -> None:
    timers: Timers[str] = Timers()
    plain: dict[str, float] = {}
    for call, name, at in calls:
        if call == "arm":
            timers.arm(name, at)
            plain[name] = at
        elif call == "disarm":
            timers.disarm(name)
            plain.pop(name, None)
        else:
            taken = timers.take_due(at)
            if taken is None:
                assert all(time > at for time in plain.values())
            else:
                assert plain[taken] == min(plain.values())
                del plain[taken]
        assert timers.next() == min(plain.values(), default=None)
        assert {key: timers.at(key) for key in "abcdef"} == {k: plain.get(k) for k in "abcdef"}
