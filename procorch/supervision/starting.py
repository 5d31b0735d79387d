"""From the wish for a process to its readiness (N9, N10)."""

from __future__ import annotations

from procorch.errors import Aborted, StartError
from procorch.supervision import events as ev
from procorch.supervision import notices
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.restarts import RestartLimits
from procorch.supervision.states import AgentStatus, Phase, Signal


def spawn(core: Core, event: ev.Spawn) -> None:
    """A new instance joins its mailbox and wants a process."""
    a = Instance(
        key=event.key, mailbox=event.mailbox, name=event.name, settings=event.settings,
        supervised=event.supervised, limits=RestartLimits(event.settings),
    )  # fmt: skip
    core.instances[a.key] = a
    core.ledger.join(a.mailbox, a.key)
    if core.closing:
        core.end(a, AgentStatus.STOPPED, Aborted(agent=a.name))
    else:
        core.enter(a, Phase.WAITING)


def wait_for_slot(core: Core, a: Instance) -> None:
    """WAITING: stand in line for one of the start slots."""
    core.start_queue.append(a.key)


def fill_slots(core: Core) -> None:
    """Start those who wait, as many as may start at once (N10). Runs at the end of each step."""
    while core.start_queue and len(core.starting) < core.start_limit:
        a = core.instances.get(core.start_queue.popleft())
        if a is not None and a.phase is Phase.WAITING:
            core.enter(a, Phase.STARTING)


def launch(core: Core, a: Instance) -> None:
    """STARTING: a new generation begins."""
    core.starting.add(a.key)
    a.generation += 1
    a.alive = True
    a.reason = a.rung = a.ready_at = None
    a.excused = False
    core.out.append(ev.Launch(a.key, a.generation))
    core.tell(a, notices.Starting)
    core.timers.arm((Due.START, a.key), core.now + a.settings.start_timeout)


def ready(core: Core, a: Instance, event: ev.Ready) -> None:
    """The agent is built: requests may come."""
    if a.rung is not None:  # Too late: the start is given up and the process on its way out.
        return
    core.left_starting(a)
    a.ready_at = core.now
    if not a.announced:
        a.announced = True
        core.out.append(ev.Started(a.key))
    core.tell(a, notices.Ready)
    core.enter(a, Phase.READY)


def failed(core: Core, a: Instance, event: ev.StartFailed) -> None:
    """The worker said why it cannot start; what remains is its exit."""
    a.reason = event.error
    core.press(a, Signal.LEAVE)


def overdue(core: Core, a: Instance, event: object) -> None:
    """``start_timeout`` has passed."""
    a.reason = StartError(
        f"agent {a.name!r} was not ready within {a.settings.start_timeout:g} s",
        agent=a.name,
        phase="ready",
    )
    core.press(a, Signal.TERMINATE)


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """The process ended before it was ready; the first start has no second try (N9)."""
    core.gone(a)
    error = a.reason or StartError(
        f"agent {a.name!r} {describe(event.exit)} while it was starting",
        agent=a.name,
        phase="start",
        remote_traceback=event.exit.last_stack or "",
    )
    if a.announced:
        core.judge(a, None, error)
    else:
        core.end(a, AgentStatus.FAILED, error)


def describe(exit: ev.Exit) -> str:
    """How a process ended, in words that follow its agent's name."""
    who = "" if exit.pid is None else f"(pid {exit.pid}) "
    if exit.signal is not None:
        return f"{who}was killed by {exit.signal}"
    if exit.code is not None:
        return f"{who}exited with code {exit.code}"
    return f"{who}went out of sight" if exit.lost else f"{who}ended with an unknown exit status"
