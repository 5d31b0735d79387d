"""Starting instances of an agent, and changing their number while it runs."""

from __future__ import annotations

from collections.abc import Iterable

from procorch.errors import AgentStopped
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.monitor import Monitor
from procorch.supervision import events as ev
from procorch.supervision.states import AgentStatus
from procorch.units import seconds, whole


def begin(monitor: Monitor, agent: AgentRuntime) -> list[InstanceRuntime]:
    """Begin to start a new agent with all its instances; returns these."""
    fresh = [agent.make(agent, slot) for slot in range(agent.size)]
    monitor.spawn(fresh, joins=False)
    return fresh


def await_start(monitor: Monitor, agent: AgentRuntime, fresh: list[InstanceRuntime]) -> None:
    """Wait until the instances of a new agent are ready.

    Raises:
        StartError: one of them could not be started; none of them is left.
    """
    try:
        for instance in fresh:
            instance.started.result()
    except BaseException:  # also KeyboardInterrupt: without a handle nobody could cancel it
        monitor.post(ev.Cancel(agent.number))
        agent.ended.exception()
        raise


def scale(monitor: Monitor, agent: AgentRuntime, count: int, timeout: float | str | None) -> None:
    """See `OrchestratedHandle.scale`."""
    number = whole(count, "count")
    limit = None if timeout is None else seconds(timeout, "timeout")
    end = None if limit is None else monitor.clock.now() + limit
    surplus = resize(monitor, agent, number, end)
    try:
        for instance in surplus:
            instance.ended.exception(_left(monitor, end))
    except TimeoutError:
        left = sum(not instance.ended.done() for instance in surplus)
        raise TimeoutError(
            f"agent {agent.name!r}: {left} of {len(surplus)} instances still finish their requests "
            f"after {limit:g} s; they get no more, and end when they are done"
        ) from None


def resize(
    monitor: Monitor, agent: AgentRuntime, count: int, end: float | None = None
) -> list[InstanceRuntime]:
    """Have the slots 0 to ``count`` - 1; returns when new instances are ready.

    Args:
        end: the time by which these have to be ready.

    Returns:
        The instances of higher slots: they finish the requests they have, and end.

    Raises:
        StartError, AgentStopped, TimeoutError: see `OrchestratedHandle.scale`.
    """
    with agent.resizing:
        if agent.status is not AgentStatus.RUNNING:
            raise AgentStopped(f"agent {agent.name!r} has ended", agent=agent.name)
        taken = {each.slot for each in agent.live() if not each.retired}
        missing = [slot for slot in range(count) if slot not in taken]
        if missing:
            _add(monitor, agent, missing, end)
        agent.size = count
        surplus = [each for each in agent.live() if each.slot >= count]
        for instance in surplus:
            retire(monitor, instance)
        return surplus


def retire(monitor: Monitor, instance: InstanceRuntime, *, now: bool = False) -> None:
    """End one instance of an agent that goes on; it finishes its requests, or ends ``now``."""
    instance.retired = True
    monitor.post(ev.Retire(instance.key, now))


def _add(monitor: Monitor, agent: AgentRuntime, slots: Iterable[int], end: float | None) -> None:
    """Start instances of a running agent: all of them, or none."""
    fresh = [agent.make(agent, slot) for slot in slots]
    monitor.spawn(fresh, joins=True)
    try:
        for instance in fresh:
            instance.started.result(_left(monitor, end))
    except BaseException as error:
        for instance in fresh:
            retire(monitor, instance, now=True)
        for instance in fresh:
            instance.ended.exception()
            if instance in agent.instances:  # it had ended before it was retired
                agent.instances.remove(instance)
        if isinstance(error, TimeoutError):
            raise TimeoutError(
                f"agent {agent.name!r}: new instances were not ready in time; "
                f"it keeps its {agent.size}"
            ) from None
        raise
    for instance in agent.slots():  # those that had ended by themselves
        if instance.status is not AgentStatus.RUNNING and instance.slot in slots:
            agent.instances.remove(instance)


def _left(monitor: Monitor, end: float | None) -> float | None:
    return None if end is None else max(0.0, end - monitor.clock.now())
