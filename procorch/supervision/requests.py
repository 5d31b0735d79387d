"""Answers to requests; cancellation and deadlines of requests; recycling of processes."""

from __future__ import annotations

from procorch.errors import (
    AgentError,
    MessageTooLarge,
    RequestCancelled,
    SerializationError,
)
from procorch.supervision import events as ev
from procorch.supervision import holding, notices
from procorch.supervision.actions import Resolve
from procorch.supervision.core import Core, Due
from procorch.supervision.dispatch import (
    agent_of,
    answered,
    end_request,
    go_on,
    hand_next,
    too_late,
)
from procorch.supervision.instance import Instance, Pending
from procorch.supervision.process import Course
from procorch.supervision.request import Request, RequestState
from procorch.supervision.states import Phase, StopStage

BLAMELESS = (SerializationError, MessageTooLarge)
"""Errors of a message, not of the agent that sent it: the policy is not asked about these."""


def replied(core: Core, a: Instance, event: ev.Replied) -> None:
    """The worker answered: a success resets the restart counter, an error goes to the policy.

    The policy may be busy with an error of another request, which ran at the same time.
    """
    if event.error is None and a.phase is Phase.READY and _is_healthy(core, a, event.request):
        done = _succeeded(core, a, event.wall)
        core.out.append(Resolve(done, None, event.payload))
        _follow(core, a)
        return
    request = a.process.works_on(event.request)
    if request is None:
        core.stale += 1
        return
    a.process.served += 1
    a.process.allowance.note(event.wall)
    if len(a.process.inflight) == 1:
        core.timers.disarm((Due.HEARTBEAT, a.key))
    error = event.error
    if a.process.is_stopped_for(event.request):
        core.de_escalate(a)  # The request has ended, and the worker lives (N8).
    core.clear_hang_suspicion(a)
    if a.service:
        _service_ended(core, a, error if request.is_open else None)
    again = holding.answered(core, a, event)
    answered(core, a, request, error)
    ask_policy = (
        error is not None
        and not again
        and not isinstance(error, BLAMELESS)
        and a.process.stage is None
        and request.is_open
    )
    if a.process.course.leaves and not a.process.inflight:
        core.expect_exit(a)
    if error is None:
        a.limits.succeeded()
    elif ask_policy:
        # A complete reply wins over the deadline, also while the policy decides.
        core.timers.disarm((Due.REQUEST, request.id))
        if _reached_limit(a, event.used):
            a.process.renew()
        pending = Pending(request, error, event.payload)
        if a.phase is Phase.READY:
            core.ask_policy(a, pending)
        else:
            a.errors.append(pending)
        return
    if not again:
        core.resolve(request, error, event.payload)
    if a.phase is not Phase.READY:
        if _reached_limit(a, event.used):
            a.process.renew()
        return
    renewing = a.process.course is Course.RENEWING
    if a.process.stage is None and (renewing or _reached_limit(a, event.used)):
        recycle(core, a)
    else:
        core.enter(a, Phase.READY)


def _service_ended(core: Core, a: Instance, error: AgentError | None) -> None:
    """Its function has ended. Nobody waits for the answer, so an event tells the error."""
    a.process.target = 0
    assert a.process.ready_at is not None
    a.limits.was_ready(a.process.ready_at, core.now, returned=error is None)
    if error is not None:
        core.tell(a, notices.Crashed, error=error)


def succeed(core: Core, a: Instance, number: int, wall: float) -> bool:
    """The worker answered a request with a success, and nothing but the next request can follow.

    Returns:
        False: that is not so, and nothing has changed. True: the outcome of the request is fixed,
        without an action; the actions of this step are those about the requests that follow.
    """
    if a.phase is not Phase.READY or not _is_healthy(core, a, number):
        return False
    _succeeded(core, a, wall)
    _follow(core, a)
    return True


