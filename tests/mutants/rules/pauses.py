"""One pause for all when a service asks for one."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import LIMITS, SHARED_LIMIT, SIMULATE, THROTTLE

MUTANTS: tuple[Mutant, ...] = (
    # ---- N23: one pause for all
    Mutant(
        "nothing goes in a pause",
        "supervision/throttle.py",
        "FlowControl.opens_at",
        "self.until",
        "now",
        (THROTTLE + "a_throttled_service_gets_no_request_in_the_pause_and_none_fails", SIMULATE),
    ),
    Mutant(
        "who was throttled goes last after a pause",
        "supervision/holding.py",
        "_pause",
        "core.ledger.last(a.mailbox, a.key)",
        "",
        (
            "tests/supervision/test_throttle.py::"
            "test_a_replica_that_is_throttled_again_and_again_gets_no_request_while_another_is_free",
        ),
    ),
    Mutant(
        "load comes back step by step after a pause",
        "supervision/throttle.py",
        "FlowControl.throttled",
        "self.active, self.allowed, self._answers = True, 1, 0",
        "self.active, self.allowed, self._answers = True, busy, 0",
        (THROTTLE + "answers_that_take_long_do_not_keep_load_away",),
    ),
    Mutant(
        "what was sent before a pause says nothing of it",
        "supervision/throttle.py",
        "FlowControl.answered",
        "self.allowed is None or now < self.until",
        "self.allowed is None",
        (THROTTLE + "who_was_under_way_when_the_pause_began_neither_begins_another_nor_ends_it",),
    ),
    Mutant(
        "long answers do not keep load away after a pause",
        "supervision/throttle.py",
        "FlowControl.opens_at",
        "now >= self._grows_at",
        "False",
        (THROTTLE + "answers_that_take_long_do_not_keep_load_away",),
    ),
    Mutant(
        "a pause has a longest time",
        "supervision/throttle.py",
        "FlowControl.throttled",
        "min(self.throttle.longest, max(usual, asked if asked > 0 else 0.0))",
        "max(usual, asked if asked > 0 else 0.0)",
        (THROTTLE + "a_pause_is_as_long_as_asked_within_its_bounds", SIMULATE),
    ),
    Mutant(
        "what its caller notices is not tried again after a pause",
        "supervision/holding.py",
        "_requeue",
        "not request.repeatable or request.throttled >= most",
        "request.throttled >= most",
        (THROTTLE + "what_may_not_be_repeated_is_not_but_has_the_pause_all_the_same", SIMULATE),
    ),
    Mutant(
        "what was sent ahead waits for the end of a pause",
        "supervision/dispatch.py",
        "advance",
        "not (_has_ahead(core, a) and holding.at_limit(core, a))",
        "True",
        (THROTTLE + "what_was_sent_ahead_is_not_begun_in_a_pause",),
    ),
    Mutant(
        "a drain waits for the end of a pause",
        "supervision/dispatch.py",
        "advance",
        "(not a.process.inflight or a.service) and not holding.held_back(core, a)",
        "not a.process.inflight or a.service",
        (THROTTLE + "a_drain_waits_for_the_pause",),
    ),
    Mutant(
        "the timer of a pause ends with its queue",
        "supervision/teams.py",
        "_drop_queue",
        "core.timers.disarm((Due.FLOW, team.key))",
        "",
        (THROTTLE + "the_timer_of_a_pause_ends_with_its_queue",),
    ),
    # ---- N23: one limit for all processes
    Mutant(
        "limit: no more calls are under way than may be",
        "supervision/shared_limit.py",
        "SharedLimit.opens_at",
        "busy >= self._concurrent",
        "False",
        (SHARED_LIMIT + "permits_are_granted_in_order_and_no_more_than_may_be_under_way",),
    ),
    Mutant(
        "limit: tokens are made up for when they are known",
        "supervision/shared_limit.py",
        "SharedLimit._release",
        "tokens - self._held.pop(ticket)",
        "0 * self._held.pop(ticket)",
        (SHARED_LIMIT + "what_a_dropped_call_was_expected_to_take_is_free_again",),
    ),
    Mutant(
        "limit: a process that dies gives its permits back",
        "runtime/calls.py",
        "CallGate.process_ended",
        "self._drop(limit, ticket)",
        "pass",
        (LIMITS + "a_permit_comes_back_when_its_holder_dies",),
    ),
    Mutant(
        "limit: who is cancelled while it waits keeps no permit",
        "runtime/calls.py",
        "CallGate.forget",
        "found is not None and self._drop(*found)",
        "False",
        (LIMITS + "who_is_cancelled_while_it_waits_keeps_no_permit",),
    ),
    Mutant(
        "limit: who waits for a permit does not hang",
        "runtime/calls.py",
        "CallGate.progress_of",
        "-next(self._probes) if waits else process.progress",
        "process.progress",
        (LIMITS + "who_waits_for_a_permit_does_not_hang",),
    ),
    Mutant(
        "limit: a refused call is reported to all",
        "worker/services.py",
        "Services.end_call",
        "isinstance(known, ModelThrottled) or known.retry_after is not None",
        "False",
        (LIMITS + "a_refusal_stops_all_and_a_turn_is_tried_again",),
    ),
    Mutant(
        "limit: a stream that was heard is not begun again",
        "agents/limited.py",
        "model_call",
        "not repeatable() or not await tries.again(end)",
        "not await tries.again(end)",
        (LIMITS + "a_turn_that_was_heard_is_not_begun_again",),
    ),
)
