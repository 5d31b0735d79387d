"""The figures of a request are its own, and plausible."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from procorch import OrchestratedHandle, RequestMetrics
from procorch.worker.meter import Meter

MiB = 1 << 20

Start = Callable[..., OrchestratedHandle]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def metrics_of(handle: OrchestratedHandle, request: Any) -> RequestMetrics:
    metrics = handle.deliver(request).result().metrics
    assert metrics is not None
    return metrics


@pytest.fixture
def worker(start: Start) -> OrchestratedHandle:
    """An agent that spends what it is asked to."""

    def factory():
        import time

        held = []

        def handle(x):
            match x:
                case ("sleep", seconds):
                    time.sleep(seconds)
                case ("compute", seconds):
                    end = time.process_time() + seconds
                    while time.process_time() < end:
                        pass
                case ("allocate", size):
                    block = bytearray(size)
                    block[::4096] = b"x" * len(block[::4096])
                case ("hold", size):
                    held.append(b"x" * size)
                case "drop":
                    held.clear()
                case ("reply", size):
                    return b"x" * size
            return None

        return handle

    return start(factory)


def test_metrics_say_which_process_answered(worker: OrchestratedHandle) -> None:
    metrics = metrics_of(worker, None)
    assert metrics.pid == worker.pid != os.getpid()
    assert metrics.generation == worker.generation == 1
    for name in RequestMetrics.__match_args__:
        assert getattr(metrics, name) >= 0


def test_a_sleep_takes_time_and_little_cpu(worker: OrchestratedHandle) -> None:
    metrics = metrics_of(worker, ("sleep", 0.2))
    assert 0.2 <= metrics.wall < 5
    assert metrics.cpu_user + metrics.cpu_system < 0.1


def test_a_computation_takes_cpu(worker: OrchestratedHandle) -> None:
    metrics = metrics_of(worker, ("compute", 0.2))
    assert 0.19 <= metrics.cpu_user + metrics.cpu_system < 0.4
    assert metrics.wall >= 0.19
    after = metrics_of(worker, None)
    assert after.cpu_user + after.cpu_system < 0.1


def test_peak_memory_is_that_of_the_request_alone(worker: OrchestratedHandle) -> None:
    before = metrics_of(worker, None).peak_rss
    during = metrics_of(worker, ("allocate", 50 * MiB))
    after = metrics_of(worker, None).peak_rss
    assert 5 * MiB < before < 50 * MiB
    assert before + 49 * MiB < during.peak_rss < before + 60 * MiB
    assert after < before + 10 * MiB
    assert during.page_faults >= 50 * MiB // (2 * MiB)  # huge pages at the most


def test_a_request_is_not_charged_with_the_memory_of_the_one_just_before() -> None:
    """However soon it comes: here no time passes at all."""
    meter = Meter(None, clock=lambda: 0.0)
    peaks = []
    for size in (1, 50 * MiB, 1):
        meter.begin(at_once=False)
        block = bytearray(size)
        block[::4096] = b"x" * len(block[::4096])
        del block
        peaks.append(meter.resources().peak_rss)
    assert peaks[0] + 49 * MiB < peaks[1]
    assert peaks[2] < peaks[0] + 10 * MiB


def test_peak_memory_is_at_least_what_is_held_and_what_was_given_back_is_forgotten(
    worker: OrchestratedHandle,
) -> None:
    before = metrics_of(worker, None).peak_rss
    assert metrics_of(worker, ("hold", 50 * MiB)).peak_rss > before + 49 * MiB
    for _ in range(3):
        assert metrics_of(worker, None).peak_rss > before + 49 * MiB
    metrics_of(worker, "drop")
    metrics_of(worker, ("sleep", 0.1))
    assert metrics_of(worker, None).peak_rss < before + 10 * MiB


def test_peak_memory_is_not_that_of_a_large_parent(run_python: Run) -> None:
    done = run_python(
        "from procorch import AgentOrchestrator\n"
        "ballast = b'x' * (200 << 20)\n"
        "with AgentOrchestrator() as orch:\n"
        "    orch.add_agent('a', lambda: lambda x: bytearray(x) and None)\n"
        "    handle = orch.spawn('a')\n"
        "    for size in (1, 50 << 20, 1):\n"
        "        print(handle.deliver(size).result().metrics.peak_rss)\n"
    )
    assert done.stderr == ""
    small, large, small_again = map(int, done.stdout.split())
    assert 5 * MiB < small < 50 * MiB
    assert 50 * MiB < large < 100 * MiB
    assert small_again < small + 10 * MiB


def test_bytes_count_both_ways(worker: OrchestratedHandle) -> None:
    for size in (0, 1_000, 1_000_000):
        metrics = metrics_of(worker, b"x" * size)
        assert size < metrics.bytes_in < size + 100
        assert metrics.bytes_out < 100
        metrics = metrics_of(worker, ("reply", size))
        assert size < metrics.bytes_out < size + 100


def test_queued_is_the_time_before_the_dispatch(worker: OrchestratedHandle) -> None:
    first, second = worker.deliver(("sleep", 0.2)), worker.deliver(None)
    metrics = [reply.result().metrics for reply in (first, second)]
    assert 0 <= metrics[0].queued < 0.15
    assert 0.15 < metrics[1].queued < 5
    assert metrics[1].wall < 0.15


def test_the_parts_add_up_to_what_the_caller_sees(worker: OrchestratedHandle) -> None:
    before = time.monotonic()
    metrics = metrics_of(worker, ("sleep", 0.05))
    assert metrics.queued + metrics.wall <= time.monotonic() - before
