"""What the death of a process means for the requests that it has ended (N3).

There are several if the reply to the one before was unreadable, or if they ran at once (`several`).
"""

from __future__ import annotations

from procorch.errors import AgentCrashed, PoisonRequest
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Pending
from procorch.supervision.replacing import death
from procorch.supervision.request import Request
from procorch.supervision.restarts import Retry, retry


def blamed_first(a: Instance, lost: list[Request], exit: ev.Exit) -> list[Request]:
    """The requests that a death has ended; first the one whose code was running, if it is known."""
    if a.process.concurrency > 1:
        lost.sort(key=lambda request: request.id != exit.started)
    return lost


def charge(
    core: Core, a: Instance, request: Request | None, error: AgentCrashed, exit: ev.Exit
) -> Pending:
    """Decide whether a death fails its request, or the request is tried again."""
    if request is None:
        return Pending(None, error)
    request.deaths += (error,)
    request.spared += _is_spared(a, request, exit)
    own = len(request.deaths) - request.spared
    match retry(
        attempts=max(1, own),  # those that are spared are bounded by the attempts of the others
        deaths=own,
        retries=request.retries,
        allowed_failures=request.allowed_failures,
    ):
        case Retry.POISON:
            poison = PoisonRequest(agent=error.agent, request=request.id, deaths=request.deaths)
            return Pending(request, error, answer=poison, charged=True)
        case Retry.GIVE_UP:
            return Pending(request, error, charged=True)
    if request.deadline is None:
        core.timers.disarm((Due.REQUEST, request.id))
    core.put_back(request)
    return Pending(None, error, charged=True)


def _is_spared(a: Instance, request: Request, exit: ev.Exit) -> bool:
    """Whether the death of its process was because of another request."""
    if a.process.concurrency == 1:
        return False
    return a.process.stopped_for_request or exit.started not in (0, request.id)


def fail_others(
    core: Core, a: Instance, lost: list[Request], exit: ev.Exit, *, since: int = 1
) -> None:
    """The lost requests fail, or wait again, from the number ``since`` on."""
    for number in range(len(lost) - 1, since - 1, -1):  # so those that wait again keep their order
        error = death(a, exit, lost[number], lost[number + 1 :])
        resolve_charged(core, charge(core, a, lost[number], error, exit))


def resolve_charged(core: Core, charged: Pending) -> None:
    """The request fails now, if it is not tried again; no policy is asked."""
    if charged.request is not None:
        core.resolve(charged.request, charged.answer or charged.error)
