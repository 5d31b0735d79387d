"""Requests from acceptance to outcome: queueing, dispatch, deadlines, cancellation, replies."""

from __future__ import annotations

from procorch.errors import (
    AgentError,
    AgentStopped,
    MessageTooLarge,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
)
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.ledger import Request
from procorch.supervision.states import Phase, Signal

BLAMELESS = (SerializationError, MessageTooLarge)
"""Errors of a message, not of the agent that sent it: never put to a policy (fault matrix 24)."""


def submit(core: Core, event: ev.Submit) -> None:
    """Queue a request and hand it to an idle instance if there is one."""
    from_dispatch = event.deadline is None and event.timeout is not None
    request = Request(event.request, event.mailbox, event.timeout, from_dispatch)
    if not core.ledger.accept(request):
        core.out.append(ev.Resolve(event.request, AgentStopped("agent channel closed")))
        return
    if event.deadline is not None:
        core.timers.arm((Due.REQUEST, event.request), event.deadline)
    for member in core.ledger.boxes[event.mailbox].members:
        a = core.instances[member]
        if a.phase is Phase.READY and not a.inflight and a.rung is None:
            advance(core, a)
            break


def advance(core: Core, a: Instance) -> None:
    """READY: give an idle instance its next request, or end it where it has drained."""
    if a.inflight or a.rung is not None:
        return
    request = core.ledger.take(a.mailbox, a.key)
    if request is not None:
        a.inflight.append(request.id)
        core.out.append(ev.Send(a.key, a.generation, request.id))
        if request.from_dispatch and request.timeout is not None:
            core.timers.arm((Due.REQUEST, request.id), core.now + request.timeout)
    elif a.draining is not None:
        core.end(a, a.draining)


def replied(core: Core, a: Instance, event: ev.Replied) -> None:
    """The worker answered: success resets the consecutive counter (seed), an error is judged."""
    if event.request not in a.inflight:
        core.stale += 1
        return
    a.inflight.remove(event.request)
    error = event.error
    if error is None:
        a.limits.succeeded()
    elif (
        not isinstance(error, BLAMELESS)
        and a.rung is None
        and event.request in core.ledger.requests
    ):
        # A complete reply beats the deadline even while the policy thinks it over.
        core.timers.disarm((Due.REQUEST, event.request))
        core.judge(a, event.request, error, event.payload)
        return
    core.resolve(event.request, error, event.payload)
    core.enter(a, Phase.READY)


def cancel(core: Core, event: ev.CancelRequest) -> None:
    """The caller wants the request gone."""
    request = core.ledger.requests.get(event.request)
    if request is not None:
        _drop(core, request, RequestCancelled(agent=_agent(core, request), request=request.id))


def overdue(core: Core, number: int) -> None:
    """The request's deadline has passed, in the queue or under way (N3, N8)."""
    request = core.ledger.requests.get(number)
    if request is not None:
        error = RequestTimeout(
            agent=_agent(core, request),
            timeout=request.timeout,
            ran=request.worker is not None,
            request=number,
        )
        _drop(core, request, error)


def _agent(core: Core, request: Request) -> str:
    members = core.ledger.boxes[request.mailbox].members
    return core.instances[request.worker or members[0]].name


def _drop(core: Core, request: Request, error: AgentError) -> None:
    """End one request from outside; a worker that is busy with it is ended for it (N8)."""
    core.resolve(request.id, error)
    a = None if request.worker is None else core.instances[request.worker]
    if a is not None and request.id in a.inflight and a.rung is None:
        a.excused = True
        core.press(a, Signal.TERMINATE)
    # It may have been the last one that a draining agent waited for.
    for member in tuple(core.ledger.boxes[request.mailbox].members):
        if core.instances[member].phase is Phase.READY:
            core.enter(core.instances[member], Phase.READY)
