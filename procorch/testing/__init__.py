"""Tests of policies, trees and agents in milliseconds: no processes, no waiting, no luck.

See ``docs/testing.md``.
"""

from __future__ import annotations

from procorch.testing.clock import FakeClock
from procorch.testing.launcher import FakeLauncher
from procorch.testing.orchestrator import TestOrchestrator
from procorch.testing.script import Delay, Die, Exit, Hang, Raise, Reply, ScriptedAgent
from procorch.testing.worker import die, hang, sleep

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
