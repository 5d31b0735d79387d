"""The parts of the launcher for Ray clusters that need no Ray: leases, order, placement, errors."""

from __future__ import annotations

import asyncio
import importlib.metadata
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from procorch import AgentOrchestrator, ClusterError, RayBackend, StartError
from procorch.cli.params import resources
from procorch.launch.base import Where
from procorch.launch.forkserver import deadline
from procorch.launch.forkserver.client import ZygoteLauncher
from procorch.launch.ray import backend, messages, placement
from procorch.launch.ray.lease import GrantedLease, HeldLease, interval, margin
from procorch.launch.ray.member import Member
from procorch.launch.ray.ordering import PARKED, Answers, Inbox, Outbox
from procorch.launch.ray.placement import Node
from procorch.launch.ray.transport import (
    Packet,
    explain_call,
    explain_connection,
    pack,
    unpacked,
)
from procorch.runtime.clusters import failed_there
from procorch.wire.frame import Kind
from tests.process.test_launchers import MAX_FRAME, PATIENCE, Told

# ---- a worker in the bridge


class Unused:
    """What a bridge is to a worker that it does not place; it keeps the reports."""

    lost: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def report(self, number: int, head: Any, body: Any = b"") -> None:
        self.reports.append(head)


def test_a_worker_that_is_killed_in_the_moment_it_is_asked_for_has_an_end() -> None:
    """The bridge reads both messages at once."""
    begin = messages.Begin("a", 1, 1, b"", {}, False, None, MAX_FRAME, ())
    bridge = Unused()

    async def read() -> None:
        Member(1, begin, b"", bridge).take(messages.encode(messages.Kill(signal.SIGKILL)), b"")
        await asyncio.sleep(0)

    asyncio.run(read())
    (ended,) = bridge.reports
    assert ended.signal == "SIGKILL"


# ---- the lease


def test_a_lease_ends_a_length_after_the_token_was_issued_however_late_it_is_granted() -> None:
    held = HeldLease(4.0)
    token = held.issue(100.0)
    assert held.until == math.inf
    assert held.grant(token)
    assert held.until == 104.0
    assert not held.is_over(103.9)
    assert held.is_over(104.0)


def test_an_old_token_prolongs_nothing() -> None:
    held = HeldLease(4.0)
    old = held.issue(100.0)
    held.grant(old)
    held.issue(101.0)
    assert not held.grant(old)
    assert held.until == 104.0


def test_a_worker_has_ended_before_the_bridge_calls_it_lost() -> None:
    """Whatever the delays of calls and answers are, and wherever the talk ends."""
    chance = random.Random(7)
    for length in (0.5, 4.0, 60.0):
        for _ in range(300):
            held, granted, now = HeldLease(length), GrantedLease(length), 0.0
            for _ in range(chance.randrange(1, 6)):
                token = held.issue(now)
                now += chance.random() * length / 4
                granted.answered(now)  # the answer has come to the bridge
                now += chance.random() * length
                held.grant(token)  # the next call has come to the relay
                if held.is_over(now):
                    break
            assert held.until + deadline.PATIENCE < granted.lost_at


def test_a_lease_is_prolonged_several_times_before_it_ends() -> None:
    assert interval(4.0) * 3 < 4.0
    assert margin(0.5) > deadline.PATIENCE


# ---- the deadline of a zygote


