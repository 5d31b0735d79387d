"""What becomes of requests when a process dies, is forked or stands still."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import (
    ACCOUNT,
    DEATHS,
    GUARDS,
    MACHINE,
    PAUSES,
    PROGRAM_FORKS,
    SHUTDOWN,
    SIMULATE,
)

MUTANTS: tuple[Mutant, ...] = (
    # ---- N3: requests over a death
    Mutant(
        "draining before failing: what was written is read",
        "launch/process.py",
        "LocalProcess._drain",
        "self._channel.drain()",
        "()",
        (GUARDS + "what_a_worker_wrote_is_read_before_its_death_is_told",),
    ),
    Mutant(
        "draining before failing: in this order",
        "launch/death.py",
        "WatchedProcess.ended",
        "self._drain()",
        """
        self._report(ExitInfo(Cause.EXIT, code=code))
        self._drain()
        """,
        (GUARDS + "what_a_worker_wrote_is_read_before_its_death_is_told",),
    ),
    Mutant(
        "reply before death wins",
        "supervision/machine.py",
        "",
        "(RETIRING, ev.Replied)",
        "(RETIRING, None)",
        (GUARDS + "a_reply_wins_over_the_end_of_its_worker", SIMULATE),
    ),
    Mutant(
        "end of the stream is a hint and no death",
        "launch/process.py",
        "LocalProcess._readable",
        "self._loop.call_later(_EOF_PATIENCE, self._still_there)",
        "self._still_there()",
        (DEATHS + "a_death_in_a_request_is_named_and_the_queue_survives_it",),
    ),
    Mutant(
        "end of the stream is a hint, and not nothing",
        "launch/process.py",
        "LocalProcess._readable",
        "self._loop.call_later(_EOF_PATIENCE, self._still_there)",
        "pass",
        (DEATHS + "a_worker_that_closes_all_its_descriptors_and_lives_on_is_replaced",),
    ),
    Mutant(
        "may_have_executed",
        "supervision/replacing.py",
        "death",
        "exit.lost or exit.started == request.id or request.id in exit.begun or "
        "(a.process.concurrency == 1 and any(exit.started == other.id for other in after))",
        "True or any(exit.started == other.id for other in after)",
        (MACHINE + "a_request_the_worker_never_began_did_not_execute", SIMULATE),
    ),
    Mutant(
        "a fork: what is open is the parent's to finish",
        "executor/closing.py",
        "_forget_in_forks",
        "os.register_at_fork(after_in_child=_open.clear)",
        "pass",
        (PROGRAM_FORKS + "the_end_of_a_fork_is_silent_and_disturbs_nobody",),
    ),
    Mutant(
        "a fork: an open future has failed",
        "runtime/open_requests.py",
        "OpenRequests.disown",
        "request.cargo.reply.disown()",
        "pass",
        (PROGRAM_FORKS + "of_a_handle_and_its_orchestrator",),
    ),
    Mutant(
        "a hang: an answer before the kill refutes it",
        "supervision/requests.py",
        "replied",
        "core.clear_hang_suspicion(a)",
        "",
        (MACHINE + "a_worker_that_answers_before_it_is_killed_was_not_hung",),
    ),
    Mutant(
        "a close in a coroutine: cancelling it aborts the work",
        "runtime/lifetime.py",
        "close_from_task",
        """
        asyncio.gather(
            closing,
            asyncio.to_thread(close, drain=False, timeout=timeout),
            return_exceptions=True,
        )
        """,
        """
        asyncio.gather(
            closing,
            return_exceptions=True,
        )
        """,
        (SHUTDOWN + "cancelling_an_asynchronous_close_aborts_what_is_left",),
    ),
    Mutant(
        "a hang: the stack of one that was refuted is not kept",
        "worker/lifecycle.py",
        "Worker._answer",
        """
        self.gate.forget_stacks()
        self._parent.send(kind, request, answer, payload.pack(body))
        """,
        "self._parent.send(kind, request, answer, payload.pack(body))",
        (
            "tests/process/test_hung.py::test_the_stack_of_a_suspicion_that_was_refuted_is_not"
            "_that_of_a_later_crash",
        ),
    ),
    Mutant(
        "a hang: a stack that was written after the answer is not kept",
        "worker/lifecycle.py",
        "Worker._answer",
        """
        if not self._page.is_suspected:
            self.gate.forget_stacks()
        """,
        "pass",
        (
            "tests/process/test_hung.py::test_a_stack_that_was_asked_for_too_late_is_not"
            "_that_of_a_later_crash",
        ),
    ),
    Mutant(
        "a hang: the stack of a worker that had not begun its request is kept",
        "worker/lifecycle.py",
        "Worker._answer",
        """
        if not self._page.is_suspected:
            self.gate.forget_stacks()
        """,
        "self.gate.forget_stacks()",
        ("tests/process/test_hung.py::test_stopped_and_deaf_workers_are_hung_too",),
    ),
    Mutant(
        "a hang: an answer before the end refutes it",
        "supervision/failing.py",
        "exited",
        "a.process.reason, a.process.stopped_for_request = None, True",
        "pass",
        (MACHINE + "an_answer_that_came_with_the_kill_is_no_hang_either",),
    ),
    Mutant(
        "a pause: what is readable is read before anything expires",
        "runtime/loop.py",
        "Loop._expire",
        "range(_CATCH_UP)",
        "()",
        (PAUSES + "what_is_readable_is_read_before_anything_expires",),
    ),
    Mutant(
        "a pause: it does not count",
        "clock.py",
        "Clock._notice",
        "self._missed += at - self._awake_by",
        "",
        (
            PAUSES + "what_a_sleep_takes_beyond_its_length_does_not_count",
            PAUSES + "a_machine_that_stood_still_makes_no_timeout_and_no_hang",
        ),
    ),
    Mutant(
        "a pause: ordinary delays count",
        "clock.py",
        "",
        "_LATE = 0.2",
        "_LATE = 0.0",
        (PAUSES + "ordinary_delays_count",),
    ),
    Mutant(
        "may_have_executed: the workers that died of it before",
        "supervision/core.py",
        "Core.resolve",
        """
        if request.executed:
            error.may_have_executed = True
        """,
        "",
        (
            ACCOUNT + "one_that_killed_its_worker_before_the_agent_ended_has_executed",
            ACCOUNT + "one_that_died_once_is_not_forgotten_by_whatever_ends_it_in_the_queue",
        ),
    ),
    Mutant(
        "may_have_executed: what a living worker has begun",
        "supervision/core.py",
        "Core.resolve",
        "sent = a.process.sent_since(request)",
        "pass",
        (ACCOUNT + "ahead_and_begun_before_the_reply_to_the_one_before_it_was_read", SIMULATE),
    ),
    Mutant(
        "may_have_executed: told first and looked at second",
        "runtime/open_requests.py",
        "OpenRequests._look_whether_begun",
        """
        process.revoke(request.id)
        started, item = process.started, process.item
        """,
        """
        started, item = process.started, process.item
        process.revoke(request.id)
        """,
        (ACCOUNT + "the_worker_is_told_not_to_begin_before_it_is_looked_at",),
    ),
    Mutant(
        "the worker marks a request before the agent sees it",
        "worker/lifecycle.py",
        "Worker._answer",
        "self._page.start(request)",
        "",
        (DEATHS + "a_death_in_a_request_is_named_and_the_queue_survives_it",),
    ),
)
