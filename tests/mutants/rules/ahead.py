"""Replicas, chunks, requests that are sent before their turn, and who is woken for them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import (
    CHUNKS,
    HANDSHAKE,
    MACHINE,
    MONITOR,
    PREFETCH,
    REPLICAS,
    SIMULATE,
    TAKE_BACK,
    TAKING,
    THROTTLE,
)

MUTANTS: tuple[Mutant, ...] = (
    # ---- replicas and chunks
    Mutant(
        "no more busy than the width",
        "supervision/holding.py",
        "_is_beyond",
        "len(busy) >= width < len(members)",
        "len(busy) > width < len(members)",
        (REPLICAS + "no_more_are_busy_than_the_width_allows", SIMULATE),
    ),
    Mutant(
        "a spare takes over",
        "supervision/machine.py",
        "Machine._end_step",
        "dispatch.fill(core)",
        "pass",
        (REPLICAS + "a_spare_takes_over_from_one_that_died_before_the_policy_has_answered",),
    ),
    Mutant(
        "one that leaves takes no more",
        "supervision/core.py",
        "Core.others_take_over",
        "a.draining is not None and not a.team.leaving",
        "False",
        (REPLICAS + "a_replica_that_is_told_to_finish_leaves_the_queue_to_the_others",),
    ),
    Mutant(
        "the highest priority first",
        "supervision/ledger.py",
        "RequestQueue.lane",
        "sorted(self.lanes.items(), reverse=True)",
        "sorted(self.lanes.items())",
        (REPLICAS + "what_waits_goes_by_priority_and_then_in_order", SIMULATE),
    ),
    Mutant(
        "an item is marked before it is begun",
        "runtime/reports.py",
        "Reports._exited",
        "exit.item",
        "exit.item - 1",
        (CHUNKS + "an_item_of_a_chunk_fails_alone",),
    ),
    Mutant(
        "results are sent before the error of an item",
        "worker/chunk.py",
        "ChunkRun.run",
        """
        self._flush()
        raise
        """,
        "raise",
        (CHUNKS + "an_item_of_a_chunk_fails_alone",),
    ),
    Mutant(
        "a result does not wait for a slow item",
        "worker/chunk.py",
        "ChunkRun.run",
        """
        self._flush()
        due = clock() + HOLD
        """,
        "due = clock() + HOLD",
        (CHUNKS + "what_an_item_that_took_its_time_came_to_is_safe_before_the_next_begins",),
    ),
    Mutant(
        "a long chunk is given back",
        "worker/chunk.py",
        "ChunkRun.run",
        "now > end or cell[0] == total",
        "cell[0] == total",
        (CHUNKS + "a_chunk_that_takes_too_long_is_given_back_for_whoever_is_free",),
    ),
    Mutant(
        "what waits is for those who were retired, when they are the last",
        "supervision/teams.py",
        "lost",
        "team.leaving = box.closed = not team.empty",
        "team.empty = True",
        (REPLICAS + "what_waits_for_one_that_ends_is_taken_by_one_that_was_retired",),
    ),
    # ---- requests ahead of their turn
    Mutant(
        "ahead: back to the queue after a death",
        "supervision/core.py",
        "Core.return_ahead",
        "self.put_back(request)",
        "self.resolve(request.id, Aborted(agent=a.name))",
        (PREFETCH + "a_death_costs_the_request_that_ran_and_no_other",),
    ),
    Mutant(
        "ahead: nothing is begun before the verdict",
        "worker/lifecycle.py",
        "Worker._answer",
        "self._waits = self._head.waits",
        "",
        (PREFETCH + "nothing_is_begun_before_the_policy_has_decided_about_an_error",),
    ),
    Mutant(
        "ahead: one that is cancelled is not begun",
        "launch/process.py",
        "LocalProcess.revoke",
        """
        if not self._gone:
            self._page.aim(request, FLAG)
            fence.fence()
        """,
        "pass",
        (PREFETCH + "one_that_is_cancelled_in_time_never_begins",),
    ),
    Mutant(
        "ahead: one that began before its cancellation is interrupted",
        "supervision/dispatch.py",
        "go_on",
        "end_request(core, a, request)",
        "",
        (MACHINE + "one_that_was_cancelled_ahead_of_its_turn_is_interrupted_when_that_comes",),
    ),
    Mutant(
        "age: a process that waits with requests ahead is replaced as well",
        "supervision/requests.py",
        "aged",
        "a.process.serves",
        "a.process.idle",
        (THROTTLE + "a_process_that_is_old_in_a_pause_is_replaced_and_what_was_ahead_waits_again",),
    ),
    Mutant(
        "ahead: not by an agent that has finished",
        "supervision/dispatch.py",
        "answered",
        "not a.process.held and not a.process.course.leaves",
        "not a.process.held",
        (MACHINE + "what_is_ahead_of_an_agent_that_finishes_goes_back_to_the_queue",),
    ),
    Mutant(
        "ahead: no more than a process may serve",
        "supervision/instance.py",
        "Instance.credit",
        "self.settings.max_requests is not None",
        "False",
        (PREFETCH + "a_process_serves_no_more_requests_than_it_may",),
    ),
    # ---- requests that are taken back
    Mutant(
        "take back: the worker marks first and looks second",
        "wire/status.py",
        "StatusPage.claim",
        """
        self._words[_CLAIMED] = number
        return number > self._words[_TAKEN]
        """,
        """
        may = number > self._words[_TAKEN]
        self._words[_CLAIMED] = number
        return may
        """,
        (HANDSHAKE + "no_request_is_both_begun_and_taken_back",),
    ),
    Mutant(
        "take back: the parent marks first and looks second",
        "wire/status.py",
        "StatusPage.take_back",
        """
        self._words[_TAKEN] = number
        return self._words[_CLAIMED] if fence() else number
        """,
        """
        claimed = self._words[_CLAIMED]
        self._words[_TAKEN] = number
        return claimed if fence() else number
        """,
        (HANDSHAKE + "no_request_is_both_begun_and_taken_back",),
    ),
    Mutant(
        "take back: the worker begins none that was taken back",
        "worker/lifecycle.py",
        "Worker._answer",
        "not self._page.claim(self._taken)",
        "self._page.claim(self._taken) is None",
        (TAKE_BACK + "each_request_begins_once_whatever_is_taken_back",),
    ),
    Mutant(
        "take back: without a fence nothing counts as taken back",
        "wire/status.py",
        "StatusPage.take_back",
        "self._words[_CLAIMED] if fence() else number",
        "self._words[_CLAIMED]",
        (HANDSHAKE + "without_fences_nothing_counts_as_taken_back",),
    ),
    Mutant(
        "take back: nothing is sent ahead where the kernel refuses the fence",
        "launch/process.py",
        "LocalProcess.gives_back",
        "fence.is_supported()",
        "True",
        (TAKE_BACK + "where_the_kernel_refuses_fences_nothing_is_sent_ahead",),
    ),
    Mutant(
        "take back: an answer about the first time does not spare the worker",
        "supervision/take_back.py",
        "not_begun_in_leaving",
        "a.process.is_stopped_for(event.request) and event.place == a.process.target_place",
        "a.process.is_stopped_for(event.request)",
        (TAKING + "the_end_of_one_that_was_sent_once_more_is_not_the_answer_about_the_first_time",),
    ),
    Mutant(
        "take back: when the running request is slow",
        "supervision/take_back.py",
        "due",
        "core.out.append(actions.TakeBack(a.key, a.generation, a.process.sent))",
        "pass",
        (TAKING + "what_waits_behind_a_slow_request_is_taken_back_for_an_idle_replica", SIMULATE),
    ),
    Mutant(
        "take back: the timer is set for what is sent ahead",
        "supervision/dispatch.py",
        "_dispatch",
        "ahead.watch(core, a)",
        "pass",
        (TAKING + "what_waits_behind_a_slow_request_is_taken_back_for_an_idle_replica", SIMULATE),
    ),
    Mutant(
        "take back: what the worker has claimed stays with it",
        "supervision/take_back.py",
        "taken",
        "event.claimed < request.place <= event.asked",
        "request.place <= event.asked",
        (TAKING + "what_the_worker_has_claimed_stays_with_it", SIMULATE),
    ),
    Mutant(
        "take back: an answer is about one place",
        "supervision/take_back.py",
        "_withdraw",
        "request is None or request.place != event.place",
        "request is None",
        (TAKING + "the_answer_about_one_that_was_sent_once_more_is_known_by_its_place", SIMULATE),
    ),
    Mutant(
        "take back: one that has not begun waits again",
        "supervision/take_back.py",
        "_withdraw",
        "core.put_back(request)",
        "pass",
        (TAKING + "a_request_that_stayed_and_has_not_begun_waits_again", SIMULATE),
    ),
    Mutant(
        "take back: a cancelled one that has not begun spares the worker",
        "supervision/take_back.py",
        "not_begun",
        "core.de_escalate(a)",
        "pass",
        (TAKING + "a_cancelled_one_that_stayed_and_has_not_begun_spares_the_worker",),
    ),
    Mutant(
        "ahead: not behind a request that is slow already",
        "supervision/ahead.py",
        "may_get_more",
        "not (a.process.inflight and is_slow(core, a))",
        "True",
        (TAKING + "a_replica_that_is_slow_already_gets_nothing_ahead",),
    ),
    Mutant(
        "ahead: no large body",
        "supervision/ledger.py",
        "Ledger.take",
        "ahead and lane[0].alone",
        "False",
        (
            TAKING + "a_large_body_is_never_sent_ahead",
            TAKE_BACK + "a_large_body_waits_for_the_first_replica_that_is_free",
            SIMULATE,
        ),
    ),
    Mutant(
        "ahead: the slowest counts",
        "supervision/allowance.py",
        "Allowance.note",
        "oldest == self._slowest",
        "False",
        (TAKING + "the_slowest_of_the_last_ones_counts",),
    ),
    Mutant(
        "ahead: an old process that has finished begins nothing more",
        "supervision/replacing.py",
        "finished_while_retiring",
        "a.process.course = Course.LEAVING",
        "pass",
        (TAKING + "an_old_process_that_finishes_begins_nothing_more",),
    ),
    # ---- who is woken
    Mutant(
        "posted first, looked for others second",
        "runtime/monitor.py",
        "Monitor.submit",
        """
        self._loop.post_quietly(ev.Submit(request))
        if not self._machine.waiting(request.mailbox) or request.deadline is not None:
            self._loop.wake()
        """,
        """
        waiting = self._machine.waiting(request.mailbox)
        self._loop.post_quietly(ev.Submit(request))
        if not waiting or request.deadline is not None:
            self._loop.wake()
        """,
        (MONITOR + "a_request_for_which_nobody_is_woken_is_found_by_the_turn_that_makes_room",),
    ),
    Mutant(
        "an interrupted poster leaves the waking to the next",
        "runtime/loop.py",
        "Loop.wake",
        "self._asleep = True",
        "",
        (MONITOR + "a_poster_that_is_interrupted_leaves_the_waking_to_the_next",),
    ),
)
