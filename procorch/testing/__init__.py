"""Tests of policies, trees and agents in milliseconds: no processes, no waiting, no luck.

See ``docs/how-to/testing.md``.
"""

from __future__ import annotations

from procorch.testing.clock import FakeClock
from procorch.testing.fake_worker import die, hang, sleep
from procorch.testing.launcher import FakeLauncher
from procorch.testing.orchestrator import TestOrchestrator
from procorch.testing.script import Delay, Die, Exit, Hang, Raise, Reply, ScriptedAgent

__all__ = [
    "Delay",
    "Die",
    "Exit",
    "FakeClock",
    "FakeLauncher",
    "Hang",
    "Raise",
    "Reply",
    "ScriptedAgent",
    "TestOrchestrator",
    "die",
    "hang",
    "sleep",
]
