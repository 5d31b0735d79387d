"""Which restarts count, what they wait for, and when there is no further one."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import (
    GUARDS,
    MACHINE,
    RESTARTS,
    SETTINGS,
    SIMULATE,
    TABLES,
    TIMERS,
    TREES,
)

MUTANTS: tuple[Mutant, ...] = (
    # ---- I1, I2: one outcome, and only the present generation counts
    Mutant(
        "generation check",
        "supervision/machine.py",
        "Machine._of_generation",
        "event.generation != a.process.generation",
        "False",
        (MACHINE + "a_reply_of_an_older_generation_is_counted_and_dropped",),
    ),
    Mutant(
        "counter reset by the current generation only",
        "supervision/machine.py",
        "Machine._of_generation",
        "self._core.stale += 1",
        """
        a.limits.succeeded()
        self._core.stale += 1
        """,
        (GUARDS + "a_success_of_an_older_generation_does_not_count",),
    ),
    Mutant(
        "counter reset by a success only",
        "supervision/requests.py",
        "replied_in_leaving",
        """
        if event.error is None:
            a.limits.succeeded()
        """,
        "a.limits.succeeded()",
        (GUARDS + "only_a_success_counts_as_one_while_the_process_leaves",),
    ),
    Mutant(
        "one outcome",
        "supervision/ledger.py",
        "Ledger.resolve",
        """
        if self.requests.pop(request.id, None) is None:
            return False
        """,
        "self.requests.pop(request.id, None)",
        (MACHINE + "a_reply_that_comes_with_its_deadline_changes_nothing_any_more", SIMULATE),
    ),
    Mutant(
        "readiness of a start that was given up",
        "supervision/starting.py",
        "ready",
        "a.process.stage is not None",
        "False",
        (MACHINE + "readiness_that_comes_after_the_start_was_given_up_is_too_late",),
    ),
    # ---- N1, N2: what counts, and the three limits
    Mutant(
        "inclusive window",
        "supervision/restarts.py",
        "Window.allows",
        "self._at[0] < now - self.intensity.period",
        "self._at[0] <= now - self.intensity.period",
        (
            RESTARTS + "the_window_includes_its_beginning",
            TREES + "the_window_includes_both_its_ends",
        ),
    ),
    Mutant(
        "exact intensity",
        "supervision/restarts.py",
        "Window.allows",
        "len(self._at) < self.intensity.restarts",
        "len(self._at) <= self.intensity.restarts",
        (RESTARTS + "exactly_so_many_restarts_pass_and_the_next_does_not", SIMULATE),
    ),
    Mutant(
        "exact budget",
        "supervision/restarts.py",
        "RestartLimits.allowed",
        "self.consecutive < self._max",
        "self.consecutive <= self._max",
        (RESTARTS + "the_budget_is_exact", MACHINE + "exactly_the_budget_of_restarts_passes"),
    ),
    Mutant(
        "first restart is immediate",
        "supervision/limits.py",
        "Backoff._grown",
        "attempt <= 1",
        "attempt < 1",
        (RESTARTS + "limits_hand_out_the_delays_in_order",),
    ),
    Mutant(
        "backoff starts over after a long readiness",
        "supervision/restarts.py",
        "RestartLimits.was_ready",
        "now - since >= enough",
        "now - since > enough",
        (RESTARTS + "the_backoff_starts_over_after_so_long_a_readiness",),
    ),
    Mutant(
        "backoff starts over after a success",
        "supervision/restarts.py",
        "RestartLimits.succeeded",
        """
        if self._backoff.reset_on_success:
            self._attempts = 0
        """,
        "",
        (
            RESTARTS + "a_success_sets_the_count_and_the_backoff_back",
            MACHINE + "an_agent_that_answers_between_its_crashes_is_back_at_once",
        ),
    ),
    Mutant(
        "many restarts in a minute wait",
        "supervision/limits.py",
        "Backoff.delay",
        "recent >= OFTEN",
        "recent > 60",
        (
            RESTARTS + "above_ten_restarts_in_a_minute_the_wait_is_a_second_at_least",
            MACHINE + "an_agent_that_answers_between_its_crashes_is_back_at_once",
        ),
    ),
    Mutant(
        "backoff that lets the window fill",
        "supervision/limits.py",
        "Intensity.check_against",
        "needed > self.period",
        "needed > 2 * self.period",
        (SETTINGS + "a_backoff_fits_as_long_as_its_delays_do",),
    ),
    Mutant(
        "a deadline's replacement is not counted",
        "supervision/failing.py",
        "exited",
        "a.process.stopped_for_request and a.process.reason is None and not lost",
        "False",
        (MACHINE + "a_replacement_after_a_deadline_is_not_counted",),
    ),
    # ---- restarts that count, and those that do not
    Mutant(
        "an operator's restart is not counted",
        "supervision/replacing.py",
        "replace_renewed",
        "replace(core, a, counted=False, alone=True)",
        "replace(core, a, counted=True, alone=True)",
        (TREES + "an_operators_restart_is_for_one_agent_alone_and_not_counted",),
    ),
    Mutant(
        "only a refused restart takes its group along",
        "supervision/failing.py",
        "_verdict",
        "not allowed and decide(kind, how, action, allowed=True) is Verdict.REPLACE",
        "not allowed",
        (GUARDS + "a_policy_that_stops_one_agent_does_not_stop_its_group",),
    ),
    # ---- N6, N13: policies
    Mutant(
        "stale ticket of a policy",
        "supervision/failing.py",
        "policy_answered",
        "event.ticket != a.ticket or a.pending is None",
        "a.pending is None",
        (GUARDS + "a_verdict_that_comes_too_late_is_not_taken_for_the_next_one",),
    ),
    Mutant(
        "stale ticket of an escalation",
        "supervision/failing.py",
        "reconsidered",
        "event.ticket != a.reconsideration",
        "False",
        (GUARDS + "an_answer_about_an_earlier_escalation_is_not_taken_for_the_next_one",),
    ),
    Mutant(
        "a policy that fails stops its agent",
        "supervision/failing.py",
        "policy_answered",
        "event.fault is not None or hopeless",
        "hopeless",
        (MACHINE + "a_policy_that_fails_stops_that_agent_only",),
    ),
    # ---- N9, N10: starts
    Mutant(
        "start cap",
        "supervision/starting.py",
        "fill_slots",
        "core.start_queue and len(core.starting) < core.start_limit",
        "core.start_queue",
        (MACHINE + "no_more_processes_start_at_once_than_allowed", SIMULATE),
    ),
    Mutant(
        "the first start has no second try",
        "supervision/starting.py",
        "exited",
        "a.announced",
        "True",
        (MACHINE + "a_first_start_that_fails_ends_the_agent_with_its_error",),
    ),
    Mutant(
        "a permanent start error is not tried again",
        "supervision/failing.py",
        "policy_answered",
        "isinstance(error, StartError) and not error.is_retryable",
        "False",
        (MACHINE + "a_permanent_start_error_is_not_tried_again",),
    ),
    # ---- the ground
    Mutant(
        "a time is due at that time",
        "supervision/timers.py",
        "Timers.take_due",
        "at > now",
        "at >= now",
        (TIMERS + "a_time_is_due_at_that_time_and_not_before",),
    ),
    Mutant(
        "what was disarmed is not due",
        "supervision/timers.py",
        "Timers.disarm",
        "self._at.pop(name, None)",
        "pass",
        (TIMERS + "disarming_forgets_and_forgetting_the_unknown_is_fine",),
    ),
    Mutant(
        "the table says which phases an event leads to",
        "supervision/machine.py",
        "",
        "_rule(requests.replied, READY, AWAITING_POLICY)",
        "_rule(requests.replied, READY)",
        (TABLES + "no_phase_changes_otherwise_than_by_the_tables",),
    ),
)
