"""Whether a process may get a further request now, perhaps ahead of its turn.

A queue with several members has a timer while something is ahead: when a request has run for
`SLOW`, what is ahead of the same process is taken back (`take_back`).
"""

from __future__ import annotations

from procorch.supervision.allowance import BUDGET
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance

SLOW: float = BUDGET
"""Seconds for which a request may run while others wait behind it that another replica could
take."""


def may_get_more(core: Core, a: Instance) -> bool:
    """Whether the process of ``a`` may be sent a request now."""
    return a.credit > 0 and not (a.process.inflight and is_slow(core, a))


def is_slow(core: Core, a: Instance) -> bool:
    """Whether others could take what is ahead, and the running request has taken long already."""
    return can_be_taken_back(core, a) and core.now >= a.process.began + SLOW


def can_be_taken_back(core: Core, a: Instance) -> bool:
    """Whether what is ahead of ``a`` is for other replicas if its request takes long."""
    return (
        a.settings.prefetch == "auto"
        and a.process.gives_back
        and a.process.concurrency == 1
        and len(core.ledger.boxes[a.mailbox].members) > 1
    )


def watch(core: Core, a: Instance) -> None:
    """Set the timer for the time at which the running request of ``a`` will be slow. A timer that
    is set stays: when it is due, all members are looked at."""
    timer = (Due.TAKE_BACK, a.mailbox)
    if can_be_taken_back(core, a) and core.timers.at(timer) is None:
        core.timers.arm(timer, a.process.began + SLOW)


def watch_all(core: Core, mailbox: int) -> None:
    """A further instance has joined the queue: requests behind a slow one are for it, too."""
    for member in core.ledger.boxes[mailbox].members:
        if core.instances[member].process.ahead:
            watch(core, core.instances[member])
