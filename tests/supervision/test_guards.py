"""What the simulator found, and what no other test guards: one small story each.

Every test here fails when the line that it is about is taken out (``tests/mutants``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from procorch.clock import REAL
from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentStopped,
    MemoryLimitExceeded,
    NetworkError,
    ProtocolError,
    RequestTimeout,
    StartError,
)
from procorch.launch.base import Spec
from procorch.launch.endpoints import Endpoints
from procorch.launch.process import LocalProcess
from procorch.runtime.loop import Loop
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.states import AgentStatus, Phase, StopStage
from procorch.supervision.timers import Timers
from procorch.wire.frame import Kind, header

RESTART, STOP, ESCALATE = SupervisorAction


def told(bench, kind):
    return [
        a.notice for a in bench.log if isinstance(a, actions.Notify) and isinstance(a.notice, kind)
    ]


def finish(bench, key, request, error=None):
    """The agent says that this request is its last, answers it, and is on its way out."""
    bench.step(ev.AgentFinished(key, bench.generation(key)))
    bench.reply(key, request, error)


def leave(bench, key):
    """The process exits in order."""
    generation = bench.generation(key)
    bench.live[key].discard(generation)
    bench.step(ev.Exited(key, generation, ev.Exit(code=0)))


# ---- the ladder goes up (N8)


def test_a_start_that_fails_after_its_deadline_is_not_given_more_time(bench):
    key = bench.spawn(start_timeout=3.0, shutdown=Shutdown(terminate=2))
    bench.wait(3.0)
    bench.step(ev.StartFailed(key, 1, StartError("no")))
    assert bench.pressed(key) == [StopStage.TERMINATE]
    bench.wait(2.0)
    assert bench.pressed(key) == [StopStage.TERMINATE, StopStage.KILL]
    bench.die(key)
    assert "not ready within 3 s" in str(bench.finished[key].error), "the first reason stands"


def test_what_is_being_killed_is_not_killed_anew(bench):
    times = Shutdown(cooperate=0, interrupt=0, terminate=0, kill=3)
    key = bench.running(memory_limit=1000, shutdown=times)
    bench.submit(key, deadline=1.0, timeout=1.0)
    bench.wait(1.0)
    assert bench.pressed(key)[-1] is StopStage.KILL
    bench.now += 2
    bench.step(ev.StreamBroken(key, 1, ProtocolError("bad magic")))
    bench.wait(1)
    assert bench.pressed(key).count(StopStage.KILL) == 1
    assert told(bench, notices.Unreaped), "its three seconds have not begun again"


def test_a_reply_to_another_request_does_not_call_off_the_ladder(bench):
    key = bench.running()
    first = bench.submit(key)
    bench.reply(key, first)
    bench.submit(key)
    bench.step(ev.Cancel(key))
    bench.reply(key, first)  # once more
    assert bench.pressed(key) == [StopStage.COOPERATE]
    assert bench.machine.stale == 1


def test_a_cancel_hurries_an_agent_that_was_leaving_anyway(bench):
    key = bench.running()
    bench.fail(key, bench.submit(key))
    bench.policy_says(RESTART)
    assert bench.pressed(key) == [StopStage.LEAVE]
    bench.step(ev.Cancel(key))
    assert bench.pressed(key) == [StopStage.LEAVE, StopStage.TERMINATE]


def test_a_second_cancel_hurries_an_agent_that_leaves_slowly(bench):
    key = bench.running()
    bench.step(ev.Stop(key, 5.0))
    assert bench.pressed(key) == [StopStage.LEAVE]
    bench.step(ev.Cancel(key))
    assert bench.pressed(key) == [StopStage.LEAVE, StopStage.TERMINATE]
    bench.die(key, signal="SIGTERM")
    assert bench.status(key) is AgentStatus.STOPPED


# ---- an agent that finishes (N0)


def test_an_agent_that_says_it_is_finished_and_stays_is_made_to_leave(bench):
    key = bench.running(shutdown=Shutdown(grace=4))
    finish(bench, key, bench.submit(key))
    bench.wait(4)
    assert bench.pressed(key) == [StopStage.TERMINATE]
    bench.die(key, signal="SIGTERM")
    assert bench.questions == [], "that is a requested exit and no crash"
    assert bench.status(key) is AgentStatus.COMPLETED


def test_an_agent_that_crashes_on_its_way_out_has_crashed(bench):
    key = bench.running()
    finish(bench, key, bench.submit(key))
    bench.die(key, signal="SIGSEGV")
    assert isinstance(bench.questions[0].error, AgentCrashed)


@pytest.mark.parametrize("exit_first", [True, False])
def test_an_agent_that_finishes_with_an_error_ends_the_same_whoever_is_faster(bench, exit_first):
    key = bench.running()
    finish(bench, key, bench.submit(key), NetworkError("lost"))
    if exit_first:
        leave(bench, key)
        bench.policy_says(ESCALATE)
    else:
        bench.policy_says(ESCALATE)
        leave(bench, key)
    assert bench.status(key) is AgentStatus.COMPLETED
    assert told(bench, notices.Crashed) == []


def test_a_permanent_agent_that_finishes_too_often_takes_its_group_along(bench):
    root = bench.running(intensity=Intensity(1, 60.0))
    child = bench.running(parent=root, restart="permanent", max_restarts=9)
    sibling = bench.running(parent=root)
    for _ in range(2):
        finish(bench, child, bench.submit(child))
        leave(bench, child)
        if bench.status(child) is None:
            bench.ready(child)
    assert bench.status(child) is AgentStatus.FAILED
    assert bench.pressed(sibling) == [StopStage.LEAVE]
    assert [notice.agent for notice in told(bench, notices.Escalated)] == [f"a{child}"]


# ---- counting (N1, N2)


@pytest.mark.parametrize(("good", "budget_left"), [(True, True), (False, False)])
def test_only_a_success_counts_as_one_while_the_process_leaves(bench, good, budget_left):
    key = bench.running(max_restarts=1)
    bench.die(key)
    bench.policy_says(RESTART)
    bench.ready(key)
    request = bench.submit(key)
    bench.step(ev.Restart(key))
    bench.reply(key, request, None if good else NetworkError("lost"))
    bench.die(key, signal="SIGTERM")
    bench.ready(key)
    bench.die(key)
    bench.policy_says(RESTART)
    assert (bench.status(key) is None) is budget_left


def test_a_success_of_an_older_generation_does_not_count(bench):
    key = bench.running(max_restarts=1)
    request = bench.submit(key)
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    bench.ready(key)
    bench.step(ev.Replied(key, 1, request))
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.status(key) is AgentStatus.FAILED


def test_a_policy_that_stops_one_agent_does_not_stop_its_group(bench):
    root = bench.running(intensity=Intensity(1, 60.0))
    first, second, third = (bench.running(parent=root, max_restarts=9) for _ in range(3))
    bench.die(first)
    bench.policy_says(RESTART)  # the window is full now
    bench.die(second)
    bench.policy_says(STOP)
    assert bench.status(second) is AgentStatus.FAILED
    assert bench.phase(third) is Phase.READY
    assert told(bench, notices.Escalated) == []


def test_an_escalation_beyond_the_intensity_goes_up_once(bench):
    root = bench.running(intensity=Intensity(0, 60.0), reconsiders=True)
    child = bench.running(parent=root)
    bench.die(child)
    bench.policy_says(ESCALATE)
    assert bench.status(child) is AgentStatus.FAILED
    assert len(told(bench, notices.Escalated)) == 1


def test_an_agent_beyond_its_own_intensity_goes_up_too(bench):
    root = bench.running()
    child = bench.running(parent=root, intensity=Intensity(0, 60.0))
    bench.die(child)
    bench.policy_says(RESTART)
    assert bench.status(child) is AgentStatus.FAILED
    assert [notice.path for notice in told(bench, notices.Escalated)] == [(f"a{root}",)]


# ---- queues and replicas (N3)


def test_a_request_does_not_wait_for_a_replica_that_leaves(bench):
    first = bench.running()
    second = bench.running(mailbox=first)
    finish(bench, first, bench.submit(first))
    request = bench.submit(first)
    assert bench.sent[-1] == (second, 1, request)


def test_a_request_is_sent_ahead_to_a_replica_that_stays(bench):
    first = bench.running(prefetch=2)
    second = bench.running(mailbox=first, prefetch=2)
    bench.submit(first)
    bench.submit(first)
    bench.step(ev.Retire(first))
    request = bench.submit(first)
    assert bench.sent[-1] == (second, 1, request)


def test_a_request_whose_worker_died_is_tried_again_by_whoever_is_free(bench):
    first = bench.running()
    second = bench.running(mailbox=first)
    request = bench.submit(first, retries=1)
    bench.die(first, started=request)
    assert bench.sent == [(first, 1, request), (second, 1, request)]


def test_a_queue_closes_when_all_who_are_left_have_been_told_to_end(bench):
    first = bench.running()
    second = bench.running(mailbox=first)
    bench.submit(second)
    bench.submit(second)
    bench.step(ev.Drain(first))
    bench.step(ev.Cancel(second))
    late = bench.submit(first)
    assert isinstance(bench.error(late), AgentStopped)


@pytest.mark.parametrize("prefetch", [1, 2])
def test_a_request_whose_deadline_has_passed_is_not_sent_even_before_anybody_has_looked(
    bench, prefetch
):
    key = bench.running(prefetch=prefetch)
    running = bench.submit(key)
    for _ in range(prefetch - 1):
        bench.submit(key)
    late, waiting = bench.submit(key, deadline=5.0, timeout=5.0), bench.submit(key)
    bench.now = 5.0
    bench.reply(key, running)
    assert isinstance(bench.error(late), RequestTimeout)
    assert bench.error(late).ran is False
    assert bench.sent[-1] == (key, 1, waiting)


# ---- nothing starts during a close (I2)


def test_who_waits_for_a_start_slot_is_not_started_by_a_close(bench_of):
    bench = bench_of(start_limit=1)
    first, second = bench.spawn(), bench.spawn()
    request = bench.submit(second)
    bench.step(ev.Close(True, 10.0))
    bench.die(first)
    assert isinstance(bench.error(request), Aborted)
    assert bench.live.get(second) is None
    assert bench.machine.idle


def test_who_backs_off_is_not_started_by_a_close(bench):
    key = bench.running(max_restarts=9, backoff=Backoff(initial=5, cap=5))
    request = bench.submit(key, retries=9, allowed_failures=9)
    for _ in range(2):
        bench.die(key, started=request)
        bench.policy_says(RESTART)
        if bench.phase(key) is Phase.STARTING:
            bench.ready(key)
    assert bench.phase(key) is Phase.BACKOFF
    bench.step(ev.Close(True, 10.0))
    assert isinstance(bench.error(request), Aborted)
    assert bench.machine.idle


def test_who_is_being_replaced_is_not_started_by_a_close(bench):
    key = bench.running()
    bench.fail(key, bench.submit(key))
    waiting = bench.submit(key)
    bench.policy_says(RESTART)
    bench.step(ev.Close(True, 10.0))
    bench.die(key, signal="SIGTERM")
    assert isinstance(bench.error(waiting), Aborted)
    assert bench.machine.idle


def test_a_verdict_that_comes_during_a_close_does_not_drop_what_was_accepted(bench):
    key = bench.running()
    bench.fail(key, bench.submit(key))
    waiting = bench.submit(key)
    bench.step(ev.Close(True, 10.0))
    bench.policy_says(RESTART)
    assert bench.sent[-1] == (key, 1, waiting), "the same process goes on"
    bench.reply(key, waiting)
    assert bench.error(waiting) is None


def test_an_operators_restart_does_not_disturb_a_close(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.step(ev.Close(True, 10.0))
    bench.step(ev.Restart(key))
    bench.reply(key, request)
    assert bench.error(request) is None
    assert bench.pressed(key) == [StopStage.LEAVE]


@pytest.fixture
def going_down(bench):
    """A group of three on its way down: a has died, c was told to leave, b still serves."""
    root = bench.running(strategy="one_for_all")
    a, b, c = (bench.running(parent=root) for _ in range(3))
    bench.die(a)
    bench.policy_says(RESTART)
    assert [bench.phase(key) for key in (a, b, c)] == [Phase.HELD, Phase.READY, Phase.RETIRING]
    return a, b, c


def test_a_close_ends_a_group_restart_and_finishes_what_was_accepted(bench, going_down):
    a, b, c = going_down
    first, second = bench.submit(b), bench.submit(b)
    bench.step(ev.Close(True, 10.0))
    assert bench.status(a) is AgentStatus.STOPPED
    bench.die(c, signal="SIGTERM")
    for request in (first, second):
        bench.reply(b, request)
        assert bench.error(request) is None
    assert bench.pressed(b) == [StopStage.LEAVE]
    assert bench.generation(b) == 1


def test_a_member_that_died_is_not_started_by_a_close_in_the_middle_of_a_group_restart(
    bench, going_down
):
    _, b, c = going_down
    bench.die(b)
    bench.step(ev.Close(True, 10.0))
    bench.log.clear()
    bench.die(c, signal="SIGTERM")
    bench.wait(10.0)
    assert [action for action in bench.log if isinstance(action, actions.Launch)] == []


def test_a_member_that_failed_serves_on_when_a_close_ends_its_group_restart(bench):
    root = bench.running(strategy="one_for_all")
    a, b = bench.running(parent=root), bench.running(parent=root)
    bench.fail(a, bench.submit(a))
    waiting = bench.submit(a)
    bench.policy_says(RESTART)
    assert bench.pressed(b) == [StopStage.LEAVE]
    bench.step(ev.Close(True, 10.0))
    bench.reply(a, waiting)
    assert bench.error(waiting) is None


@pytest.mark.parametrize("deadlines", [(10.0, 3.0), (3.0, 10.0)])
def test_closing_twice_ends_by_the_earlier_deadline(bench, deadlines):
    key = bench.running(shutdown=Shutdown(grace=100))
    bench.submit(key)
    for deadline in deadlines:
        bench.step(ev.Close(True, deadline))
    bench.wait(3.0)
    assert bench.pressed(key)[-1] is StopStage.KILL


# ---- order (N4, N7)


@pytest.fixture
def stopped_in_backoff(bench):
    """A parent that backs off is stopped; its child is linked to it."""
    parent = bench.running(max_restarts=9, backoff=Backoff(initial=5, cap=5))
    child = bench.running(parent=parent, link="stop")
    for _ in range(2):
        bench.die(parent)
        bench.policy_says(RESTART)
        if bench.phase(parent) is Phase.STARTING:
            bench.ready(parent)
    assert bench.phase(parent) is Phase.BACKOFF
    bench.step(ev.Stop(parent, 60.0))
    return parent, child


def test_a_parent_in_backoff_ends_after_those_who_are_linked_to_it(bench, stopped_in_backoff):
    parent, child = stopped_in_backoff
    bench.wait(5.0)
    assert bench.status(parent) is None
    assert bench.live[parent] == set(), "it is not started to be stopped"
    bench.die(child, signal="SIGTERM")
    assert bench.status(parent) is AgentStatus.STOPPED


def test_a_parent_that_is_starting_ends_after_those_who_are_linked_to_it(bench):
    parent = bench.running()
    child = bench.running(parent=parent, link="stop")
    bench.die(parent)
    bench.policy_says(RESTART)
    bench.step(ev.Stop(parent, 60.0))
    assert (bench.pressed(parent), bench.pressed(child)) == ([], [StopStage.LEAVE])
    bench.die(child, signal="SIGTERM")
    assert bench.pressed(parent) == [StopStage.LEAVE]


def test_a_parent_that_was_draining_and_is_stopped_waits_for_its_children(bench):
    parent = bench.running()
    request = bench.submit(parent)
    child = bench.running(parent=parent, link="stop")
    bench.step(ev.Drain(parent))
    bench.step(ev.Stop(parent, 60.0))
    bench.reply(parent, request)
    assert bench.pressed(parent) == []
    bench.die(child, signal="SIGTERM")
    assert bench.pressed(parent) == [StopStage.LEAVE]


def test_a_second_stop_does_not_prolong_the_first(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.step(ev.Stop(key, 1.0))
    bench.step(ev.Stop(key, 60.0))
    bench.wait(1.0)
    assert isinstance(bench.error(request), Aborted)


# ---- group restarts (N5)


def test_each_member_has_gone_before_the_next_one_goes_down(bench):
    root = bench.running(strategy="one_for_all")
    a, b, c = (bench.running(parent=root) for _ in range(3))
    bench.die(a)
    bench.policy_says(RESTART)
    assert [bench.pressed(key) for key in (c, b)] == [[StopStage.LEAVE], []]
    bench.die(c, signal="SIGTERM")
    assert bench.pressed(b) == [StopStage.LEAVE]
    assert bench.phase(a) is Phase.HELD


def test_who_is_ending_stays_behind_in_the_old_group_when_a_new_one_takes_over(bench):
    root = bench.running(strategy="one_for_all")
    a, b, c = (bench.running(parent=root, max_restarts=9) for _ in range(3))
    bench.die(a)
    bench.policy_says(RESTART)
    assert bench.pressed(c) == [StopStage.LEAVE]
    bench.submit(c)
    bench.step(ev.Drain(c))
    bench.die(b)
    bench.policy_says(RESTART)
    bench.die(c, signal="SIGTERM")
    for _ in range(3):
        for key in (a, b, c):
            if bench.phase(key) is Phase.STARTING:
                bench.ready(key)
    assert [bench.phase(key) for key in (a, b)] == [Phase.READY, Phase.READY]


def test_a_member_without_a_process_does_not_start_before_its_group_has_gone_down(bench_of):
    bench = bench_of(start_limit=1)
    root = bench.running(strategy="one_for_all")
    a, b = bench.running(parent=root), bench.running(parent=root)
    c = bench.spawn(parent=root)
    d = bench.spawn(parent=root)  # waits for the one slot
    bench.die(a)
    bench.policy_says(RESTART)
    bench.die(c, signal="SIGTERM")
    assert bench.phase(d) is Phase.HELD
    bench.die(b, signal="SIGTERM")
    launched = [action.key for action in bench.log if isinstance(action, actions.Launch)]
    assert launched[-1] == a
    assert d not in launched


def test_a_cancelled_member_without_a_process_lets_the_group_go_on(bench):
    root = bench.running(strategy="one_for_all")
    a, b = bench.running(parent=root), bench.running(parent=root)
    bench.die(a)
    bench.policy_says(RESTART)
    bench.step(ev.Cancel(a))
    bench.die(b, signal="SIGTERM")
    bench.ready(b)
    assert bench.phase(b) is Phase.READY


# ---- policies (N13) and deaths (N3)


def test_a_verdict_that_comes_too_late_is_not_taken_for_the_next_one(bench):
    key = bench.running(max_restarts=9)
    bench.fail(key, bench.submit(key))
    bench.policy_says(ESCALATE)
    bench.fail(key, bench.submit(key))
    bench.step(ev.PolicyAnswered(key, 1, STOP))  # the first ticket once more
    assert bench.phase(key) is Phase.AWAITING_POLICY
    bench.policy_says(ESCALATE)
    assert bench.phase(key) is Phase.READY


def test_an_answer_about_an_earlier_escalation_is_not_taken_for_the_next_one(bench):
    root = bench.running(reconsiders=True)
    child = bench.running(parent=root)
    for _ in range(2):
        bench.fail(child, bench.submit(child))
        bench.policy_says(ESCALATE)
    first, second = [action for action in bench.log if isinstance(action, actions.Reconsider)]
    answer = (first.child, first.error, STOP)
    bench.step(ev.Reconsidered(root, first.ticket, *answer))
    assert bench.phase(root) is Phase.READY
    bench.step(ev.Reconsidered(root, second.ticket, *answer))
    assert bench.phase(root) is Phase.STOPPING


def test_a_reply_wins_over_the_end_of_its_worker(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.step(ev.Restart(key))
    bench.reply(key, request)
    bench.die(key, signal="SIGTERM", started=request)
    assert bench.error(request) is None


def test_a_complete_reply_wins_over_the_death_that_follows_it(bench):
    key = bench.running(memory_limit=1000)
    request = bench.submit(key)
    bench.step(ev.MemoryExceeded(key, 1, 2000))
    bench.reply(key, request)
    bench.die(key, started=request)
    assert bench.error(request) is None
    assert isinstance(bench.questions[0].error, MemoryLimitExceeded)
    assert bench.questions[0].error.request is None


class Paper:
    """Stands for the loop and for the sink of a process: it takes down what they are told."""

    def __init__(self):
        self.watched = {}
        self.told = []

    def watch(self, fd, callback):
        self.watched[fd] = callback

    def unwatch(self, fd):
        self.watched.pop(fd, None)

    def call_later(self, delay, callback):
        self.told.append("later")

    def on_started(self, process, where):
        self.told.append("started")

    def on_frame(self, process, frame):
        self.told.append(frame.request)

    def on_output(self, process, stream, data):
        return 0.0

    def on_exit(self, process, exit):
        self.told.append(f"exit with {exit.code}")


def test_what_a_worker_wrote_is_read_before_its_death_is_told():
    paper, ends = Paper(), Endpoints(capture=False)
    with ends:
        process = LocalProcess(Spec(1, 1, "a", b"", b""), ends, 1 << 20, paper, paper)
        child = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
        pidfd = os.pidfd_open(child.pid)
        process.launched(child.pid, pidfd, child.wait)
        for request in (1, 2):
            os.write(ends.passed[0], header(Kind.REPLY, 1, request, 0, 0))
    child.wait()
    paper.watched[pidfd]()  # the loop sees the death before it has looked at the socket
    assert paper.told == ["started", 1, 2, "exit with 0"]


def test_a_thread_that_reads_ends_with_its_worker_whoever_else_holds_the_socket():
    paper, ends = Paper(), Endpoints(capture=False)
    fd, before = ends.ours.fileno(), threading.enumerate()
    with ends:  # it stays open, as in a grandchild that goes on
        process = LocalProcess(Spec(1, 1, "a", b"", b""), ends, 1 << 26, paper, paper)
        child = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
        pidfd = os.pidfd_open(child.pid)
        process.launched(child.pid, pidfd, child.wait)
        os.write(ends.passed[0], header(Kind.REPLY, 1, 1, 0, 1 << 25) + bytes(1 << 16))
        paper.watched[fd]()
        (reader,) = set(threading.enumerate()) - set(before)
        child.wait()
        paper.watched[pidfd]()
        assert not reader.is_alive()
    assert paper.told == ["started", "exit with 0"]


def test_a_worker_is_not_heard_before_it_is_known_where_it_lives():
    """Its first frame may overtake the word of its birth: who sees it ready sees its pid."""
    paper, ends = Paper(), Endpoints(capture=False)
    fd = ends.ours.fileno()
    with ends:
        process = LocalProcess(Spec(1, 1, "a", b"", b""), ends, 1 << 20, paper, paper)
        assert fd not in paper.watched
        with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as child:
            pidfd = os.pidfd_open(child.pid)
            process.launched(child.pid, pidfd, child.wait)
            assert fd in paper.watched
        paper.watched[pidfd]()


def test_without_retries_a_request_never_enters_a_second_worker(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    bench.ready(key)
    assert [sent[2] for sent in bench.sent] == [request]


# ---- recycling


def test_an_age_that_is_reached_while_the_policy_thinks_is_not_forgotten(bench):
    key = bench.running(max_age=5.0)
    bench.fail(key, bench.submit(key))
    bench.wait(5.0)
    bench.policy_says(ESCALATE)
    bench.reply(key, bench.submit(key))
    assert bench.pressed(key) == [StopStage.LEAVE], "replaced after its next request"


def test_an_agent_that_is_to_be_renewed_and_told_to_end_ends(bench):
    key = bench.running(max_requests=1)
    request = bench.submit(key)
    bench.step(ev.Drain(key))
    bench.fail(key, request)
    bench.policy_says(ESCALATE)
    leave(bench, key)
    assert bench.status(key) is AgentStatus.COMPLETED


# ---- the clock


@pytest.mark.parametrize("days", [30, 365 * 20])
def test_a_time_that_is_far_away_does_not_break_the_loop(days):
    timers: Timers[str] = Timers()
    timers.arm("far away", REAL.now() + days * 86400.0)
    loop: Loop[str] = Loop(REAL, timers)
    sender = threading.Timer(0.05, loop.post, ["here"])
    sender.start()
    taken = []
    while not taken:
        loop.wait(lambda: taken.append(loop.take()), lambda: None)
    sender.join()
    loop.close()
    assert taken == ["here"]
