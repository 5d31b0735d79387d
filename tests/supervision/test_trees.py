"""Trees on the pure machine: groups, links, order, escalation (N2, N4 to N7)."""

from __future__ import annotations

import pytest

from procorch.errors import Aborted, AgentCrashed, AgentStopped, PoisonRequest, StartError
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff, Intensity
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.states import AgentStatus, Phase, StopStage

RESTART, STOP, ESCALATE = SupervisorAction


class Tree:
    """A bench with a small tree on it; processes that are told to leave do so at once."""

    def __init__(self, bench, *, obedient=True):
        self.bench = bench
        self.keys = {}
        self.obedient = obedient
        self.seen = 0

    def add(self, name, parent=None, **settings):
        above = self.keys[parent] if parent else None
        self.keys[name] = key = self.bench.running(parent=above, **settings)
        return key

    def settle(self):
        """Let everything happen that only waits for a process to be ready or to leave."""
        bench = self.bench
        progress = True
        while progress:
            progress = False
            for key in list(self.keys.values()):
                instance = bench.machine.instances.get(key)
                if instance is None:
                    continue
                if instance.phase is Phase.STARTING and instance.process.stage is None:
                    bench.ready(key)
                    progress = True
                elif (
                    instance.process.alive and instance.process.stage is not None and self.obedient
                ):
                    bench.die(key, signal="SIGTERM")
                    progress = True

    def log(self, kind):
        names = {key: name for name, key in self.keys.items()}
        return [names[a.key] for a in self.bench.log if isinstance(a, kind) and a.key in names]

    def starts(self):
        return self.log(actions.Launch)[len(self.keys) :]

    def fail(self, name, action=RESTART):
        self.bench.die(self.keys[name])
        self.bench.policy_says(action)
        self.settle()

    def generation(self, name):
        return self.bench.generation(self.keys[name])

    def status(self, name):
        return self.bench.status(self.keys[name])


@pytest.fixture
def tree(bench):
    return Tree(bench)


def family(tree, strategy, *, names="abc", **parent):
    tree.add("root", strategy=strategy, **parent)
    for name in names:
        tree.add(name, "root")
    return tree


# ---- N5: strategies


def test_one_for_one_restarts_the_failed_one(tree):
    family(tree, "one_for_one").fail("b")
    assert [tree.generation(n) for n in "abc"] == [1, 2, 1]


def test_one_for_all_restarts_all_siblings_and_not_the_parent(tree):
    family(tree, "one_for_all").fail("b")
    assert [tree.generation(n) for n in "abc"] == [2, 2, 2]
    assert tree.generation("root") == 1


def test_rest_for_one_restarts_those_started_after_it(tree):
    family(tree, "rest_for_one").fail("b")
    assert [tree.generation(n) for n in "abc"] == [1, 2, 2]


def test_a_group_goes_down_in_reverse_order_and_up_in_order(tree):
    family(tree, "one_for_all")
    tree.bench.log.clear()
    tree.fail("a")
    assert tree.log(actions.StopProcess) == ["c", "b"]
    assert tree.log(actions.Launch) == ["a", "b", "c"]


def test_each_member_is_ready_before_the_next_one_starts(bench):
    tree = family(Tree(bench), "one_for_all")
    bench.log.clear()
    bench.die(tree.keys["a"])
    bench.policy_says(RESTART)
    for name in "cb":
        bench.die(tree.keys[name], signal="SIGTERM")
    assert tree.log(actions.Launch) == ["a"]
    bench.ready(tree.keys["a"])
    assert tree.log(actions.Launch) == ["a", "b"]


def test_a_request_in_flight_in_a_sibling_fails_naming_the_one_that_failed(tree):
    family(tree, "one_for_all")
    bench = tree.bench
    running, waiting = bench.submit(tree.keys["b"]), bench.submit(tree.keys["b"])
    tree.fail("a")
    error = bench.error(running)
    assert isinstance(error, AgentCrashed)
    assert error.cause == f"a{tree.keys['a']}"
    assert (tree.keys["b"], 2, waiting) in bench.sent, "its queue survives"


def test_siblings_do_not_count_as_restarted(tree):
    family(tree, "one_for_all")
    for _ in range(3):
        tree.fail("a")
    assert tree.bench.machine.instances[tree.keys["b"]].limits.total == 0
    tree.fail("b")
    assert tree.generation("b") == 5


