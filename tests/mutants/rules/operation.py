"""Events for those who watch, endless work, the main program, and places of workers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import EVENT_DATA, MAIN_PROGRAM, SERVICES, SIMULATE

MUTANTS: tuple[Mutant, ...] = (
    # ---- N18: events
    Mutant(
        "events of requests are not made when nobody watches",
        "runtime/open_requests.py",
        "OpenRequests._settle",
        "self._hub.of_requests",
        "True",
        (EVENT_DATA + "requests_whose_events_nobody_wants_do_nothing_for_events",),
    ),
    Mutant(
        "a stream without requests does not make requests dearer",
        "futures/watch.py",
        "EventHub._change",
        "self.of_requests = tuple(stream for stream in streams if stream.requests)",
        "self.of_requests = tuple(streams)",
        (
            EVENT_DATA + "requests_whose_events_nobody_wants_do_nothing_for_events",
            EVENT_DATA + "a_stream_without_requests_still_tells_of_everything_else",
        ),
    ),
    Mutant(
        "an event of a failure counts what was used once",
        "worker/lifecycle.py",
        "Worker._answer",
        "paid is None",
        "True",
        (EVENT_DATA + "what_an_answer_that_cannot_be_sent_has_used_counts_once",),
    ),
    Mutant(
        "the event of a chunk has what all its items have used",
        "worker/chunk.py",
        "ChunkRun.run",
        "self._tally.add(output)",
        "",
        (EVENT_DATA + "the_events_of_chunks_have_what_all_their_items_have_used",),
    ),
    # ---- endless work
    Mutant(
        "a service whose function has raised is not kept",
        "supervision/failing.py",
        "policy_answered",
        "(a.process.alive or finished) and not a.service",
        "a.process.alive or finished",
        (SERVICES + "a_policy_decides_about_a_service",),
    ),
    Mutant(
        "without a policy the restart type of a service decides",
        "supervision/failing.py",
        "_verdict",
        "action is None and a.service and how is ExitKind.DIED",
        "False",
        (SERVICES + "a_service_is_run_again_after_every_end",),
    ),
    Mutant(
        "time of readiness clears the budget of a service",
        "supervision/restarts.py",
        "RestartLimits.was_ready",
        "self.consecutive = 0",
        "",
        (SERVICES + "time_in_which_a_service_was_ready_clears_its_budget",),
    ),
    Mutant(
        "a service that stops has its grace",
        "supervision/ending.py",
        "leave",
        "a.service and error is None",
        "False",
        (SERVICES + "a_service_is_told_to_stop_and_has_its_grace",),
    ),
    Mutant(
        "the grace of a stop is that of the stop",
        "supervision/ending.py",
        "leave",
        "until is not None",
        "False",
        (SERVICES + "a_service_that_does_not_stop_is_interrupted_and_cleans_up",),
    ),
    Mutant(
        "a service that goes on after its grace is interrupted",
        "supervision/ending.py",
        "next_stage",
        "a.process.stage is StopStage.LEAVE and a.service and a.process.target",
        "False",
        (SERVICES + "a_service_that_does_not_stop_is_interrupted_and_cleans_up",),
    ),
    Mutant(
        "no interrupt is aimed at a service that has answered",
        "supervision/requests.py",
        "replied_in_leaving",
        "a.service and event.request == a.process.target",
        "False",
        (SIMULATE,),
    ),
    Mutant(
        "a service that is told to end is told so at once",
        "supervision/dispatch.py",
        "advance",
        "(not a.process.inflight or a.service)",
        "(not a.process.inflight)",
        (SIMULATE, SERVICES + "a_service_is_told_to_stop_and_has_its_grace"),
    ),
    Mutant(
        "a service goes down with its group in order",
        "supervision/replacing.py",
        "retire",
        "blamed and busy and not a.service",
        "blamed and busy",
        (SERVICES + "a_service_goes_with_its_group",),
    ),
    Mutant(
        "a process that has exited while its group waited does not go on in a close",
        "supervision/turns.py",
        "end_if_done",
        "(spared and a.process.alive)",
        "spared",
        (SIMULATE,),
    ),
    Mutant(
        "a service is ready when its function has begun",
        "worker/lifecycle.py",
        "Worker.start",
        "not self._head.run",
        "True",
        (SERVICES + "a_service_that_ends_before_it_is_ready_has_not_started",),
    ),
    # ---- where workers run
    Mutant(
        "processors that the program may not use are refused at once",
        "api/registry.py",
        "_must_have_cpus",
        "sorted({*(cpus or ())} - allowed)",
        "[]",
        (
            "tests/process/test_cpus.py::test_"
            "processors_that_the_program_may_not_use_are_refused_when_it_is_added",
        ),
    ),
    # ---- the main program
    Mutant(
        "a signal drains what is open",
        "api/main_program.py",
        "_Program._watch",
        "lifetime.close_all(drain=True, timeout=self._timeout)",
        "lifetime.close_all(drain=False, timeout=self._timeout)",
        (MAIN_PROGRAM + "what_was_accepted_is_finished_and_the_main_function_gets_it",),
    ),
    Mutant(
        "the end of a main program is bounded",
        "api/main_program.py",
        "_Program._watch",
        'self._end_now(signum, f"it has not ended within {self._timeout:g} s")',
        "",
        (MAIN_PROGRAM + "a_thread_that_goes_on_does_not_keep_the_program",),
    ),
    Mutant(
        "a main program that was cut short says so",
        "api/main_program.py",
        "_Program.run",
        "code if self._in_time else 128 + self._signum",
        "code",
        (MAIN_PROGRAM + "a_drain_that_takes_too_long_ends_with_the_workers",),
    ),
    Mutant(
        "a main program reaps before it has started agents",
        "api/main_program.py",
        "_Program.run",
        "launchers.reap_if_first()",
        "",
        (MAIN_PROGRAM + "pid_1_reaps_and_ends_on_sigterm",),
    ),
)
