"""Requests on their way to a worker: accepted, queued, dispatched.

Nearly all requests meet an idle instance, and nothing else needs a decision. `give` is the short
path for this case, as `requests.succeed` is for nearly all answers. The rest of this module is the
long path, with the same result: the simulator compares both.
"""

from __future__ import annotations

from procorch.errors import Aborted, AgentError, AgentStopped, RequestTimeout
from procorch.supervision import actions, ahead, holding, several, tree
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.process import Course
from procorch.supervision.request import Request, RequestState
from procorch.supervision.states import Phase, StopStage


def submit(core: Core, event: ev.Submit) -> None:
    """Send a request to an idle instance, or queue it where there is none."""
    request = event.request
    idle = give(core, request)
    if idle is not None:
        core.out.append(actions.Send(idle.key, idle.process.generation, request))
    else:
        queue(core, request)


def queue(core: Core, request: Request) -> None:
    """Queue a new request, or send it ahead to a busy instance."""
    if not core.ledger.accept(request):
        request.state = RequestState.RESOLVED
        core.out.append(actions.Resolve(request, AgentStopped("agent channel closed")))
        return
    if request.deadline is not None:
        core.timers.arm((Due.REQUEST, request.id), request.deadline)
    if core.ledger.boxes[request.mailbox].waiting == 1:  # Else no instance may have a further one.
        wake(core, request.mailbox)


def give(core: Core, request: Request) -> Instance | None:
    """Give a new request to an idle instance.

    Returns:
        The instance; None: the request has to be queued, and nothing has changed.
    """
    a = _idle_member(core, request)
    if a is None:
        return None
    if request.deadline is not None:
        core.timers.arm((Due.REQUEST, request.id), request.deadline)
    process = a.process
    process.sent += 1
    request.place = process.sent
    process.inflight.append(request)
    _begun(core, a, request)
    _hand_over(core, a, request)
    return a


def _hand_over(core: Core, a: Instance, request: Request) -> None:
    """The request goes to ``a`` without having waited."""
    core.ledger.requests[request.id] = request
    request.state = RequestState.SENT
    request.worker = a.key


def _idle_member(core: Core, request: Request) -> Instance | None:
    """The instance that a new request goes to at once; None: the request has to be queued."""
    box = core.ledger.boxes.get(request.mailbox)
    if box is None or box.closed or box.waiting or box.width is not None:
        return None
    if box.flow is not None and box.flow.active:
        return None
    if request.deadline is not None and request.deadline <= core.now:
        return None
    for member in box.members:
        a = core.instances[member]
        process = a.process
        if (
            a.phase is Phase.READY
            and not process.inflight
            and not process.ahead
            and process.stage is None
            and process.course is Course.SERVING
            and not process.held
            and a.draining is None
        ):
            return a
    return None


def set_width(core: Core, event: ev.SetWidth) -> None:
    """Change how many members of a mailbox may be busy at once."""
    box = core.ledger.boxes.get(event.mailbox)
    if box is not None:
        box.usual_width = event.width
        holding.set_paused(core, event.mailbox, paused=box.paused)


def fill(core: Core) -> None:
    """Dispatch the requests of limited mailboxes that may go now, and end instances that had waited
    for that. A busy member may have become free or ended, so that a spare takes over, or a pause
    may be over. Runs at the end of each step."""
    for mailbox in tuple(core.limited_mailboxes):
        box = core.ledger.boxes.get(mailbox)
        if box is None:
            core.limited_mailboxes.remove(mailbox)
            continue
        for member in tuple(box.members):
            a = core.instances[member]
            drains = box.flow is not None and a.draining is not None
            if a.phase is Phase.READY and (a.process.held or drains):
                core.enter(a, Phase.READY)
            if mailbox in core.ledger.boxes and core.ledger.waiting(mailbox):
                wake(core, mailbox)
        if box.width is None and (box.flow is None or not box.flow.active):
            core.limited_mailboxes.remove(mailbox)


def wake(core: Core, mailbox: int) -> None:
    """A request waits in ``mailbox``: the member with the fewest requests takes it."""
    best: Instance | None = None
    limited = mailbox in core.limited_mailboxes
    for member in core.ledger.boxes[mailbox].members:
        a = core.instances[member]
        if (
            a.phase is Phase.READY
            and a.process.serves
            and ahead.may_get_more(core, a)
            and not core.others_take_over(a)
            and not (limited and holding.at_limit(core, a))
        ):
            if a.process.idle:
                best = a
                break
            if best is None or _load(a) < _load(best):
                best = a
    if best is not None:
        advance(core, best)


def _load(a: Instance) -> int:
    return len(a.process.inflight) + len(a.process.ahead)


