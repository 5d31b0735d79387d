"""The running agents of the daemon: starts those that are wanted, in their order, and again.

The orchestrator restarts processes. This is about what it leaves to its user: an agent waits for
others (``after``, its parent), a first start that fails is tried again, an agent that has ended
FAILED is revived later, and an operator stops and starts agents.

One thread, the *keeper*, starts agents and notes their ends. It sleeps until something happens:
an event of the orchestrator, a command, or the time of the next attempt. Commands change what is
wanted under the lock and wake it. So no two threads start the same agent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from procorch import BackingOff, Crashed, Lost, Notice, Ready, Restarting, Starting, Stopped
from procorch.api.orchestrator import AgentOrchestrator
from procorch.daemon import waiting
from procorch.daemon.errors import UnknownAgent
from procorch.daemon.member import Member, member_of
from procorch.daemon.registering import Registrar
from procorch.daemon.specs import AgentSpec
from procorch.daemon.waiting import Obstacle
from procorch.errors import AgentError
from procorch.errors.texts import did_you_mean

_log = logging.getLogger("procorch")

_LOOK_AGAIN = 0.05
"""Seconds: an agent has said that it ends, and its processes are still ending."""


class Tree:
    """The agents of the daemon.

    Args:
        orchestrator: runs them.
        registrar: registers them there.
        drift: what operators have changed before, by the name of the agent.
        failed: is called with an agent that has ended FAILED, on the keeper's thread.
        changed: is called after the keeper has changed something, on its thread.
    """

    def __init__(
        self,
        orchestrator: AgentOrchestrator,
        registrar: Registrar,
        drift: dict[str, dict[str, object]],
        failed: Callable[[Member], None],
        changed: Callable[[], None],
    ) -> None:
        self._orchestrator = orchestrator
        self._registrar = registrar
        self._drift = drift
        self._failed = failed
        self._changed = changed
        self._members: dict[str, Member] = {}
        self._condition = threading.Condition(threading.RLock())
        self._ending: set[str] = set()
        self._woken = False
        self._closed = False
        self._keeper = threading.Thread(target=self._keep, name="procorch-keeper", daemon=True)

    # ---- the members

    def add(self, spec: AgentSpec) -> None:
        """Register an agent; it starts when the keeper runs, if it is wanted.

        Raises:
            AgentError, ValueError, TypeError, AppError, SecretError: it cannot be registered.
        """
        self._registrar.add(spec)
        with self._condition:
            member = member_of(spec, dict(self._drift.get(spec.name, {})))
            member.phase = "waiting" if member.wanted else "stopped"
            self._members[spec.name] = member
            self._wake()

    def remove(self, name: str, timeout: float | None) -> None:
        """Stop an agent, and forget it. Its children must be removed before."""
        self.stop([name], timeout)
        self._orchestrator.remove(name)
        with self._condition:
            del self._members[name]
            self._wake()

    def member(self, name: str) -> Member:
        """The agent of a name.

        Raises:
            UnknownAgent: there is none.
        """
        found = self._members.get(name)
        if found is None:
            hint = did_you_mean(name, self._members, listed="there are")
            raise UnknownAgent(f"there is no agent {name!r}{hint}")
        return found

    def members(self) -> list[Member]:
        """All agents in the order of the file."""
        return list(self._members.values())

    def follow(self, spec: AgentSpec) -> None:
        """Have an agent be as the file says: what was stopped, scaled or paused by hand is not any
        more."""
        with self._condition:
            member = self.member(spec.name)
            member.spec = spec
            lives, handle = member.lives, member.handle
            resized, member.size = member.size != spec.instances, spec.instances
            resumed, member.paused = member.paused, False
            if spec.autostart and (not member.wanted or member.phase == "failed"):
                self.start([spec.name])
        if handle is None or not lives:
            return
        if resumed:
            handle.resume()
        if resized:
            try:
                handle.scale(spec.instances)
            except AgentError as error:
                _log.warning("agent %r was not scaled to %d: %s", spec.name, spec.instances, error)

    def order(self, names: Sequence[str]) -> None:
        """Have the agents in the order of ``names``."""
        with self._condition:
            self._members = {name: self._members[name] for name in names if name in self._members}

    @property
    def condition(self) -> threading.Condition:
        """Notified when an agent changes its phase; its lock guards the members."""
        return self._condition

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until ``done()``, which is asked under the lock; False: not within ``timeout``."""
        with self._condition:
            return self._condition.wait_for(lambda: self._closed or done(), timeout) and done()

    # ---- commands

    def start(self, names: Iterable[str]) -> None:
        """Want agents to run. Those that ended FAILED or COMPLETED are started anew."""
        with self._condition:
            for member in map(self.member, names):
                member.wanted = True
                if not member.lives:
                    member.phase, member.retry_at = "waiting", None
                    member.attempts, member.error = 0, ""
            self._wake()

    def stop(self, names: Iterable[str], timeout: float | None) -> list[str]:
        """Stop agents; they finish what they have accepted.

        Returns:
            The names of those that have not ended within ``timeout`` seconds.
        """
        with self._condition:
            members = [self.member(name) for name in names]
            for member in members:
                member.wanted = False
                if not member.lives:
                    member.phase, member.retry_at = "stopped", None
            self._condition.notify_all()
        stoppers = [
            threading.Thread(target=self._stop, args=(member, timeout), daemon=True)
            for member in members
            if member.lives
        ]
        for thread in stoppers:
            thread.start()
        ending = members + waiting.linked_below(members, self._members)
        self.wait(lambda: not any(member.lives for member in ending), timeout)
        return [member.name for member in members if member.lives]

    def _stop(self, member: Member, timeout: float | None) -> None:
        handle = member.handle
        if handle is not None:
            try:
                handle.stop(grace=timeout)
            except AgentError as error:
                _log.warning("agent %r did not stop in order: %s", member.name, error)
            with self._condition:
                self._ending.add(member.name)
                self._wake()

    def restarted(self, name: str, timeout: float | None) -> None:
        """Replace the processes of an agent that runs, one by one; what it reads at its start is
        read again.

        Raises:
            AgentError: it ended instead.
            TimeoutError: not all were replaced within ``timeout`` seconds.
        """
        member = self.member(name)
        self._registrar.renew(member.spec, member.size)
        handle = member.handle
        if handle is not None:
            handle.restart(timeout=timeout)

    # ---- events of the orchestrator

    def on_event(self, event: Notice) -> None:
        """Take note of an event; called by the thread that reads them."""
        match event:
            case Starting() | Ready() | Crashed() | Restarting() | BackingOff():
                with self._condition:
                    member = self._members.get(event.agent)
                    if member is not None and member.lives:
                        member.troubles.note(event)
                        if isinstance(event, Ready):
                            self._became_ready(member, event)
            case Stopped():
                with self._condition:
                    self._ending.add(event.agent)
                    self._wake()
            case Lost():
                with self._condition:
                    self._ending.update(self._members)
                    self._wake()
            case _:
                pass

    def _became_ready(self, member: Member, event: Ready) -> None:
        member.became_ready(event.instance, event.time)
        self._condition.notify_all()
        if member.ready:
            self._wake()

    # ---- the keeper

    def begin(self) -> None:
        """Start the keeper."""
        self._woken = True  # also without agents there is something to tell
        self._keeper.start()

    def close(self) -> None:
        """Start nothing any more; waits for the keeper."""
        with self._condition:
            self._closed = True
            self._wake()
            self._condition.notify_all()
        if self._keeper.is_alive():
            self._keeper.join()

    def _wake(self) -> None:
        self._woken = True
        self._condition.notify_all()

    def _keep(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._woken, self._pause())
                self._woken = False
                if self._closed:
                    return
                failed = self._note_ends()
                due = [member for member in self._members.values() if self._is_due(member)]
            for member in failed:
                self._failed(member)
            for member in due:
                self._begin(member)
            self._changed()

    def _pause(self) -> float | None:
        """Seconds until the keeper has to look by itself; None: it is woken.

        An agent that waits for others is looked at when one of them changes.
        """
        now = time.monotonic()
        times = [
            each.retry_at - now
            for each in self._members.values()
            if each.retry_at is not None and self._may_start(each)
        ]
        if self._ending:
            times.append(_LOOK_AGAIN)
        return max(0.0, min(times)) if times else None

    def _note_ends(self) -> list[Member]:
        failed = []
        for name in list(self._ending):
            member = self._members.get(name)
            handle = None if member is None else member.handle
            if member is None or handle is None or not member.lives:
                self._ending.discard(name)
                continue
            if not handle.is_done():
                if not _is_ending(member):
                    self._ending.discard(name)
                continue
            self._ending.discard(name)
            if member.end(handle.status().name, handle.failure(), time.monotonic()):
                failed.append(member)
            self._condition.notify_all()
        return failed

    def _is_due(self, member: Member) -> bool:
        if not self._may_start(member):
            return False
        if member.phase in ("backoff", "failed"):
            return member.retry_at is not None and time.monotonic() >= member.retry_at
        return member.phase == "waiting"

    def _may_start(self, member: Member) -> bool:
        return member.wanted and member.size > 0 and not self.waits_for(member)

    def waits_for(self, member: Member) -> list[str]:
        """What must happen before an agent starts, as text."""
        with self._condition:
            return waiting.waits_for(member, self._members)

    def obstacle(self, member: Member) -> Obstacle | None:
        """What keeps an agent that is to run from its start, so that it will not come by itself."""
        with self._condition:
            return waiting.obstacle(member, self._members)

    def _begin(self, member: Member) -> None:
        with self._condition:  # events of the new run wait until it is noted
            if self._members.get(member.name) is not member or not self._is_due(member):
                return  # it was stopped or removed meanwhile
            parent = member.spec.parent
            above = None if parent is None else self._members[parent].handle
            try:
                self._registrar.renew(member.spec, member.size)
                handle = self._orchestrator.spawn(member.name, parent=above, wait=False)
            except Exception as error:  # secrets that cannot be read, a parent that has just ended
                member.handle = None
                if member.end("FAILED", error, time.monotonic()):
                    self._failed(member)
                self._condition.notify_all()
                return
            member.begin(handle)
            self._condition.notify_all()
        if member.paused:
            handle.pause()


def _is_ending(member: Member) -> bool:
    handle = member.handle
    return handle is not None and handle.status().name != "RUNNING"
