"""Trees of agents on real processes: order, groups, links, shutdown (N4, N5, N7)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentOrchestrator,
    AgentStatus,
    AgentStopped,
    Backoff,
    DefaultSupervisor,
    Intensity,
    OrchestratedHandle,
    PluginError,
    Shutdown,
    StartError,
)
from procorch.supervision import notices
from tests.process.scenes import Aside, about, until

Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]
Handles = dict[str, OrchestratedHandle]


@pytest.fixture
def obedient() -> Factory:
    """An agent that does as it is told."""

    def factory():
        import os
        import signal

        import procorch

        def handle(x):
            if x == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if x == "finish":
                procorch.current().finish()
            return os.getpid()

        return handle

    return factory


def failing():
    raise ValueError("this one never starts")


@pytest.fixture
def supervised(orchestrator: Orchestrator) -> AgentOrchestrator:
    return orchestrator(supervisor=DefaultSupervisor())


def plant(
    orch: AgentOrchestrator, factory: Factory, children: Iterable[str] = "abc", **root: Any
) -> AgentOrchestrator:
    """Register an agent "root" with the children "a", "b", "c"."""
    orch.add_agent("root", factory, **root)
    for name in children:
        orch.add_child(name, "root", factory)
    return orch


def pids(handles: Handles) -> dict[str, int]:
    """The processes that answer, by name; whoever is restarting is waited for."""
    replies = {name: handle.deliver("pid") for name, handle in handles.items()}
    return {name: reply.result().output for name, reply in replies.items()}


def same(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in before if after[name] == before[name]}


def die(handle: OrchestratedHandle) -> AgentCrashed:
    with pytest.raises(AgentCrashed) as caught:
        handle.deliver("die").result()
    return caught.value


# ---- starting


def test_a_tree_starts_parents_first_each_ready_before_the_next_begins(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N4; the order of registration."""
    supervised.add_agent("root", obedient)
    supervised.add_child("b", "root", obedient)
    supervised.add_child("a", "root", obedient)
    supervised.add_child("under b", "b", obedient)
    supervised.add_agent("elsewhere", obedient)
    stream = supervised.events()

    handles = supervised.spawn_tree("root")

    assert list(handles) == ["root", "b", "under b", "a"]
    assert [(type(n), n.agent) for n in until(stream, notices.Ready, "a")] == [
        (kind, name) for name in handles for kind in (notices.Starting, notices.Ready)
    ]
    assert all(handles[name].pid == pid for name, pid in pids(handles).items())
    assert supervised.handle("elsewhere") is None


