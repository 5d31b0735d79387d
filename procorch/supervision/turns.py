"""Whether an instance that was told to end may end now: it has no request left, and its turn has
come (N7). Each instance and agent that ends makes those that waited for it check this again.
"""

from __future__ import annotations

from procorch.supervision import groups, tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.states import AgentStatus, Phase

_WITHOUT_PROCESS = (Phase.WAITING, Phase.BACKOFF, Phase.HELD)


def end_if_done(core: Core, a: Instance) -> None:
    """End ``a`` if it was told to, has no request left, and its turn has come."""
    spared = a.phase is Phase.AWAITING_POLICY and a.pending is None and a.cycle is None
    if a.phase is Phase.READY or (spared and a.process.alive):
        core.enter(a, Phase.READY)
    elif core.closing and (a.phase in _WITHOUT_PROCESS or spared):
        core.end_during_close(a)
    elif a.phase in _WITHOUT_PROCESS and core.drained(a):
        core.timers.disarm((Due.BACKOFF, a.key))
        groups.drop(core, a)
        core.end_in_turn(a)
    elif a.phase is Phase.STARTING and core.drained(a) and tree.may_end(a):
        core.end(a, a.draining or AgentStatus.COMPLETED)  # No request needs it to become ready.


def check_turn(core: Core, a: Instance) -> None:
    """An instance that ``a`` waited for may have ended: check whether ``a`` may end now."""
    if a.grace is not None and tree.may_end(a):
        end, sooner = core.now + a.grace, core.timers.at((Due.GRACE, a.key))
        core.timers.arm((Due.GRACE, a.key), end if sooner is None else min(end, sooner))
        a.grace = None
    end_if_done(core, a)
