"""Requests from acceptance to outcome: queueing, dispatch, deadlines, cancellation, replies."""

from __future__ import annotations

from procorch.errors import (
    Aborted,
    AgentError,
    AgentStopped,
    MessageTooLarge,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
)
from procorch.supervision import actions, holding, tree
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Pending
from procorch.supervision.process import Course
from procorch.supervision.request import Request, RequestState
from procorch.supervision.states import Phase, StopStage

BLAMELESS = (SerializationError, MessageTooLarge)
"""Errors of a message, not of the agent that sent it: never put to a policy (fault matrix 24)."""


def submit(core: Core, event: ev.Submit) -> None:
    """Queue a request and hand it to an idle instance if there is one."""
    request = event.request
    if not core.ledger.accept(request):
        request.state = RequestState.RESOLVED
        core.out.append(actions.Resolve(request, AgentStopped("agent channel closed")))
        return
    if request.deadline is not None:
        core.timers.arm((Due.REQUEST, request.id), request.deadline)
    wake(core, request.mailbox)


def set_width(core: Core, event: ev.SetWidth) -> None:
    """More or fewer members of a mailbox may be busy at once."""
    box = core.ledger.boxes.get(event.mailbox)
    if box is not None:
        box.width = event.width
        core.narrow.add(event.mailbox)


def fill(core: Core) -> None:
    """Hand out what may go now, and end who has waited for that: a busy member has become free or
    has gone, so that a spare takes over, or less is held back. Runs at the end of each step."""
    for mailbox in tuple(core.narrow):
        box = core.ledger.boxes.get(mailbox)
        if box is None:
            core.narrow.remove(mailbox)
            continue
        for member in tuple(box.members):
            a = core.instances[member]
            if box.flow is not None and a.phase is Phase.READY and (a.process.held or a.draining):
                core.enter(a, Phase.READY)
            if mailbox in core.ledger.boxes and core.ledger.waiting(mailbox):
                wake(core, mailbox)
        if box.width is None and (box.flow is None or not box.flow.active):
            core.narrow.remove(mailbox)


def wake(core: Core, mailbox: int) -> None:
    """A request waits in ``mailbox``: whoever has least to do takes it."""
    best: Instance | None = None
    for member in core.ledger.boxes[mailbox].members:
        a = core.instances[member]
        if a.phase is Phase.READY and a.process.serves and a.credit > 0 and not core.relieved(a):
            if a.process.idle:
                best = a
                break
            if best is None or len(a.process.ahead) < len(best.process.ahead):
                best = a
    if best is not None:
        advance(core, best)


def advance(core: Core, a: Instance) -> None:
    """READY: give an instance its next requests, or end it where it has drained."""
    if (
        a.process.held
        and a.process.serves
        and not (_has_ahead(core, a) and holding.crowded(core, a))
    ):
        a.process.held = False
        core.out.append(actions.Proceed(a.key, a.generation))
        _go_on(core, a)
    if not a.process.serves:
        return
    while a.credit > 0:
        request = _next(core, a)
        if request is None:
            break
        if _is_late(core, request):
            request.worker = None
            core.resolve(request, _too_late(core, request))
        else:
            _dispatch(core, a, request)
    done = not a.process.inflight and not holding.held_back(core, a)
    if done and a.draining is not None and tree.may_end(core.instances, a):
        core.end(a, a.draining, Aborted(agent=a.name) if a.aborted else None)


def _next(core: Core, a: Instance) -> Request | None:
    """What ``a`` takes from its mailbox, if there is anything and it may."""
    if core.relieved(a) or holding.crowded(core, a):
        return None
    return core.ledger.take(a.mailbox, a.key)


def _has_ahead(core: Core, a: Instance) -> bool:
    return any(request.is_open for request in a.process.ahead)


def _dispatch(core: Core, a: Instance, request: Request) -> None:
    holding.sent(core, a)
    core.out.append(actions.Send(a.key, a.generation, request, bool(a.process.inflight)))
    if a.process.inflight:
        a.process.ahead.append(request)
    else:
        a.process.inflight.append(request)
        _begun(core, a, request)


def _begun(core: Core, a: Instance, request: Request) -> None:
    if request.deadline is None and request.timeout is not None:
        core.timers.arm((Due.REQUEST, request.id), core.now + request.timeout)
    if a.settings.heartbeat_timeout is not None:
        a.process.heartbeat = (-1, core.now)
        core.timers.arm((Due.HEARTBEAT, a.key), core.now + a.settings.heartbeat_timeout / 4)


def _answered(core: Core, a: Instance, request: Request, error: AgentError | None) -> None:
    """The process has done with a request; after a success it goes on to the next by itself, if
    its agent has not finished."""
    a.process.inflight.remove(request)
    a.process.held = error is not None and a.settings.prefetch > 1
    if not a.process.held and not a.process.course.leaves:
        _go_on(core, a)


