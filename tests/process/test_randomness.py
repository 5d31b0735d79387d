"""Workers draw different numbers, and those that are to be repeated can be."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentExecutor, AgentOrchestrator, AgentPool, DefaultSupervisor, current
from procorch.agents.context import Seed

PATIENCE = 90.0


def test_workers_of_one_zygote_draw_different_numbers(
    orchestrator: Callable[..., AgentOrchestrator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for torch, which is large: what is looked for is its name and its function.
    (tmp_path / "torch.py").write_text(
        "import random\n"
        "generator = random.Random(1)\n"
        "def manual_seed(seed):\n    generator.seed(seed)\n"
    )
    (tmp_path / "has_own.py").write_text("import random\nown = random.Random()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    orch = orchestrator(
        supervisor=DefaultSupervisor(),
        start_method="zygote",
        preload=["random", "numpy", "torch", "has_own"],
    )

    def factory() -> Any:
        def handle(_: Any) -> list[float]:
            import has_own  # type: ignore[import-not-found]
            import numpy as np
            import torch

            drawn = random.random(), np.random.rand(), torch.generator.random()
            return [float(number) for number in (*drawn, has_own.own.random())]

        return handle

    for name in "ab":
        orch.add_agent(name, factory)
    handles = [orch.spawn(name) for name in "ab"]
    rows = []
    for _ in range(2):
        for handle in handles:
            rows.append(handle.deliver("x", timeout=PATIENCE).result().output)
            handle.restart()
    for drawn in list(zip(*rows, strict=True))[:3]:
        assert len(set(drawn)) == len(rows)
    own = [row[3] for row in rows]
    assert len(set(own)) == 1  # A generator of the user's own is left as it is.


def seeds() -> Any:
    made = current().seed
    return lambda _: (made, current().seed)


def collect(executor: AgentPool) -> list[tuple[int, int]]:
    return [executor.submit(n).result().output for n in range(4)]


def test_every_request_has_a_seed_of_its_own_and_so_has_every_replica() -> None:
    with AgentPool(seeds, workers=2, seed=7) as pool:
        single = collect(pool)
        chunk = list(pool.imap(range(10), chunksize=5))
    assert len({seed for _, seed in single + chunk}) == 14
    with AgentPool(seeds, workers=2, seed=7) as pool:
        made = {made for made, _ in pool.imap(range(40), chunksize=1)}
    assert 1 <= len(made) <= 2
    assert all(0 <= seed < 2**63 for seed in made)


SAME = """
from procorch import AgentExecutor, AgentOrchestrator, AgentPool, current, run_batch

def agent():
    return lambda item: current().seed

def call():
    return current().seed

if __name__ == "__main__":
    seed = SEED
    with AgentPool(agent, workers=2, seed=seed) as pool:
        print([pool.submit(n).result().output for n in range(3)])
    with AgentExecutor(2, seed=seed) as executor:
        print([executor.submit(call).result() for n in range(3)])
    with AgentOrchestrator(seed=seed) as orch:
        orch.add_agent("a", agent)
        print(orch.spawn("a").deliver("x").result().output)
"""


def test_the_same_program_with_the_same_seed_gets_the_same_numbers(
    run_python: Callable[..., Any],
) -> None:
    first, again, other, free, free_again = (
        run_python(SAME.replace("SEED", seed)).stdout for seed in ("5", "5", "6", "None", "None")
    )
    assert len(first.splitlines()) == 3
    assert first == again
    assert len({first, other, free, free_again}) == 4


def test_a_seed_follows_from_run_agent_generation_and_request() -> None:
    seed = Seed("1", instance=2)
    assert seed.derive("a", 1, 5) == Seed("1", instance=3).derive("a", 1, 5)
    assert seed.derive("a", 1, None) != Seed("1", instance=3).derive("a", 1, None)
    known = {
        each.derive(agent, generation, request)
        for each in (seed, Seed("2", instance=2), Seed("1", item=lambda: 1))
        for agent in ("a", "b")
        for generation in (1, 2)
        for request in (5, 6)
    }
    assert len(known) == 24


@pytest.mark.parametrize("wrong", ["x", 1.5, True])
def test_a_seed_is_a_whole_number(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="seed"):
        AgentOrchestrator(seed=wrong)
    with pytest.raises((TypeError, ValueError), match="seed"):
        AgentExecutor(1, seed=wrong)
