"""The monitor thread of an orchestrator, and the objects that callers share with it."""
