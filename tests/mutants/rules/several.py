"""Several requests at once in one process."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import CONCURRENCY, SEVERAL

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a process gets as many as it runs",
        "supervision/instance.py",
        "Instance.credit",
        "most = process.concurrency",
        "most = 1",
        (SEVERAL + "as_many_are_sent_as_it_may_run_and_none_ahead",),
    ),
    Mutant(
        "requests at once tell nothing of each other",
        "supervision/process.py",
        "Process.sent_since",
        "self.concurrency > 1",
        "False",
        (SEVERAL + "a_cancelled_request_ends_alone",),
    ),
    Mutant(
        "one cancellation is no ladder",
        "supervision/dispatch.py",
        "end_request",
        "a.process.concurrency > 1",
        "False",
        (SEVERAL + "a_cancelled_request_ends_alone",),
    ),
    Mutant(
        "the time of a cancelled task",
        "supervision/several.py",
        "end_request",
        "process.stage is None and core.timers.at((Due.TASK, a.key)) is None",
        "False",
        (SEVERAL + "a_task_that_does_not_end_ends_the_process_which_is_no_failure",),
    ),
    Mutant(
        "a death because of another request",
        "supervision/charges.py",
        "_is_spared",
        "return a.process.stopped_for_request or exit.started not in (0, request.id)",
        "return False",
        (SEVERAL + "a_death_is_charged_to_the_request_whose_code_ran",),
    ),
    Mutant(
        "the one to blame is asked about",
        "supervision/charges.py",
        "blamed_first",
        "lost.sort(key=lambda request: request.id != exit.started)",
        "",
        (SEVERAL + "a_hang_is_that_of_the_request_whose_code_ran",),
    ),
    Mutant(
        "errors wait for the policy",
        "supervision/requests.py",
        "replied",
        """
        if a.phase is Phase.READY:
            core.ask_policy(a, pending)
        else:
            a.errors.append(pending)
        """,
        "core.ask_policy(a, pending)",
        (SEVERAL + "the_policy_is_asked_about_one_error_after_the_other",),
    ),
    Mutant(
        "the others end first",
        "supervision/failing.py",
        "_apply",
        "a.process.alive and _has_more(a)",
        "False",
        (SEVERAL + "a_process_is_replaced_when_its_other_requests_have_ended",),
    ),
    Mutant(
        "others die while the policy is asked",
        "supervision/failing.py",
        "exited_while_awaiting_policy",
        "fail_others(core, a, lost, event.exit, since=0)",
        "",
        (SEVERAL + "a_death_while_the_policy_is_asked_fails_the_others_too",),
    ),
    Mutant(
        "the heartbeat of those that are left",
        "supervision/requests.py",
        "replied",
        "len(a.process.inflight) == 1",
        "True",
        (SEVERAL + "the_heartbeat_goes_on_while_any_request_runs",),
    ),
    Mutant(
        "the last one ends an agent that has finished",
        "supervision/requests.py",
        "replied",
        "a.process.course.leaves and not a.process.inflight",
        "a.process.course.leaves",
        (SEVERAL + "an_agent_that_has_finished_leaves_when_all_have_ended",),
    ),
    Mutant(
        "a member that may take it is woken",
        "supervision/dispatch.py",
        "wake",
        "not (limited and holding.at_limit(core, a))",
        "True",
        (SEVERAL + "a_width_counts_members_and_not_requests",),
    ),
    Mutant(
        "the mark of the code that runs",
        "worker/tasks.py",
        "_drive",
        "mark(number)",
        "",
        (CONCURRENCY + "a_blocked_loop_is_a_hang_and_the_request_that_blocks_it_has_a_name",),
    ),
    Mutant(
        "each request begins anew",
        "agents/agent.py",
        "Agent.run_several",
        "self._alone = False",
        "",
        (CONCURRENCY + "conversations_run_at_once_each_in_its_order",),
    ),
    Mutant(
        "the last one that serves has room, and leaves what waits",
        "supervision/teams.py",
        "lost",
        "core.look_again(a.mailbox)",
        "pass",
        (SEVERAL + "one_with_room_takes_what_waits_when_it_is_the_last_that_serves",),
    ),
    Mutant(
        "each request has its context",
        "worker/tasks.py",
        "TaskWorker._begin",
        "variables.run(current.lend, own)",
        "",
        (CONCURRENCY + "each_request_has_a_context_of_its_own",),
    ),
    Mutant(
        "frames that a thread has read",
        "worker/parent_link.py",
        "ParentLink._wake_waiting_threads",
        "self._rest or self._closed or self._channel.has_frame",
        "self._rest or self._closed",
        (CONCURRENCY + "many_ask_others_at_once_and_wait_for_permits",),
    ),
)