def _is_healthy(core: Core, a: Instance, number: int) -> bool:
    """Whether nothing but the next request can follow a success."""
    process, settings = a.process, a.settings
    flow = core.ledger.boxes[a.mailbox].flow
    return (
        process.stage is None
        and process.course is Course.SERVING
        and len(process.inflight) == 1
        and process.inflight[0].id == number
        and process.inflight[0].state is not RequestState.RESOLVED
        and (not process.ahead or process.ahead[0].state is not RequestState.RESOLVED)
        and settings.max_requests is None
        and settings.max_memory is None
        and settings.heartbeat_timeout is None
        and a.draining is None
        and (flow is None or not flow.active)
    )


def _succeeded(core: Core, a: Instance, wall: float) -> Request:
    process = a.process
    request = process.inflight.pop()
    process.served += 1
    process.allowance.note(wall)
    if a.limits.consecutive:
        a.limits.succeeded()
    if request.timeout is not None or request.deadline is not None:
        core.timers.disarm((Due.REQUEST, request.id))
    flow = core.ledger.boxes[a.mailbox].flow
    if flow is not None:
        pace = flow.pace
        pace.answers += 1
        if core.now >= pace.look_at:
            pace.begin_span(core.now)
    del core.ledger.requests[request.id]
    request.state = RequestState.RESOLVED
    return request


def _follow(core: Core, a: Instance) -> None:
    """The process begins what was sent ahead, and gets the requests that wait."""
    if a.process.ahead:
        go_on(core, a)
    box = core.ledger.boxes[a.mailbox]
    if box.waiting:
        if box.width is None:
            hand_next(core, a)
        else:
            core.enter(a, Phase.READY)


def _reached_limit(a: Instance, used: int) -> bool:
    """Whether its process has reached ``max_requests`` or exceeded ``max_memory``."""
    settings, process = a.settings, a.process
    return (
        settings.max_requests is not None and process.served >= process.limit(settings.max_requests)
    ) or (settings.max_memory is not None and used > process.limit(settings.max_memory))


def recycle(core: Core, a: Instance) -> None:
    """Replace the process between two requests; no request fails, and it is not counted (N1)."""
    a.process.renew()  # It gets no further request.
    if not a.process.inflight or a.service:  # requests ahead have not begun
        core.defer(a.key, ev.Restart(a.key))


def aged(core: Core, a: Instance, event: object) -> None:
    """``max_age`` has passed: an idle process is replaced now, a busy one after its request."""
    if a.phase is Phase.READY and a.process.serves:
        recycle(core, a)
    else:
        a.process.renew()


def replied_in_leaving(core: Core, a: Instance, event: ev.Replied) -> None:
    """A complete reply wins over the end of its worker; the policy is not asked any more."""
    request = a.process.works_on(event.request)
    if request is not None:
        answered(core, a, request, event.error)
        if event.error is None:
            a.limits.succeeded()
        core.resolve(request, event.error, event.payload)
    elif event.request != a.process.target:
        core.stale += 1
    stopped = a.process.is_stopped_for(event.request)
    if a.service and event.request == a.process.target:
        a.process.target = 0
    if stopped:
        core.de_escalate(a)
        core.stop_process(a, StopStage.LEAVE)


def cancel(core: Core, event: ev.CancelRequest) -> None:
    """The caller cancels the request."""
    request = core.ledger.requests.get(event.request)
    if request is not None and not (event.waiting and request.worker is not None):
        _drop(core, request, RequestCancelled(agent=agent_of(core, request), request=request.id))


def overdue(core: Core, number: int) -> None:
    """The request's deadline has passed, in the queue or in a worker (N3, N8)."""
    request = core.ledger.requests[number]  # It is open: an outcome disarms the timer.
    _drop(core, request, too_late(core, request))


def _drop(core: Core, request: Request, error: AgentError) -> None:
    """End one request with ``error``; a worker that runs it is made to end it (N8)."""
    core.resolve(request, error)
    a = None if request.worker is None else core.instances[request.worker]
    if a is not None and request in a.process.inflight:
        end_request(core, a, request)
    # A draining agent may have waited for this request only.
    for member in tuple(core.ledger.boxes[request.mailbox].members):
        if core.instances[member].phase is Phase.READY:
            core.enter(core.instances[member], Phase.READY)
