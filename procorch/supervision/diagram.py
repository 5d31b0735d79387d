"""The machine's table as a diagram, and the list of events that it ignores; both are in the docs.

``python -m procorch.supervision.diagram`` prints them; ``docs/reference/supervision.md`` has what
it prints, which a test compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from procorch.supervision import events as ev
from procorch.supervision.core import Due
from procorch.supervision.machine import ONWARD, TRANSITIONS, TREE
from procorch.supervision.states import Phase

WAITING, STARTING, READY, AWAITING_POLICY, RETIRING, HELD, BACKOFF, STOPPING, DONE = Phase

What = type | Due


class Ignored(NamedTuple):
    """Events that have no effect in some phases, and the reason."""

    events: tuple[What, ...]
    phases: tuple[Phase, ...]
    why: str


_NO_PROCESS = (WAITING, HELD, BACKOFF)
_FROM_A_PROCESS = (
    ev.Placing, ev.Placed, ev.Ready, ev.StartFailed, ev.Replied, ev.TakenBack, ev.NotBegun,
    ev.AgentFinished, ev.Probed, ev.MemoryExceeded, ev.StreamBroken, ev.Exited,
)  # fmt: skip

IGNORED: tuple[Ignored, ...] = (
    Ignored(_FROM_A_PROCESS, _NO_PROCESS, "there is no process that it could come from"),
    Ignored((ev.Ready, ev.StartFailed), (READY, AWAITING_POLICY), "a process says it once"),
    Ignored(
        (ev.Ready, ev.StartFailed, ev.MemoryExceeded, ev.StreamBroken),
        (RETIRING, STOPPING, DONE),
        "the process is being ended already, and the ladder sees to it",
    ),
    Ignored(
        (ev.Placing, ev.Placed),
        (READY, AWAITING_POLICY, RETIRING, STOPPING, DONE),
        "it is placed before it is ready, and nobody waits for one that is being ended",
    ),
    Ignored((ev.AgentFinished,), (STOPPING, DONE), "all that it had has its outcome"),
    Ignored(
        (ev.Replied, ev.TakenBack, ev.NotBegun, ev.AgentFinished),
        (STARTING,),
        "nothing has been sent to it yet",
    ),
    Ignored((ev.TakenBack,), (STOPPING, DONE), "all that it had has its outcome"),
    Ignored((ev.NotBegun,), (AWAITING_POLICY,), "it begins nothing before the policy has decided"),
    Ignored((ev.NotBegun,), (DONE,), "all that it had has its outcome"),
    Ignored((ev.Replied,), (DONE,), "its callers were released when it was given up"),
    Ignored(
        (ev.Probed, Due.HEARTBEAT),
        (STARTING, RETIRING, STOPPING, DONE),
        "only a busy process is looked at",
    ),
    Ignored((Due.HEARTBEAT,), _NO_PROCESS, "only a busy process is looked at"),
    Ignored(
        (ev.PolicyAnswered,),
        tuple(phase for phase in Phase if phase is not AWAITING_POLICY),
        "something else has decided while the policy was thinking",
    ),
    Ignored(
        (ev.Reconsidered,),
        tuple(phase for phase in Phase if phase is not READY),
        "the parent has failed, restarts or ends, whatever its child did",
    ),
    Ignored(
        (ev.Restart,),
        (WAITING, STARTING, RETIRING, HELD),
        "a new process is on its way",
    ),
    Ignored((ev.Restart, ev.Drain, ev.Stop, ev.Retire), (STOPPING, DONE), "it ends, or has ended"),
    Ignored((ev.Cancel,), (DONE,), "it has ended"),
    Ignored((ev.GiveUpReload,), (STOPPING, DONE), "its end has ended the reload"),
    Ignored((Due.BESIDE,), (DONE,), "disarmed when the process beside had gone"),
    Ignored(
        (Due.START,),
        tuple(phase for phase in Phase if phase is not STARTING),
        "disarmed when the start was over",
    ),
    Ignored(
        (Due.TASK,),
        (*_NO_PROCESS, STARTING, DONE),
        "armed for a process that works, and disarmed when it had gone",
    ),
    Ignored(
        (Due.TASK,), (RETIRING, STOPPING), "the process is being ended, and the ladder sees to it"
    ),
    Ignored((Due.STOP_STAGE,), (*_NO_PROCESS, DONE), "disarmed when the process had gone"),
    Ignored(
        (Due.BACKOFF,),
        tuple(phase for phase in Phase if phase is not BACKOFF),
        "disarmed when the wait was over",
    ),
    Ignored((Due.GRACE,), (STOPPING, DONE), "disarmed when it began to end"),
    Ignored((Due.AGE,), (*_NO_PROCESS, STARTING), "armed when the process is ready"),
    Ignored((Due.AGE,), (RETIRING, STOPPING, DONE), "the process is being replaced or ended"),
)
"""Every (phase, event) that is not in `TRANSITIONS`."""


def state_diagram() -> str:
    """The table as a Mermaid state diagram, without transitions to the same phase."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, event), rule in TRANSITIONS.items():
        for entered in rule.enters:
            arrows.setdefault((phase, entered), []).append(name_of(event))
    for others in (ONWARD, TREE):
        for phase, ways in others.items():
            for entered, when in ways.items():
                arrows.setdefault((phase, entered), []).append(when)
    lines = ["stateDiagram-v2", f"    [*] --> {WAITING.name}: Spawn"]
    order = list(Phase)
    for phase, entered in sorted(arrows, key=lambda way: [order.index(end) for end in way]):
        if phase is not entered:
            label = ", ".join(_distinct(arrows[phase, entered]))
            lines.append(f"    {phase.name} --> {entered.name}: {label}")
    return "\n".join([*lines, f"    {DONE.name} --> [*]"])


def ignored_table() -> str:
    """The ignored events as a Markdown table."""
    lines = ["| event | in | changes nothing, because |", "| --- | --- | --- |"]
    for ignored in IGNORED:
        events = ", ".join(name_of(event) for event in ignored.events)
        phases = ", ".join(phase.name for phase in ignored.phases)
        lines.append(f"| {events} | {phases} | {ignored.why} |")
    return "\n".join(lines)


def name_of(event: What) -> str:
    """An event's name for readers: the class of an input, or the purpose of a timer."""
    return f"timer of {event.value}" if isinstance(event, Due) else event.__name__


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def page() -> str:
    """The diagram and the table, as they are in the docs."""
    return f"```mermaid\n{state_diagram()}\n```\n\n{ignored_table()}"


if __name__ == "__main__":
    print(page())