def _go_on(core: Core, a: Instance) -> None:
    """The process begins what was sent ahead; if that was cancelled meanwhile, it may have begun
    it before it could see so."""
    if not a.process.ahead:
        return
    request = a.process.ahead.popleft()
    a.process.inflight.append(request)
    if request.is_open:
        core.out.append(actions.BeginAhead(a.key, request))
        _begun(core, a, request)
    else:
        _end_request(core, a, request)


def replied(core: Core, a: Instance, event: ev.Replied) -> None:
    """The worker answered: success resets the consecutive counter (seed), an error is judged."""
    request = a.process.works_on(event.request)
    if request is None:
        core.stale += 1
        return
    a.process.served += 1
    core.timers.disarm((Due.HEARTBEAT, a.key))
    error = event.error
    if a.process.is_stopped_for(event.request):
        core.spare(a)  # The ladder has reached its aim, and the worker lives (N8).
    core.clear_suspicion(a)
    again = holding.answered(core, a, event)
    _answered(core, a, request, error)
    judged = (
        error is not None
        and not again
        and not isinstance(error, BLAMELESS)
        and a.process.stage is None
        and request.is_open
    )
    if a.process.course.leaves:
        core.expect_exit(a)
    if error is None:
        a.limits.succeeded()
    elif judged:
        # A complete reply beats the deadline even while the policy thinks it over.
        core.timers.disarm((Due.REQUEST, request.id))
        if _worn(a, event.used):
            a.process.renew()
        core.ask_policy(a, Pending(request, error, event.payload))
        return
    if not again:
        core.resolve(request, error, event.payload)
    renewing = a.process.course is Course.RENEWING
    if a.process.stage is None and (renewing or _worn(a, event.used)):
        recycle(core, a)
    else:
        core.enter(a, Phase.READY)


def _worn(a: Instance, used: int) -> bool:
    """Whether its process has served long enough, or was larger than it may be."""
    settings, process = a.settings, a.process
    return (
        settings.max_requests is not None and process.served >= process.limit(settings.max_requests)
    ) or (settings.max_memory is not None and used > process.limit(settings.max_memory))


def recycle(core: Core, a: Instance) -> None:
    """Replace the process between two requests; costs none of them, and is not counted (N1)."""
    a.process.renew()  # Nothing goes to it any more.
    if not a.process.inflight:  # what is still ahead has not begun
        core.defer(a.key, ev.Restart(a.key))


def aged(core: Core, a: Instance, event: object) -> None:
    """``max_age`` has passed: an idle process is replaced now, a busy one after its request."""
    if a.phase is Phase.READY and a.process.serves:
        recycle(core, a)
    else:
        a.process.renew()


def replied_in_leaving(core: Core, a: Instance, event: ev.Replied) -> None:
    """A complete reply wins over whatever made its worker go; nobody is judged any more."""
    request = a.process.works_on(event.request)
    if request is not None:
        _answered(core, a, request, event.error)
        if event.error is None:
            a.limits.succeeded()
        core.resolve(request, event.error, event.payload)
    elif event.request != a.process.target:
        core.stale += 1
    if a.process.is_stopped_for(event.request):
        core.spare(a)
        core.stop_process(a, StopStage.LEAVE)


def cancel(core: Core, event: ev.CancelRequest) -> None:
    """The caller wants the request gone."""
    request = core.ledger.requests.get(event.request)
    if request is not None and not (event.waiting and request.worker is not None):
        _drop(core, request, RequestCancelled(agent=_agent(core, request), request=request.id))


def overdue(core: Core, number: int) -> None:
    """The request's deadline has passed, in the queue or under way (N3, N8)."""
    request = core.ledger.requests.get(number)
    if request is not None:
        _drop(core, request, _too_late(core, request))


def _end_request(core: Core, a: Instance, request: Request) -> None:
    if a.process.stage is None:
        a.process.stopped_for_request = True
        a.process.target = request.id
        core.stop_process(a, StopStage.COOPERATE)


def _is_late(core: Core, request: Request) -> bool:
    """Whether its deadline has passed, though the timer has not been looked at yet."""
    deadline = core.timers.at((Due.REQUEST, request.id))
    return deadline is not None and deadline <= core.now


def _too_late(core: Core, request: Request) -> RequestTimeout:
    return RequestTimeout(
        agent=_agent(core, request),
        timeout=request.timeout,
        request=request.id,
    )


def _agent(core: Core, request: Request) -> str:
    members = core.ledger.boxes[request.mailbox].members
    return core.instances[request.worker or members[0]].name


def _drop(core: Core, request: Request, error: AgentError) -> None:
    """End one request from outside; a worker that is busy with it is ended for it (N8)."""
    core.resolve(request, error)
    a = None if request.worker is None else core.instances[request.worker]
    if a is not None and request in a.process.inflight:
        _end_request(core, a, request)
    # It may have been the last one that a draining agent waited for.
    for member in tuple(core.ledger.boxes[request.mailbox].members):
        if core.instances[member].phase is Phase.READY:
            core.enter(core.instances[member], Phase.READY)
