"""Taking back requests that were sent ahead to a process whose running request takes long.

The allowance (`allowance`) keeps quick requests together, and cannot know that the next one is
slow. When a request has run for `ahead.SLOW`, those behind it go back to the head of their queue,
and the first free replica takes them. Parent and worker agree by two words of the status page
(`wire.status.StatusPage.take_back`) which of them the worker begins: each request is begun at most
once (I4). A request that the worker was about to begin in that moment stays with it. The worker
then answers it as usual, or answers that it has not begun.
"""

from __future__ import annotations

from procorch.supervision import actions, ahead, dispatch, requests
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.process import Course
from procorch.supervision.request import Request
from procorch.supervision.states import Phase, StopStage


def due(core: Core, mailbox: int) -> None:
    """Ask for what waits behind slow requests."""
    quick = []
    for member in core.ledger.boxes[mailbox].members:
        a = core.instances[member]
        if a.process.ahead:
            if not ahead.is_slow(core, a):
                quick.append(a)
            else:
                core.out.append(actions.TakeBack(a.key, a.generation, a.process.sent))
    if quick:
        ahead.watch(core, min(quick, key=lambda a: a.process.began))


def taken(core: Core, a: Instance, event: ev.TakenBack) -> None:
    """Put back what the worker has not claimed, and spread it over the members."""
    stays: list[Request] = []
    back: list[Request] = []
    for request in a.process.ahead:
        gone = event.claimed < request.place <= event.asked
        (back if gone else stays).append(request)
    a.process.ahead.clear()
    a.process.ahead.extend(stays)
    waiting = [request for request in back if request.is_open]
    for request in reversed(waiting):
        core.ledger.put_back(request)
    if back:
        core.defer(a.key, _spread)


def _spread(core: Core, a: Instance) -> None:
    dispatch.spread(core, a.mailbox)


def not_begun(core: Core, a: Instance, event: ev.NotBegun) -> None:
    """A request that stayed with the worker has not begun: it waits again."""
    if not _withdraw(core, a, event):
        return
    if a.process.is_stopped_for(event.request):
        core.de_escalate(a)
    core.clear_hang_suspicion(a)
    if a.process.stage is None and a.process.course is Course.RENEWING:
        requests.recycle(core, a)
    else:
        core.enter(a, Phase.READY)


def not_begun_in_leaving(core: Core, a: Instance, event: ev.NotBegun) -> None:
    """The same of a process that is being ended."""
    _withdraw(core, a, event)
    # It may have been sent once more since, and the process may be at work on that.
    if a.process.is_stopped_for(event.request) and event.place == a.process.target_place:
        core.de_escalate(a)
        core.stop_process(a, StopStage.LEAVE)


def _withdraw(core: Core, a: Instance, event: ev.NotBegun) -> bool:
    """Take the request from the process; False: `taken` has done so, and the process may have got
    it once more since."""
    request = a.process.works_on(event.request)
    if request is None or request.place != event.place:
        return False
    core.timers.disarm((Due.HEARTBEAT, a.key))
    dispatch.answered(core, a, request, None)
    if request.is_open:
        if request.deadline is None:
            core.timers.disarm((Due.REQUEST, request.id))
        core.out.append(actions.Withdraw(request))
        core.put_back(request)
    return True
