"""Changes of phase that no event of the instance causes: by entry actions, and by others.

`machine.TRANSITIONS` has those that events cause.
"""

from __future__ import annotations

from procorch.supervision.states import Phase

WAITING, STARTING, READY, AWAITING_POLICY, RETIRING, HELD, BACKOFF, STOPPING, DONE = Phase

ONWARD: dict[Phase, dict[Phase, str]] = {
    WAITING: {STARTING: "a start slot is free"},
    STARTING: {READY: "its successor is ready already"},
    READY: {STOPPING: "nothing is left to do"},
    AWAITING_POLICY: dict.fromkeys((READY, RETIRING, HELD, STOPPING), "there is no policy"),
    RETIRING: {
        READY: "its successor takes over",
        WAITING: "its process has gone",
        BACKOFF: "its process has gone, there is a delay",
        HELD: "its process has gone, its group goes down",
        STOPPING: "its process has gone, nothing is left to do",
    },
    HELD: {WAITING: "its turn to start", BACKOFF: "its group waits for a delay"},
    BACKOFF: {},
    STOPPING: {DONE: "there is no process"},
    DONE: {},
}
"""The phases that the entry action of a phase may enter without a further event, and when."""

TREE: dict[Phase, dict[Phase, str]] = {
    WAITING: {HELD: "its group goes down", STOPPING: "ends with others"},
    STARTING: {RETIRING: "its group goes down", STOPPING: "ends with others"},
    READY: {RETIRING: "its group goes down", STOPPING: "ends with others"},
    AWAITING_POLICY: {
        RETIRING: "its group goes down",
        HELD: "its group goes down",
        STOPPING: "ends with others",
    },
    RETIRING: {HELD: "its process has gone, its group goes down", STOPPING: "ends with others"},
    HELD: {
        WAITING: "its turn to start",
        BACKOFF: "its group waits for a delay",
        STOPPING: "ends with others",
    },
    BACKOFF: {HELD: "its group goes down", STOPPING: "ends with others"},
    STOPPING: {},
    DONE: {},
}
"""The phases that other instances may move one to, and why."""
