"""One agent of the configuration, as the daemon keeps it: what is wanted of it, and where it is."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from procorch.api.handle import OrchestratedHandle
from procorch.daemon.specs import AgentSpec
from procorch.daemon.troubles import Troubles, failure_text

Phase: TypeAlias = Literal[
    "stopped", "waiting", "starting", "backoff", "running", "failed", "completed"
]
"""Where an agent is. The orchestrator knows more about one that is "starting" or "running"."""

_log = logging.getLogger("procorch")

_LONGEST = 30.0
"""Seconds between two attempts to start at the most."""


@dataclass(slots=True, eq=False)
class Member:
    """An agent, service or program of the configuration. Guarded by the lock of `Tree`.

    Args:
        spec: what the file says of it.
        wanted: whether it is to run. An operator changes it; a restart of the daemon keeps that.
        size: how many instances it is to have.
        paused: no request of its queue begins, because an operator has asked for that.
        phase: where it is.
        handle: its current run; None: there was none yet, or it was removed.
        error: why its last start or run has failed; "": it has not.
        attempts: failed starts since the last one that became ready.
        retry_at: monotonic time of the next attempt to start; None: there will be none.
        began: wall clock time at which the process of a slot became ready.
        ready: all instances have become ready once in this run.
        troubles: crashes and restarts of this run.
    """

    spec: AgentSpec
    wanted: bool
    size: int
    paused: bool = False
    phase: Phase = "stopped"
    handle: OrchestratedHandle | None = None
    error: str = ""
    attempts: int = 0
    retry_at: float | None = None
    began: dict[int, float] = field(default_factory=dict)
    ready: bool = False
    troubles: Troubles = field(default_factory=Troubles)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def lives(self) -> bool:
        """Whether the orchestrator runs it."""
        return self.phase in ("starting", "running")

    @property
    def most_attempts(self) -> int:
        """How many failed starts in a row are tried again."""
        if self.spec.settings.get("restart") == "temporary":
            return 0
        return int(self.spec.settings.get("max_restarts", 3))

    def begin(self, handle: OrchestratedHandle) -> None:
        """It was started."""
        self.handle, self.phase = handle, "starting"
        self.ready, self.retry_at = False, None
        self.began.clear()
        self.troubles = Troubles()

    def became_ready(self, slot: int, at: float) -> None:
        """A process of a slot is ready."""
        self.began[slot] = at
        if not self.ready and all(each in self.began for each in range(self.size)):
            self.ready, self.phase, self.error, self.attempts = True, "running", "", 0

    def end(self, status: str, error: BaseException | None, now: float) -> bool:
        """Its run has ended.

        Args:
            status: the final status, such as "FAILED".
            now: monotonic time.

        Returns:
            Whether it has failed for good.
        """
        was_ready, self.ready = self.ready, False
        self.began.clear()
        if not self.wanted:
            self.phase = "stopped"
            return False
        if status == "COMPLETED":
            self.phase = "completed"
            return False
        if status != "FAILED":  # its parent has ended, and it was linked to it
            self.phase = "waiting"
            return False
        self.error = failure_text(error)
        permanent = not getattr(error, "is_retryable", False)
        if was_ready or permanent or self.attempts >= self.most_attempts:
            self.phase, self.attempts = "failed", 0
            self.retry_at = None if self.spec.revive is None else now + self.spec.revive
            return True
        self.attempts += 1
        delay = min(_LONGEST, 2.0 ** (self.attempts - 1))
        delay *= random.uniform(0.5, 1.0)
        self.phase, self.retry_at = "backoff", now + delay
        _log.warning(
            "%s; the agent is tried again in %.1f s (%d of %d)",
            self.error, delay, self.attempts, self.most_attempts,
        )  # fmt: skip
        return False

    def drift(self) -> dict[str, Any]:
        """What an operator has changed, beside the file."""
        changed: dict[str, Any] = {}
        if self.wanted != self.spec.autostart:
            changed["wanted"] = self.wanted
        if self.size != self.spec.instances:
            changed["size"] = self.size
        if self.paused:
            changed["paused"] = True
        return changed

    def drift_texts(self, *, undone: bool = False) -> list[str]:
        """The same for people.

        Args:
            undone: only what a reload undoes.
        """
        words = []
        if self.wanted != self.spec.autostart and not (undone and self.wanted):
            words.append("started by hand" if self.wanted else "stopped by hand")
        if self.size != self.spec.instances:
            words.append(f"scaled to {self.size}, the file says {self.spec.instances}")
        if self.paused:
            words.append("paused by hand")
        return words


def member_of(spec: AgentSpec, drift: dict[str, Any]) -> Member:
    """A new member.

    Args:
        drift: what an operator has changed before (`Member.drift`).
    """
    return Member(
        spec,
        wanted=bool(drift.get("wanted", spec.autostart)),
        size=int(drift.get("size", spec.instances)),
        paused=bool(drift.get("paused", False)),
    )
