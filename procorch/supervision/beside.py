"""A second process of an instance, while its release is replaced (N19).

At first it is the *successor*: it starts beside the current process, which serves on. When it is
ready, and the current process is idle, it takes over. From then on the former process is the one
beside, until it has ended. So at any time one process at most gets requests (I2).

These processes have a timer and a ladder of their own (``Due.BESIDE``).
"""

from __future__ import annotations

from procorch.errors import AgentError, StartError
from procorch.supervision import actions, groups, notices
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due, time_of
from procorch.supervision.instance import Instance
from procorch.supervision.process import Process
from procorch.supervision.states import Phase, StopStage


def new_process(core: Core, a: Instance, release: int) -> Process:
    """The record of the next process of ``a``."""
    a.launched += 1
    settings = a.settings
    jitter = settings.recycle_jitter
    margin = jitter * core.chance() if jitter else 0.0
    return Process(
        a.launched, margin, alive=True, release=release, sends_ahead=settings.sends_ahead,
        concurrency=settings.concurrency, memory_limit=settings.memory_limit,
    )  # fmt: skip


def launch(core: Core, a: Instance, release: int) -> None:
    """Launch a successor."""
    a.beside = new_process(core, a, release)
    a.beside.waits = True
    core.out.append(actions.Launch(a.key, a.launched, release, beside=True))
    core.tell(a, notices.Starting, generation=a.launched)
    core.timers.arm((Due.BESIDE, a.key), core.now + a.settings.start_timeout)


def may_take_over(a: Instance) -> bool:
    """Whether the successor is ready, and the current process is to be replaced and is idle."""
    successor = a.successor
    return (
        successor is not None
        and successor.ready_at is not None
        and a.process.stage is None
        and not a.process.inflight
        and (a.cycle is None or a.cycle.failed == a.key)
    )


def take_over(core: Core, a: Instance) -> None:
    """The successor becomes the current process; the other one, if it lives, is made to leave."""
    successor, before = a.beside, a.process
    assert successor is not None
    successor.waits = False
    due = core.timers.at((Due.BESIDE, a.key))
    core.timers.disarm((Due.BESIDE, a.key))
    if before.alive:
        core.return_ahead(a)
        if before.ready_at is not None:
            a.limits.was_ready(before.ready_at, core.now)
        for kind in (Due.HEARTBEAT, Due.AGE):
            core.timers.disarm((kind, a.key))
    a.process, a.beside = successor, before if before.alive else None
    core.out.append(actions.TakeOver(a.key, a.generation, successor.release))
    press(core, a, StopStage.LEAVE)
    if successor.ready_at is not None:
        a.release = successor.release
        announce(core, a)
        serve(core, a)
    else:  # the current process has ended before it was ready
        a.trial, a.release = a.release, successor.release
        core.starting.add(a.key)
        core.timers.arm((Due.START, a.key), core.now if due is None else due)


def announce(core: Core, a: Instance) -> None:
    """The current process is ready: tell so. `serve` follows."""
    core.tell(a, notices.Ready)  # before `spawn` returns: no event "from now on" for its caller
    if not a.announced:
        a.announced = True
        core.out.append(actions.Started(a.key))
    if a.settings.max_age is not None:
        core.timers.arm((Due.AGE, a.key), core.now + a.settings.max_age * (1 - a.process.margin))
    if a.attempt == a.process.release:
        a.trial = None
        core.tell(a, notices.Reloaded, release=a.release)
        if a.beside is None:
            _over(core, a, None)


def serve(core: Core, a: Instance) -> None:
    """READY: the current process accepts requests from now on."""
    core.enter(a, Phase.READY)
    groups.became_ready(core, a)
    if a.process.must_renew:
        core.defer(a.key, ev.Restart(a.key))


def _over(core: Core, a: Instance, error: AgentError | None) -> None:
    a.attempt = None
    core.out.append(actions.ReloadEnded(a.key, error))


def failed(core: Core, a: Instance, error: AgentError) -> None:
    """The change to another release has failed: the old one goes on."""
    a.process.keep()
    if a.trial is not None:
        a.release, a.trial = a.trial, None
    if a.attempt is not None:
        core.tell(a, notices.ReloadFailed, release=a.attempt, error=error)
        _over(core, a, error)


def give_up(core: Core, a: Instance, error: AgentError) -> None:
    """End the successor, if there is one; its exit ends the attempt."""
    if a.successor is not None:
        a.successor.reason = error
        press(core, a, StopStage.TERMINATE)


def leave(core: Core, a: Instance, error: AgentError) -> None:
    """The instance ends, and its other process with it, by ``error`` or when it has left."""
    give_up(core, a, error)
    if a.attempt is not None and a.beside is None:
        failed(core, a, error)


def press(core: Core, a: Instance, stage: StopStage) -> None:
    """Take a stage of the ladder against the process beside."""
    other = a.beside
    if other is not None and (other.stage is None or stage > other.stage):
        other.stage = stage
        core.out.append(actions.StopProcess(a.key, other.generation, stage))
        core.timers.arm((Due.BESIDE, a.key), core.now + time_of(a, stage))


def due(core: Core, a: Instance, event: object) -> None:
    """It was not ready, or has not ended, in time."""
    other = a.beside
    assert other is not None
    if other.stage is None:
        other.reason = StartError(
            f"agent {a.name!r} was not ready within {a.settings.start_timeout:g} s",
            agent=a.name,
            phase="ready",
        )
        press(core, a, StopStage.TERMINATE)
    elif other.stage is StopStage.KILL:
        core.tell(a, notices.Unreaped, generation=other.generation, pid=None)
        ended(core, a, StartError(f"agent {a.name!r}: a process outlived SIGKILL", agent=a.name))
    else:
        press(core, a, other.stage.next)


def ended(core: Core, a: Instance, error: AgentError) -> None:
    """The process beside has ended; ``error``: why the attempt fails, if it was the successor."""
    other, a.beside = a.beside, None
    assert other is not None
    core.timers.disarm((Due.BESIDE, a.key))
    if other.waits:
        failed(core, a, error)
        if a.phase is Phase.READY:
            core.enter(a, Phase.READY)
    elif a.attempt is not None:
        _over(core, a, None)
    if a.phase is Phase.STOPPING and a.is_gone:
        core.enter(a, Phase.DONE)
