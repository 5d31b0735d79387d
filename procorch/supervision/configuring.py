"""New settings for a running agent: what the machine decides from now on follows them.

Timers under way follow as well, except those of a backoff and of a stage of the ladder. What a
process has read at its start stays with it (`process.Process`), and the next process reads the new
settings.
"""

from __future__ import annotations

from msgspec.structs import replace

from procorch.supervision import ahead, holding
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Team
from procorch.supervision.restarts import Window
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import Phase


def configure(core: Core, event: ev.Configure) -> None:
    """Give an agent, and all its instances, other settings; no effect if it has ended."""
    team = core.teams.get(event.agent)
    if team is None:
        return
    team.settings = settings = _unless_ending(team, event.settings)
    if settings.intensity is None:
        team.window = None
    elif team.window is None:
        team.window = Window(settings.intensity)
    else:
        team.window.intensity = settings.intensity
    for a in team.members:
        before, a.settings = a.settings, settings
        a.limits.configure(settings)
        _move_start(core, a, settings.start_timeout - before.start_timeout)
        if settings.max_age != before.max_age:
            _set_age(core, a)
        if settings.heartbeat_timeout != before.heartbeat_timeout:
            _set_heartbeat(core, a)
    holding.configure(core, team)
    if team.key in core.ledger.boxes:
        ahead.watch_all(core, team.key)


def _unless_ending(team: Team, settings: AgentSettings) -> AgentSettings:
    """An end that has begun goes on with the links that it began with: who waits for whom was
    decided then (N7)."""
    if team.parent is not None and team.parent.leaving:
        settings = replace(settings, link=team.settings.link)
    if team.leaving:
        settings = replace(settings, strategy=team.settings.strategy)
    return settings


def _move_start(core: Core, a: Instance, later: float) -> None:
    """A start under way gets the new ``start_timeout``."""
    started = [(Due.START, a.key)]
    if a.beside is not None and a.beside.stage is None:
        started.append((Due.BESIDE, a.key))
    for timer in started:
        due = core.timers.at(timer)
        if due is not None:
            core.timers.arm(timer, due + later)


def _set_age(core: Core, a: Instance) -> None:
    if a.phase not in (Phase.READY, Phase.AWAITING_POLICY) or a.process.ready_at is None:
        return  # the timer is armed when the process is ready
    if not a.process.alive or a.settings.max_age is None:
        core.timers.disarm((Due.AGE, a.key))
    else:
        age = a.settings.max_age * (1 - a.process.margin)
        core.timers.arm((Due.AGE, a.key), a.process.ready_at + age)


def _set_heartbeat(core: Core, a: Instance) -> None:
    """The time without progress begins anew."""
    timeout = a.settings.heartbeat_timeout
    works = a.phase in (Phase.READY, Phase.AWAITING_POLICY) and a.process.inflight
    if not works or timeout is None:
        core.timers.disarm((Due.HEARTBEAT, a.key))
        a.process.heartbeat = None
    else:
        a.process.heartbeat = (-1, core.now)
        core.timers.arm((Due.HEARTBEAT, a.key), core.now + timeout / 4)
