"""What a worker does about its children, its memory and its surroundings."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import ASK, DESCRIPTORS, MEMORY, METRICS, SURROUNDINGS, WORKER_FORKS

MUTANTS: tuple[Mutant, ...] = (
    # ---- memory: what counts against a limit, and whose it is
    Mutant(
        "a shared page counts once in the memory",
        "memory.py",
        "held",
        "total -= bounds[each] - share(each, bounds[each])",
        "pass",
        (MEMORY + "pages_that_are_shared_after_a_fork_count_once",),
    ),
    Mutant(
        "descendants count in the memory",
        "memory.py",
        "family",
        "found += _children(each)",
        "pass",
        (
            MEMORY + "a_child_of_an_agent_counts_and_its_figure_is_told",
            MEMORY + "a_worker_whose_child_has_grown_is_recycled",
        ),
    ),
    Mutant(
        "the memory is looked into only where it may be too much",
        "memory.py",
        "held",
        """
        if total <= limit:
            break
        """,
        "",
        (MEMORY + "only_what_may_be_too_much_is_looked_into",),
    ),
    Mutant(
        "no memory of a worker that has ended is told",
        "runtime/sampler.py",
        "Sampler._run",
        "seen > each.limit and self._watched.get(key) == each",
        "seen > each.limit",
        (MEMORY + "what_was_seen_of_a_worker_that_has_ended_meanwhile_is_not_told",),
    ),
    # ---- N21: a fork is not a worker
    Mutant(
        "fork: it ends where the agent's code returns",
        "worker/fork_guard.py",
        "leave_if_forked",
        "_worker in (0, os.getpid())",
        "True",
        (WORKER_FORKS + "only_the_worker_answers",),
    ),
    Mutant(
        "fork: it gives up the socket and the page",
        "worker/main.py",
        "main.release",
        "os.close(fd)",
        "pass",
        (WORKER_FORKS + "a_fork_holds_neither_socket_nor_page",),
    ),
    Mutant(
        "fork: its faults are not written where the page was",
        "worker/lifecycle.py",
        "Worker.release",
        "self.gate.release()",
        "",
        (WORKER_FORKS + "a_child_that_fails_says_so_and_a_crash_in_it_is_not_the_workers",),
    ),
    Mutant(
        "fork: the context refuses it",
        "agents/context.py",
        "Context._refuse_in_fork",
        "os.getpid() != self._pid",
        "False",
        (WORKER_FORKS + "only_the_worker_answers",),
    ),
    # ---- N20: orphans are reaped, and nobody's child
    Mutant(
        "orphans: they are reaped",
        "worker/main.py",
        "main",
        "worker.reaper.install()",
        "",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: a child that was spawned is left to its maker",
        "worker/orphans.py",
        "Reaper._recording.made",
        "self._own.add(pid)",
        "",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: a child that was forked is left to its maker",
        "worker/orphans.py",
        "Reaper._after_fork",
        "self._own |= after - before",
        "pass",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: one that was left further below is reaped",
        "worker/orphans.py",
        "Reaper._is_adopted",
        "any(_started(other) <= started for other in self._own)",
        "False",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: PID 1 reaps them",
        "launch/launchers.py",
        "launcher",
        "reap_if_first()",
        "pass",
        ("tests/process/test_orphans.py::test_the_program_as_pid_1_reaps_what_it_adopts",),
    ),
    Mutant(
        "orphans: a module that was loaded before has children recorded as well",
        "worker/orphans.py",
        "Reaper.install",
        'getattr(subprocess, "_fork_exec", None) is fork_exec',
        "False",
        ("tests/process/test_orphans.py::test_the_program_as_pid_1_reaps_what_it_adopts",),
    ),
    Mutant(
        "orphans: what was there before is left to its maker",
        "worker/orphans.py",
        "Reaper.install",
        "self._own |= _children(os.getpid())",
        "pass",
        ("tests/process/test_orphans.py::test_the_program_as_pid_1_reaps_what_it_adopts",),
    ),
    # ---- random numbers after a fork
    Mutant(
        "random: generators are seeded anew in each worker",
        "worker/lifecycle.py",
        "Worker._settle_in",
        "randomness.reseed()",
        "",
        ("tests/process/test_randomness.py::test_workers_of_one_zygote_draw_different_numbers",),
    ),
    # ---- a worker's surroundings
    Mutant(
        "descriptors: a refused poll is no crash",
        "worker/parent_link.py",
        "wait_for_frame",
        "error.errno != errno.EINVAL",
        "True",
        (DESCRIPTORS + "requests_go_on_and_a_death_is_told_exactly",),
    ),
    # ---- the slim worker
    Mutant(
        "line: who waits to read is told when there is nobody who reads any more",
        "worker/parent_link.py",
        "ParentLink.next_request",
        "self._waiting",
        "False",
        (ASK + "a_thread_gets_its_answer_while_the_agent_works_on_the_next_request",),
    ),
    Mutant(
        "peak memory: set back after a request that has raised it",
        "worker/meter.py",
        "Meter.begin",
        "self._seen > self._mark",
        "False",
        (METRICS + "a_request_is_not_charged_with_the_memory_of_the_one_just_before",),
    ),
    Mutant(
        "peak memory: what was given back is forgotten",
        "worker/meter.py",
        "Meter.begin",
        "now >= self._due",
        "False",
        (METRICS + "peak_memory_is_at_least_what_is_held_and_what_was_given_back_is_forgotten",),
    ),
    Mutant(
        "surroundings: those of today",
        "wire/environment.py",
        "adopt",
        "before.get(name) != value",
        "False",
        (SURROUNDINGS + "a_worker_has_todays_surroundings_at_the_first_start_and_at_a_restart",),
    ),
    Mutant(
        "surroundings: the key of multiprocessing",
        "wire/environment.py",
        "adopt",
        "process.current_process().authkey = given.authkey",
        "",
        (SURROUNDINGS + "a_manager_may_have_a_key_of_its_own",),
    ),
)