def test_a_start_that_fails_in_mid_group_leaves_the_earlier_ones_of_rest_for_one_up(bench):
    tree = family(Tree(bench), "rest_for_one")
    keys = tree.keys
    bench.die(keys["a"])
    bench.policy_says(RESTART)
    for name in "cb":
        bench.die(keys[name], signal="SIGTERM")
    bench.ready(keys["a"])
    bench.die(keys["b"])
    assert isinstance(bench.questions[0].error, StartError)
    bench.policy_says(RESTART)
    tree.settle()
    assert [tree.generation(n) for n in "abc"] == [2, 3, 2]


def test_a_start_that_fails_in_mid_group_takes_one_for_all_down_again(bench):
    tree = family(Tree(bench), "one_for_all")
    keys = tree.keys
    bench.die(keys["a"])
    bench.policy_says(RESTART)
    for name in "cb":
        bench.die(keys[name], signal="SIGTERM")
    bench.ready(keys["a"])
    bench.die(keys["b"])
    bench.policy_says(RESTART)
    tree.settle()
    assert [tree.generation(n) for n in "abc"] == [3, 3, 2]


def test_two_failures_at_once_are_one_group_restart(bench):
    tree = family(Tree(bench), "one_for_all")
    keys = tree.keys
    bench.die(keys["a"])
    bench.die(keys["c"])
    bench.policy_says(RESTART)
    bench.policy_says(RESTART)
    tree.settle()
    assert [tree.generation(n) for n in "abc"] == [2, 2, 2]


def test_a_temporary_sibling_leaves_the_group_instead_of_restarting(tree):
    tree.add("root", strategy="one_for_all")
    tree.add("a", "root")
    tree.add("t", "root", restart="temporary")
    tree.fail("a")
    assert tree.status("t") is AgentStatus.STOPPED
    assert tree.generation("a") == 2


def test_a_group_waits_for_the_backoff_of_the_one_that_failed(bench):
    tree = Tree(bench)
    tree.add("root", strategy="one_for_all")
    tree.add("a", "root", backoff=Backoff(initial=5, cap=5))
    tree.add("b", "root")
    tree.fail("a")
    tree.fail("a")
    assert bench.phase(tree.keys["a"]) is Phase.BACKOFF
    assert bench.phase(tree.keys["b"]) is Phase.HELD
    bench.wait(5)
    tree.settle()
    assert [tree.generation(n) for n in "ab"] == [3, 3]


def test_a_member_that_is_cancelled_drops_out_of_the_restart(bench):
    tree = family(Tree(bench), "one_for_all")
    keys = tree.keys
    bench.die(keys["a"])
    bench.policy_says(RESTART)
    bench.step(ev.Cancel(keys["b"]))
    tree.settle()
    assert tree.status("b") is AgentStatus.CANCELLED
    assert [tree.generation(n) for n in "ac"] == [2, 2]


def test_an_operators_restart_is_for_one_agent_alone_and_not_counted(tree):
    family(tree, "one_for_all")
    tree.bench.step(ev.Restart(tree.keys["b"]))
    tree.settle()
    assert [tree.generation(n) for n in "abc"] == [1, 2, 1]
    assert tree.bench.machine.instances[tree.keys["b"]].limits.consecutive == 0


# ---- N5: restart types


def test_a_temporary_agent_is_never_restarted(tree):
    tree.add("a", restart="temporary")
    tree.fail("a")
    assert tree.status("a") is AgentStatus.FAILED
    assert isinstance(tree.bench.finished[tree.keys["a"]].error, AgentCrashed)


@pytest.mark.parametrize(
    ("restart", "ends"), [("transient", AgentStatus.COMPLETED), ("permanent", None)]
)
def test_after_a_normal_exit_only_a_permanent_agent_is_restarted(tree, restart, ends):
    key = tree.add("a", restart=restart)
    bench = tree.bench
    request = bench.submit(key)
    bench.step(ev.AgentFinished(key, 1))
    waiting = bench.submit(key)
    bench.reply(key, request)
    assert [r for _, _, r in bench.sent] == [request], "nothing goes to one that is leaving"
    bench.live[key].discard(1)
    bench.step(ev.Exited(key, 1, ev.Exit(code=0)))
    tree.settle()
    assert tree.status("a") is ends
    if ends is None:
        assert bench.sent[-1] == (key, 2, waiting)
    else:
        assert isinstance(bench.error(waiting), AgentStopped)


