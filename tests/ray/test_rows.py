"""Rows 1, 2, 3, 5, 6, 12, 19, 24 and 28 of the fault matrix, on a Ray cluster.

The tests are those of one machine, with the fixtures ``orchestrator`` and ``start`` of this folder.
Rows 13 and 17 are in ``test_programs.py``: they need programs of their own here.
"""

from __future__ import annotations

from tests.faults.test_dying import (
    test_row_01_an_idle_worker_that_is_killed_is_one_crash_and_is_replaced,
    test_row_05_a_death_at_each_step_has_one_outcome_and_an_exact_account,
    test_row_12_a_leak_is_noticed_with_its_figures,
    test_row_12_an_allocation_beyond_the_address_space_fails_its_request_alone,
    test_row_12_one_huge_allocation_is_noticed,
)
from tests.faults.test_talking import (
    test_row_19_a_worker_that_never_reads_bounds_its_queue_and_holds_up_nobody_else,
    test_row_24_a_reply_of_a_gigabyte_fails_its_request_alone,
)
from tests.process.test_bad_input import (
    database,
    echo,
    raising,
    test_a_reply_that_cannot_be_serialised_fails_with_the_path,
    test_a_request_that_cannot_be_serialised_is_refused_with_the_path,
    test_an_endless_recursion_fails_its_request_alone,
    test_an_exception_that_does_not_unpickle_arrives_in_words,
    test_an_exception_that_is_a_trap_arrives_in_words,
)
from tests.process.test_cancel import (
    test_a_reply_that_was_there_first_stands,
    test_a_request_cancelled_in_the_queue_is_never_begun,
    test_requests_cancelled_around_their_end_have_one_outcome_and_never_hit_the_next,
    test_what_cannot_be_interrupted_costs_the_process_and_no_restart_budget,
)
from tests.process.test_deaths import (
    mortal,
    test_a_death_in_a_request_is_named_and_the_queue_survives_it,
    test_a_kill_from_outside_in_mid_request_is_answered_at_once,
    test_a_request_that_the_worker_never_began_has_not_executed,
    test_an_idle_exit_is_seen_without_a_request,
    test_the_stack_of_a_fault_is_on_the_error,
)
from tests.process.test_hung import (
    test_a_busy_agent_without_progress_is_killed_and_its_stack_shows_where_it_stood,
    test_stopped_and_deaf_workers_are_hung_too,
)

__all__ = [
    "database",
    "echo",
    "mortal",
    "raising",
    "test_a_busy_agent_without_progress_is_killed_and_its_stack_shows_where_it_stood",
    "test_a_death_in_a_request_is_named_and_the_queue_survives_it",
    "test_a_kill_from_outside_in_mid_request_is_answered_at_once",
    "test_a_reply_that_cannot_be_serialised_fails_with_the_path",
    "test_a_reply_that_was_there_first_stands",
    "test_a_request_cancelled_in_the_queue_is_never_begun",
    "test_a_request_that_cannot_be_serialised_is_refused_with_the_path",
    "test_a_request_that_the_worker_never_began_has_not_executed",
    "test_an_endless_recursion_fails_its_request_alone",
    "test_an_exception_that_does_not_unpickle_arrives_in_words",
    "test_an_exception_that_is_a_trap_arrives_in_words",
    "test_an_idle_exit_is_seen_without_a_request",
    "test_requests_cancelled_around_their_end_have_one_outcome_and_never_hit_the_next",
    "test_row_01_an_idle_worker_that_is_killed_is_one_crash_and_is_replaced",
    "test_row_05_a_death_at_each_step_has_one_outcome_and_an_exact_account",
    "test_row_12_a_leak_is_noticed_with_its_figures",
    "test_row_12_an_allocation_beyond_the_address_space_fails_its_request_alone",
    "test_row_12_one_huge_allocation_is_noticed",
    "test_row_19_a_worker_that_never_reads_bounds_its_queue_and_holds_up_nobody_else",
    "test_row_24_a_reply_of_a_gigabyte_fails_its_request_alone",
    "test_stopped_and_deaf_workers_are_hung_too",
    "test_the_stack_of_a_fault_is_on_the_error",
    "test_what_cannot_be_interrupted_costs_the_process_and_no_restart_budget",
]
