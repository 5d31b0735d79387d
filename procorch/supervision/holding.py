"""Limits that keep requests waiting though an instance is free: the width of a queue, and N23.

`throttle.FlowControl` decides. This module reports answers and errors to it, and arms a timer for
the time at which its answer changes. A mailbox that is limited is in `Core.limited_mailboxes`; the
machine checks these at the end of each step.
"""

from __future__ import annotations

import math

from procorch.errors import AgentError
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Team
from procorch.supervision.request import Request
from procorch.supervision.throttle import LONGEST, FlowControl, is_throttled


def begin(core: Core, a: Instance) -> None:
    """A new instance has joined its mailbox; the settings of the first one apply to the mailbox."""
    box, settings = core.ledger.boxes[a.mailbox], a.settings
    if box.flow is None and (settings.throttle is not None or settings.rate is not None):
        box.flow = FlowControl(settings.throttle, settings.rate)
        if box.flow.active:
            core.limited_mailboxes.add(a.mailbox)


def set_paused(core: Core, mailbox: int, *, paused: bool) -> None:
    """Begin no more requests of a mailbox, or begin them again; no effect without a mailbox.

    Requests that were sent ahead are taken back, as far as the workers can give them back and have
    not begun them.
    """
    box = core.ledger.boxes.get(mailbox)
    if box is None:
        return
    box.paused = paused
    box.width = 0 if paused else box.usual_width
    core.limited_mailboxes.add(mailbox)
    if paused:
        for member in box.members:
            a = core.instances[member]
            if a.process.ahead and a.process.gives_back:
                core.out.append(actions.TakeBack(a.key, a.generation, a.process.sent))


def configure(core: Core, team: Team) -> None:
    """The settings of an agent have changed: look again at the requests that wait."""
    box, settings = core.ledger.boxes.get(team.key), team.settings
    if box is None:
        return  # it ends
    if box.flow is not None:
        box.flow.configure(settings.throttle, settings.rate, core.now)
    elif settings.throttle is not None or settings.rate is not None:
        box.flow = FlowControl(settings.throttle, settings.rate)
    core.limited_mailboxes.add(team.key)


def at_limit(core: Core, a: Instance) -> bool:
    """Whether no further request of this mailbox may be under way, so that ``a`` has to wait. While
    a flow control is active, requests are not sent ahead: it could not hold those back."""
    box = core.ledger.boxes[a.mailbox]
    flow = box.flow if box.flow is not None and box.flow.active else None
    if flow is None and (box.width is None or len(box.members) <= box.width):
        return False
    if box.width is not None and _is_beyond(core, a, box.width):
        return True
    if flow is None:
        return False
    opens_at = flow.opens_at(core.now, _under_way(core, a.mailbox))
    if opens_at > core.now:
        if opens_at < math.inf and core.timers.at((Due.FLOW, a.mailbox)) != opens_at:
            core.timers.arm((Due.FLOW, a.mailbox), opens_at)
        return True
    return a.process.is_full


def _is_beyond(core: Core, a: Instance, width: int) -> bool:
    """Whether a further request for ``a`` would make more members busy than the width allows. One
    that runs several at once and has room makes no further member busy."""
    members = core.ledger.boxes[a.mailbox].members
    busy = [member for member in members if core.instances[member].process.inflight]
    if a.process.inflight and not a.process.is_full:
        return a.key not in busy[:width]
    return len(busy) >= width < len(members)


def held_back(core: Core, a: Instance) -> bool:
    """Whether ``a`` is idle only because of a limit, and must not end."""
    flow = core.ledger.boxes[a.mailbox].flow
    return flow is not None and flow.active and not core.drained(a)


def answered(core: Core, a: Instance, event: ev.Replied) -> bool:
    """A request of ``a``, which is still in ``inflight``, was answered.

    Returns:
        Whether it was throttled and waits again.
    """
    flow = core.ledger.boxes[a.mailbox].flow
    if flow is None or flow.throttle is None:
        return False
    if event.error is None or not is_throttled(event.error):
        if flow.allowed is None:
            flow.answered(core.now, 0)
        else:
            ended(core, a)
        return False
    if flow.throttle.retries == 0:
        return False  # The policy decides first whether this agent goes on, see `pause_after`.
    _pause(core, a, event.error, _under_way(core, a.mailbox))
    request = a.process.works_on(event.request)
    return (
        request is not None
        and request.is_open
        and a.process.stage is None
        and _requeue(core, request, flow.throttle.retries)
    )


def pause_after(core: Core, a: Instance, error: AgentError) -> None:
    """``a`` goes on after ``error``: its queue waits if the service asked for a pause."""
    throttle = a.settings.throttle
    if throttle is not None and throttle.retries == 0 and is_throttled(error):
        _pause(core, a, error, _under_way(core, a.mailbox) + 1)


def longest_wait(a: Instance) -> float:
    """The longest time in seconds that its service can make ``a`` wait."""
    throttle = a.settings.throttle
    return LONGEST if throttle is None else throttle.longest


def _pause(core: Core, a: Instance, error: AgentError, busy: int) -> None:
    flow = core.ledger.boxes[a.mailbox].flow
    assert flow is not None
    # This replica's API key may be used up: others go first when the pause is over.
    core.ledger.last(a.mailbox, a.key)
    pause = flow.throttled(error, core.now, busy)
    if pause is not None:
        core.limited_mailboxes.add(a.mailbox)
        core.tell(a, notices.Throttled, delay=pause, asked=error.retry_after, error=error)


def _requeue(core: Core, request: Request, most: int) -> bool:
    """Put a throttled request first in its queue again, if it may be tried once more."""
    if not request.repeatable or request.throttled >= most:
        return False
    request.throttled += 1
    if request.deadline is None:
        core.timers.disarm((Due.REQUEST, request.id))
    core.put_back(request)
    return True


def ended(core: Core, a: Instance) -> None:
    """A request of ``a`` has ended, and the service did not ask for a pause."""
    box = core.ledger.boxes.get(a.mailbox)
    if box is not None and box.flow is not None:
        usual = len(box.members) if box.usual_width is None else box.usual_width
        width = min(usual, len(box.members)) * a.process.concurrency
        if box.flow.answered(core.now, width):
            core.tell(a, notices.Recovered)


def _under_way(core: Core, mailbox: int) -> int:
    """How many requests of a mailbox run."""
    members = core.ledger.boxes[mailbox].members
    return sum(len(core.instances[member].process.inflight) for member in members)
