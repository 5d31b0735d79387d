"""Leases, order and placement on a cluster."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import PLACING, RAY_PARTS

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "only the last token prolongs a lease",
        "launch/ray/lease.py",
        "HeldLease.grant",
        "token != self._token",
        "False",
        (RAY_PARTS + "an_old_token_prolongs_nothing",),
    ),
    Mutant(
        "a worker is lost a margin after its lease",
        "launch/ray/lease.py",
        "GrantedLease.lost_at",
        "self._answered + self._length + margin(self._length)",
        "self._answered + self._length",
        (RAY_PARTS + "a_worker_has_ended_before_the_bridge_calls_it_lost",),
    ),
    Mutant(
        "a zygote has a timer of the kernel",
        "launch/forkserver/deadline.py",
        "Deadline.set",
        "at + PATIENCE",
        "at + 1e6",
        (RAY_PARTS + "a_process_is_killed_by_the_kernel_after_its_deadline_even_if_it_is_stopped",),
    ),
    Mutant(
        "messages of a relay wait for those before them",
        "launch/ray/ordering.py",
        "Inbox.feed",
        "self.taken + 1 in self._early",
        "self._early",
        (RAY_PARTS + "messages_come_out_in_their_order_each_once",),
    ),
    Mutant(
        "answers of a relay that were lost travel again",
        "launch/ray/ordering.py",
        "Answers.wait",
        "taken if again else max(taken, self._carried)",
        "max(taken, self._carried)",
        (RAY_PARTS + "messages_travel_again_if_an_answer_was_lost",),
    ),
    Mutant(
        "calls that only wait at a relay do not pile up",
        "launch/ray/ordering.py",
        "Answers.wait",
        "len(self._waiting) > _MOST",
        "False",
        (RAY_PARTS + "calls_that_only_wait_do_not_pile_up",),
    ),
    Mutant(
        "a zygote may start slower than its lease",
        "launch/forkserver/server.py",
        "ForkServer._put_off",
        "self._until is not None and not select.select([self._control], [], [], 0)[0]",
        "self._until is not None",
        (RAY_PARTS + "a_zygote_that_starts_slower_than_a_lease_obeys_the_last_deadline",),
    ),
    Mutant(
        "the end of a zygote at its deadline is recognised",
        "launch/forkserver/zygote.py",
        "Zygote._take",
        "self.until = until",
        "",
        (RAY_PARTS + "a_zygote_ends_its_worker_and_what_that_has_started_at_its_deadline",),
    ),
    Mutant(
        "a worker that is killed before it is placed ends at once",
        "launch/ray/member.py",
        "Member.take",
        "self._end(messages.Ended(info.cause.value, signal=info.signal, detail=info.detail))",
        "self._task.cancel()",
        (RAY_PARTS + "a_worker_that_is_killed_in_the_moment_it_is_asked_for_has_an_end",),
    ),
    Mutant(
        "daemons of an agent on a node do not outlive it",
        "launch/ray/placement.py",
        "environment",
        '{"RAY_kill_child_processes_on_worker_exit": "0", **given.get("env_vars", {})}',
        'given.get("env_vars", {})',
        (RAY_PARTS + "ray_leaves_it_to_the_zygote_to_end_what_an_agent_has_started",),
    ),
    Mutant(
        "an agent that waits for a node takes no start slot",
        "supervision/starting.py",
        "placing",
        "core.starting.discard(a.key)",
        "",
        (PLACING + "an_agent_that_waits_for_a_node_keeps_no_other_from_starting",),
    ),
    Mutant(
        "a lost agent may have executed its request",
        "supervision/replacing.py",
        "death",
        "exit.lost or exit.started == request.id or request.id in exit.begun or "
        "(a.process.concurrency == 1 and any(exit.started == other.id for other in after))",
        "exit.started == request.id or any(exit.started == other.id for other in after)",
        (PLACING + "a_request_of_a_lost_agent_may_have_been_executed_and_is_not_sent_again",),
    ),
)
