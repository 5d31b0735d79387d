"""Starting processes: from the spawn to readiness (N9, N10)."""

from __future__ import annotations

from procorch.errors import Aborted, AgentStopped, StartError
from procorch.supervision import actions, ahead, groups, holding, notices, tree
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Pending
from procorch.supervision.process import Process
from procorch.supervision.restarts import RestartLimits, Window
from procorch.supervision.states import AgentStatus, Phase, StopStage


def spawn(core: Core, event: ev.Spawn) -> None:
    """Add a new instance to its mailbox and its parent, and let it wait for a start slot."""
    intensity = event.settings.intensity
    a = Instance(
        key=event.key,
        mailbox=event.mailbox,
        name=event.name,
        settings=event.settings,
        supervised=event.supervised,
        reconsiders=event.reconsiders,
        limits=RestartLimits(event.settings),
        parent=event.parent,
        slot=event.slot,
        window=None if intensity is None else Window(intensity),
    )
    core.instances[a.key] = a
    core.ledger.join(a.mailbox, a.key)
    holding.begin(core, a)
    ahead.watch_all(core, a.mailbox)
    parent = core.instances.get(event.parent) if event.parent is not None else None
    if core.closing:
        core.end(a, AgentStatus.STOPPED, Aborted(agent=a.name))
    elif event.parent is not None and (parent is None or tree.leaving(parent)):
        a.parent = None
        gone = AgentStopped(f"agent {a.name!r} was not started: its parent is ending", agent=a.name)
        core.end(a, AgentStatus.STOPPED, gone)
    else:
        if parent is not None:
            parent.children.append(a.key)
            a.siblings = parent.children
        core.enter(a, Phase.WAITING)


def wait_for_slot(core: Core, a: Instance) -> None:
    """WAITING: join the queue for the start slots."""
    core.start_queue.append(a.key)


def fill_slots(core: Core) -> None:
    """Start waiting instances while slots are free (N10). Runs at the end of each step."""
    while core.start_queue and len(core.starting) < core.start_limit:
        a = core.instances.get(core.start_queue.popleft())
        if a is not None and a.phase is Phase.WAITING:
            core.enter(a, Phase.STARTING)


def launch(core: Core, a: Instance) -> None:
    """STARTING: launch the process of a new generation."""
    core.starting.add(a.key)
    jitter = a.settings.recycle_jitter
    margin = jitter * core.chance() if jitter else 0.0
    a.process = Process(a.generation + 1, margin, alive=True)
    core.out.append(actions.Launch(a.key, a.generation))
    core.tell(a, notices.Starting)
    core.timers.arm((Due.START, a.key), core.now + a.settings.start_timeout)


def ready(core: Core, a: Instance, event: ev.Ready) -> None:
    """The worker has built its agent: it accepts requests."""
    if a.process.stage is not None:
        return  # Too late: the start was given up, and the process is being ended.
    core.left_starting(a)
    a.process.ready_at = core.now
    a.process.gives_back = event.gives_back
    core.tell(
        a, notices.Ready
    )  # Before `spawn` returns: it is no event "from now on" for its caller.
    if not a.announced:
        a.announced = True
        core.out.append(actions.Started(a.key))
    if a.settings.max_age is not None:
        core.timers.arm((Due.AGE, a.key), core.now + a.settings.max_age * (1 - a.process.margin))
    core.enter(a, Phase.READY)
    groups.became_ready(core, a)


def failed(core: Core, a: Instance, event: ev.StartFailed) -> None:
    """The worker reported why it cannot start; its exit follows."""
    a.process.reason = a.process.reason or event.error
    core.stop_process(a, StopStage.LEAVE)


def overdue(core: Core, a: Instance, event: object) -> None:
    """``start_timeout`` has passed."""
    a.process.reason = StartError(
        f"agent {a.name!r} was not ready within {a.settings.start_timeout:g} s",
        agent=a.name,
        phase="ready",
    )
    core.stop_process(a, StopStage.TERMINATE)


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """The process ended before it was ready; the first start is not tried again (N9)."""
    core.process_ended(a, event.exit)
    error = a.process.reason
    if not isinstance(error, StartError):
        how = event.exit.describe() if error is None else f"was ended ({error})"
        error = StartError(
            f"agent {a.name!r} {how} while it was starting",
            agent=a.name,
            phase="start",
            remote_traceback=event.exit.last_stack or "",
        )
        error.__cause__ = a.process.reason
    if a.announced:
        core.ask_policy(a, Pending(None, error))
    else:
        core.end(a, AgentStatus.FAILED, error)
