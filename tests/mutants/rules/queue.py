"""Which request goes to which process, and when."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import (
    GUARDS,
    REQUEST,
    REQUESTS,
    RESTARTS,
    SHORT_WAY,
    SIMULATE,
    THROTTLE,
    TREES,
)

MUTANTS: tuple[Mutant, ...] = (
    # ---- a caller that reads for itself
    Mutant(
        "what a caller has fixed itself is not waited for",
        "runtime/direct.py",
        "Direct.call",
        "not waker.rung",
        "True",
        (
            "tests/process/test_direct.py"
            "::test_an_outcome_that_this_thread_has_fixed_itself_is_not_waited_for",
        ),
    ),
    Mutant(
        "a socket that is left alone is read again when something is sent",
        "launch/process.py",
        "LocalProcess.send",
        "self._detached and not self._lent",
        "False",
        (
            "tests/process/test_direct.py::test_the_monitor_reads_what_it_has_sent_to_a_worker"
            "_whose_socket_is_left_alone",
        ),
    ),
    Mutant(
        "a socket is not left alone while its worker works",
        "runtime/direct.py",
        "Direct._read",
        "a is not None and a.process.inflight",
        "False",
        ("tests/process/test_direct.py::test_a_socket_is_not_left_alone_while_its_worker_works",),
    ),
    Mutant(
        "a socket that is left alone is attached again",
        "launch/process.py",
        "LocalProcess._return_reader",
        "self._taken_again",
        "True",
        ("tests/process/test_direct.py::test_what_a_worker_sends_after_its_answer_is_read_soon",),
    ),
    # ---- N3: retries, and who takes a request
    Mutant(
        "at most once: no requeue without retries",
        "supervision/restarts.py",
        "retry",
        "attempts > retries",
        "attempts > retries + 1",
        (
            GUARDS + "without_retries_a_request_never_enters_a_second_worker",
            REQUESTS + "a_request_is_executed_at_most_once_by_default",
            SIMULATE,
        ),
    ),
    Mutant(
        "poison is never sent again",
        "supervision/restarts.py",
        "retry",
        "deaths <= allowed_failures",
        "deaths <= allowed_failures + 1",
        (
            TREES + "a_request_that_killed_too_many_workers_is_poison_and_never_sent_again",
            RESTARTS + "a_request_is_poison_where_only_its_deaths_forbid_a_further_attempt",
            SIMULATE,
        ),
    ),
    Mutant(
        "put_back at the head",
        "supervision/ledger.py",
        "Ledger.put_back",
        "box.lane(request.priority).appendleft",
        "box.lane(request.priority).append",
        (TREES + "a_request_whose_worker_died_is_tried_again_before_all_others", SIMULATE),
    ),
    Mutant(
        "a retried request goes to whoever is free",
        "supervision/core.py",
        "Core.put_back",
        "self.look_again(request.mailbox)",
        "pass",
        (GUARDS + "a_request_whose_worker_died_is_tried_again_by_whoever_is_free",),
    ),
    Mutant(
        "no request is sent after its deadline",
        "supervision/dispatch.py",
        "_is_late",
        "deadline is not None and deadline <= core.now",
        "False",
        (
            GUARDS
            + "a_request_whose_deadline_has_passed_is_not_sent_even_before_anybody_has_looked",
            SIMULATE,
        ),
    ),
    Mutant(
        "no request is handed over after its deadline",
        "supervision/dispatch.py",
        "hand_next",
        "request.deadline is not None and request.deadline <= core.now",
        "False",
        (
            GUARDS
            + "a_request_whose_deadline_has_passed_is_not_sent_even_before_anybody_has_looked",
        ),
    ),
    Mutant(
        "no request for a replica that leaves",
        "supervision/dispatch.py",
        "wake",
        "not core.others_take_over(a)",
        "True",
        (GUARDS + "a_request_is_sent_ahead_to_a_replica_that_stays",),
    ),
    # ---- the short way of a request: it decides what the long way would
    Mutant(
        "short way: not in a pause",
        "supervision/dispatch.py",
        "_idle_member",
        "box.flow is not None and box.flow.active",
        "False",
        (SHORT_WAY,),
    ),
    Mutant(
        "short way: not to a process that is to be renewed",
        "supervision/dispatch.py",
        "_idle_member",
        "process.course is Course.SERVING",
        "True",
        (SHORT_WAY,),
    ),
    Mutant(
        "short way: a drain is looked at",
        "supervision/requests.py",
        "_is_healthy",
        "a.draining is None",
        "True",
        (SHORT_WAY,),
    ),
    Mutant(
        "short way: a process that has served enough is replaced",
        "supervision/requests.py",
        "_is_healthy",
        "settings.max_requests is None",
        "True",
        (SHORT_WAY,),
    ),
    Mutant(
        "short way: the next request follows",
        "supervision/requests.py",
        "_follow",
        "box.waiting",
        "False",
        (SHORT_WAY,),
    ),
    Mutant(
        "short way: not after its deadline",
        "supervision/dispatch.py",
        "_idle_member",
        """
        if request.deadline is not None and request.deadline <= core.now:
            return None
        """,
        "",
        (REQUEST + "a_request_whose_deadline_has_passed_is_not_sent_to_an_idle_agent",),
    ),
    Mutant(
        "short way: answers show what the service takes",
        "supervision/requests.py",
        "_succeeded",
        "pace.answers += 1",
        "pass",
        (THROTTLE + "answers_of_an_idle_agent_show_what_its_service_takes",),
    ),
    Mutant(
        "short way: answers are counted",
        "supervision/requests.py",
        "_succeeded",
        "process.served += 1",
        "",
        (REQUEST + "what_a_process_has_answered_is_counted",),
    ),
    Mutant(
        "short way: a success of an older generation is late",
        "supervision/machine.py",
        "Machine.succeed",
        "a.process.generation != generation",
        "False",
        (REQUEST + "a_success_is_taken_once_and_only_from_the_process_that_has_the_request",),
    ),
    Mutant(
        "short way: a success counts once, and for its own request",
        "supervision/requests.py",
        "_is_healthy",
        "process.inflight[0].id == number",
        "True",
        (
            REQUEST + "a_success_is_taken_once_and_only_from_the_process_that_has_the_request",
            SIMULATE,
        ),
    ),
    Mutant(
        "short way: what was sent ahead and is cancelled by now is ended",
        "supervision/requests.py",
        "_is_healthy",
        "not process.ahead or process.ahead[0].state is not RequestState.RESOLVED",
        "True",
        (REQUEST + "what_was_sent_ahead_and_is_cancelled_by_now_takes_the_long_path",),
    ),
    Mutant(
        "short way: what was sent ahead begins",
        "supervision/requests.py",
        "_follow",
        "go_on(core, a)",
        "pass",
        (
            REQUEST + "what_was_sent_ahead_begins_and_what_waits_follows_on_the_short_path",
            SHORT_WAY,
        ),
    ),
)
