"""How a process is told to stop, and who notices that it hangs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import (
    ASK,
    CANCEL,
    GUARDS,
    LAUNCHERS,
    READY_CHECKS,
    SIMULATE,
    TREES,
    WAITS,
)

MUTANTS: tuple[Mutant, ...] = (
    # ---- N8: the ladder and its gate
    Mutant(
        "the ladder only goes up",
        "supervision/core.py",
        "Core.stop_process",
        "not a.process.alive or (a.process.stage is not None and stage <= a.process.stage)",
        "not a.process.alive",
        (
            GUARDS + "a_start_that_fails_after_its_deadline_is_not_given_more_time",
            GUARDS + "what_is_being_killed_is_not_killed_anew",
            SIMULATE,
        ),
    ),
    Mutant(
        "aim at one request only",
        "supervision/core.py",
        "Core.stop_process",
        "a.process.target",
        "0",
        (TREES + "the_ladder_aims_at_one_request_only", SIMULATE),
    ),
    Mutant(
        "the ladder is called off by its own request only",
        "supervision/requests.py",
        "replied_in_leaving",
        "a.process.is_stopped_for(event.request)",
        "a.process.stage is not None",
        (GUARDS + "a_reply_to_another_request_does_not_call_off_the_ladder",),
    ),
    Mutant(
        "a service that is not ready in time ends in order",
        "supervision/starting.py",
        "overdue",
        "StopStage.LEAVE if a.service else StopStage.TERMINATE",
        "StopStage.TERMINATE",
        (READY_CHECKS + "a_program_that_is_not_ready_in_time_is_ended_in_order",),
    ),
    Mutant(
        "without a zygote, what a terminated worker has started is killed after it",
        "launch/death.py",
        "WatchedProcess.kill",
        "self._strays, strays = strays, []",
        "strays = []",
        (LAUNCHERS + "kill_reaches_what_the_worker_started",),
    ),
    Mutant(
        "gate: the request check",
        "worker/interrupts.py",
        "InterruptGate.look",
        "self._request",
        "self._page.started",
        (CANCEL + "requests_cancelled_around_their_end_have_one_outcome_and_never_hit_the_next",),
    ),
    Mutant(
        "gate: the page names one request",
        "wire/status.py",
        "StatusPage._aim",
        "return -1",
        "return 0",
        (CANCEL + "a_cancelled_request_ends_and_its_worker_lives_on",),
    ),
    Mutant(
        "gate: it closes itself before it raises",
        "worker/interrupts.py",
        "InterruptGate.look",
        "self._raised, self._request = request, 0",
        "self._raised = request",
        (CANCEL + "code_may_notice_and_tidy_up",),
    ),
    Mutant(
        "gate: no exception into an import",
        "worker/interrupts.py",
        "",
        '"importlib._bootstrap"',
        '"no_such_module"',
        (CANCEL + "an_import_is_never_interrupted",),
    ),
    Mutant(
        "gate: no exception into its own handler, nor into the event loop",
        "worker/interrupts.py",
        "InterruptGate._protected",
        "_in_event_loop(frame)",
        '_module(frame).startswith("asyncio.")',
        (CANCEL + "a_hail_of_signals_costs_neither_the_worker_nor_its_event_loop",),
    ),
    Mutant(
        "a dropped interrupt comes again",
        "worker/interrupts.py",
        "InterruptGate.install.rearm",
        "self._last_force = 0",
        "pass",
        (CANCEL + "an_interrupt_that_comes_to_nothing_comes_again_where_the_agent_waits",),
    ),
    # ---- N12, N16: probes and questions
    Mutant(
        "the stack of a hung agent comes before the kill",
        "supervision/failing.py",
        "probed",
        "StopStage.STACK",
        "StopStage.KILL",
        (TREES + "a_busy_agent_without_progress_is_hung_and_its_stack_is_taken_before_the_kill",),
    ),
    Mutant(
        "progress keeps a busy agent alive",
        "supervision/failing.py",
        "probed",
        "event.progress != seen",
        "False",
        (TREES + "progress_keeps_a_busy_agent_alive",),
    ),
    Mutant(
        "a circle of questions is refused",
        "supervision/wait_graph.py",
        "WaitGraph.circle",
        """
        if key == asker:
            path = [came_from[asker]]
            while path[-1] != asker:
                path.append(came_from[path[-1]])
            return path[::-1]
        """,
        "",
        (WAITS + "a_circle_is_named_in_the_order_of_waiting_asker_first",),
    ),
    Mutant(
        "the question of a dead asker is dropped",
        "runtime/asks.py",
        "QuestionRelay.process_ended",
        """
        for question in self._open.pop(process, {}).values():
            self._waits.remove(process.spec.key, question.asked)
            self._agents.drop(question.request)
        """,
        "self._open.pop(process, None)",
        (ASK + "the_question_of_an_asker_that_died_is_cancelled",),
    ),
)
