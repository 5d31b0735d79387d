"""Events as data: the union of their classes, JSON, usage and cost, and what watching costs."""

from __future__ import annotations

import json
import math
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import procorch
from procorch import (
    AgentCrashed,
    AgentEvent,
    AgentFailure,
    AgentHung,
    AgentOrchestrator,
    AgentPool,
    AgentResult,
    AgentStatus,
    Cost,
    MessageTooLarge,
    ModelThrottled,
    Notice,
    PoisonRequest,
    RequestDone,
    Usage,
)
from procorch.futures import watch
from procorch.supervision import notices
from tests.process.scenes import until

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"
Orchestrator = Callable[..., AgentOrchestrator]

CRASHED = AgentCrashed(
    agent="solver", signal="SIGSEGV", generation=1, pid=4711, request=7, may_have_executed=True
)
HUNG = AgentHung(agent="solver", heartbeat_timeout=30.0, generation=1, pid=4711, request=7)
FAILED = AgentFailure(agent="solver", exc_type="ValueError", exc_str="no such city")
FAILED.__cause__ = CRASHED
THROTTLED = ModelThrottled(agent="solver", retry_after=20.0)

OTHERS: dict[type[Notice], list[dict[str, Any]]] = {
    notices.Starting: [{}],
    notices.Ready: [{}],
    notices.RequestStarted: [{"request": 7}],
    notices.RequestDone: [
        {
            "request": 7,
            "error": None,
            "usage": Usage(input=1200, output=340),
            "cost": Cost(input=0.0036, output=0.0051),
        },
        {"request": 8, "error": FAILED},
    ],
    notices.Crashed: [{"error": CRASHED}],
    notices.Hung: [{"timeout": 30.0, "request": 7}],
    notices.Restarting: [{"counted": True, "restart": 1, "max_restarts": 3}],
    notices.Reloading: [{"release": 2}],
    notices.Reloaded: [{"release": 2}],
    notices.ReloadFailed: [{"release": 3, "error": FAILED}],
    notices.BackingOff: [{"delay": 0.8}],
    notices.Throttled: [{"delay": 20.0, "asked": 20.0, "error": THROTTLED}],
    notices.Recovered: [{}],
    notices.Escalated: [{"error": FAILED, "path": ("planner", "root")}],
    notices.Stopped: [{"status": AgentStatus.FAILED, "error": HUNG}],
    notices.Lost: [{"count": 12}],
    notices.Unreaped: [{"pid": 4711}],
    notices.NodeJoined: [
        {"agent": "", "generation": 0, "node": "8a3957997ae1", "host": "10.0.0.2"}
    ],
    notices.NodeLost: [
        {
            "agent": "",
            "generation": 0,
            "node": "8a3957997ae1",
            "host": "10.0.0.2",
            "why": "node 8a395799 (10.0.0.2) has not answered for 4.5 s",
        }
    ],
}


def one_of_each() -> list[AgentEvent]:
    return [
        kind(**{"agent": "solver", "generation": 1, "at": 5213.25, "time": 1795951805.5, **fields})
        for kind, all_fields in OTHERS.items()
        for fields in all_fields
    ]


def test_the_union_has_every_event_and_all_are_public() -> None:
    assert set(get_args(AgentEvent)) == set(Notice.__subclasses__()) == set(OTHERS)
    for kind in get_args(AgentEvent):
        assert getattr(procorch, kind.__name__) is kind