# ---- N2: intensity


def test_a_group_beyond_its_intensity_stops_once_and_escalates_once(tree):
    tree.add("root", intensity=Intensity(2, 10.0), reconsiders=True)
    for name in "abc":
        tree.add(name, "root", max_restarts=99)
    for name in "ab":
        tree.fail(name)
    tree.fail("c")
    assert [tree.status(n) for n in "abc"] == [
        AgentStatus.STOPPED,
        AgentStatus.STOPPED,
        AgentStatus.FAILED,
    ]
    assert tree.log(actions.Reconsider) == ["root"]
    assert tree.status("root") is None


@pytest.mark.parametrize(("gap", "survives"), [(5.0, False), (5.01, True)])
def test_the_window_includes_both_its_ends(bench, gap, survives):
    tree = Tree(bench)
    tree.add("a", intensity=Intensity(1, 5.0), max_restarts=99)
    tree.fail("a")
    bench.now += gap
    tree.fail("a")
    assert (tree.status("a") is None) is survives


def test_success_does_not_clear_the_window(tree):
    key = tree.add("a", intensity=Intensity(2, 100.0), max_restarts=1)
    for _ in range(2):
        tree.fail("a")
        tree.bench.reply(key, tree.bench.submit(key))
    tree.fail("a")
    assert tree.status("a") is AgentStatus.FAILED


# ---- N4: links


def test_a_recorded_child_outlives_its_parent(tree):
    tree.add("root")
    tree.add("a", "root")
    tree.fail("root", STOP)
    assert tree.status("a") is None


@pytest.mark.parametrize("link", ["stop", "restart"])
def test_a_linked_subtree_stops_when_its_parent_ends_leaves_first(tree, link):
    tree.add("root")
    for name, above in (("a", "root"), ("b", "root"), ("b1", "b"), ("b2", "b")):
        tree.add(name, above, link=link)
    tree.bench.log.clear()
    tree.fail("root", STOP)
    assert tree.log(actions.Ended) == ["root", "b2", "b1", "b", "a"]
    assert tree.status("a") is AgentStatus.STOPPED


def test_a_stop_takes_the_linked_subtree_first_in_reverse_order(tree):
    tree.add("root")
    for name, above in (("a", "root"), ("b", "root"), ("b1", "b"), ("b2", "b")):
        tree.add(name, above, link="stop")
    tree.bench.step(ev.Stop(tree.keys["root"], 5.0))
    tree.settle()
    assert tree.log(actions.Ended) == ["b2", "b1", "b", "a", "root"]


def test_a_restart_of_the_parent_cycles_children_linked_so(tree):
    tree.add("root")
    tree.add("a", "root", link="restart")
    tree.add("a1", "a", link="restart")
    tree.add("b", "root", link="stop")
    tree.add("c", "root")
    tree.bench.log.clear()
    tree.fail("root")
    assert tree.log(actions.Launch) == ["root", "a", "a1"]
    assert [tree.generation(n) for n in ("root", "a", "a1", "b", "c")] == [2, 2, 2, 1, 1]


def test_a_draining_parent_takes_no_new_children(tree):
    tree.add("root")
    bench = tree.bench
    bench.submit(tree.keys["root"])
    bench.step(ev.Drain(tree.keys["root"]))
    child = bench.spawn(parent=tree.keys["root"])
    assert bench.status(child) is AgentStatus.STOPPED
    assert child not in bench.live


def test_a_tree_of_any_depth_stops_without_recursion(bench):
    tree = Tree(bench, obedient=False)
    above = None
    for depth in range(3000):
        tree.add(f"n{depth}", above, link="stop")
        above = f"n{depth}"
    bench.step(ev.Stop(tree.keys["n0"], 5.0))
    for key in reversed(tree.keys.values()):
        bench.die(key, signal=None)
    assert len(bench.finished) == 3000


# ---- N5: auto-shutdown


@pytest.mark.parametrize(
    ("auto", "ends"), [("never", False), ("any_significant", True), ("all_significant", False)]
)
def test_the_end_of_one_significant_child(tree, auto, ends):
    tree.add("root", auto_shutdown=auto)
    tree.add("a", "root", significant=True)
    tree.add("b", "root", significant=True)
    tree.add("c", "root")
    tree.fail("a", STOP)
    tree.settle()
    assert (tree.status("root") is AgentStatus.STOPPED) is ends
    assert (tree.status("c") is AgentStatus.STOPPED) is ends