def advance(core: Core, a: Instance) -> None:
    """READY: send an instance its next requests, or end it if it has drained."""
    if (
        a.process.held
        and a.process.serves
        and not (_has_ahead(core, a) and holding.at_limit(core, a))
    ):
        a.process.held = False
        core.out.append(actions.Proceed(a.key, a.generation))
        go_on(core, a)
    if not a.process.serves:
        return
    while ahead.may_get_more(core, a) and _send_next(core, a):
        pass
    # A service does not finish its request by itself: to end it is to end the request.
    done = (not a.process.inflight or a.service) and not holding.held_back(core, a)
    if done and a.draining is not None and tree.may_end(a):
        core.end(a, a.draining, Aborted(agent=a.name) if a.aborted else None)


def spread(core: Core, mailbox: int) -> None:
    """Requests wait again: each idle member takes one, then the others take what they may."""
    members = [core.instances[member] for member in core.ledger.boxes[mailbox].members]
    for a in members:
        if a.phase is Phase.READY and a.process.idle:
            _send_next(core, a)
    for a in members:
        if a.phase is Phase.READY:
            core.enter(a, Phase.READY)


def _send_next(core: Core, a: Instance) -> bool:
    """Send ``a`` the next request; False: there is none, or ``a`` may not have it."""
    if core.others_take_over(a) or holding.at_limit(core, a):
        return False
    request = core.ledger.take(a.mailbox, a.key, ahead=a.process.is_full)
    if request is None:
        return False
    if _is_late(core, request):
        request.worker = None
        core.resolve(request, too_late(core, request))
    else:
        _dispatch(core, a, request)
    return True


def hand_next(core: Core, a: Instance) -> None:
    """Give an instance, about which nothing else is to be decided, the next requests that wait. It
    is idle, or has just begun the one that it works on."""
    while a.credit > 0:
        request = core.ledger.take(a.mailbox, a.key, ahead=a.process.is_full)
        if request is None:
            return
        if request.deadline is not None and request.deadline <= core.now:
            request.worker = None
            core.resolve(request, too_late(core, request))
        else:
            _dispatch(core, a, request)


def _has_ahead(core: Core, a: Instance) -> bool:
    return any(request.is_open for request in a.process.ahead)


def _dispatch(core: Core, a: Instance, request: Request) -> None:
    flow = core.ledger.boxes[a.mailbox].flow
    if flow is not None and flow.active:
        flow.sent(core.now)
    process = a.process
    process.sent += 1
    request.place = process.sent
    full = process.is_full
    core.out.append(actions.Send(a.key, process.generation, request, full))
    if full:
        process.ahead.append(request)
        ahead.watch(core, a)
    else:
        process.inflight.append(request)
        _begun(core, a, request)


def run(core: Core, a: Instance, request: Request) -> None:
    """A service has begun by itself the one request that it runs."""
    _hand_over(core, a, request)
    a.process.inflight.append(request)
    a.process.target = request.id
    core.out.append(actions.BeginAhead(a.key, request))
    _begun(core, a, request)


def _begun(core: Core, a: Instance, request: Request) -> None:
    a.process.began = core.now
    if request.deadline is None and request.timeout is not None:
        core.timers.arm((Due.REQUEST, request.id), core.now + request.timeout)
    if a.settings.heartbeat_timeout is not None and len(a.process.inflight) == 1:
        a.process.heartbeat = (-1, core.now)
        core.timers.arm((Due.HEARTBEAT, a.key), core.now + a.settings.heartbeat_timeout / 4)


def answered(core: Core, a: Instance, request: Request, error: AgentError | None) -> None:
    """The process has answered a request. After a success it begins the next one by itself, unless
    its agent has finished."""
    a.process.inflight.remove(request)
    if a.process.cancelled:
        several.answered(core, a, request)
    a.process.held = error is not None and a.process.sends_ahead
    if not a.process.held and not a.process.course.leaves:
        go_on(core, a)


def go_on(core: Core, a: Instance) -> None:
    """The process begins a request that was sent ahead.

    If that is cancelled by now, the process may have begun it before it saw the cancellation, so
    the request is ended.
    """
    if not a.process.ahead:
        return
    request = a.process.ahead.popleft()
    a.process.inflight.append(request)
    if request.is_open:
        core.out.append(actions.BeginAhead(a.key, request))
        _begun(core, a, request)
    else:
        end_request(core, a, request)


def end_request(core: Core, a: Instance, request: Request) -> None:
    """Have the process end a request that it works on."""
    if a.process.concurrency > 1:
        several.end_request(core, a, request)
    elif a.process.stage is None:
        a.process.stopped_for_request = True
        a.process.aim_at(request)
        core.stop_process(a, StopStage.COOPERATE)


def _is_late(core: Core, request: Request) -> bool:
    """Whether its deadline has passed and its timer has not fired yet."""
    deadline = core.timers.at((Due.REQUEST, request.id))
    return deadline is not None and deadline <= core.now


def too_late(core: Core, request: Request) -> RequestTimeout:
    return RequestTimeout(
        agent=agent_of(core, request),
        timeout=request.timeout,
        request=request.id,
    )


def agent_of(core: Core, request: Request) -> str:
    return core.teams[request.mailbox].name
