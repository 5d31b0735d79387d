"""What the rows about Ray share: a cluster on this machine, an agent on it, and a Ray actor on it.

The agent and the actor do the same work (`work`) and each has a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.work import maybe_for_ever, own_pid, same
from procorch import AgentOrchestrator, Backoff, DefaultSupervisor, OrchestratedHandle, RayBackend
from procorch.demo.cluster import LocalCluster

ACTOR = "Ray actor"
FAR = "far"
"""A resource that all nodes but the head offer, so that a node can be lost without the program."""

REPLACED = {"max_restarts": -1, "max_task_retries": -1}
"""Options of an actor that Ray replaces, and whose calls it repeats."""


class Worker:
    """What an agent and a Ray actor do."""

    def same(self, item: Any) -> Any:
        """See `work.same`."""
        return same(item)

    def pid(self) -> int:
        """See `work.own_pid`."""
        return own_pid()

    def maybe_for_ever(self, path: str) -> str:
        """See `work.maybe_for_ever`."""
        return maybe_for_ever(path)

    def exit(self, code: int) -> None:
        """End the process with an exit code."""
        import os

        os._exit(code)


def worker() -> Callable[[tuple[str, Any]], Any]:
    """Factory of an agent that takes the names of `Worker` and their arguments."""
    of = Worker()

    def handle(given: tuple[str, Any]) -> Any:
        name, *arguments = given
        return getattr(of, name)(*arguments)

    return handle


@contextmanager
def cluster(far: int = 0) -> Iterator[LocalCluster]:
    """A cluster of a head and some nodes that offer `FAR`."""
    with LocalCluster(1) as made, made.entered():
        for _ in range(far):
            made.add({FAR: 1})
        yield made


@contextmanager
def agent(
    made: LocalCluster, resources: Mapping[str, float] | None = None, **settings: Any
) -> Iterator[OrchestratedHandle]:
    """An agent on the cluster."""
    with AgentOrchestrator(
        supervisor=DefaultSupervisor(), backend=RayBackend(made.address)
    ) as orchestrator:
        orchestrator.add_agent(
            "worker",
            worker,
            backoff=Backoff(initial=0),
            resources=dict(resources or {}),
            **settings,
        )
        yield orchestrator.spawn("worker")


@contextmanager
def actor(made: LocalCluster, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Ray itself, and an actor on the cluster."""
    import ray

    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    try:
        given = ray.remote(Worker).options(num_cpus=1, **options).remote()
        ray.get(given.pid.remote())
        yield ray, given
    finally:
        ray.shutdown()