def test_the_end_of_the_last_significant_child_shuts_the_group_down(tree):
    tree.add("root", auto_shutdown="all_significant")
    tree.add("a", "root", significant=True)
    tree.add("b", "root", significant=True)
    tree.add("c", "root")
    for name in "ab":
        tree.fail(name, STOP)
    tree.settle()
    assert tree.status("root") is AgentStatus.STOPPED


def test_a_child_that_was_stopped_shuts_nothing_down(tree):
    tree.add("root", auto_shutdown="any_significant")
    tree.add("a", "root", significant=True)
    tree.bench.step(ev.Stop(tree.keys["a"], 5.0))
    tree.settle()
    assert tree.status("a") is AgentStatus.STOPPED
    assert tree.status("root") is None


# ---- N6: escalation


def escalated(tree):
    return [
        a.notice
        for a in tree.bench.log
        if isinstance(a, actions.Notify) and isinstance(a.notice, notices.Escalated)
    ]


def test_an_escalation_names_the_path_to_the_root(tree):
    tree.add("root")
    tree.add("mid", "root")
    key = tree.add("leaf", "mid")
    tree.bench.fail(key, tree.bench.submit(key))
    tree.bench.policy_says(ESCALATE)
    (notice,) = escalated(tree)
    assert notice.agent == f"a{key}"
    assert notice.path == (f"a{tree.keys['mid']}", f"a{tree.keys['root']}")
    assert tree.generation("leaf") == 1


def test_a_policy_without_the_method_is_not_asked_about_the_parent(tree):
    tree.add("root")
    key = tree.add("leaf", "root")
    tree.bench.fail(key, tree.bench.submit(key))
    tree.bench.policy_says(ESCALATE)
    assert tree.log(actions.Reconsider) == []


def reconsider(tree, action, **given):
    (question,) = [a for a in tree.bench.log if isinstance(a, actions.Reconsider)][-1:]
    tree.bench.step(
        ev.Reconsidered(
            question.key, question.ticket, question.child, question.error, action, **given
        )
    )
    tree.settle()


@pytest.fixture
def appealing(tree):
    tree.add("root", reconsiders=True)
    tree.add("mid", "root", reconsiders=True)
    key = tree.add("leaf", "mid")
    tree.bench.fail(key, tree.bench.submit(key))
    tree.bench.policy_says(ESCALATE)
    return tree


def test_the_policy_may_restart_the_parent_of_an_escalating_child(appealing):
    reconsider(appealing, RESTART)
    assert [appealing.generation(n) for n in ("root", "mid", "leaf")] == [1, 2, 1]


def test_the_policy_may_stop_the_parent_of_an_escalating_child(appealing):
    reconsider(appealing, STOP)
    assert appealing.status("mid") is AgentStatus.FAILED


def test_an_escalation_may_go_further_up(appealing):
    reconsider(appealing, ESCALATE)
    assert appealing.log(actions.Reconsider) == ["mid", "root"]
    reconsider(appealing, RESTART)
    assert [appealing.generation(n) for n in ("root", "mid")] == [2, 1]


def test_a_policy_that_fails_on_an_escalation_stops_the_parent_only(appealing):
    reconsider(appealing, None, fault=ZeroDivisionError())
    assert appealing.status("mid") is AgentStatus.FAILED
    assert appealing.status("root") is None


# ---- N7: closing


def test_close_goes_leaves_first_and_branches_at_the_same_time(bench):
    tree = Tree(bench, obedient=False)
    for root in ("r", "s"):
        tree.add(root)
        tree.add(root + "1", root)
        tree.add(root + "2", root)
    bench.log.clear()
    bench.step(ev.Close(True, 30.0))
    assert tree.log(actions.StopProcess) == ["r2", "s2"]
    for name in ("r2", "s2"):
        bench.die(tree.keys[name], signal=None)
    assert tree.log(actions.StopProcess) == ["r2", "s2", "r1", "s1"]
    for name in ("r1", "s1", "r", "s"):
        bench.die(tree.keys[name], signal=None)
    assert tree.log(actions.Ended) == ["r2", "s2", "r1", "s1", "r", "s"]


