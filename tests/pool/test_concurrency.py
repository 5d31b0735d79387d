"""Pools and batches whose workers run several items at once (`concurrency`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentCrashed, AgentPool, Success, run_batch


def meeting(count: int) -> Callable[[], Any]:
    """An agent whose items wait for each other: ``count`` have to be in one process at once."""

    def factory():
        import asyncio

        barrier = asyncio.Barrier(count)

        async def handle(item):
            await barrier.wait()
            return item, os.getpid()

        return handle

    return factory


def mortal():
    import asyncio

    async def handle(item):
        await asyncio.sleep(0)
        if item == "die":
            os._exit(1)
        return item

    return handle


def test_each_worker_runs_several_items_at_once() -> None:
    with AgentPool(meeting(4), workers=1, concurrency=4) as pool:
        outputs = pool.map(range(32))
        assert [number for number, _ in outputs] == list(range(32))
        assert len({pid for _, pid in outputs}) == 1
        assert [number for number, _ in pool.imap(range(16))] == list(range(16))
        with pytest.raises(ValueError, match="chunksize=2 and concurrency"):
            pool.map([1, 2], chunksize=2)
    with AgentPool(mortal, workers=2, concurrency=4) as pool:
        assert pool.map(range(32)) == list(range(32))
        assert pool.info().workers == 2


def test_a_spare_worker_waits_until_one_is_lost() -> None:
    with AgentPool(meeting(3), workers=1, warm_spares=1, concurrency=3) as pool:
        first = {pid for _, pid in pool.map(range(9))}
        assert len(first) == 1


def test_a_death_in_a_pool_costs_those_under_way_and_no_other() -> None:
    with AgentPool(mortal, workers=1, concurrency=2, retries=2) as pool:
        outcomes = pool.map(["a", "die", *"bcdefg"], outcomes=True)
    assert isinstance(outcomes[1].error, AgentCrashed)
    assert [each.output for each in outcomes if isinstance(each, Success)] == list("abcdefg")


def test_a_batch_runs_several_items_of_a_worker_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    with run_batch(meeting(4), range(12), out=out, workers=1, concurrency=4) as run:
        outputs = [item.output for item in run]
    assert sorted(number for number, _ in outputs) == list(range(12))
    assert len({pid for _, pid in outputs}) == 1