def test_the_lines_of_the_page_are_what_events_give() -> None:
    found = re.search(r"<!-- events -->\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    lines = [json.dumps(event.as_dict()) for event in one_of_each()]
    assert found[1].splitlines() == lines


def test_every_event_survives_json() -> None:
    for event in one_of_each():
        data = event.as_dict()
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert data["type"] == type(event).__name__
        assert set(data) == {"type", *event.__struct_fields__}


def test_what_json_cannot_express_becomes_none_or_text() -> None:
    deadly = PoisonRequest(agent="solver", request=7, deaths=(CRASHED, CRASHED))
    event = RequestDone(
        agent="solver", generation=1, at=math.inf, request=7, error=deadly,
        usage=Usage(), cost=Cost(input=math.nan),
    )  # fmt: skip
    data = json.loads(json.dumps(event.as_dict(), allow_nan=False))
    assert (data["at"], data["cost"]["input"]) == (None, None)
    assert [each["details"]["signal"] for each in data["error"]["details"]["deaths"]] == [
        "SIGSEGV", "SIGSEGV",
    ]  # fmt: skip


# ---- usage and cost


def spender():
    """Returns what it is told, with what it says that it has used."""

    def handle(item):
        from procorch import AgentResult, Cost, Usage

        if item == "odd":
            return AgentResult(output=item, usage=Usage(input="many"))  # type: ignore[arg-type]
        if item == "unsendable":
            return AgentResult(output=lambda: handle, usage=Usage(3), stop_reason=(x for x in "ab"))  # type: ignore[arg-type]
        if item < 0:
            raise ValueError(item)
        return AgentResult(output=item, usage=Usage(input=item, output=1), cost=Cost(output=0.5))

    return handle


def done(stream: Any) -> RequestDone:
    event = until(stream, RequestDone, "a")[-1]
    assert isinstance(event, RequestDone)
    return event


def test_the_event_of_an_answer_has_its_usage_and_cost(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_agent("a", spender)
    handle, stream = orch.spawn("a"), orch.events()
    result = handle.deliver(7).result()
    event = done(stream)
    assert (event.usage, event.cost) == (result.usage, result.cost) == (Usage(7, 1), Cost(0, 0.5))
    handle.deliver("odd").result()
    assert done(stream).usage is None, "it is no number of tokens"
    handle.deliver("unsendable").exception()
    assert done(stream).usage == Usage(3), "the tokens are spent all the same"
    handle.deliver(-1).exception()
    event = done(stream)
    assert event.error is not None
    assert event.usage is event.cost is None


def test_the_events_of_chunks_have_what_all_their_items_have_used() -> None:
    with AgentPool(spender, workers=1) as pool:
        stream = pool.events()
        outcomes = list(pool.imap([*range(50), -1, *range(50)], chunksize=20, outcomes=True))
    spent = [event for event in stream if isinstance(event, RequestDone)]
    usage = sum((event.usage for event in spent if event.usage is not None), Usage())
    assert sum(outcome.error is None for outcome in outcomes) == 100
    assert usage == Usage(input=2 * sum(range(50)), output=100)
    assert sum((event.cost for event in spent if event.cost is not None), Cost()).output == 50.0
    assert len(spent) < 20, "they were sent in chunks"


def conversation():
    from procorch import AgentOptions, AssistantMessage, Usage

    def model(context):
        if len(context.messages) > 1:
            raise ConnectionError("gone")
        call = [{"id": "1", "name": "look", "arguments": {}}]
        from procorch import StopReason, ToolCallBlock

        return AssistantMessage(
            tuple(ToolCallBlock(**each) for each in call),
            usage=Usage(input=11),
            stop_reason=StopReason.TOOL_USE,
        )

    def look():
        return "nothing"

    return AgentOptions(stream_fn=model, tools=[look])


def test_the_event_of_a_failure_has_what_was_used_before_it(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_agent("a", conversation)
    handle, stream = orch.spawn("a"), orch.events()
    error = handle.submit("go").exception()
    event = done(stream)
    assert event.error is not None
    assert event.usage == getattr(error, "usage", None) == Usage(input=11)


def test_what_an_answer_that_cannot_be_sent_has_used_counts_once(
    orchestrator: Orchestrator,
) -> None:
    def factory():
        from procorch import AgentOptions, AssistantMessage, Usage

        def model(context):
            return AssistantMessage("x" * 3000, usage=Usage(input=11))

        return AgentOptions(stream_fn=model)

    orch = orchestrator(max_message=2000)
    orch.add_agent("a", factory)
    handle, stream = orch.spawn("a"), orch.events()
    assert isinstance(handle.submit("go").exception(), MessageTooLarge)
    assert done(stream).usage == Usage(input=11)


# ---- what watching costs


def test_requests_whose_events_nobody_wants_do_nothing_for_events(
    orchestrator: Orchestrator,
) -> None:
    """In whichever thread: no function of the streams is called, and no event is made."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call" and (code.co_filename == watch.__file__ or code.co_name == "make"):
            calls[code.co_name] += 1

    def done_by_requests() -> set[str]:
        calls.clear()
        for _ in range(20):
            handle.send_message("hello")
            handle.deliver("hello").result()
        return set(calls)

    orch = orchestrator()
    orch.add_agent("a", lambda: lambda item: item)
    orch.add_agent("b", lambda: lambda item: item)
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        handle = orch.spawn("a")
        orch.spawn("b")
        assert done_by_requests() == set()
        lives = [orch.events(requests=False), orch.monitor("a", requests=False)]
        assert done_by_requests() == set()
        other = orch.monitor("b")
        assert "make" not in done_by_requests(), "nobody watches the requests of this agent"
        other.close()
        watching = orch.monitor("a")
        assert {"make", "put"} <= done_by_requests()
        watching.close()
        assert done_by_requests() == set()
    finally:
        threading.setprofile(None)
        sys.setprofile(None)
    handle.restart()
    for stream in lives:
        kinds = [type(event).__name__ for event in until(stream, notices.Ready, "a")]
        assert kinds == ["Restarting", "Starting", "Ready"]


def test_a_stream_without_requests_still_tells_of_everything_else(
    orchestrator: Orchestrator,
) -> None:
    orch = orchestrator()
    orch.add_agent("a", lambda: lambda item: AgentResult(output=item))
    stream = orch.monitor("a", requests=False)
    handle = orch.spawn("a")
    handle.deliver("hello").result()
    handle.stop()
    assert [type(event).__name__ for event in stream] == ["Starting", "Ready", "Stopped"]
