"""The restart decision, exhaustively, and the three limits of N2."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch.supervision.keywords import Restart
from procorch.supervision.limits import Backoff, Intensity
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.restarts import (
    ExitKind,
    RestartLimits,
    Retry,
    Verdict,
    Window,
    decide,
    retry,
)
from procorch.supervision.settings import AgentSettings

RESTART, STOP, ESCALATE = SupervisorAction
KEEP, REPLACE, STOPPED, FAIL, COMPLETE = Verdict
FAILED, DIED, FINISHED = ExitKind

TYPES: tuple[Restart, ...] = get_args(Restart)

# ---- the decision (seed; N5, N6)

DECISION = {
    # A request failed; the process could go on.
    ("permanent", FAILED, RESTART): REPLACE,
    ("permanent", FAILED, STOP): STOPPED,
    ("permanent", FAILED, ESCALATE): KEEP,
    ("permanent", FAILED, None): KEEP,
    ("transient", FAILED, RESTART): REPLACE,
    ("transient", FAILED, STOP): STOPPED,
    ("transient", FAILED, ESCALATE): KEEP,
    ("transient", FAILED, None): KEEP,
    ("temporary", FAILED, RESTART): STOPPED,
    ("temporary", FAILED, STOP): STOPPED,
    ("temporary", FAILED, ESCALATE): KEEP,
    ("temporary", FAILED, None): KEEP,
    # The process is gone. What cannot be kept is replaced; without a policy nobody decides that.
    ("permanent", DIED, RESTART): REPLACE,
    ("permanent", DIED, STOP): STOPPED,
    ("permanent", DIED, ESCALATE): REPLACE,
    ("permanent", DIED, None): FAIL,
    ("transient", DIED, RESTART): REPLACE,
    ("transient", DIED, STOP): STOPPED,
    ("transient", DIED, ESCALATE): REPLACE,
    ("transient", DIED, None): FAIL,
    ("temporary", DIED, RESTART): FAIL,
    ("temporary", DIED, STOP): STOPPED,
    ("temporary", DIED, ESCALATE): FAIL,
    ("temporary", DIED, None): FAIL,
    # It finished. No policy is asked about that, and an answer would change nothing.
    **{("permanent", FINISHED, action): REPLACE for action in (*SupervisorAction, None)},
    **{("transient", FINISHED, action): COMPLETE for action in (*SupervisorAction, None)},
    **{("temporary", FINISHED, action): COMPLETE for action in (*SupervisorAction, None)},
}


def test_the_decision_is_written_down_for_everything_that_can_happen() -> None:
    everything = itertools.product(TYPES, ExitKind, (*SupervisorAction, None))
    assert set(DECISION) == set(everything)


@pytest.mark.parametrize(("case", "verdict"), DECISION.items(), ids=str)
def test_the_decision_within_the_limits(case, verdict) -> None:
    assert decide(*case, allowed=True) is verdict


@pytest.mark.parametrize(("case", "verdict"), DECISION.items(), ids=str)
def test_beyond_the_limits_a_restart_is_a_stop_and_nothing_else_changes(case, verdict) -> None:
    assert decide(*case, allowed=False) is (STOPPED if verdict is REPLACE else verdict)


def test_a_temporary_agent_is_never_replaced() -> None:
    for exit, action, allowed in itertools.product(
        ExitKind, (*SupervisorAction, None), (True, False)
    ):
        assert decide("temporary", exit, action, allowed=allowed) is not REPLACE


def test_a_dead_process_is_never_kept() -> None:
    for kind, action, allowed in itertools.product(TYPES, (*SupervisorAction, None), (True, False)):
        assert decide(kind, DIED, action, allowed=allowed) is not KEEP


# ---- retries and poison (N3)


@pytest.mark.parametrize(
    ("attempts", "deaths", "retries", "allowed_failures", "expected"),
    [
        (1, 0, 0, 2, Retry.GIVE_UP),
        (1, 1, 0, 0, Retry.GIVE_UP),  # without retries its own error says more
        (1, 1, 1, 0, Retry.POISON),
        (1, 0, 1, 0, Retry.AGAIN),
        (2, 2, 5, 2, Retry.AGAIN),
        (3, 3, 5, 2, Retry.POISON),
        (3, 3, 2, 2, Retry.GIVE_UP),
        (3, 3, 3, 2, Retry.POISON),
        (4, 3, 3, 2, Retry.GIVE_UP),  # one attempt failed and its worker lived
    ],
)
def test_a_request_is_poison_where_only_its_deaths_forbid_a_further_attempt(
    attempts: int, deaths: int, retries: int, allowed_failures: int, expected: Retry
) -> None:
    found = retry(
        attempts=attempts, deaths=deaths, retries=retries, allowed_failures=allowed_failures
    )
    assert found is expected


# ---- intensity: a sliding window


def passed(intensity: Intensity, times: list[float]) -> list[float]:
    """The restarts that a window lets pass, of those wanted at ``times``."""
    window, let = Window(intensity), []
    for at in times:
        if window.allows(at):
            window.count(at)
            let.append(at)
    return let


@pytest.mark.parametrize(
    ("ready_for", "reset_after", "again"), [(9.9, 60.0, 3), (10.0, 60.0, 1), (2.0, 2.0, 1)]
)
def test_a_service_that_returns_has_worked_when_it_was_ready_for_ten_seconds(
    ready_for: float, reset_after: float, again: int
) -> None:
    """One that returns at once is restarted no more often than one that dies at once."""
    settings = AgentSettings.of(
        {"backoff": Backoff(initial=1.0, jitter=False, reset_after=reset_after)}
    )
    its = RestartLimits(settings, service=True)
    for _ in range(2):
        its.count(0.0, 1.0)
    its.succeeded()
    its.was_ready(100.0, 100.0 + ready_for, returned=True)
    delay = its.count(200.0, 1.0)
    assert its.consecutive == again
    assert delay == (2.0 if again == 3 else 0.0)


def test_exactly_so_many_restarts_pass_and_the_next_does_not() -> None:
    assert passed(Intensity(3, 10.0), [0.0, 1.0, 2.0, 3.0]) == [0.0, 1.0, 2.0]


def test_the_window_includes_its_beginning() -> None:
    assert passed(Intensity(1, 10.0), [5.0, 15.0]) == [5.0]


def test_just_outside_the_window_a_restart_is_forgotten() -> None:
    assert passed(Intensity(1, 10.0), [5.0, 15.0 + 1e-9]) == [5.0, 15.0 + 1e-9]


def test_the_window_includes_its_end() -> None:
    assert passed(Intensity(2, 10.0), [5.0, 5.0, 5.0]) == [5.0, 5.0]


def test_no_restart_passes_an_intensity_of_none() -> None:
    assert passed(Intensity(0, 10.0), [0.0, 100.0]) == []


def test_the_window_slides_and_does_not_jump() -> None:
    wanted = [0.0, 6.0, 11.0, 12.0, 17.0]
    assert passed(Intensity(2, 10.0), wanted) == [0.0, 6.0, 11.0, 17.0]


@given(
    restarts=st.integers(0, 4),
    period=st.floats(0.5, 20.0),
    gaps=st.lists(st.floats(0.0, 10.0), max_size=40),
)
def test_no_window_anywhere_holds_more_than_the_intensity(restarts, period, gaps) -> None:
    let = passed(Intensity(restarts, period), list(itertools.accumulate(gaps)))
    for end in let:
        # As the window counts: what lies before `end - period` is outside.
        assert sum(end - period <= at <= end for at in let) <= restarts


# ---- consecutive restarts (seed)


def limits(**settings) -> RestartLimits:
    return RestartLimits(AgentSettings.of(settings))


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_the_budget_is_exact(budget) -> None:
    its = limits(max_restarts=budget)
    for _ in range(budget):
        assert its.allowed
        its.count(0.0, 0.0)
    assert not its.allowed


def test_a_success_gives_the_whole_budget_back() -> None:
    its = limits(max_restarts=2)
    its.count(0.0, 0.0)
    its.count(0.0, 0.0)
    its.succeeded()
    assert its.allowed
    assert its.consecutive == 0


def test_a_restart_waits_at_least_as_long_as_was_asked_for() -> None:
    its = limits(max_restarts=9, backoff=Backoff(initial=1, factor=2, cap=60, jitter=False))
    assert [its.count(0.0, 0.0, asked) for asked in (1.5, 0.0, 1.5, 9.0)] == [1.5, 1.0, 2.0, 9.0]


def test_the_total_is_never_set_back() -> None:
    its = limits(max_restarts=9)
    for _ in range(4):
        its.count(0.0, 0.0)
        its.succeeded()
    assert its.total == 4


# ---- backoff


def delays(backoff: Backoff, count: int, chance: float = 1.0) -> list[float]:
    return [backoff.delay(attempt, chance) for attempt in range(1, count + 1)]


def test_the_first_restart_is_immediate_and_the_next_ones_grow_up_to_the_cap() -> None:
    backoff = Backoff(initial=1.0, factor=3.0, cap=20.0, jitter=False)
    assert delays(backoff, 6) == [0.0, 1.0, 3.0, 9.0, 20.0, 20.0]


def test_jitter_is_full() -> None:
    backoff = Backoff(initial=1.0, factor=2.0, cap=60.0)
    assert delays(backoff, 4, chance=0.0) == [0.0] * 4
    assert delays(backoff, 4, chance=0.5) == [0.0, 0.5, 1.0, 2.0]
    assert delays(backoff, 4, chance=1.0) == [0.0, 1.0, 2.0, 4.0]


def test_without_jitter_chance_has_no_say() -> None:
    backoff = Backoff(jitter=False)
    assert delays(backoff, 9, chance=0.0) == delays(backoff, 9, chance=1.0)


def test_an_initial_delay_of_nothing_is_no_backoff_at_all() -> None:
    assert delays(Backoff(initial=0), 20) == [0.0] * 20


@given(
    initial=st.floats(0.0, 10.0),
    factor=st.floats(1.0, 1e6),
    cap=st.floats(10.0, 1e6),
    attempt=st.integers(1, 10**12),
    chance=st.floats(0.0, 1.0),
)
def test_a_delay_is_never_negative_nor_above_the_cap(initial, factor, cap, attempt, chance) -> None:
    backoff = Backoff(initial=initial, factor=factor, cap=cap)
    assert 0.0 <= backoff.delay(attempt, chance) <= cap


def test_a_factor_of_one_is_a_constant_delay() -> None:
    assert delays(Backoff(initial=2.0, factor=1, cap=2.0, jitter=False), 4) == [0.0, 2.0, 2.0, 2.0]


def test_limits_hand_out_the_delays_in_order() -> None:
    its = limits(max_restarts=9, backoff=Backoff(initial=1.0, jitter=False))
    assert [its.count(0.0, 0.0) for _ in range(4)] == [0.0, 1.0, 2.0, 4.0]


def test_the_chance_that_is_drawn_decides_about_the_delay() -> None:
    its = limits(max_restarts=9, backoff=Backoff(initial=1.0))
    assert [its.count(0.0, chance) for chance in (1.0, 0.25, 0.5)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(("ready_for", "delay"), [(59.9, 4.0), (60.0, 0.0), (600.0, 0.0)])
def test_the_backoff_starts_over_after_so_long_a_readiness(ready_for, delay) -> None:
    its = limits(max_restarts=9, backoff=Backoff(initial=1.0, jitter=False, reset_after=60.0))
    for _ in range(3):
        its.count(0.0, 0.0)
    its.was_ready(100.0, 100.0 + ready_for)
    assert its.count(0.0, 0.0) == delay


def test_a_success_sets_the_count_and_the_backoff_back() -> None:
    its = limits(max_restarts=9, backoff=Backoff(initial=1.0, jitter=False))
    for _ in range(3):
        its.count(0.0, 0.0)
    its.succeeded()
    assert its.count(0.0, 0.0) == 0.0
    assert its.consecutive == 1


def test_the_backoff_can_be_told_to_keep_what_it_has_grown_to() -> None:
    backoff = Backoff(initial=1.0, jitter=False, reset_on_success=False)
    its = limits(max_restarts=9, backoff=backoff)
    its.count(0.0, 0.0)
    its.succeeded()
    assert its.count(0.0, 0.0) == 1.0
    assert its.consecutive == 1


def waits(backoff: Backoff, times: list[float]) -> list[float]:
    """The delays of restarts at these times, each with a success before it."""
    its, found = limits(backoff=backoff), []
    for at in times:
        its.succeeded()
        found.append(its.count(at, 0.0))
    return found


def test_above_ten_restarts_in_a_minute_the_wait_is_a_second_at_least() -> None:
    assert waits(Backoff(), [float(at) for at in range(12)]) == [0.0] * 10 + [1.0, 1.0]


def test_restarts_of_more_than_a_minute_ago_do_not_count_as_many() -> None:
    times = [*(float(at) for at in range(10)), 60.0, 62.0, 140.0]
    assert waits(Backoff(), times) == [0.0] * 10 + [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("backoff", "wait"),
    [
        (Backoff(floor=3.0), 3.0),
        (Backoff(floor=0), 0.0),
        (Backoff(cap=0.5), 0.5),
        (Backoff(initial=0), 0.0),
    ],
)
def test_the_shortest_wait_of_many_restarts_is_the_backoffs_own(backoff, wait) -> None:
    assert waits(backoff, [0.0] * 11)[-1] == wait


def test_a_long_readiness_sets_the_backoff_back_and_not_the_count() -> None:
    its = limits(max_restarts=1, backoff=Backoff(initial=1.0, reset_after=60.0))
    its.count(0.0, 0.0)
    its.was_ready(0.0, 1e6)
    assert not its.allowed