def test_a_close_without_drain_answers_at_once_and_still_ends_in_order(bench):
    tree = Tree(bench, obedient=False)
    tree.add("root")
    tree.add("a", "root")
    request = bench.submit(tree.keys["root"])
    bench.step(ev.Close(False, 30.0))
    assert isinstance(bench.error(request), Aborted)
    bench.reply(tree.keys["root"], request)
    assert bench.pressed(tree.keys["root"]) == [StopStage.COOPERATE]
    bench.die(tree.keys["a"], signal=None)
    assert bench.pressed(tree.keys["root"]) == [StopStage.COOPERATE, StopStage.LEAVE]


def test_no_group_restarts_while_closing(tree):
    family(tree, "one_for_all")
    tree.bench.log.clear()
    tree.bench.step(ev.Close(True, 30.0))
    tree.bench.die(tree.keys["a"])
    tree.settle()
    assert tree.log(actions.Launch) == []


# ---- N3: retries and poison


def test_a_request_whose_worker_died_is_tried_again_before_all_others(bench):
    key = bench.running()
    first, second = bench.submit(key, retries=1), bench.submit(key)
    bench.die(key, started=first)
    bench.policy_says(RESTART)
    assert first not in bench.outcomes
    bench.ready(key)
    assert [r for _, _, r in bench.sent] == [first, first]
    bench.reply(key, first)
    assert bench.sent[-1][2] == second


def test_retries_run_out(bench):
    key = bench.running(max_restarts=9)
    request = bench.submit(key, retries=2, allowed_failures=5)
    for _ in range(3):
        bench.die(key, started=request)
        bench.policy_says(RESTART)
        bench.ready(key)
    assert type(bench.error(request)) is AgentCrashed
    assert len(bench.sent) == 3


def test_a_request_that_killed_too_many_workers_is_poison_and_never_sent_again(bench):
    key = bench.running(max_restarts=9)
    request = bench.submit(key, retries=5, allowed_failures=1)
    for _ in range(2):
        bench.die(key, started=request)
        bench.policy_says(RESTART)
        bench.ready(key)
    error = bench.error(request)
    assert isinstance(error, PoisonRequest)
    assert len(error.deaths) == 2
    assert len(bench.sent) == 2


# ---- N8, N12


def test_a_request_that_ends_by_itself_costs_no_process(bench):
    key = bench.running()
    slow = bench.submit(key, deadline=1.0, timeout=1.0)
    bench.wait(1.0)
    bench.wait(0.2)
    assert bench.pressed(key) == [StopStage.COOPERATE, StopStage.INTERRUPT]
    bench.reply(key, slow, Aborted())
    bench.wait(100)
    assert bench.pressed(key) == [StopStage.COOPERATE, StopStage.INTERRUPT]
    assert bench.generation(key) == 1
    again = bench.submit(key)
    assert bench.sent[-1] == (key, 1, again)


def test_the_ladder_aims_at_one_request_only(bench):
    key = bench.running()
    slow = bench.submit(key, deadline=1.0, timeout=1.0)
    bench.wait(1.0)
    presses = [a for a in bench.log if isinstance(a, actions.StopProcess)]
    assert [press.request for press in presses] == [slow]


def test_cancel_of_a_busy_agent_begins_with_its_request_and_lets_it_leave(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.step(ev.Cancel(key))
    bench.reply(key, request, Aborted())
    assert bench.pressed(key) == [StopStage.COOPERATE, StopStage.LEAVE]


def probes(bench):
    return sum(isinstance(a, actions.Probe) for a in bench.log)


def test_a_busy_agent_without_progress_is_hung_and_its_stack_is_taken_before_the_kill(bench):
    key = bench.running(heartbeat_timeout=4.0)
    request = bench.submit(key)
    for _ in range(5):
        bench.wait(1.0)
        bench.step(ev.Probed(key, 1, 7))
    assert bench.pressed(key) == [StopStage.STACK]
    bench.wait(0.5)
    assert bench.pressed(key) == [StopStage.STACK, StopStage.KILL]
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    assert type(bench.error(request)).__name__ == "AgentHung"


def test_progress_keeps_a_busy_agent_alive(bench):
    key = bench.running(heartbeat_timeout=4.0)
    bench.submit(key)
    for count in range(40):
        bench.wait(1.0)
        bench.step(ev.Probed(key, 1, count))
    assert bench.pressed(key) == []


def test_an_idle_agent_is_not_probed(bench):
    key = bench.running(heartbeat_timeout=4.0)
    bench.reply(key, bench.submit(key))
    for _ in range(20):
        bench.wait(1.0)
    assert probes(bench) == 0