def test_a_tree_that_cannot_start_whole_does_not_start(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N9: nothing stays behind."""
    plant(supervised, obedient, "ab")
    supervised.add_child("c", "root", failing)
    supervised.add_child("d", "root", obedient)
    stream = supervised.events()

    with pytest.raises(StartError, match="this one never starts"):
        supervised.spawn_tree("root")

    assert all(supervised.handle(name) is None for name in supervised)
    supervised.close()
    seen = list(stream)
    assert about(notices.Starting, seen) == ["root", "a", "b", "c"]
    assert sorted(about(notices.Stopped, seen)) == ["a", "b", "c", "root"]


def test_spawn_all_starts_every_tree_and_stops_all_of_them_when_one_fails(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N4, N9."""
    plant(supervised, obedient, "a")
    supervised.add_agent("other", obedient)
    handles = supervised.spawn_all()
    assert list(handles) == ["root", "a", "other"]
    assert len(set(pids(handles).values())) == 3
    for name in ("root", "a", "other"):
        supervised.stop(name)

    supervised.add_agent("last", failing)
    with pytest.raises(StartError):
        supervised.spawn_all()
    assert all(supervised.handle(name) is None for name in supervised)


def test_a_child_can_be_added_to_a_running_tree(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N4: what is started later is part of the tree, and goes first."""
    plant(supervised, obedient, "a").spawn_tree("root")
    child = supervised.start_child("root", "late", obedient, link="stop")
    assert child.deliver("pid").result().output == child.pid
    assert supervised.children_of("root") == ("a", "late")

    supervised.stop("root")
    assert child.status() is AgentStatus.STOPPED
    assert supervised.handle("a") is not None


def test_a_registered_child_can_be_started_under_its_running_parent(
    supervised: AgentOrchestrator, orchestrator: Orchestrator, obedient: Factory
) -> None:
    """N4: it ends with its parent, as a member of the tree does."""
    plant(supervised, obedient, "a", strategy="one_for_all")
    supervised.add_agent("elsewhere", obedient)
    root = supervised.spawn("root")

    child = supervised.spawn("a", parent=root)

    assert [each.handle is not None for each in supervised.which_children("root")] == [True]
    other = orchestrator()
    plant(other, obedient, "a")
    with pytest.raises(ValueError, match=r"cannot start under 'root': .* another orchestrator"):
        supervised.spawn("a", parent=other.spawn("root"))
    with pytest.raises(ValueError, match="under 'a': it is registered under 'root'"):
        supervised.spawn("a", parent=child)
    with pytest.raises(ValueError, match="under 'root': it is registered without a parent"):
        supervised.spawn("elsewhere", parent=root)
    with pytest.raises(PluginError, match="not registered: nobody"):
        supervised.spawn("nobody", parent=root)
    root.stop()
    child.wait()
    assert child.status() is AgentStatus.STOPPED
    with pytest.raises(AgentStopped, match="its parent is ending"):
        supervised.spawn("a", parent=root)


def test_a_child_that_does_not_start_leaves_nothing_behind(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N9: nor its registration."""
    plant(supervised, obedient, "a").spawn("root")
    with pytest.raises(StartError, match="this one never starts"):
        supervised.start_child("root", "late", failing)
    assert "late" not in supervised
    assert supervised.children_of("root") == ("a",)

    late = supervised.start_child("root", "late", obedient)  # the name is free
    assert late.deliver("pid").result().output == late.pid


def test_a_child_needs_a_parent_that_runs(supervised: AgentOrchestrator, obedient: Factory) -> None:
    plant(supervised, obedient, "a")
    with pytest.raises(PluginError, match="agent 'root' is not running"):
        supervised.start_child("root", "late", obedient)
    assert "late" not in supervised
    with pytest.raises(ValueError, match="parent agent 'nobody' not registered"):
        supervised.start_child("nobody", "late", obedient)
    with pytest.raises(ValueError, match="agent 'a' already registered"):
        supervised.start_child("root", "a", obedient)
    assert "a" in supervised


def test_a_parent_that_is_leaving_takes_no_new_children(
    supervised: AgentOrchestrator, gate: GateMaker
) -> None:
    """N4."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            tell()
            wait()

        return handle

    supervised.add_agent("root", factory)
    root = supervised.spawn("root")
    busy = root.deliver("work")
    begun.line()
    end = Aside(root.await_result)
    while root.info().state != "DRAINING":  # it is told by the other thread
        pass
    with pytest.raises(PluginError, match="its parent is ending"):
        supervised.start_child("root", "late", factory)
    go.open()
    end.result()
    assert busy.exception() is None
    assert "late" not in supervised


# ---- groups


def test_one_for_one_replaces_the_one_that_failed(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N5."""
    handles = plant(supervised, obedient).spawn_tree("root")
    before = pids(handles)
    stream = supervised.events()
    die(handles["b"])
    until(stream, notices.Ready, "b")
    assert same(before, pids(handles)) == {"root", "a", "c"}


@pytest.mark.parametrize(
    ("strategy", "stays", "closed"),
    [("one_for_all", {"root"}, ["c", "a"]), ("rest_for_one", {"root", "a"}, ["c"])],
)
def test_a_group_goes_down_in_reverse_order_and_comes_up_in_order(
    gate: GateMaker,
    supervised: AgentOrchestrator,
    strategy: str,
    stays: set[str],
    closed: list[str],
) -> None:
    """N5."""
    leaving = gate()
    tell = leaving.tell

    def factory():
        import os
        import types

        import procorch

        def handle(x):
            if x == "die":
                os._exit(0)  # in the middle of a request: a crash all the same (N0)
            return os.getpid()

        def close():
            tell(procorch.current().agent)

        return types.SimpleNamespace(handle=handle, close=close)

    handles = plant(supervised, factory, strategy=strategy).spawn_tree("root")
    before = pids(handles)
    stream = supervised.events()

    die(handles["b"])
    seen = until(stream, notices.Ready, "c")

    assert same(before, pids(handles)) == stays
    assert leaving.told() == closed
    assert about(notices.Crashed, seen) == about(notices.Restarting, seen) == ["b"]
    risen = [(type(n), n.agent) for n in seen if isinstance(n, notices.Starting | notices.Ready)]
    assert risen == [
        (kind, name)
        for name in "abc"
        if name not in stays
        for kind in (notices.Starting, notices.Ready)
    ]


def test_a_group_restart_fails_what_siblings_had_under_way_and_keeps_their_queues(
    supervised: AgentOrchestrator, gate: GateMaker
) -> None:
    """N5: the error names the sibling that failed, which is not the one that was asked."""
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        import os

        def handle(x):
            if x == "work":
                tell()
                wait()
            if x == "die":
                os._exit(1)
            return os.getpid()

        return handle

    handles = plant(supervised, factory, strategy="one_for_all").spawn_tree("root")
    before = pids(handles)
    stream = supervised.events()
    under_way = handles["a"].deliver("work")
    queued = [handles["a"].deliver("pid") for _ in range(2)]
    begun.line()

    assert die(handles["b"]).cause is None

    error = under_way.exception()
    assert isinstance(error, AgentCrashed)
    assert (error.agent, error.cause, error.pid) == ("a", "b", before["a"])
    assert error.may_have_executed
    assert "'b'" in str(error)
    until(stream, notices.Ready, "c")
    after = pids(handles)
    assert {reply.result().output for reply in queued} == {after["a"]}
    assert after["a"] != before["a"]
    assert handles["a"].info().restarts == 0  # one trigger, one count (N1)
    assert handles["b"].info().restarts == 1


def test_a_member_that_fails_to_come_back_is_tried_again_and_those_before_it_stay(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N5, N9: a failed start in the middle of a group restart counts."""

    def shaky():
        import os

        import procorch

        if procorch.current().generation == 2:
            raise ConnectionError("not yet")
        return lambda x: os.getpid()

    supervised.add_agent("root", obedient, strategy="rest_for_one")
    for name, factory in (("a", obedient), ("b", shaky), ("c", obedient)):
        supervised.add_child(name, "root", factory, backoff=Backoff(initial=0))
    handles = supervised.spawn_tree("root")
    stream = supervised.events()
    die(handles["a"])
    until(stream, notices.Ready, "c")
    assert {name: handle.generation for name, handle in handles.items()} == {
        "root": 1, "a": 2, "b": 3, "c": 2,
    }  # fmt: skip
    assert (handles["a"].info().restarts, handles["b"].info().restarts) == (1, 1)


def test_a_temporary_sibling_leaves_the_group(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N5: it is never restarted, not with others either."""
    plant(supervised, obedient, "a", strategy="one_for_all")
    supervised.add_child("t", "root", obedient, restart="temporary")
    handles = supervised.spawn_tree("root")
    die(handles["a"])
    with pytest.raises(AgentCrashed) as caught:
        handles["t"].await_result()
    assert caught.value.cause == "a"
    assert handles["t"].status() is AgentStatus.STOPPED
    assert handles["a"].deliver("pid").result().output == handles["a"].pid


def test_a_group_that_restarts_too_often_stops_once_and_says_so_once(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N2: the window belongs to the group, whoever in it fails."""
    plant(supervised, obedient, intensity=Intensity(1, "1h"))
    handles = supervised.spawn_tree("root")
    stream = supervised.events()
    die(handles["a"])
    until(stream, notices.Ready, "a")
    die(handles["b"])
    for name in "abc":
        handles[name].wait()
    assert [handles[name].status() for name in "abc"] == [
        AgentStatus.STOPPED, AgentStatus.FAILED, AgentStatus.STOPPED,
    ]  # fmt: skip
    assert handles["root"].deliver("pid").result().output == handles["root"].pid
    supervised.close()
    escalated = [n for n in stream if isinstance(n, notices.Escalated)]
    assert [(n.agent, n.path) for n in escalated] == [("b", ("root",))]


# ---- links


def test_a_recorded_child_outlives_its_parent(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N4: the seed only records who is whose child."""
    handles = plant(supervised, obedient, "a").spawn_tree("root")
    handles["root"].stop()
    assert handles["root"].status() is AgentStatus.STOPPED
    assert handles["a"].deliver("pid").result().output == handles["a"].pid


@pytest.mark.parametrize("ends", ["stop", "cancel", "death", "finish"])
def test_a_linked_subtree_ends_with_its_parent_leaves_first(
    orchestrator: Orchestrator, obedient: Factory, ends: str
) -> None:
    """N4: however the parent ends."""
    orch = orchestrator()
    orch.add_agent("root", obedient)
    for name, parent in (("a", "root"), ("a1", "a"), ("a2", "a"), ("b", "root")):
        orch.add_child(name, parent, obedient, link="stop")
    handles = orch.spawn_tree("root")
    stream = orch.events()
    match ends:
        case "stop":
            orch.stop("root")
        case "cancel":
            handles["root"].cancel()
        case "death":
            die(handles["root"])
        case "finish":
            handles["root"].deliver("finish").result()
    for handle in handles.values():
        handle.wait()

    assert all(handles[n].status() is AgentStatus.STOPPED for n in ("a", "a1", "a2", "b"))
    orch.close()
    order = about(notices.Stopped, stream)
    assert sorted(order) == ["a", "a1", "a2", "b", "root"]
    assert before(order, ("a2", "a1"), ("a1", "a"), ("b", "a"))
    assert (order[-1] == "root") is (ends == "stop")


def before(order: list[str], *pairs: tuple[str, str]) -> bool:
    return all(order.index(first) < order.index(second) for first, second in pairs)


def test_a_restart_of_the_parent_cycles_those_linked_so(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N4: and those linked to them; others stay."""
    supervised.add_agent("root", obedient)
    supervised.add_child("r", "root", obedient, link="restart")
    supervised.add_child("under r", "r", obedient, link="restart")
    supervised.add_child("s", "root", obedient, link="stop")
    handles = supervised.spawn_tree("root")
    before = pids(handles)
    stream = supervised.events()
    die(handles["root"])
    until(stream, notices.Ready, "under r")
    assert same(before, pids(handles)) == {"s"}


# ---- shutdown


def test_close_goes_leaves_first_in_reverse_order_of_start(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N7."""
    supervised.add_agent("root", obedient)
    for name, parent in (("a", "root"), ("a1", "a"), ("a2", "a"), ("b", "root"), ("b1", "b")):
        supervised.add_child(name, parent, obedient)
    handles = supervised.spawn_tree("root")
    stream = supervised.events()
    supervised.close()
    order = about(notices.Stopped, stream)
    assert order[-1] == "root"
    assert before(order, ("a2", "a1"), ("a1", "a"), ("b1", "b"), ("b", "a"))
    assert {handle.status() for handle in handles.values()} == {AgentStatus.STOPPED}


def test_independent_branches_end_at_the_same_time(
    supervised: AgentOrchestrator, obedient: Factory, gate: GateMaker
) -> None:
    """N7: one that has work left holds up those above it and nobody else."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def busy():
        def handle(x):
            tell()
            wait()
            return "done"

        return handle

    supervised.add_agent("slow", obedient)
    supervised.add_child("leaf", "slow", busy)
    plant(supervised, obedient, "ab")
    handles = supervised.spawn_all()
    reply = handles["leaf"].deliver("work")
    begun.line()
    stream = supervised.events()
    closings = [Aside(supervised.close) for _ in range(2)]  # twice is one close
    assert about(notices.Stopped, until(stream, notices.Stopped, "root")) == ["b", "a", "root"]
    assert handles["slow"].status() is AgentStatus.RUNNING
    go.open()
    assert about(notices.Stopped, stream) == ["leaf", "slow"]
    for closing in closings:
        closing.result()
    assert reply.result().output == "done"


def test_each_agent_has_a_grace_of_its_own(supervised: AgentOrchestrator, gate: GateMaker) -> None:
    """N7: one takes its time to leave, the other one is over its own."""
    go = gate()
    wait = go.wait

    def factory():
        import types

        return types.SimpleNamespace(handle=lambda x: x, close=wait)

    supervised.add_agent("hasty", factory, shutdown=Shutdown(grace=0.1))
    supervised.add_agent("patient", factory, shutdown=Shutdown(grace=60))
    handles = supervised.spawn_all()
    stream = supervised.events()
    closing = Aside(supervised.close)
    assert about(notices.Stopped, until(stream, notices.Stopped, "hasty")) == ["hasty"]
    go.open()
    closing.result()
    assert "SIGTERM" in str(handles["hasty"].info().last_exit)
    assert "exited with code 0" in str(handles["patient"].info().last_exit)


def test_at_the_total_deadline_everything_left_is_killed(
    supervised: AgentOrchestrator, gate: GateMaker, watched: Callable[..., Any]
) -> None:
    """N7, N15, I5."""
    begun = gate()
    tell = begun.tell

    def stubborn():
        import contextlib
        import signal
        import time

        def handle(x):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            tell()
            while True:
                with contextlib.suppress(BaseException):
                    time.sleep(100)

        return handle

    shutdown = Shutdown(grace=60, terminate=60)
    supervised.add_agent("root", stubborn, shutdown=shutdown)
    supervised.add_child("leaf", "root", stubborn, shutdown=shutdown)
    handles = supervised.spawn_tree("root")
    processes = watched(*(handle.pid for handle in handles.values()))
    replies = [handle.deliver("work") for handle in handles.values()]
    for _ in replies:
        begun.line()
    began = time.monotonic()
    supervised.close(timeout=0.3)
    assert time.monotonic() - began < 5  # the kill wait
    assert processes.alive(within=0) == []
    assert all(isinstance(reply.exception(), Aborted) for reply in replies)


def test_nothing_is_restarted_while_closing(
    supervised: AgentOrchestrator, obedient: Factory, gate: GateMaker
) -> None:
    """N7, I2: even for a whole group, and with work left in the queue."""
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def busy():
        def handle(x):
            tell()
            wait()

        return handle

    supervised.add_agent("root", obedient, strategy="one_for_all")
    supervised.add_child("a", "root", busy)
    supervised.add_child("b", "root", obedient)
    handles = supervised.spawn_tree("root")
    running, queued = handles["a"].deliver("work"), handles["a"].deliver("work")
    begun.line()
    stream = supervised.events()
    closing = Aside(supervised.close)
    until(stream, notices.Stopped, "b")
    assert handles["a"].pid is not None
    os.kill(handles["a"].pid, signal.SIGKILL)
    closing.result()
    assert isinstance(running.exception(), AgentCrashed)
    assert isinstance(queued.exception(), Aborted)
    assert about(notices.Starting, stream) == []


# ---- the running tree


def test_one_stops_and_its_siblings_do_not_notice(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    handles = plant(supervised, obedient, strategy="one_for_all").spawn_tree("root")
    before = pids(handles)
    supervised.stop("b")
    supervised.stop("b")  # one that does not run is left alone
    assert handles["b"].status() is AgentStatus.STOPPED
    with pytest.raises(AgentStopped):
        handles["b"].send_message("anybody there?")
    del handles["b"], before["b"]
    assert same(before, pids(handles)) == {"root", "a", "c"}
    with pytest.raises(PluginError, match="not registered"):
        supervised.stop("nobody")


def test_stop_lets_the_agent_finish_what_it_had_accepted(
    supervised: AgentOrchestrator, gate: GateMaker
) -> None:
    """N8, `handle.stop`: drain first."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            tell()
            wait()
            return x

        return handle

    supervised.add_agent("a", factory)
    handle = supervised.spawn("a")
    replies = [handle.deliver(n) for n in range(3)]
    begun.line()
    stopping = Aside(handle.stop, grace="1m")
    go.open(3)
    stopping.result()
    assert [reply.result().output for reply in replies] == [0, 1, 2]
    assert handle.status() is AgentStatus.STOPPED
    assert handle.is_done()


def test_a_restart_on_request_is_for_one_agent_and_does_not_count(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N1: it gets a fresh process, its siblings keep theirs, its budget is untouched."""
    plant(supervised, obedient, "ab", strategy="one_for_all", max_restarts=0)
    handles = supervised.spawn_tree("root")
    before = pids(handles)
    supervised.restart("a")
    after = pids(handles)
    assert same(before, after) == {"root", "b"}
    assert (handles["a"].pid, handles["a"].generation) == (after["a"], 2)
    assert handles["a"].info().restarts == 0

    supervised.stop("a")
    with pytest.raises(PluginError, match="agent 'a' is not running"):
        supervised.restart("a")


@pytest.mark.queue
def test_a_restart_on_request_waits_for_the_work_under_way(
    supervised: AgentOrchestrator, gate: GateMaker
) -> None:
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        import os

        def handle(x):
            tell()
            wait()
            return os.getpid()

        return handle

    supervised.add_agent("a", factory)
    handle = supervised.spawn("a")
    old = handle.pid
    first, second = handle.deliver("work"), handle.deliver("work")
    begun.line()
    restarting = Aside(handle.restart)
    go.open(2)
    restarting.result()
    assert first.result().output == old
    assert second.result().output == handle.pid != old


def test_a_restart_on_request_of_one_that_is_only_starting_is_no_second_start(
    supervised: AgentOrchestrator, gate: GateMaker
) -> None:
    """The process that is coming is fresh enough."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        tell()
        wait()
        return lambda x: x

    supervised.add_agent("a", factory)
    handle = supervised.spawn("a", wait=False)
    begun.line()
    restarting = Aside(handle.restart)
    go.open()
    restarting.result()
    assert handle.deliver("hello").result().output == "hello"
    assert begun.told() == []


def test_a_restart_on_request_of_one_that_ends_instead_says_so(
    supervised: AgentOrchestrator, obedient: Factory, gate: GateMaker
) -> None:
    begun = gate()
    tell = begun.tell

    def second_never_starts():
        import time

        import procorch

        if procorch.current().generation > 1:
            tell()
            time.sleep(100)
        return lambda x: x

    supervised.add_agent("a", second_never_starts)
    handle = supervised.spawn("a")
    restarting = Aside(handle.restart)
    begun.line()
    handle.cancel()
    with pytest.raises(Aborted):
        restarting.result()


def test_an_agent_is_removed_from_the_tree_and_from_the_registry(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    handles = plant(supervised, obedient, "ab").spawn_tree("root")
    supervised.remove("a")
    assert handles["a"].status() is AgentStatus.STOPPED
    assert supervised.names() == ["root", "b"]
    assert supervised.children_of("root") == ("b",)
    with pytest.raises(PluginError, match="agent not registered: a"):
        supervised.spawn("a")
    with pytest.raises(ValueError, match="'root' has children"):
        supervised.remove("root")
    assert handles["root"].deliver("pid").result().output == handles["root"].pid


def test_children_are_listed_and_counted_as_they_are(
    supervised: AgentOrchestrator, obedient: Factory, gate: GateMaker
) -> None:
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def slow_to_return():
        import os

        import procorch

        if procorch.current().generation > 1:
            tell()
            wait()
        return lambda x: os._exit(1)

    plant(supervised, obedient, "a")
    supervised.add_child("b", "root", slow_to_return, restart="permanent")
    supervised.add_child("c", "root", obedient, restart="temporary")
    supervised.add_child("under c", "c", obedient)
    handles = supervised.spawn_tree("root")
    supervised.stop("c")
    die(handles["b"])
    begun.line()

    children = supervised.which_children("root")
    assert [(c.name, c.state, c.restart) for c in children] == [
        ("a", "running", "transient"),
        ("b", "restarting", "permanent"),
        ("c", "stopped", "temporary"),
    ]
    assert children[0].handle is not None
    assert children[0].handle.deliver("pid").result().output == handles["a"].pid
    assert children[2].handle is None
    counts = supervised.count_children("root")
    assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (3, 2, 1, 2)
    go.open()


def test_a_name_finds_its_latest_live_instance(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    supervised.add_agent("a", obedient)
    assert supervised.handle("a") is None
    first, second = supervised.spawn("a"), supervised.spawn("a")
    assert found(supervised) == second.instance
    second.stop()
    assert found(supervised) == first.instance
    with pytest.raises(PluginError, match="not registered"):
        supervised.handle("b")


def found(orch: AgentOrchestrator) -> int | None:
    handle = orch.handle("a")
    return None if handle is None else handle.instance


# ---- agents that end by themselves


@pytest.mark.parametrize(
    ("auto_shutdown", "after_one", "after_two"),
    [("never", True, True), ("any_significant", False, False), ("all_significant", True, False)],
)
def test_the_end_of_significant_children_may_be_the_end_of_the_group(
    supervised: AgentOrchestrator,
    obedient: Factory,
    auto_shutdown: str,
    after_one: bool,
    after_two: bool,
) -> None:
    """N5, as in OTP."""
    plant(supervised, obedient, "a", auto_shutdown=auto_shutdown)
    for name in ("s1", "s2"):
        supervised.add_child(name, "root", obedient, significant=True)
    handles = supervised.spawn_tree("root")
    for name, lives in (("s1", after_one), ("s2", after_two)):
        if not handles[name].is_done():
            handles[name].deliver("finish").result()
            assert handles[name].await_result().error is None
            assert handles[name].status() is AgentStatus.COMPLETED
        if not lives:
            for left in ("root", "a"):
                handles[left].wait()
                assert handles[left].status() is AgentStatus.STOPPED
        else:
            assert handles["root"].deliver("pid").result().output == handles["root"].pid
    if auto_shutdown == "any_significant":
        assert handles["s2"].status() is AgentStatus.STOPPED


def test_a_significant_child_that_was_stopped_shuts_nothing_down(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N5: only one that ended by itself does."""
    supervised.add_agent("root", obedient, auto_shutdown="any_significant")
    supervised.add_child("s", "root", obedient, significant=True)
    handles = supervised.spawn_tree("root")
    supervised.stop("s")
    assert handles["root"].deliver("pid").result().output == handles["root"].pid


def test_an_agent_that_finishes_answers_first_and_ends_completed(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N0: a normal exit; nobody calls it a crash."""
    supervised.add_agent("a", obedient)
    handle = supervised.spawn("a")
    stream = supervised.monitor("a")
    pid = handle.pid
    last, too_late = handle.deliver("finish"), handle.deliver("pid")
    assert last.result().output == pid
    assert isinstance(too_late.exception(), AgentStopped)
    handle.await_result()
    assert handle.status() is AgentStatus.COMPLETED
    assert about(notices.Crashed, stream) == []


def test_a_permanent_agent_is_started_again_after_it_finished(
    supervised: AgentOrchestrator, obedient: Factory
) -> None:
    """N5, N1: under the same budget; what waits in its queue is for the next one."""
    supervised.add_agent("a", obedient, restart="permanent", max_restarts=1)
    handle = supervised.spawn("a")
    first = handle.pid
    replies = [handle.deliver(x) for x in ("finish", "pid")]
    assert replies[0].result().output == first
    second = replies[1].result().output
    assert second == handle.pid != first
    assert handle.info().restarts == 1
    # A success: the budget is whole again.
    assert handle.deliver("finish").result().output == second
    assert handle.deliver("pid").result().output == handle.pid
    assert handle.generation == 3