def test_a_process_is_killed_by_the_kernel_after_its_deadline_even_if_it_is_stopped() -> None:
    code = (
        "from procorch.launch.forkserver.deadline import Deadline, now\n"
        "import os, signal\n"
        "ours = Deadline()\n"
        "assert ours.timeout is None and not ours.is_over\n"
        "ours.set(now() + 60)\n"
        "ours.set(now() + 30)\n"
        "assert ours.timeout > 50_000\n"
        "again = Deadline()\n"
        "again.set(now() + 0.05)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=30)
    assert ended.returncode == -signal.SIGKILL


def test_a_zygote_ends_its_worker_and_what_that_has_started_at_its_deadline(
    gate: Any, watched: Any
) -> None:
    begun = gate()
    tell = begun.tell

    def factory():
        import os
        import signal

        def handle(x):
            if os.fork() == 0:
                os.setsid()
                tell(os.getpid())
                signal.pause()
            signal.pause()

        return handle

    launcher = ZygoteLauncher(MAX_FRAME, [], sys.path)
    told = Told(launcher)
    try:
        process = told.ready(factory)
        told.request(process, 1, "go")
        stray = watched(int(begun.line()))
        launcher.renew(deadline.now() + 0.05)
        assert "because its lease had ended" in (told.exit(process).detail or "")
        assert launcher.is_overdue
        assert stray.alive(within=5) == []
    finally:
        told.close()


def test_a_zygote_that_starts_slower_than_a_lease_obeys_the_last_deadline(tmp_path: Path) -> None:
    """While it loads modules it takes no message, and the first one is about a time in the past."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "slow_to_load.py").write_text(f"open({str(gate)!r}).read()")
    launcher = ZygoteLauncher(MAX_FRAME, ["slow_to_load"], [str(tmp_path), *sys.path])
    told = Told(launcher)
    try:
        launcher.renew(deadline.now() - 1)
        process = told.start(lambda: lambda x: x)
        launcher.renew(deadline.now() + 600)
        gate.write_text("")
        while not {"frame", "exit"} & set(told.told_of(process)):
            told.turn(time.monotonic() + PATIENCE)
        assert "exit" not in told.told_of(process)
        assert told.frame(process).kind is Kind.READY
    finally:
        told.close()


# ---- order


def test_messages_come_out_in_their_order_each_once() -> None:
    chance = random.Random(3)
    sent = [(number, f"m{number}") for number in range(1, 200)]
    mixed = [*sent, *chance.sample(sent, 50)]
    chance.shuffle(mixed)
    inbox: Inbox[str] = Inbox()
    got = [each for message in mixed for each in inbox.feed([message])]
    assert got == [text for _, text in sent]
    assert inbox.taken == 199


def test_messages_are_kept_until_they_are_confirmed() -> None:
    outbox: Outbox[str] = Outbox()
    assert [outbox.put(text) for text in "abc"] == [1, 2, 3]
    assert outbox.after(0) == [(1, "a"), (2, "b"), (3, "c")]
    outbox.confirm(2)
    assert outbox.after(0) == [(3, "c")]
    outbox.confirm(1)
    assert outbox.put("d") == 4
    assert outbox.after(3) == [(4, "d")]
    assert len(outbox) == 2


# ---- placement

NODES = [
    Node("n1", "10.0.0.1", {"CPU": 4.0, "GPU": 1.0}),
    Node("n2", "10.0.0.2", {"CPU": 8.0, "tape": 1.0}),
]


def test_an_answer_travels_with_the_call_that_has_waited_longest() -> None:
    async def talk() -> None:
        answers: Answers[str] = Answers()
        calls = [asyncio.ensure_future(answers.wait(0, again=False)) for _ in range(PARKED)]
        await asyncio.sleep(0)
        answers.put("a")
        answers.put("b")
        assert await calls[0] == [(1, "a"), (2, "b")]
        assert not calls[1].done()
        answers.put("c")
        assert await calls[1] == [(3, "c")]
        answers.put("d")
        assert await answers.wait(3, again=False) == [(4, "d")]
        assert len(answers.outbox) == 1

    asyncio.run(talk())


def test_messages_travel_again_if_an_answer_was_lost() -> None:
    async def talk() -> None:
        answers: Answers[str] = Answers()
        for message in "abc":
            answers.put(message)
        lost = await answers.wait(0, again=False)
        assert [message for _, message in lost] == ["a", "b", "c"]
        async with asyncio.timeout(5):
            assert await answers.wait(1, again=True) == [(2, "b"), (3, "c")]

    asyncio.run(talk())


def test_calls_that_only_wait_do_not_pile_up() -> None:
    """Each has brought a message, and nothing is to be said: the oldest ones go home."""

    async def talk() -> None:
        answers: Answers[str] = Answers()
        calls = [asyncio.ensure_future(answers.wait(0, again=False)) for _ in range(50)]
        home, waiting = await asyncio.wait(calls, timeout=0.01)
        assert [await call for call in home] == [[]] * len(home)
        assert PARKED <= len(waiting) <= 2 * PARKED
        answers.put("a")
        (call, *_), _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert call.result() == [(1, "a")]
        for each in waiting:
            each.cancel()

    asyncio.run(talk())


def test_a_packet_is_unpacked_as_it_was_packed() -> None:
    large = pickle.PickleBuffer(bytes(100))
    for bodies in ([], [b"small"], [b"", large, b"x" * 70_000, large]):
        messages = [(number, (b"head", body)) for number, body in enumerate(bodies, 7)]
        given = pack(Packet(messages, 3, again=True))
        assert unpacked(given) == Packet(messages, 3, again=True)
        assert isinstance(given, bytes) is (large not in bodies)


def test_ray_leaves_it_to_the_zygote_to_end_what_an_agent_has_started() -> None:
    """Row 13 in tests/ray shows why: a daemon of the agent otherwise outlives the program."""
    given = {"working_dir": ".", "env_vars": {"OURS": "1"}}
    assert placement.environment(given) == {
        "working_dir": ".",
        "env_vars": {"OURS": "1", "RAY_kill_child_processes_on_worker_exit": "0"},
    }


def test_an_agent_asks_ray_for_what_its_resources_say() -> None:
    asked = {"num_cpus": 2, "num_gpus": 0.5, "memory": 10, "tape": 1}
    given = placement.options(asked, spread=True, avoid=["n2", "n1"])
    assert given == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "memory": 10,
        "resources": {"tape": 1},
        "scheduling_strategy": "SPREAD",
        "label_selector": {"ray.io/node-id": "!in(n1,n2)"},
    }
    assert placement.options({}, spread=False, avoid=()) == {
        "num_cpus": 1,
        "scheduling_strategy": "DEFAULT",
    }


@pytest.mark.parametrize(
    ("asked", "free", "avoid", "why"),
    [
        ({"num_cpus": 9}, {}, (), "no node has num_cpus=9; the largest has 8"),
        ({"num_cpus": 8}, {}, ("n2",), "no node has num_cpus=8; the largest has 4"),
        ({"crane": 1}, {}, (), "no node has crane=1; the largest has 0"),
        ({"num_gpus": 1, "tape": 1}, {}, (), "no single node has num_cpus=1, num_gpus=1, tape=1"),
        (
            {"num_cpus": 4},
            {"CPU": 1.0},
            (),
            "num_cpus=4 is asked for, 1 free in the cluster",
        ),
        ({}, {"CPU": 3.0}, (), "its node prepares a process for it"),
        ({}, {}, ("n1", "n2"), "the cluster has no node that can take it: 2 nodes of it are lost"),
    ],
)
def test_an_agent_that_waits_says_why(
    asked: dict[str, float], free: dict[str, float], avoid: tuple[str, ...], why: str
) -> None:
    assert placement.why_waiting(asked, NODES, free, avoid) == why


# ---- the backend


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"address": "ray://10.0.0.1:10001"}, ValueError, "is no Ray client"),
        ({"address": "10.0.0.1"}, ValueError, "'host:port'"),
        ({"address": 7}, TypeError, "address must be text"),
        ({"lease": 0.1}, ValueError, "lease must be 0.5 s or more"),
        ({"runtime_env": {"py_modules": object}}, TypeError, "plain data"),
        ({"runtime_env": "."}, TypeError, "runtime_env must be a mapping"),
        ({"spread": 1}, TypeError, "spread must be True or False"),
    ],
)
def test_a_backend_that_cannot_be_is_refused(
    given: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        RayBackend(**given)  # type: ignore[arg-type]


def test_the_address_is_the_given_one_or_that_of_the_environment_or_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert RayBackend("10.0.0.1:6379", lease="10s").lease_seconds == 10.0
    assert RayBackend("10.0.0.1:6379").target == "10.0.0.1:6379"
    assert RayBackend().target == "10.0.0.7:6379"
    monkeypatch.delenv("RAY_ADDRESS")
    assert RayBackend().target == "auto"


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"pip install 'procorch\[ray\]'") as told:
        AgentOrchestrator(backend="ray")
    assert told.value.reason == "missing"


def test_a_ray_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.3")
    with pytest.raises(ClusterError, match=r"needs Ray 2\.50 or newer, not 2\.9\.3") as told:
        AgentOrchestrator(backend=RayBackend("10.0.0.1:6379"))
    assert told.value.reason == "version"


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend='rai'"):
        AgentOrchestrator(backend="rai")
    with pytest.raises(TypeError, match="RayBackend"):
        AgentOrchestrator(backend=7)  # type: ignore[arg-type]


def test_what_is_about_nodes_is_refused_on_one_machine() -> None:
    with AgentOrchestrator() as orch:
        with pytest.raises(ValueError, match="give backend='ray'"):
            orch.add_agent("solver", lambda: print, resources={"num_cpus": 2})
        with pytest.raises(ValueError, match="placement= is about nodes"):
            orch.add_agent("solver", lambda: print, placement="spread")


def test_what_is_about_this_machine_is_refused_on_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "_check_installed", lambda: None)
    with pytest.raises(ValueError, match="start_method= is about processes of this machine"):
        AgentOrchestrator(backend="ray", start_method="spawn")
    with AgentOrchestrator(backend="ray") as orch:  # no agent: nothing is connected
        with pytest.raises(ValueError, match="cpus= names processors of this machine"):
            orch.add_agent("solver", lambda: print, cpus={min(os.sched_getaffinity(0))})
        with pytest.raises(ValueError, match="'CPU' is called 'num_cpus'"):
            orch.add_agent("solver", lambda: print, resources={"CPU": 2})
        orch.add_agent("solver", lambda: print, resources={"num_gpus": 0.5}, placement="pack")


# ---- errors of Ray


def test_errors_of_ray_are_explained_by_what_they_mean() -> None:
    class ActorDiedError(Exception):
        pass

    class RuntimeEnvSetupError(Exception):
        pass

    no_procorch = explain_call(RuntimeError("ModuleNotFoundError: No module named 'procorch'"))
    assert no_procorch.reason == "node"
    assert "runtime_env" in no_procorch.text
    died = explain_call(ActorDiedError("The actor died because its node has died. Node Id: 1"))
    assert (died.again, died.relay_alone) == (True, False)
    alone = explain_call(ActorDiedError("its worker process has died"))
    assert (alone.again, alone.relay_alone) == (False, True)
    assert "could not set up" in explain_call(RuntimeEnvSetupError("pip failed")).text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Version mismatch: The cluster was started with Ray: 2.51"), "version"),
        (RuntimeError("Unauthenticated: InvalidAuthToken"), "token"),
        (ConnectionRefusedError(111, "Connection refused"), "address"),
        (ValueError("The runtime_env directory does not exist"), "node"),
    ],
)
def test_a_connection_that_fails_says_of_which_kind_that_is(error: Exception, reason: str) -> None:
    assert explain_connection(error, "10.0.0.1:6379")[0] == reason


def test_a_token_that_is_refused_is_known_from_what_ray_has_written() -> None:
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    said = "Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing"
    reason, text = explain_connection(error, "10.0.0.1:6379", said)
    assert reason == "token"
    assert "RAY_AUTH_TOKEN" in text


def test_a_start_that_fails_for_lack_of_code_says_how_code_gets_to_the_node() -> None:
    where = Where(7, "10.0.0.2", "abcdef0123456789")
    lacks = StartError(agent="a", exc_type="builtins.ModuleNotFoundError", exc_str="No module 'x'")
    told = str(failed_there(lacks, where))
    assert "on node abcdef01, 10.0.0.2" in told
    assert "runtime_env" in told
    other = StartError(agent="a", exc_type="builtins.ValueError", exc_str="no")
    assert "runtime_env" not in str(failed_there(other, where))


# ---- the command line


def test_resources_on_the_command_line_are_names_and_amounts() -> None:
    assert resources("num_cpus=2, num_gpus=0.5") == {"num_cpus": 2.0, "num_gpus": 0.5}
    for wrong in ("num_cpus", "num_cpus=", "=2", "num_cpus=two", ""):
        with pytest.raises(click.BadParameter, match="NAME=AMOUNT"):
            resources(wrong)
