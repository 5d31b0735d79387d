"""Deliberate breakages of procorch, each with the tests that must turn red for it.

A rule that nothing guards may be lost by accident, and nobody would see it. So each of these takes
one away; `run.py` applies it to a copy of the package and runs the tests that are named here. The
comment of a group says which promise it breaks.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One breakage.

    Args:
        file: below ``procorch/``.
        old: text that occurs in it exactly once, ``new`` what stands there instead.
        tests: node ids, each of which must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MACHINE = "tests/supervision/test_machine.py::test_"
TREES = "tests/supervision/test_trees.py::test_"
GUARDS = "tests/supervision/test_guards.py::test_"
RESTARTS = "tests/supervision/test_restarts.py::test_"
SETTINGS = "tests/supervision/test_settings.py::test_"
TIMERS = "tests/supervision/test_timers.py::test_"
WAITS = "tests/supervision/test_wait_graph.py::test_"
TABLES = "tests/supervision/test_tables.py::test_"
SHORT_WAY = (
    "tests/simulate/test_simulate.py"
    "::test_the_short_way_of_a_request_decides_what_the_long_one_does"
)
REQUEST = "tests/supervision/test_request.py::test_"
SIMULATE = "tests/simulate/test_simulate.py::test_no_schedule_breaks_a_rule"
DEATHS = "tests/process/test_deaths.py::test_"
CANCEL = "tests/process/test_cancel.py::test_"
ACCOUNT = "tests/process/test_account.py::test_"
PROGRAM_FORKS = "tests/process/test_program_forks.py::test_"
PAUSES = "tests/process/test_pauses.py::test_"
READING = "tests/pool/test_input_reader.py::test_"
PAYLOAD = "tests/wire/test_payload.py::test_"
REPLICAS = "tests/supervision/test_replicas.py::test_"
CHUNKS = "tests/pool/test_chunks.py::test_"
REQUESTS = "tests/process/test_requests.py::test_"
ASK = "tests/process/test_ask.py::test_"
METRICS = "tests/process/test_metrics.py::test_"
PREFETCH = "tests/process/test_prefetch.py::test_"
MONITOR = "tests/process/test_monitor.py::test_"
REENTRANCE = "tests/executor/test_reentrance.py::test_"
SHUTDOWN = "tests/executor/test_shutdown.py::test_"
STREAM = "tests/process/test_stream.py::test_"
CHECKPOINT = "tests/process/test_checkpoint.py::test_"
FAILED_ITEMS = "tests/batch/test_failed_items.py::test_"
RECHECK = "tests/batch/test_recheck.py::test_"
PIPES = "tests/batch/test_pipes.py::test_"
WORKER_FORKS = "tests/process/test_worker_forks.py::test_"
DESCRIPTORS = "tests/process/test_descriptors.py::test_"
SURROUNDINGS = "tests/process/test_surroundings.py::test_"
AGENT = "tests/agents/test_agent.py::test_"
THROTTLE = "tests/supervision/test_throttle.py::test_"
MEMORY = "tests/process/test_memory.py::test_"
SESSION = "tests/measure/test_session.py::test_"
ERROR_MAP = "tests/adapters/test_error_map.py::test_"
SIGNALS = "tests/cli/test_signals.py::test_"

MUTANTS = (
    # ---- I1, I2: one outcome, and only the present generation counts
    Mutant(
        "generation check",
        "supervision/machine.py",
        "        if event.generation != a.process.generation:\n",
        "        if False:\n",
        (MACHINE + "a_reply_of_an_older_generation_is_counted_and_dropped",),
    ),
    Mutant(
        "counter reset by the current generation only",
        "supervision/machine.py",
        "            self._core.stale += 1\n            return\n",
        "            a.limits.succeeded()\n            self._core.stale += 1\n            return\n",
        (GUARDS + "a_success_of_an_older_generation_does_not_count",),
    ),
    Mutant(
        "counter reset by a success only",
        "supervision/requests.py",
        "        if event.error is None:\n            a.limits.succeeded()\n        core.resolve",
        "        a.limits.succeeded()\n        core.resolve",
        (GUARDS + "only_a_success_counts_as_one_while_the_process_leaves",),
    ),
    Mutant(
        "one outcome",
        "supervision/ledger.py",
        "        if self.requests.pop(request.id, None) is None:\n            return False\n",
        "        self.requests.pop(request.id, None)\n",
        (MACHINE + "a_reply_that_comes_with_its_deadline_changes_nothing_any_more", SIMULATE),
    ),
    Mutant(
        "readiness of a start that was given up",
        "supervision/starting.py",
        "    if a.process.stage is not None:\n        return  # Too late",
        "    if False:\n        return  # Too late",
        (MACHINE + "readiness_that_comes_after_the_start_was_given_up_is_too_late", SIMULATE),
    ),
    # ---- N1, N2: what counts, and the three limits
    Mutant(
        "inclusive window",
        "supervision/restarts.py",
        "self._at[0] < now - self._intensity.period",
        "self._at[0] <= now - self._intensity.period",
        (
            RESTARTS + "the_window_includes_its_beginning",
            TREES + "the_window_includes_both_its_ends",
        ),
    ),
    Mutant(
        "exact intensity",
        "supervision/restarts.py",
        "len(self._at) < self._intensity.restarts",
        "len(self._at) <= self._intensity.restarts",
        (RESTARTS + "exactly_so_many_restarts_pass_and_the_next_does_not", SIMULATE),
    ),
    Mutant(
        "exact budget",
        "supervision/restarts.py",
        "return self.consecutive < self._max",
        "return self.consecutive <= self._max",
        (RESTARTS + "the_budget_is_exact", MACHINE + "exactly_the_budget_of_restarts_passes"),
    ),
    Mutant(
        "first restart is immediate",
        "supervision/limits.py",
        "        if attempt <= 1:\n",
        "        if attempt < 1:\n",
        (RESTARTS + "limits_hand_out_the_delays_in_order",),
    ),
    Mutant(
        "backoff starts over after a long readiness",
        "supervision/restarts.py",
        "if now - since >= self._backoff.reset_after:",
        "if now - since > self._backoff.reset_after:",
        (RESTARTS + "the_backoff_starts_over_after_so_long_a_readiness",),
    ),
    Mutant(
        "backoff starts over after a success",
        "supervision/restarts.py",
        "        if self._backoff.reset_on_success:\n            self._attempts = 0\n",
        "",
        (
            RESTARTS + "a_success_sets_the_count_and_the_backoff_back",
            MACHINE + "an_agent_that_answers_between_its_crashes_is_back_at_once",
        ),
    ),
    Mutant(
        "many restarts in a minute wait",
        "supervision/limits.py",
        "if recent >= OFTEN else 0.0",
        "if recent > 60 else 0.0",
        (
            RESTARTS + "above_ten_restarts_in_a_minute_the_wait_is_a_second_at_least",
            MACHINE + "an_agent_that_answers_between_its_crashes_is_back_at_once",
        ),
    ),
    Mutant(
        "backoff that lets the window fill",
        "supervision/limits.py",
        "        if needed > self.period:\n",
        "        if needed > 2 * self.period:\n",
        (SETTINGS + "a_backoff_fits_as_long_as_its_delays_do",),
    ),
    Mutant(
        "a deadline's replacement is not counted",
        "supervision/failing.py",
        "    elif a.process.stopped_for_request and a.process.reason is None and not lost:\n",
        "    elif False:\n",
        (MACHINE + "a_replacement_after_a_deadline_is_not_counted",),
    ),
    # ---- N23: one pause for all
    Mutant(
        "nothing goes in a pause",
        "supervision/throttle.py",
        "            at = max(at, self.until if busy < self.allowed else self._grows_at)\n",
        "            at = max(at, now if busy < self.allowed else self._grows_at)\n",
        (THROTTLE + "a_throttled_service_gets_no_request_in_the_pause_and_none_fails", SIMULATE),
    ),
    Mutant(
        "who was throttled goes last after a pause",
        "supervision/holding.py",
        "    core.ledger.last(a.mailbox, a.key)\n",
        "",
        (
            "tests/supervision/test_throttle.py::"
            "test_a_replica_that_is_throttled_again_and_again_gets_no_request_while_another_is_free",
        ),
    ),
    Mutant(
        "load comes back step by step after a pause",
        "supervision/throttle.py",
        "        self.active, self.allowed, self._answers = True, 1, 0\n",
        "        self.active, self.allowed, self._answers = True, busy, 0\n",
        (THROTTLE + "answers_that_take_long_do_not_keep_load_away",),
    ),
    Mutant(
        "what was sent before a pause says nothing of it",
        "supervision/throttle.py",
        "        if self.allowed is None or now < self.until:\n",
        "        if self.allowed is None:\n",
        (THROTTLE + "who_was_under_way_when_the_pause_began_neither_begins_another_nor_ends_it",),
    ),
    Mutant(
        "long answers do not keep load away after a pause",
        "supervision/throttle.py",
        "            if now >= self._grows_at:\n",
        "            if False:\n",
        (THROTTLE + "answers_that_take_long_do_not_keep_load_away",),
    ),
    Mutant(
        "a pause has a longest time",
        "supervision/throttle.py",
        "min(self.throttle.longest, max(usual, asked if asked > 0 else 0.0))",
        "max(usual, asked if asked > 0 else 0.0)",
        (THROTTLE + "a_pause_is_as_long_as_asked_within_its_bounds", SIMULATE),
    ),
    Mutant(
        "what its caller notices is not tried again after a pause",
        "supervision/holding.py",
        "    if not request.repeatable or request",
        "    if request",
        (THROTTLE + "what_may_not_be_repeated_is_not_but_has_the_pause_all_the_same", SIMULATE),
    ),
    Mutant(
        "what was sent ahead waits for the end of a pause",
        "supervision/dispatch.py",
        "        and not (_has_ahead(core, a) and holding.crowded(core, a))\n",
        "",
        (THROTTLE + "what_was_sent_ahead_is_not_begun_in_a_pause",),
    ),
    Mutant(
        "a drain waits for the end of a pause",
        "supervision/dispatch.py",
        "    done = not a.process.inflight and not holding.held_back(core, a)\n",
        "    done = not a.process.inflight\n",
        (THROTTLE + "a_drain_waits_for_the_pause",),
    ),
    Mutant(
        "the timer of a pause ends with its queue",
        "supervision/ending.py",
        "        core.timers.disarm((Due.FLOW, a.mailbox))\n",
        "",
        (SIMULATE,),
    ),
    # ---- memory: what counts against a limit, and whose it is
    Mutant(
        "a shared page counts once in the memory",
        "memory.py",
        "        total -= bounds[each] - share(each, bounds[each])\n",
        "        pass\n",
        (MEMORY + "pages_that_are_shared_after_a_fork_count_once",),
    ),
    Mutant(
        "descendants count in the memory",
        "memory.py",
        "        found += _children(each)\n",
        "        pass\n",
        (
            MEMORY + "a_child_of_an_agent_counts_and_its_figure_is_told",
            MEMORY + "a_worker_whose_child_has_grown_is_recycled",
        ),
    ),
    Mutant(
        "the memory is looked into only where it may be too much",
        "memory.py",
        "        if total <= limit:\n            break\n",
        "",
        (MEMORY + "only_what_may_be_too_much_is_looked_into",),
    ),
    Mutant(
        "no memory of a worker that has ended is told",
        "runtime/sampler.py",
        "seen > each.limit and self._watched.get(key) == each",
        "seen > each.limit",
        (MEMORY + "what_was_seen_of_a_worker_that_has_ended_meanwhile_is_not_told",),
    ),
    # ---- restarts that count, and those that do not
    Mutant(
        "an operator's restart is not counted",
        "supervision/replacing.py",
        "    replace(core, a, counted=False, alone=True)\n",
        "    replace(core, a, counted=True, alone=True)\n",
        (TREES + "an_operators_restart_is_for_one_agent_alone_and_not_counted",),
    ),
    Mutant(
        "only a refused restart takes its group along",
        "supervision/failing.py",
        "    if not allowed and decide(kind, how, action, allowed=True) is Verdict.REPLACE:\n",
        "    if not allowed:\n",
        (GUARDS + "a_policy_that_stops_one_agent_does_not_stop_its_group",),
    ),
    # ---- N3: requests over a death
    Mutant(
        "draining before failing: what was written is read",
        "launch/process.py",
        "            for frame in self._channel.drain():\n",
        "            for frame in ():\n",
        (GUARDS + "what_a_worker_wrote_is_read_before_its_death_is_told",),
    ),
    Mutant(
        "draining before failing: in this order",
        "launch/death.py",
        "        self._drain()\n",
        "        self._report(ExitInfo(Cause.EXIT, code=code))\n        self._drain()\n",
        (GUARDS + "what_a_worker_wrote_is_read_before_its_death_is_told",),
    ),
    Mutant(
        "reply before death wins",
        "supervision/machine.py",
        "    (RETIRING, ev.Replied): _rule(requests.replied_in_leaving),\n",
        "",
        (GUARDS + "a_reply_wins_over_the_end_of_its_worker", SIMULATE),
    ),
    Mutant(
        "end of the stream is a hint and no death",
        "launch/process.py",
        "            self._loop.call_later(_EOF_PATIENCE, self._still_there)\n",
        "            self._still_there()\n",
        (DEATHS + "a_death_in_a_request_is_named_and_the_queue_survives_it",),
    ),
    Mutant(
        "end of the stream is a hint, and not nothing",
        "launch/process.py",
        "            self._loop.call_later(_EOF_PATIENCE, self._still_there)\n",
        "            pass\n",
        (DEATHS + "a_worker_that_closes_all_its_descriptors_and_lives_on_is_replaced",),
    ),
    Mutant(
        "may_have_executed",
        "supervision/replacing.py",
        "        exit.lost or exit.started == request.id or any",
        "        True or any",
        (MACHINE + "a_request_the_worker_never_began_did_not_execute", SIMULATE),
    ),
    Mutant(
        "a fork: what is open is the parent's to finish",
        "executor/closing.py",
        "    os.register_at_fork(after_in_child=_open.clear)\n",
        "    pass\n",
        (PROGRAM_FORKS + "the_end_of_a_fork_is_silent_and_disturbs_nobody",),
    ),
    Mutant(
        "a fork: an open future has failed",
        "runtime/open_requests.py",
        "                request.cargo.reply.disown()\n",
        "                pass\n",
        (PROGRAM_FORKS + "of_a_handle_and_its_orchestrator",),
    ),
    Mutant(
        "a hang: an answer before the kill refutes it",
        "supervision/requests.py",
        "    core.clear_suspicion(a)\n",
        "",
        (MACHINE + "a_worker_that_answers_before_it_is_killed_was_not_hung",),
    ),
    Mutant(
        "a close in a coroutine: cancelling it aborts the work",
        "runtime/lifetime.py",
        "            asyncio.to_thread(close, drain=False, timeout=timeout),\n",
        "",
        (SHUTDOWN + "cancelling_an_asynchronous_close_aborts_what_is_left",),
    ),
    Mutant(
        "a hang: the stack of one that was refuted is not kept",
        "worker/lifecycle.py",
        "        self.fence.forget_stacks()\n",
        "",
        (
            "tests/process/test_hung.py::test_the_stack_of_a_suspicion_that_was_refuted_is_not"
            "_that_of_a_later_crash",
        ),
    ),
    Mutant(
        "a hang: an answer before the end refutes it",
        "supervision/failing.py",
        "            a.process.reason, a.process.stopped_for_request = None, True\n",
        "            pass\n",
        (MACHINE + "an_answer_that_came_with_the_kill_is_no_hang_either",),
    ),
    Mutant(
        "a pause: what is readable is read before anything expires",
        "runtime/loop.py",
        "            for _ in range(_CATCH_UP):\n",
        "            for _ in ():\n",
        (PAUSES + "what_is_readable_is_read_before_anything_expires",),
    ),
    Mutant(
        "a pause: it does not count",
        "clock.py",
        "                self._missed += at - self._awake_by\n",
        "",
        (
            PAUSES + "what_a_sleep_takes_beyond_its_length_does_not_count",
            PAUSES + "a_machine_that_stood_still_makes_no_timeout_and_no_hang",
        ),
    ),
    Mutant(
        "a pause: ordinary delays count",
        "clock.py",
        "_LATE = 0.2\n",
        "_LATE = 0.0\n",
        (PAUSES + "ordinary_delays_count",),
    ),
    Mutant(
        "an input that is waited for keeps no result back",
        "pool/results.py",
        "self._read_here = isinstance(items, NEVER_WAITS)",
        "self._read_here = True",
        (READING + "an_input_that_waits_for_results_gets_them_on_an_event_loop",),
    ),
    Mutant(
        "may_have_executed: the workers that died of it before",
        "supervision/core.py",
        "            if request.executed:\n                error.may_have_executed = True\n",
        "",
        (
            ACCOUNT + "one_that_killed_its_worker_before_the_agent_ended_has_executed",
            ACCOUNT + "one_that_died_once_is_not_forgotten_by_whatever_ends_it_in_the_queue",
        ),
    ),
    Mutant(
        "may_have_executed: what a living worker has begun",
        "supervision/core.py",
        "                sent = a.process.sent_since(request)\n",
        "                pass\n",
        (ACCOUNT + "ahead_and_begun_before_the_reply_to_the_one_before_it_was_read", SIMULATE),
    ),
    Mutant(
        "may_have_executed: told first and looked at second",
        "runtime/open_requests.py",
        "        process.revoke(request.id)\n"
        "        started, item = process.started, process.item\n",
        "        started, item = process.started, process.item\n"
        "        process.revoke(request.id)\n",
        (ACCOUNT + "the_worker_is_told_not_to_begin_before_it_is_looked_at",),
    ),
    Mutant(
        "the worker marks a request before the agent sees it",
        "worker/lifecycle.py",
        "        self._page.start(request)\n",
        "",
        (DEATHS + "a_death_in_a_request_is_named_and_the_queue_survives_it",),
    ),
    # ---- N21: a fork is not a worker
    Mutant(
        "fork: it ends where the agent's code returns",
        "worker/fork_guard.py",
        "    if _worker in (0, os.getpid()):\n",
        "    if True:\n",
        (WORKER_FORKS + "only_the_worker_answers",),
    ),
    Mutant(
        "fork: it gives up the socket and the page",
        "worker/main.py",
        "                os.close(fd)\n",
        "                pass\n",
        (WORKER_FORKS + "a_fork_holds_neither_socket_nor_page",),
    ),
    Mutant(
        "fork: its faults are not written where the page was",
        "worker/lifecycle.py",
        "        self.fence.release()\n",
        "",
        (WORKER_FORKS + "a_child_that_fails_says_so_and_a_crash_in_it_is_not_the_workers",),
    ),
    Mutant(
        "fork: the context refuses it",
        "agents/context.py",
        "        if os.getpid() != self._pid:\n",
        "        if False:\n",
        (WORKER_FORKS + "only_the_worker_answers",),
    ),
    # ---- N20: orphans are reaped, and nobody's child
    Mutant(
        "orphans: they are reaped",
        "worker/main.py",
        "    worker.reaper.install()\n",
        "",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: a child that was spawned is left to its maker",
        "worker/orphans.py",
        "                self._own.add(pid)\n                return pid\n",
        "                return pid\n",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: a child that was forked is left to its maker",
        "worker/orphans.py",
        "            self._own |= after - before\n",
        "            pass\n",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: one that was left further below is reaped",
        "worker/orphans.py",
        "any(_started(other) <= started for other in self._own)",
        "False",
        ("tests/process/test_orphans.py::test_no_exit_status_is_taken_and_no_zombie_stays",),
    ),
    Mutant(
        "orphans: PID 1 reaps them",
        "launch/launchers.py",
        "        reap_as_first()\n",
        "        pass\n",
        ("tests/process/test_orphans.py::test_the_program_as_pid_1_reaps_what_it_adopts",),
    ),
    Mutant(
        "orphans: what was there before is left to its maker",
        "worker/orphans.py",
        "            self._own |= _children(os.getpid())\n",
        "            pass\n",
        ("tests/process/test_orphans.py::test_the_program_as_pid_1_reaps_what_it_adopts",),
    ),
    # ---- nothing of a closed orchestrator is kept
    Mutant(
        "kept: the last orchestrator takes its definitions along",
        "wire/byvalue/changes.py",
        "        if not _users:\n",
        "        if False:\n",
        ("tests/process/test_nothing_kept.py::test_nothing_of_what_is_closed_is_kept",),
    ),
    # ---- random numbers after a fork
    Mutant(
        "random: generators are seeded anew in each worker",
        "worker/lifecycle.py",
        "        randomness.reseed()\n",
        "",
        ("tests/process/test_randomness.py::test_workers_of_one_zygote_draw_different_numbers",),
    ),
    # ---- a worker's surroundings
    Mutant(
        "descriptors: a refused poll is no crash",
        "worker/parent_link.py",
        "        if error.errno != errno.EINVAL:\n",
        "        if True:\n",
        (DESCRIPTORS + "requests_go_on_and_a_death_is_told_exactly",),
    ),
    # ---- the slim worker
    Mutant(
        "line: who waits to read is told when there is nobody who reads any more",
        "worker/parent_link.py",
        "        if self._waiting:\n",
        "        if False:\n",
        (ASK + "a_thread_gets_its_answer_while_the_agent_works_on_the_next_request",),
    ),
    Mutant(
        "peak memory: set back after a request that has raised it",
        "worker/meter.py",
        "self._seen > self._mark or ",
        "",
        (METRICS + "a_request_is_not_charged_with_the_memory_of_the_one_just_before",),
    ),
    Mutant(
        "peak memory: what was given back is forgotten",
        "worker/meter.py",
        "now >= self._due or ",
        "",
        (METRICS + "peak_memory_is_at_least_what_is_held_and_what_was_given_back_is_forgotten",),
    ),
    Mutant(
        "surroundings: those of today",
        "wire/environment.py",
        "        if before.get(name) != value:\n",
        "        if False:\n",
        (SURROUNDINGS + "a_worker_has_todays_surroundings_at_the_first_start_and_at_a_restart",),
    ),
    Mutant(
        "surroundings: the key of multiprocessing",
        "wire/environment.py",
        "    process.current_process().authkey = given.authkey\n",
        "",
        (SURROUNDINGS + "a_manager_may_have_a_key_of_its_own",),
    ),
    Mutant(
        "surroundings: proxies take the key of their manager along",
        "wire/byvalue/inherited.py",
        '{**more, "authkey": bytes(obj._authkey)}',
        "more",
        (SURROUNDINGS + "a_manager_may_have_a_key_of_its_own",),
    ),
    Mutant(
        "wire: the number of a descriptor is not sent as a connection",
        "wire/codec.py",
        "        if made is not None and inherited.MARK in made[0]:\n",
        "        if False:\n",
        ("tests/wire/test_inherited.py::test_a_message_with_it_is_refused",),
    ),
    Mutant(
        "at most once: no requeue without retries",
        "supervision/restarts.py",
        "    if attempts > retries:\n",
        "    if attempts > retries + 1:\n",
        (
            GUARDS + "without_retries_a_request_never_enters_a_second_worker",
            REQUESTS + "a_request_is_executed_at_most_once_by_default",
            SIMULATE,
        ),
    ),
    Mutant(
        "poison is never sent again",
        "supervision/restarts.py",
        "    return Retry.AGAIN if deaths <= allowed_failures else Retry.POISON\n",
        "    return Retry.AGAIN if deaths <= allowed_failures + 1 else Retry.POISON\n",
        (
            TREES + "a_request_that_killed_too_many_workers_is_poison_and_never_sent_again",
            RESTARTS + "a_request_is_poison_where_only_its_deaths_forbid_a_further_attempt",
            SIMULATE,
        ),
    ),
    Mutant(
        "put_back at the head",
        "supervision/ledger.py",
        ".lane(request.priority).appendleft(request)",
        ".lane(request.priority).append(request)",
        (TREES + "a_request_whose_worker_died_is_tried_again_before_all_others", SIMULATE),
    ),
    Mutant(
        "a retried request goes to whoever is free",
        "supervision/core.py",
        "            self.defer(member, _take_over)\n",
        "            pass\n",
        (GUARDS + "a_request_whose_worker_died_is_tried_again_by_whoever_is_free",),
    ),
    Mutant(
        "no request is sent after its deadline",
        "supervision/dispatch.py",
        "    return deadline is not None and deadline <= core.now\n",
        "    return False\n",
        (
            GUARDS
            + "a_request_whose_deadline_has_passed_is_not_sent_even_before_anybody_has_looked",
            SIMULATE,
        ),
    ),
    Mutant(
        "no request for a replica that leaves",
        "supervision/dispatch.py",
        "a.credit > 0 and not core.relieved(a):\n",
        "a.credit > 0:\n",
        (GUARDS + "a_request_does_not_wait_for_a_replica_that_leaves", SIMULATE),
    ),
    # ---- the short way of a request: it decides what the long way would
    *(
        Mutant(
            f"short way: {name}",
            f"supervision/{file}.py",
            old,
            new,
            (SHORT_WAY,),
        )
        for name, file, old, new in (
            (
                "not in a pause",
                "dispatch",
                "if box.flow is not None and box.flow.active:",
                "if False:",
            ),
            (
                "not to a process that is to be renewed",
                "dispatch",
                "            and process.course is Course.SERVING\n"
                "            and not process.held",
                "            and not process.held",
            ),
            (
                "a drain is looked at",
                "requests",
                "        and a.draining is None\n",
                "",
            ),
            (
                "a process that has served enough is replaced",
                "requests",
                "        and settings.max_requests is None\n",
                "",
            ),
            (
                "the next request follows",
                "requests",
                "    if box.waiting:\n",
                "    if False:\n",
            ),
        )
    ),
    Mutant(
        "short way: not after its deadline",
        "supervision/dispatch.py",
        "    if request.deadline is not None and request.deadline <= core.now:\n"
        "        return None\n",
        "",
        (REQUEST + "a_request_whose_deadline_has_passed_is_not_sent_to_an_idle_agent",),
    ),
    Mutant(
        "short way: answers show what the service takes",
        "supervision/requests.py",
        "        pace.answers += 1\n",
        "        pass\n",
        (THROTTLE + "answers_of_an_idle_agent_show_what_its_service_takes",),
    ),
    Mutant(
        "short way: answers are counted",
        "supervision/requests.py",
        "    process.served += 1\n    if a.limits",
        "    if a.limits",
        (REQUEST + "what_a_process_has_answered_is_counted",),
    ),
    # ---- replicas and chunks
    Mutant(
        "no more busy than the width",
        "supervision/holding.py",
        "busy >= box.width < len",
        "busy > box.width < len",
        (REPLICAS + "no_more_are_busy_than_the_width_allows", SIMULATE),
    ),
    Mutant(
        "a spare takes over",
        "supervision/machine.py",
        "            dispatch.fill(core)\n",
        "            pass\n",
        (REPLICAS + "a_spare_takes_over_from_one_that_died_before_the_policy_has_answered",),
    ),
    Mutant(
        "one that leaves takes no more",
        "supervision/core.py",
        "        return a.draining is not None and not self.ledger.boxes[a.mailbox].closed\n",
        "        return False\n",
        (REPLICAS + "a_replica_that_is_told_to_finish_leaves_the_queue_to_the_others",),
    ),
    Mutant(
        "the highest priority first",
        "supervision/ledger.py",
        "dict(sorted(self.lanes.items(), reverse=True))",
        "dict(sorted(self.lanes.items()))",
        (REPLICAS + "what_waits_goes_by_priority_and_then_in_order", SIMULATE),
    ),
    Mutant(
        "an item is marked before it is begun",
        "runtime/reports.py",
        "            hit.items.begun = exit.item\n",
        "            hit.items.begun = exit.item - 1\n",
        (CHUNKS + "an_item_of_a_chunk_fails_alone",),
    ),
    Mutant(
        "results are sent before the error of an item",
        "worker/chunk.py",
        "        except BaseException:\n            self._flush()\n",
        "        except BaseException:\n",
        (CHUNKS + "an_item_of_a_chunk_fails_alone",),
    ),
    Mutant(
        "a result does not wait for a slow item",
        "worker/chunk.py",
        "                    self._flush()\n                    due = clock() + HOLD\n",
        "                    due = clock() + HOLD\n",
        (CHUNKS + "what_an_item_that_took_its_time_came_to_is_safe_before_the_next_begins",),
    ),
    Mutant(
        "a long chunk is given back",
        "worker/chunk.py",
        "if now > end or cell[0] == total:\n",
        "if cell[0] == total:\n",
        (CHUNKS + "a_chunk_that_takes_too_long_is_given_back_for_whoever_is_free",),
    ),
    # ---- N4, N5: links and groups
    Mutant(
        "a linked child ends with its parent",
        "supervision/ending.py",
        "        if tree.linked(a, child) and not tree.leaving(child):\n",
        "        if False:\n",
        (TREES + "a_linked_subtree_stops_when_its_parent_ends_leaves_first", SIMULATE),
    ),
    Mutant(
        "groups go down in reverse order",
        "supervision/groups.py",
        "        for key in reversed(group.members):\n",
        "        for key in list(group.members):\n",
        (TREES + "a_group_goes_down_in_reverse_order_and_up_in_order",),
    ),
    Mutant(
        "a group goes down one after the other",
        "supervision/groups.py",
        "                return  # One after the other: its exit comes back here.\n",
        "                continue\n",
        (GUARDS + "each_member_has_gone_before_the_next_one_goes_down",),
    ),
    Mutant(
        "rest_for_one",
        "supervision/tree.py",
        "            group = group[group.index(a.key) :]\n",
        "            group = group[: group.index(a.key) + 1]\n",
        (TREES + "rest_for_one_restarts_those_started_after_it",),
    ),
    Mutant(
        "a temporary agent is never replaced",
        "supervision/restarts.py",
        '        case "temporary", _, _:\n            return Verdict.STOP\n',
        "",
        (RESTARTS + "a_temporary_agent_is_never_replaced",),
    ),
    Mutant(
        "auto-shutdown only for an end by itself",
        "supervision/ending.py",
        "    if not (by_itself and a.settings.significant)",
        "    if not a.settings.significant",
        (TREES + "a_child_that_was_stopped_shuts_nothing_down",),
    ),
    Mutant(
        "a member that leaves its group restart is forgotten by it",
        "supervision/groups.py",
        "        group.members.remove(a.key)\n",
        "        pass\n",
        (SIMULATE,),
    ),
    # ---- N6, N13: policies
    Mutant(
        "stale ticket of a policy",
        "supervision/failing.py",
        "    if event.ticket != a.ticket or a.pending is None:\n",
        "    if a.pending is None:\n",
        (GUARDS + "a_verdict_that_comes_too_late_is_not_taken_for_the_next_one",),
    ),
    Mutant(
        "stale ticket of an escalation",
        "supervision/failing.py",
        "    if event.ticket != a.appeal:\n",
        "    if False:\n",
        (GUARDS + "an_answer_about_an_earlier_escalation_is_not_taken_for_the_next_one",),
    ),
    Mutant(
        "a policy that fails stops its agent",
        "supervision/failing.py",
        "    if event.fault is not None or hopeless:\n",
        "    if hopeless:\n",
        (MACHINE + "a_policy_that_fails_stops_that_agent_only",),
    ),
    # ---- N7, N15, I5: the end
    Mutant(
        "reverse stop order",
        "supervision/tree.py",
        "    for key in reversed(a.siblings):\n",
        "    for key in a.siblings:\n",
        (TREES + "close_goes_leaves_first_and_branches_at_the_same_time",),
    ),
    Mutant(
        "may_end: leaves first",
        "supervision/tree.py",
        "        if leaving(child) or (stopped and linked(a, child)):\n",
        "        if False:\n",
        (TREES + "close_goes_leaves_first_and_branches_at_the_same_time", SIMULATE),
    ),
    Mutant(
        "may_end: whoever waited looks again",
        "supervision/ending.py",
        "            core.defer(key, look_again)\n",
        "            pass\n",
        (TREES + "close_goes_leaves_first_and_branches_at_the_same_time", SIMULATE),
    ),
    Mutant(
        "no restart while closing: nobody is asked",
        "supervision/failing.py",
        "    if a.supervised and not core.closing and _is_own(a, a.pending.error):\n",
        "    if a.supervised and _is_own(a, a.pending.error):\n",
        (MACHINE + "nothing_restarts_while_closing", SIMULATE),
    ),
    Mutant(
        "no restart while closing: what is being replaced ends",
        "supervision/replacing.py",
        "    elif core.closing:\n        core.cut_off(a)\n",
        "",
        (GUARDS + "who_is_being_replaced_is_not_started_by_a_close",),
    ),
    Mutant(
        "no restart while closing: what waits ends",
        "supervision/ending.py",
        "    elif core.closing and a.phase in _WITHOUT_PROCESS:\n        core.cut_off(a)\n",
        "",
        (
            GUARDS + "who_backs_off_is_not_started_by_a_close",
            GUARDS + "who_waits_for_a_start_slot_is_not_started_by_a_close",
            SIMULATE,
        ),
    ),
    Mutant(
        "no restart while closing: group restarts end",
        "supervision/ending.py",
        "        groups.abandon(a)\n",
        "",
        (
            GUARDS + "a_close_ends_a_group_restart_and_finishes_what_was_accepted",
            GUARDS + "a_member_that_failed_serves_on_when_a_close_ends_its_group_restart",
        ),
    ),
    Mutant(
        "no start for who is spawned while closing",
        "supervision/starting.py",
        "    if core.closing:\n",
        "    if False:\n",
        (MACHINE + "an_agent_spawned_while_closing_never_starts", SIMULATE),
    ),
    Mutant(
        "closing twice ends by the earlier deadline",
        "supervision/ending.py",
        "    core.deadline = min(core.deadline, event.deadline)",
        "    core.deadline = event.deadline",
        (GUARDS + "closing_twice_ends_by_the_earlier_deadline",),
    ),
    Mutant(
        "at the deadline what is left is killed",
        "supervision/ending.py",
        "            core.stop_process(a, StopStage.KILL)\n",
        "            pass\n",
        (MACHINE + "at_the_deadline_of_a_close_everything_left_is_killed",),
    ),
    Mutant(
        "a reply completed before a cancel stands",
        "supervision/ending.py",
        "            core.resolve(a.pending.request, a.pending.error, a.pending.payload)\n",
        "            core.resolve(a.pending.request, Aborted(agent=a.name))\n",
        (MACHINE + "a_reply_completed_before_the_cancel_stands",),
    ),
    # ---- N8: the ladder and its fence
    Mutant(
        "the ladder only goes up",
        "supervision/core.py",
        " or (a.process.stage is not None and stage <= a.process.stage):\n",
        ":\n",
        (
            GUARDS + "a_start_that_fails_after_its_deadline_is_not_given_more_time",
            GUARDS + "what_is_being_killed_is_not_killed_anew",
            SIMULATE,
        ),
    ),
    Mutant(
        "aim at one request only",
        "supervision/core.py",
        "actions.StopProcess(a.key, a.generation, stage, a.process.target)",
        "actions.StopProcess(a.key, a.generation, stage, 0)",
        (TREES + "the_ladder_aims_at_one_request_only", SIMULATE),
    ),
    Mutant(
        "the ladder is called off by its own request only",
        "supervision/requests.py",
        "    if a.process.is_stopped_for(event.request):\n        core.spare(a)\n        core.stop",
        "    if a.process.stage is not None:\n        core.spare(a)\n        core.stop",
        (GUARDS + "a_reply_to_another_request_does_not_call_off_the_ladder",),
    ),
    Mutant(
        "fence: the request check",
        "worker/interrupts.py",
        "        request = self._request\n        force = ",
        "        request = self._page.started\n        force = ",
        (CANCEL + "requests_cancelled_around_their_end_have_one_outcome_and_never_hit_the_next",),
    ),
    Mutant(
        "fence: the page names one request",
        "wire/status.py",
        "                return targets.index(request)\n        return -1\n",
        "                return targets.index(request)\n        return 0\n",
        (CANCEL + "a_cancelled_request_ends_and_its_worker_lives_on",),
    ),
    Mutant(
        "fence: it shuts itself before it raises",
        "worker/interrupts.py",
        "            self._raised, self._request = request, 0\n",
        "            self._raised = request\n",
        (CANCEL + "code_may_notice_and_tidy_up",),
    ),
    Mutant(
        "fence: no exception into an import",
        "worker/interrupts.py",
        '    "importlib._bootstrap",\n',
        "",
        (CANCEL + "an_import_is_never_interrupted",),
    ),
    Mutant(
        "fence: no exception into its own handler, nor into the event loop",
        "worker/interrupts.py",
        "if _in_event_loop(frame):",
        'if _module(frame).startswith("asyncio."):',
        (CANCEL + "a_hail_of_signals_costs_neither_the_worker_nor_its_event_loop",),
    ),
    # ---- N9, N10: starts
    Mutant(
        "start cap",
        "supervision/starting.py",
        "    while core.start_queue and len(core.starting) < core.start_limit:\n",
        "    while core.start_queue:\n",
        (MACHINE + "no_more_processes_start_at_once_than_allowed", SIMULATE),
    ),
    Mutant(
        "the first start has no second try",
        "supervision/starting.py",
        "    if a.announced:\n        core.ask_policy",
        "    if True:\n        core.ask_policy",
        (MACHINE + "a_first_start_that_fails_ends_the_agent_with_its_error",),
    ),
    Mutant(
        "a permanent start error is not tried again",
        "supervision/failing.py",
        "    hopeless = isinstance(error, StartError) and not error.is_retryable\n",
        "    hopeless = False\n",
        (MACHINE + "a_permanent_start_error_is_not_tried_again",),
    ),
    # ---- N12, N16: probes and questions
    Mutant(
        "the stack of a hung agent comes before the kill",
        "supervision/failing.py",
        "        core.stop_process(a, StopStage.STACK)\n",
        "        core.stop_process(a, StopStage.KILL)\n",
        (TREES + "a_busy_agent_without_progress_is_hung_and_its_stack_is_taken_before_the_kill",),
    ),
    Mutant(
        "progress keeps a busy agent alive",
        "supervision/failing.py",
        "    if event.progress != seen:\n",
        "    if False:\n",
        (TREES + "progress_keeps_a_busy_agent_alive",),
    ),
    Mutant(
        "a circle of questions is refused",
        "supervision/wait_graph.py",
        "            if key == asker:\n",
        "            if False:\n",
        (WAITS + "a_circle_is_named_in_the_order_of_waiting_asker_first",),
    ),
    Mutant(
        "the question of a dead asker is dropped",
        "runtime/asks.py",
        "        for question in self._open.pop(asker, {}).values():\n"
        "            self._agents.drop(question.request)\n",
        "        self._open.pop(asker, None)\n",
        (ASK + "the_question_of_an_asker_that_died_is_cancelled",),
    ),
    # ---- measuring: what fails costs its own run, and each call is measured alone
    Mutant(
        "measuring: a death is told by the socket alone",
        "bench/guard.py",
        "for fd in (ours.fileno(), self._death):",
        "for fd in (ours.fileno(),):",
        (f"{SESSION}a_death_is_noticed_while_a_forked_child_lives",),
    ),
    Mutant(
        "measuring: one timeout for all calls",
        "bench/guard.py",
        "if self._page[8:16] != seen:",
        "if False:",
        (f"{SESSION}a_timeout_is_of_one_call",),
    ),
    Mutant(
        "measuring: idle programs run on",
        "bench/guard.py",
        'if order["pause"]:',
        "if False:",
        (f"{SESSION}threads_of_one_program_do_not_disturb_the_runs_of_another",),
    ),
    Mutant(
        "measuring: calls share an argument",
        "bench/inside/program.py",
        "if self.shared else self._load()",
        "if True else self._load()",
        (f"{SESSION}each_call_gets_an_argument_that_no_other_has_changed",),
    ),
    Mutant(
        "measuring: inner loops after one has failed",
        "bench/session.py",
        "            subject.loops = 1\n",
        "",
        (f"{SESSION}one_that_fails_in_inner_loops_is_called_once_a_run_from_then_on",),
    ),
    # ---- the ground
    Mutant(
        "a time is due at that time",
        "supervision/timers.py",
        "        if at is None or at > now:\n",
        "        if at is None or at >= now:\n",
        (TIMERS + "a_time_is_due_at_that_time_and_not_before",),
    ),
    Mutant(
        "what was disarmed is not due",
        "supervision/timers.py",
        "        self._at.pop(name, None)\n",
        "        pass\n",
        (TIMERS + "disarming_forgets_and_forgetting_the_unknown_is_fine",),
    ),
    Mutant(
        "the table says which phases an event leads to",
        "supervision/machine.py",
        "    (READY, ev.Replied): _rule(requests.replied, READY, AWAITING_POLICY),\n",
        "    (READY, ev.Replied): _rule(requests.replied, READY),\n",
        (TABLES + "no_phase_changes_otherwise_than_by_the_tables",),
    ),
    # ---- Large payloads: no foreign memory, nothing kept, shortage costs one request
    Mutant(
        "memory that its peer can still cut or change",
        "wire/payload.py",
        "        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS\n",
        "        sealed = True\n",
        (
            PAYLOAD + "a_descriptor_of_anything_but_sealed_memory_is_refused",
            PAYLOAD + "an_unsealed_descriptor_is_a_fault",
        ),
    ),
    Mutant(
        "memory of another size",
        "wire/payload.py",
        "    return None if found == size else",
        "    return None if found else",
        (PAYLOAD + "memory_of_another_size_than_announced_is_refused",),
    ),
    Mutant(
        "a descriptor for as long as a mapping",
        "wire/payload.py",
        "        content.close()\n",
        "        pass\n",
        (PAYLOAD + "a_mapping_holds_no_descriptor_and_ends_with_its_last_view",),
    ),
    Mutant(
        "descriptors for workers",
        "wire/payload.py",
        "[0] // 2:",
        "[0]:",
        (PAYLOAD + "leases_leave_half_of_the_descriptors_to_others",),
    ),
    Mutant(
        "a body without a number for its descriptor",
        "wire/channel.py",
        "                self._descriptors.append(_NONE_LEFT)\n",
        "                pass\n",
        (PAYLOAD + "without_a_number_for_a_descriptor_one_frame_loses_its_body_and_no_other",),
    ),
    Mutant(
        "descriptors of torn frames",
        "wire/channel.py",
        "                os.close(fd)\n",
        "                pass\n",
        (PAYLOAD + "the_descriptor_of_a_torn_frame_is_closed",),
    ),
    Mutant(
        "a descriptor of no frame",
        "wire/channel.py",
        "        if len(self._descriptors) > self._decoder.partial:\n",
        "        if False:\n",
        (PAYLOAD + "a_descriptor_without_a_frame_is_a_fault",),
    ),
    # ---- streaming: pieces first, then the end; nobody runs ahead, and nobody waits for nothing
    Mutant(
        "futures: a handler finds the socket that its thread reads given back",
        "futures/socket_readers.py",
        "            back()\n",
        "            pass\n",
        (REENTRANCE + "a_pool_and_handles_in_signal_handlers",),
    ),
    Mutant(
        "executor: what follows a failure is sent again without a reader",
        "executor/mapping.py",
        "        if self.reply.failure is None or alone:\n",
        "        if True:\n",
        (SHUTDOWN + "failures_in_a_map_that_nobody_reads_cost_no_other_call",),
    ),
    Mutant(
        "executor: a shutdown waits for the first orders of an input",
        "executor/closing.py",
        "        self._inputs.add(source)\n",
        "        pass\n",
        (SHUTDOWN + "a_buffer_that_nobody_reads_is_done",),
    ),
    Mutant(
        "executor: an input that is cancelled is not waited for",
        "executor/closing.py",
        "            self._inputs.clear()\n            self._wake_if_idle()\n",
        "",
        (SHUTDOWN + "a_shutdown_waits_for_no_input_that_is_cancelled_or_was_read_from",),
    ),
    Mutant(
        "executor: what an input sends when its map was left is cancelled",
        "executor/feeding.py",
        "        if self._closed:\n            self._cancel_sent()\n",
        "",
        (SHUTDOWN + "what_is_sent_when_its_map_was_left_is_cancelled",),
    ),
    Mutant(
        "executor: the thread of an input ends when its map is lost",
        "pool/input_reader.py",
        "        self._orders.put(None)  # nothing can ask for more, so the thread ends\n",
        "        pass\n",
        (SHUTDOWN + "the_thread_of_an_input_ends_with_its_map",),
    ),
    Mutant(
        "executor: cancel_futures asks the monitor what has begun",
        "supervision/requests.py",
        "not (event.waiting and request.worker is not None)",
        "True",
        (SHUTDOWN + "cancel_futures_ends_nothing_that_has_begun",),
    ),
    Mutant(
        "executor: a submit that a shutdown came into is refused",
        "executor/agent_executor.py",
        "        if self._shut_down:\n            # Since",
        "        if False:\n            # Since",
        (SHUTDOWN + "a_signal_handler_may_shut_down_in_the_middle_of_a_submit",),
    ),
    Mutant(
        "pool: a close waits for the outcomes first",
        "pool/agent_pool.py",
        "                self._orchestrator.await_quiet(timeout)\n",
        "                pass\n",
        (SHUTDOWN + "limits_of_a_worker_hold_to_the_end",),
    ),
    # ---- streaming
    Mutant(
        "streaming: the pieces come before the end",
        "futures/stream.py",
        "            piece = self._take(arrived.open)\n",
        "            piece = None if ended else self._take(arrived.open)\n",
        (
            STREAM + "a_death_in_mid_stream_is_named_after_the_pieces_that_arrived",
            STREAM + "a_stream_that_nobody_reads_ends_at_its_deadline",
        ),
    ),
    Mutant(
        "streaming: the end is its error",
        "futures/stream.py",
        "            if ended:\n                break\n            socket_readers",
        "            if ended:\n                raise StopIteration\n            socket_readers",
        (
            STREAM + "a_death_in_mid_stream_is_named_after_the_pieces_that_arrived",
            STREAM + "an_error_in_mid_stream_comes_after_the_pieces_too",
        ),
    ),
    Mutant(
        "streaming: the agent waits for its reader",
        "worker/services.py",
        "        full = self._pieces >= _PIECES or self._bytes >= _BYTES\n",
        "        full = False\n",
        (STREAM + "a_slow_reader_slows_the_agent_down",),
    ),
    Mutant(
        "streaming: a piece is confirmed when it is read, and not before",
        "futures/stream.py",
        "        if self._ended or self._whole_answer:\n            self._confirm_all()\n",
        "        self._confirm_all()\n",
        (STREAM + "a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will",),
    ),
    Mutant(
        "streaming: what nobody will read is confirmed",
        "futures/stream.py",
        "        self._ended = True\n        self._confirm_all()\n",
        "        self._ended = True\n",
        (STREAM + "a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will",),
    ),
    Mutant(
        "streaming: what is read is confirmed",
        "futures/stream.py",
        "            self._confirm_to(number)\n",
        "            pass\n",
        (STREAM + "a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will",),
    ),
    Mutant(
        "streaming: who wants the whole answer lets the rest come",
        "futures/stream.py",
        "        self._whole_answer = True\n        self._confirm_all()\n",
        "        self._whole_answer = True\n",
        (STREAM + "a_slow_reader_slows_the_agent_down",),
    ),
    Mutant(
        "streaming: leaving the block cancels",
        "futures/stream.py",
        "else the SystemExit of a fork goes on undisturbed\n            self.cancel()\n",
        "else the SystemExit of a fork goes on undisturbed\n            pass\n",
        (STREAM + "leaving_in_mid_stream_cancels_the_request_and_the_agent_goes_on",),
    ),
    Mutant(
        "streaming: what was read is not sent again",
        "api/handle.py",
        "Delivery(text, limit, retries=0, wait=wait)",
        "Delivery(text, limit, wait=wait)",
        (STREAM + "a_death_in_mid_stream_is_named_after_the_pieces_that_arrived",),
    ),
    Mutant(
        "streaming: nothing is sent where nobody reads",
        "agents/context.py",
        "        self._streaming = streaming\n",
        "        self._streaming = True\n",
        (STREAM + "nothing_is_sent_where_nobody_reads",),
    ),
    Mutant(
        "streaming: a turn of a model is sent while it comes",
        "agents/model_turns.py",
        "                    await worker.emit_async(piece)\n",
        "                    pass\n",
        (STREAM + "the_pieces_come_in_order_and_make_up_the_answer",),
    ),
    # ---- retry_after: a restart waits for what the provider asked
    Mutant(
        "retry_after: it reaches the restart",
        "supervision/failing.py",
        "            asked = error.retry_after if isinstance(error, AgentError) else None\n",
        "            asked = None\n",
        (MACHINE + "a_throttled_agent_backs_off_for_what_its_service_asked",),
    ),
    Mutant(
        "retry_after: a longer backoff stands",
        "supervision/restarts.py",
        "        return max(asked, self._backoff.delay(self._attempts, chance, recent))\n",
        "        return asked or self._backoff.delay(self._attempts, chance, recent)\n",
        (RESTARTS + "a_restart_waits_at_least_as_long_as_was_asked_for",),
    ),
    Mutant(
        "retry_after: it is found on the cause",
        "agents/adapters/provider_waits.py",
        "    return first(way(link) for way in ways for link in chain)\n",
        "    return first(way(chain[0]) for way in ways)\n",
        (ERROR_MAP + "what_caused_it_tells_where_the_exception_does_not",),
    ),
    Mutant(
        "retry_after: milliseconds are thousandths",
        "agents/adapters/provider_waits.py",
        "            return milliseconds / 1000\n",
        "            return milliseconds\n",
        (ERROR_MAP + "the_wait_is_read_from_the_headers",),
    ),
    Mutant(
        "retry_after: a wait without end is none",
        "errors/waits.py",
        '    return seconds if 0 <= seconds < float("inf") else None\n',
        "    return seconds\n",
        (ERROR_MAP + "a_wait_that_is_none_is_none",),
    ),
    # ---- checkpoint: what was answered is remembered, nothing else is
    Mutant(
        "checkpoint: a conversation is stored with its answer",
        "agents/agent.py",
        "        if self.options.checkpoint and worker is not None and self._talk is not None:\n",
        "        if False:\n",
        (AGENT + "a_stored_conversation_goes_on_in_the_next_generation",),
    ),
    Mutant(
        "checkpoint: only where it was asked for",
        "agents/agent.py",
        "        if self.options.checkpoint and worker is not None and self._talk is not None:\n",
        "        if worker is not None and self._talk is not None:\n",
        (AGENT + "a_stored_conversation_goes_on_in_the_next_generation",),
    ),
    Mutant(
        "checkpoint: a conversation goes on where it was",
        "agents/agent.py",
        '        self._talk.history = self._talk.load(state["saved"])\n',
        "        pass\n",
        (AGENT + "a_stored_conversation_goes_on_in_the_next_generation",),
    ),
    Mutant(
        "checkpoint: no other state is taken for a conversation",
        "agents/agent.py",
        "        if not isinstance(state, Mapping) or state.get(_STATE) != self._kind:\n",
        "        if not isinstance(state, Mapping):\n",
        (AGENT + "a_checkpoint_that_is_no_conversation_is_refused",),
    ),
    Mutant(
        "checkpoint: a request that fails leaves the conversation as it was",
        "agents/model_turns.py",
        "        history = [*self.history, *messages]\n",
        "        history = self.history = [*self.history, *messages]\n",
        (AGENT + "a_failed_request_leaves_the_conversation_as_it_was",),
    ),
    Mutant(
        "checkpoint: without history every request begins anew",
        "agents/agent.py",
        "            self._talk.history = self._blank\n",
        "            pass\n",
        (AGENT + "without_history_every_request_begins_anew",),
    ),
    Mutant(
        "checkpoint: the last one wins",
        "runtime/reports.py",
        "                self._links[spec.key].checkpoint = bytes(unpack(frame.body))\n",
        "                link = self._links[spec.key]\n"
        "                link.checkpoint = link.checkpoint or bytes(unpack(frame.body))\n",
        (
            CHECKPOINT + "the_next_generation_has_the_last_checkpoint_before_its_first_request",
            CHECKPOINT + "a_checkpoint_stays_until_there_is_a_newer_one",
        ),
    ),
    Mutant(
        "checkpoint: it has a largest size",
        "worker/services.py",
        '        self._check(agent, "checkpoint", sum(map(len, body)), CHECKPOINT_LIMIT)\n',
        "",
        (CHECKPOINT + "what_cannot_be_saved_is_refused_and_changes_nothing",),
    ),
    # ---- error map: the most telling sign first, and nothing that is not about a model's service
    Mutant(
        "error map: quota comes before the rate limit",
        "agents/adapters/error_map.py",
        "    if any(_out_of_quota(link) for link in links):\n",
        "    if False:\n",
        (ERROR_MAP + "the_code_of_the_provider_comes_before_the_class",),
    ),
    Mutant(
        "error map: a quota that names a wait is a rate limit",
        "agents/adapters/error_map.py",
        "    return asked_outright(error) is None\n",
        "    return True\n",
        (ERROR_MAP + "quota_is_believed_from_the_text_only_where_no_wait_is_named",),
    ),
    Mutant(
        "error map: the code comes before the class",
        "agents/adapters/error_map.py",
        "_by_code(link) or _by_name(link) or _by_status(link)",
        "_by_name(link) or _by_code(link) or _by_status(link)",
        (ERROR_MAP + "the_code_of_the_provider_comes_before_the_class",),
    ),
    Mutant(
        "error map: base classes count",
        "agents/adapters/error_map.py",
        "    return [cls.__name__ for cls in type(error).__mro__]\n",
        "    return [type(error).__name__]\n",
        (ERROR_MAP + "the_name_of_a_base_class_tells_as_well",),
    ),
    Mutant(
        "error map: the text comes last",
        "agents/adapters/error_map.py",
        "_by_code(link) or _by_name(link) or _by_status(link)",
        "_by_code(link) or _by_name(link) or _by_text(link) or _by_status(link)",
        (ERROR_MAP + "the_status_comes_before_the_text",),
    ),
    Mutant(
        "error map: the cause tells, too",
        "agents/adapters/error_map.py",
        "        link = group[-1] if group else link.__cause__\n",
        "        link = group[-1] if group else None\n",
        (ERROR_MAP + "what_caused_it_tells_where_the_exception_does_not",),
    ),
    Mutant(
        "error map: only exceptions of the libraries it knows",
        "agents/adapters/error_map.py",
        "    return [link for link in chain if _comes_from(link, LIBRARIES)]\n",
        "    return chain\n",
        (ERROR_MAP + "what_is_not_about_a_models_service_means_nothing_here",),
    ),
    Mutant(
        "error map: a library is its whole name",
        "agents/adapters/error_map.py",
        'f"{cls.__module__}.".startswith(f"{m}.")',
        "cls.__module__.startswith(m)",
        (ERROR_MAP + "what_is_not_about_a_models_service_means_nothing_here",),
    ),
    Mutant(
        "error map: every status of 500 and more",
        "agents/adapters/error_map.py",
        "500 <= status < 600",
        "500 == status",
        (ERROR_MAP + "the_status_tells_wherever_it_is_kept",),
    ),
    # ---- signals to a command: a batch ends in time, whatever holds it up
    Mutant(
        "SIGTERM gives a batch no longer than its grace",
        "cli/signals.py",
        "time.monotonic() >= self._hurry_at:\n",
        "False:\n",
        (SIGNALS + "after_the_grace_what_is_under_way_is_left_to_the_next_run",),
    ),
    Mutant(
        "a batch whose main thread is held up ends all the same",
        "cli/signals.py",
        "                os._exit(self.code or ExitCode.SOME_FAILED)\n",
        "                return\n",
        (SIGNALS + "a_reader_that_has_stopped_reading_does_not_hold_up_the_end",),
    ),
    Mutant(
        "an ignored hang-up stays ignored",
        "cli/signals.py",
        "if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:\n",
        "if True:\n",
        (SIGNALS + "a_hang_up_that_was_ignored_at_the_start_stays_ignored",),
    ),
    # ---- what others have used for an answer
    Mutant(
        "account: what a tool has asked for is counted",
        "agents/context.py",
        "    if noted is not None and isinstance(answer, AgentResult):\n",
        "    if False:\n",
        (ASK + "usage_and_cost_of_the_agents_that_tools_ask_are_summed_up_the_tree",),
    ),
    Mutant(
        "account: each conversation has its own",
        "agents/context.py",
        "            _account.reset(token)\n",
        "            pass\n",
        (ASK + "usage_and_cost_of_the_agents_that_tools_ask_are_summed_up_the_tree",),
    ),
    # ---- the input of a batch
    Mutant(
        "input: a non-blocking pipe is waited for",
        "batch/readers.py",
        "        except BlockingIOError:\n            readable.poll()\n",
        "        except BlockingIOError:\n            return b''\n",
        (PIPES + "a_non_blocking_pipe_is_waited_for",),
    ),
    Mutant(
        "input: whatever ends the reading thread is told",
        "batch/reader_thread.py",
        "        except BaseException as error:  # `take` raises it\n",
        "        except OSError as error:\n",
        (PIPES + "whatever_the_input_raises_ends_the_batch_with_it",),
    ),
    Mutant(
        "input: compared at the end with what it was",
        "batch/input_check.py",
        "        if self._same and now is not None and now == self._scan.state "
        "and not self._found.any():\n",
        "        if not self._found.any():\n",
        (
            RECHECK + "a_file_that_changes_when_it_was_read_already",
            RECHECK + "files_of_a_folder_that_come_go_and_change",
        ),
    ),
    Mutant(
        "input: compared while it is read as well",
        "batch/input_check.py",
        "                if self._found.look(item, self._scan.digests, missing):\n",
        "                if True:\n",
        (RECHECK + "a_file_that_changed_and_changed_back_is_noticed",),
    ),
    Mutant(
        "input: no more is run than was checked",
        "batch/input_check.py",
        "itertools.islice(everything, self._scan.read)",
        "everything",
        (RECHECK + "of_very_many_items_none_is_run_that_is_new",),
    ),
    Mutant(
        "input: the reading thread finds room when the batch has ended",
        "batch/reader_thread.py",
        "                self._waiting.get_nowait()\n\n",
        "                break\n\n",
        (PIPES + "a_batch_that_ends_early_reads_no_more",),
    ),
    # ---- the names that a batch derives
    Mutant(
        "failed items: a file of somebody else is left alone",
        "batch/failed_items.py",
        "                elif line.batch != batch:\n                    return False\n",
        "",
        (
            FAILED_ITEMS + "two_journals_that_share_a_name_of_failed_items_each_keep_theirs",
            FAILED_ITEMS + "a_journal_that_was_removed_leaves_its_failed_items",
        ),
    ),
    # ---- Results: nothing that is read is written over, and one count for all
    Mutant(
        "salvage: the number of the last runner is given out again",
        "batch/salvage.py",
        "UNION ALL SELECT epoch FROM items UNION ALL SELECT 0",
        "UNION ALL SELECT 0",
        ("tests/batch/test_salvage.py::test_the_number_of_the_last_runner_is_not_given_out_again",),
    ),
    Mutant(
        "merge: a file that came up meanwhile is replaced",
        "batch/merge.py",
        "        os.link(beside, out)\n",
        "        os.replace(beside, out)\n",
        ("tests/batch/test_merge.py::test_a_file_that_came_up_meanwhile_is_not_replaced",),
    ),
    Mutant(
        "export: the journal is written over",
        "cli/export.py",
        "            output_file.refuse(place, read, stdout=stdout)\n",
        "",
        ("tests/cli/test_outputs.py::test_stdout_that_is_the_journal_is_refused",),
    ),
    Mutant(
        "batch: only a full disk is waited for",
        "batch/writer.py",
        " or code in _WRITING\n",
        "\n",
        ("tests/batch/test_disks.py::test_a_limit_on_the_size_of_files_is_waited_for",),
    ),
    Mutant(
        "batch: items that left the input are not noted",
        "batch/loop.py",
        "            self._store.note_removed_items(self.tally.ok + self.tally.failed)\n",
        "            pass\n",
        ("tests/cli/test_batch.py::test_items_that_left_the_input_are_counted_apart_everywhere",),
    ),
    Mutant(
        "failed items: a name is taken without a look",
        "batch/failed_items.py",
        "os.O_CREAT | os.O_EXCL",
        "os.O_CREAT",
        (FAILED_ITEMS + "a_file_of_the_user_is_left_alone",),
    ),
    Mutant(
        "journal: the lock of somebody else is left alone",
        "batch/lock.py",
        "        if text and _holder(text) is None:\n",
        "        if False:\n",
        (FAILED_ITEMS + "a_lock_file_of_another_tool_is_left_alone",),
    ),
    # ---- requests ahead of their turn
    Mutant(
        "ahead: back to the queue after a death",
        "supervision/core.py",
        "            self.put_back(request)\n",
        "            self.resolve(request.id, Aborted(agent=a.name))\n",
        (PREFETCH + "a_death_costs_the_request_that_ran_and_no_other",),
    ),
    Mutant(
        "ahead: nothing is begun before the verdict",
        "worker/lifecycle.py",
        "            self._waits = self._head.waits\n",
        "",
        (PREFETCH + "nothing_is_begun_before_the_policy_has_decided_about_an_error",),
    ),
    Mutant(
        "ahead: one that is cancelled is not begun",
        "launch/process.py",
        "        if not self._gone:\n            self._page.aim(request, FLAG)\n",
        "        pass\n",
        (PREFETCH + "one_that_is_cancelled_in_time_never_begins",),
    ),
    Mutant(
        "ahead: one that began before its cancellation is interrupted",
        "supervision/dispatch.py",
        "    else:\n        end_request(core, a, request)\n",
        "",
        (MACHINE + "one_that_was_cancelled_ahead_of_its_turn_is_interrupted_when_that_comes",),
    ),
    Mutant(
        "age: a process that waits with requests ahead is replaced as well",
        "supervision/requests.py",
        "    if a.phase is Phase.READY and a.process.serves:\n        recycle",
        "    if a.phase is Phase.READY and a.process.idle:\n        recycle",
        (THROTTLE + "a_process_that_is_old_in_a_pause_is_replaced_and_what_was_ahead_waits_again",),
    ),
    Mutant(
        "journal: what comes after the end of the writer is not waited for",
        "batch/loop.py",
        "        if not self._writer_lives:",
        "        if False:",
        (
            "tests/batch/test_lost_journal.py::test_an_outcome_that_comes_after_the_end_of_the_"
            "journal_is_not_waited_for",
        ),
    ),
    Mutant(
        "ahead: not by an agent that has finished",
        "supervision/dispatch.py",
        "    if not a.process.held and not a.process.course.leaves:\n",
        "    if not a.process.held:\n",
        (MACHINE + "what_is_ahead_of_an_agent_that_finishes_goes_back_to_the_queue",),
    ),
    Mutant(
        "ahead: no more than a process may serve",
        "supervision/instance.py",
        "        if self.settings.max_requests is not None:\n",
        "        if False:\n",
        (PREFETCH + "a_process_serves_no_more_requests_than_it_may",),
    ),
    Mutant(
        "what waits is for those who were told to finish, when they are the last",
        "supervision/ending.py",
        "            core.defer(member, _look)\n",
        "            pass\n",
        (REPLICAS + "what_waits_for_one_that_ends_is_taken_by_one_that_was_told_to_finish",),
    ),
    Mutant(
        "posted first, looked for others second",
        "runtime/monitor.py",
        "        self._loop.post_quietly(ev.Submit(request))\n"
        "        if not self._machine.waiting(request.mailbox)",
        "        waiting = self._machine.waiting(request.mailbox)\n"
        "        self._loop.post_quietly(ev.Submit(request))\n"
        "        if not waiting",
        (MONITOR + "a_request_for_which_nobody_is_woken_is_found_by_the_turn_that_makes_room",),
    ),
    Mutant(
        "an interrupted poster leaves the waking to the next",
        "runtime/loop.py",
        "                self._asleep = True\n                raise\n",
        "                raise\n",
        (MONITOR + "a_poster_that_is_interrupted_leaves_the_waking_to_the_next",),
    ),
    Mutant(
        "a dropped interrupt comes again",
        "worker/interrupts.py",
        "                self._told = 0  # All",
        "                pass  # All",
        (CANCEL + "an_interrupt_that_comes_to_nothing_comes_again_where_the_agent_waits",),
    ),
)
