"""Doing, part two: the monitor thread of an orchestrator and what callers share with it."""
