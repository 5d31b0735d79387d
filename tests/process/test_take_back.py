"""``prefetch="auto"``: requests go ahead to quick replicas, and are taken back behind slow ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOrchestrator, OrchestratedHandle, RequestTimeout
from procorch.launch.process import LocalProcess
from procorch.wire import fence

Replicas = Callable[..., OrchestratedHandle]

pytestmark = pytest.mark.skipif(not fence.is_supported(), reason="the kernel has no membarrier")


@pytest.fixture
def replicas(orchestrator: Callable[..., AgentOrchestrator]) -> Replicas:
    """Start an agent with several instances."""

    def begin(factory: Callable[[], Any], count: int, **settings: Any) -> OrchestratedHandle:
        orch = orchestrator()
        orch.add_agent("a", factory, channel_buffer=10_000, instances=count, **settings)
        return orch.spawn("a")

    return begin


@pytest.fixture
def handshakes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each handshake has taken back."""
    found: list[int] = []
    take_back = LocalProcess.take_back

    def noted(process: LocalProcess, number: int) -> int:
        claimed = take_back(process, number)
        found.append(number - claimed)
        return claimed

    monkeypatch.setattr(LocalProcess, "take_back", noted)
    return found


def test_each_request_begins_once_whatever_is_taken_back(
    replicas: Replicas, handshakes: list[int], tmp_path: Path
) -> None:
    path = str(tmp_path / "begun")

    def factory():
        import os
        import time

        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def handle(given):
            number, slow = given
            os.write(fd, b"%d\n" % number)
            if slow:
                time.sleep(0.003)
            return number

        return handle

    handle = replicas(factory, 2, prefetch="auto")
    chance = random.Random(1)
    for first in range(0, 20_000, 2000):
        numbers = range(first, first + 2000)
        replies = [handle.deliver((number, chance.random() < 0.01)) for number in numbers]
        assert [reply.result().output for reply in replies] == [*numbers]
        if sum(handshakes) > 100:
            break
    begun = [int(line) for line in Path(path).read_text().split()]
    assert sorted(begun) == [*range(len(begun))]
    assert sum(handshakes) > 0


def waits_at_a_word(tell: Callable[[], None], wait: Callable[[], None]) -> Callable[[], Any]:
    """A factory whose agents wait at the word "wait", and give back what they are sent."""

    def factory():
        def handle(given):
            if given == "wait":
                tell()
                wait()
            return given

        return handle

    return factory


def test_what_waits_behind_a_slow_request_runs_in_a_free_replica(
    replicas: Replicas, gate: Any
) -> None:
    begun, go = gate(), gate()
    factory = waits_at_a_word(begun.tell, go.wait)
    handle = replicas(factory, 2, prefetch="auto")
    slow: list[Any] = []
    for _ in range(20):
        for reply in [handle.deliver(n) for n in range(64)]:
            reply.result()
        quick = [handle.deliver(n) for n in range(32)]
        slow.append(handle.deliver("wait"))
        quick += [handle.deliver(n) for n in range(64)]
        begun.line()
        for reply in quick:
            reply.result(timeout=20)
        assert not slow[-1].done()
        go.open()
        slow[-1].result()


def test_a_large_body_waits_for_the_first_replica_that_is_free(
    replicas: Replicas, gate: Any
) -> None:
    begun, first, second = gate(), gate(), gate()
    tell, waits = begun.tell, {"first": first.wait, "second": second.wait}

    def factory():
        def handle(given):
            if given in waits:
                tell()
                waits[given]()
            return len(given)

        return handle

    handle = replicas(factory, 2, prefetch=8)
    busy = [handle.deliver(word) for word in waits]
    begun.line()
    begun.line()
    large = handle.deliver(b"." * (1 << 20))
    second.open()
    assert large.result(timeout=20).output == 1 << 20
    assert not busy[0].done()
    first.open()
    assert busy[0].result().output == 5


def test_where_the_kernel_refuses_fences_nothing_is_sent_ahead(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch, gate: Any
) -> None:
    begun, go = gate(), gate()
    factory = waits_at_a_word(begun.tell, go.wait)
    monkeypatch.setattr(fence, "is_supported", lambda: False)
    handle = replicas(factory, 1, prefetch="auto")
    for n in range(64):
        handle.deliver(n).result()
    slow = handle.deliver("wait")
    begun.line()
    waiting = [handle.deliver(n) for n in range(8)]
    with pytest.raises(RequestTimeout):  # It comes after the others, which are known by then.
        handle.submit("late", timeout=0.01).result()
    assert handle.info().queue == 8
    go.open()
    assert slow.result().output == "wait"
    assert [reply.result().output for reply in waiting] == [*range(8)]
