"""Starting processes: from the spawn to readiness (N9, N10)."""

from __future__ import annotations

from procorch.errors import Aborted, AgentError, AgentStopped, StartError
from procorch.supervision import actions, ahead, beside, dispatch, holding, notices
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Pending, Team
from procorch.supervision.replacing import failed_start, replace
from procorch.supervision.restarts import RestartLimits, Window
from procorch.supervision.states import AgentStatus, Phase, StopStage


def spawn(core: Core, spawns: tuple[ev.Spawn, ...]) -> None:
    """Add new instances to their agent, and let them wait for a start slot."""
    for event in spawns:
        parent = None if event.parent is None else core.teams.get(event.parent)
        team = core.teams.get(event.mailbox)
        error = _refusal(core, event, team, parent)
        if error is None:
            _add(core, event, team or _new_team(core, event, parent))
        else:
            _refuse(core, event, error)
    first = spawns[0]
    if not first.joins and first.mailbox not in core.teams:
        core.out.append(actions.AgentEnded(first.mailbox, AgentStatus.STOPPED, error))


def _refusal(
    core: Core, event: ev.Spawn, team: Team | None, parent: Team | None
) -> AgentError | None:
    """Why an instance cannot start; None: it can."""
    if core.closing:
        return Aborted(agent=event.name)
    if team is not None:
        if not team.leaving:
            return None
        why = "the agent is ending"
    elif event.joins:
        why = "the agent has ended"
    elif event.parent is not None and (parent is None or parent.leaving):
        why = "its parent is ending"
    else:
        return None
    return AgentStopped(f"agent {event.name!r} was not started: {why}", agent=event.name)


def _refuse(core: Core, event: ev.Spawn, error: AgentError) -> None:
    status = AgentStatus.STOPPED
    told = notices.Stopped(
        agent=event.name, instance=event.slot, generation=0, at=core.now, status=status, error=error
    )
    core.out += [actions.Notify(event.key, told), actions.Ended(event.key, status, error)]


def _new_team(core: Core, event: ev.Spawn, parent: Team | None) -> Team:
    intensity = event.settings.intensity
    window = None if intensity is None else Window(intensity)
    team = Team(event.mailbox, event.name, event.settings, parent, window=window)
    if parent is not None:
        parent.children.append(team)
        team.siblings = parent.children
    core.teams[team.key] = team
    return team


def _add(core: Core, event: ev.Spawn, team: Team) -> None:
    a = Instance(
        key=event.key,
        mailbox=team.key,
        name=team.name,
        settings=team.settings,
        team=team,
        supervised=event.supervised,
        reconsiders=event.reconsiders,
        limits=RestartLimits(team.settings, service=event.service),
        slot=event.slot,
        service=event.service,
        release=event.release,
    )
    team.members.append(a)
    core.instances[a.key] = a
    core.ledger.join(a.mailbox, a.key)
    holding.begin(core, a)
    ahead.watch_all(core, a.mailbox)
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
    if a.successor is not None:
        beside.take_over(core, a)
        return
    core.starting.add(a.key)
    a.process = beside.new_process(core, a, a.release)
    core.out.append(actions.Launch(a.key, a.generation, a.release))
    core.tell(a, notices.Starting)
    core.timers.arm((Due.START, a.key), core.now + a.settings.start_timeout)


def placing(core: Core, a: Instance, event: ev.Placing) -> None:
    """The process waits for a node. Others may start meanwhile. Its ``start_timeout`` goes on, or
    begins when the launcher has reached the cluster, which has a time limit of its own."""
    core.starting.discard(a.key)
    a.process.placing = event.why
    timer = (Due.START, a.key)
    if not event.connected:
        core.timers.disarm(timer)
    elif core.timers.at(timer) is None and a.process.stage is None:
        core.timers.arm(timer, core.now + a.settings.start_timeout)


def placed(core: Core, a: Instance, event: ev.Placed) -> None:
    """The process has a node: the ``start_timeout`` of the start itself begins."""
    a.process.placing = None
    if a.process.stage is None:
        core.timers.arm((Due.START, a.key), core.now + a.settings.start_timeout)


def ready(core: Core, a: Instance, event: ev.Ready) -> None:
    """The worker has built its agent: it accepts requests."""
    if a.process.stage is not None:
        return  # Too late: the start was given up, and the process is being ended.
    core.left_starting(a)
    a.process.ready_at = core.now
    a.process.gives_back = event.gives_back
    a.team.empty = False
    beside.announce(core, a)
    if event.run is not None:
        dispatch.run(core, a, event.run)
    beside.serve(core, a)


def failed(core: Core, a: Instance, event: ev.StartFailed) -> None:
    """The worker reported why it cannot start; its exit follows."""
    a.process.reason = a.process.reason or event.error
    core.stop_process(a, StopStage.LEAVE)


def overdue(core: Core, a: Instance, event: object) -> None:
    """``start_timeout`` has passed."""
    if a.process.placing is not None:
        a.process.reason = StartError(
            f"agent {a.name!r} was not placed on a node within {a.settings.start_timeout:g} s: "
            f"{a.process.placing}",
            agent=a.name,
            phase="placement",
        )
        core.stop_process(a, StopStage.TERMINATE)
        return
    a.process.reason = StartError(
        f"agent {a.name!r} was not ready within {a.settings.start_timeout:g} s",
        agent=a.name,
        phase="ready",
    )
    # What a service has begun can end in order: the function, or the program with its group.
    core.stop_process(a, StopStage.LEAVE if a.service else StopStage.TERMINATE)


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """The process ended before it was ready; the first start is not tried again (N9)."""
    core.process_ended(a, event.exit)
    error = failed_start(a, a.process, event.exit)
    if a.trial is not None and a.process.release == a.release:
        beside.failed(core, a, error)
        replace(core, a, counted=False, alone=True)
        return
    if a.announced:
        core.ask_policy(a, Pending(None, error))
    else:
        core.end(a, AgentStatus.FAILED, error)
