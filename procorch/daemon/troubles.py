"""Why the processes of a running agent were replaced, for people: from the events of its run."""

from __future__ import annotations

from dataclasses import dataclass, field

from procorch import (
    AgentError,
    BackingOff,
    Crashed,
    Notice,
    PluginError,
    Ready,
    Restarting,
    Starting,
)  # fmt: skip
from procorch.batch.reasons import place_of


@dataclass(slots=True)
class _Slot:
    """One instance.

    Args:
        generation: the process that ``fault`` is about.
        fault: how it ended, and where; "" from the next readiness on.
        last_end: the same, until the next end.
        was_ready: the process that runs, or ran last, became ready.
        count: "2/3", as restarts are counted; "": this one was not.
        next_at: wall clock time of the next start; 0: at once.
    """

    generation: int = 0
    fault: str = ""
    last_end: str = ""
    was_ready: bool = False
    count: str = ""
    next_at: float = 0.0


@dataclass(slots=True)
class Troubles:
    """What has gone wrong in one run of an agent, by instance."""

    _slots: dict[int, _Slot] = field(default_factory=dict)

    def note(self, event: Notice) -> None:
        """Take note of an event of this run."""
        slot = self._slots.setdefault(event.instance, _Slot())
        match event:
            case Starting():
                slot.was_ready, slot.next_at = False, 0.0
            case Ready():
                slot.was_ready, slot.count, slot.fault = True, "", ""
            case Crashed(error=error):
                slot.generation, slot.fault = event.generation, place_of(error)
                slot.last_end = slot.fault
            case Restarting(planned=True):
                slot.count = slot.fault = ""
            case Restarting():
                if slot.generation != event.generation or not slot.fault:
                    slot.fault = "it ended by itself" if slot.was_ready else "it did not start"
                    slot.last_end = slot.fault
                slot.generation = event.generation
                slot.count = f"{event.restart}/{event.max_restarts}" if event.counted else ""
            case BackingOff(delay=delay):
                slot.next_at = event.time + delay
            case _:
                pass

    def last_end(self, instance: int) -> str:
        """How the function or program of a service ended last; its worker then leaves in order."""
        slot = self._slots.get(instance)
        return "" if slot is None else slot.last_end

    def text(self, instance: int, now: float) -> str:
        """Such as ``2/3, next in 4 s, SIGSEGV at f.py:9 in handle``; "": nothing is wrong.

        Args:
            now: wall clock time.
        """
        slot = self._slots.get(instance)
        if slot is None:
            return ""
        wait = slot.next_at - now
        waits = f"next in {wait:.0f} s" if wait >= 1 else "next at once" if wait > 0 else ""
        return ", ".join(each for each in (slot.count, waits, slot.fault) if each)


def failure_text(error: BaseException | None) -> str:
    """Why an agent has ended FAILED: what its last process did rather than that its supervisor
    stopped it, and the place in its code."""
    stopped = isinstance(error, PluginError) and isinstance(error.__cause__, AgentError)
    cause = error.__cause__ if stopped and error is not None else error
    if cause is None:
        return "it has failed"
    _, at, place = place_of(cause).partition(" at ") if isinstance(cause, AgentError) else ("",) * 3
    again = "; it is not restarted any more" if stopped else ""
    said = cause.source if type(cause) is PluginError else cause  # without its prefix
    return f"{said}{at and f', at {place}'}{again}"
