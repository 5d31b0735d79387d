"""Agents that wait for a node of a cluster, on the pure machine."""

from __future__ import annotations

from procorch.errors import AgentCrashed, StartError
from procorch.supervision import events as ev
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.states import AgentStatus, Phase, StopStage


def waits(bench, key, why="no node has num_gpus=8; the largest has 1"):
    bench.step(ev.Placing(key, bench.generation(key), why))


def placed(bench, key):
    bench.step(ev.Placed(key, bench.generation(key)))


def test_an_agent_that_is_not_placed_is_shown_as_waiting_with_the_reason(bench):
    key = bench.spawn()
    waits(bench, key)
    instance = bench.machine.instances[key]
    assert instance.state == "WAITING"
    assert instance.process.placing == "no node has num_gpus=8; the largest has 1"
    placed(bench, key)
    assert instance.state == "STARTING"
    assert instance.process.placing is None


def test_an_agent_that_waits_for_a_node_keeps_no_other_from_starting(bench_of):
    bench = bench_of(start_limit=1)
    first, second = bench.spawn(), bench.spawn()
    assert bench.phase(second) is Phase.WAITING
    waits(bench, first)
    assert bench.phase(second) is Phase.STARTING


def test_an_agent_that_is_not_placed_within_its_start_timeout_ends_with_the_reason(bench):
    key = bench.spawn(start_timeout=5.0)
    waits(bench, key, "num_cpus=4 is asked for, 1 free in the cluster")
    bench.wait(5.0)
    assert bench.pressed(key) == [StopStage.TERMINATE]
    generation = bench.generation(key)
    bench.live[key].discard(generation)
    bench.step(ev.Exited(key, generation, ev.Exit(unplaced=True, detail="no room")))
    assert bench.status(key) is AgentStatus.FAILED
    error = bench.finished[key].error
    assert isinstance(error, StartError)
    assert error.phase == "placement"
    assert "num_cpus=4 is asked for, 1 free in the cluster" in str(error)


def test_the_start_itself_has_its_own_time_after_the_placement(bench):
    key = bench.spawn(start_timeout=5.0)
    waits(bench, key)
    bench.wait(4.0)
    placed(bench, key)
    bench.wait(4.0)
    assert bench.pressed(key) == []
    bench.wait(1.0)
    assert bench.pressed(key) == [StopStage.TERMINATE]


def test_the_time_until_the_cluster_is_reached_does_not_count(bench):
    key = bench.spawn(start_timeout=5.0)
    bench.step(ev.Placing(key, bench.generation(key), "not connected", connected=False))
    bench.wait(20.0)
    assert bench.pressed(key) == []
    waits(bench, key)
    bench.wait(4.0)
    waits(bench, key, "another reason")
    assert bench.pressed(key) == []
    bench.wait(1.0)
    assert bench.pressed(key) == [StopStage.TERMINATE]


def test_a_placement_that_comes_too_late_starts_no_new_time(bench):
    key = bench.spawn(start_timeout=5.0)
    waits(bench, key)
    bench.wait(5.0)
    placed(bench, key)
    bench.wait(5.0)
    assert bench.pressed(key) == [StopStage.TERMINATE, StopStage.KILL]


def test_a_request_of_a_lost_agent_may_have_been_executed_and_is_not_sent_again(bench):
    key = bench.running()
    request = bench.submit(key)
    generation = bench.generation(key)
    bench.live[key].discard(generation)
    lost = ev.Exit(lost=True, node="n1", detail="node n1 has not answered for 4.5 s")
    bench.step(ev.Exited(key, generation, lost))
    bench.policy_says(SupervisorAction.RESTART)
    error = bench.error(request)
    assert isinstance(error, AgentCrashed)
    assert (error.lost, error.node, error.may_have_executed) == (True, "n1", True)
    assert "was lost: node n1 has not answered for 4.5 s" in str(error)
    bench.ready(key)
    assert [sent for _, _, sent in bench.sent] == [request]


def test_retries_send_the_request_of_a_lost_agent_again(bench):
    key = bench.running()
    request = bench.submit(key, retries=1)
    generation = bench.generation(key)
    bench.live[key].discard(generation)
    bench.step(ev.Exited(key, generation, ev.Exit(lost=True, detail="gone")))
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(key)
    assert [sent for _, _, sent in bench.sent] == [request, request]
