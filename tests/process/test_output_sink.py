"""The output of agents for the program that embeds them: `AgentOrchestrator(output_sink=...)`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentCrashed, AgentOrchestrator, Crashed, DefaultSupervisor, Ready
from procorch.runtime import output_sink

Make = Callable[..., AgentOrchestrator]

MOST = 30.0  # seconds
BACKLOG = 1 << 20


class Kept:
    """A sink that keeps what it gets, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.changed = threading.Condition()

    def _add(self, *call: Any) -> None:
        with self.changed:
            self.calls.append((*call, threading.current_thread().name))
            self.changed.notify_all()

    def write(self, *args: Any) -> None:
        self._add("write", *args)

    def missing(self, *args: Any) -> None:
        self._add("missing", *args)

    def ended(self, *args: Any) -> None:
        self._add("ended", *args)

    def text(self, agent: str, stream: str) -> str:
        pieces = [c[6] for c in self.calls if c[0] == "write" and (c[1], c[5]) == (agent, stream)]
        return b"".join(pieces).decode()

    def requests(self, agent: str, word: bytes) -> set[int | None]:
        """Which requests wrote this."""
        writes = [call for call in self.calls if call[0] == "write" and call[1] == agent]
        return {call[4] for call in writes if word in call[6]}

    def wait_for(self, agent: str, stream: str, text: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.text(agent, stream), MOST)


class Held(Kept):
    """One that takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, *args: Any) -> None:
        self.begun.set()
        self.go.wait(MOST)
        super().write(*args)


def talker() -> Any:
    import os
    import sys

    def handle(x: str) -> str:
        print("out", x)
        print("err", x, file=sys.stderr)
        if x == "die":
            os._exit(3)
        return x

    return handle


def flood() -> Any:
    import os

    def handle(size: int) -> int:
        line = b"." * 99 + b"\n"
        for _ in range(size // 100):
            os.write(1, line)
        return size

    return handle


def test_both_streams_go_to_the_sink_with_their_origin_and_nowhere_else(
    orchestrator: Make, tmp_path: Path, capfd: Any
) -> None:
    sink = Kept()
    orch = orchestrator(output_sink=sink)
    orch.add_agent("a", talker)
    orch.add_agent("b", talker, output=str(tmp_path / "b.log"), instances=2)
    a, b = orch.spawn("a"), orch.spawn("b")
    for word in ("one", "two"):
        a.deliver(word).result(MOST)
    b.deliver("three").result(MOST)
    sink.wait_for("b", "stderr", "err three\n")
    assert sink.text("a", "stdout") == "out one\nout two\n"
    assert sink.text("a", "stderr") == "err one\nerr two\n"
    assert {call[-1] for call in sink.calls} == {"procorch-output"}
    first, second = (sink.requests("a", word) for word in (b"one", b"two"))
    assert len(first) == len(second) == 1
    assert first != second
    assert None not in first | second
    origins = {call[1:4] for call in sink.calls if call[0] == "write"}
    assert ("a", 0, 1) in origins
    assert origins & {("b", 0, 1), ("b", 1, 1)}
    assert b.output("stdout") == "out three\n"
    assert not (tmp_path / "b.log").exists()
    assert capfd.readouterr() == ("", "")


def test_the_sink_has_everything_before_the_event_of_an_exit(orchestrator: Make) -> None:
    sink = Held()
    orch = orchestrator(output_sink=sink, supervisor=DefaultSupervisor())
    orch.add_agent("a", talker)
    a = orch.spawn("a")
    events = orch.monitor("a")
    reply = a.deliver("die")
    assert sink.begun.wait(MOST)
    assert not reply.done()
    sink.go.set()
    assert next(event for event in events if isinstance(event, Crashed)).generation == 1
    seen = list(sink.calls)
    ended = [call[:4] for call in seen].index(("ended", "a", 0, 1))
    assert all(call[0] == "write" for call in seen[:ended])
    assert sink.text("a", "stdout") == "out die\n"
    assert sink.text("a", "stderr") == "err die\n"
    error = reply.exception(MOST)
    assert isinstance(error, AgentCrashed)
    assert error.stderr_tail == "err die\n"
    assert next(event for event in events if isinstance(event, Ready)).generation == 2


def test_a_slow_sink_gets_everything(orchestrator: Make) -> None:
    class Slow(Kept):
        def write(self, *args: Any) -> None:
            threading.Event().wait(0.001)
            super().write(*args)

    sink, size = Slow(), 4_000_000
    orch = orchestrator(output_sink=sink)
    orch.add_agent("a", flood)
    assert orch.spawn("a").deliver(size).result(MOST).output == size
    orch.close()
    assert len(sink.text("a", "stdout")) == size
    assert not [call for call in sink.calls if call[0] == "missing"]


def test_a_sink_that_takes_nothing_learns_what_is_missing_and_holds_nobody_up(
    orchestrator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_sink, "PATIENCE", 0.3)
    sink, size = Held(), 4_000_000
    orch = orchestrator(output_sink=sink)
    orch.add_agent("a", flood)
    orch.add_agent("b", talker)
    a, b = orch.spawn("a"), orch.spawn("b")
    reply = a.deliver(size)
    assert sink.begun.wait(MOST)
    assert b.deliver("quiet").result(MOST).output == "quiet"
    assert reply.result(MOST).output == size
    died = b.deliver("die").exception(MOST)
    assert isinstance(died, AgentCrashed)
    sink.go.set()
    orch.close()
    assert ("ended", "a", 0, 1) in {call[:4] for call in sink.calls}
    lost = [call[6] for call in sink.calls if call[:2] == ("missing", "a")]
    kept = len(sink.text("a", "stdout"))
    assert sum(lost) + kept == size
    assert 0 < kept < 2 * BACKLOG
    # What is missing is missing after the piece that was held, and before what came last.
    kinds = [call[0] for call in sink.calls if call[1] == "a"]
    assert kinds[:2] == ["write", "missing"]


def test_a_sink_that_raises_is_logged_once_and_ends_nothing(
    orchestrator: Make, caplog: Any
) -> None:
    class Broken(Kept):
        def write(self, *args: Any) -> None:
            super().write(*args)
            raise ValueError("no")

        def ended(self, *args: Any) -> None:
            super().ended(*args)
            raise SystemExit("no")

    sink = Broken()
    orch = orchestrator(output_sink=sink)
    orch.add_agent("a", talker)
    a = orch.spawn("a")
    with caplog.at_level(logging.ERROR, "procorch"):
        for word in ("one", "two"):
            assert a.deliver(word).result(MOST).output == word
        orch.close()
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "the output sink raised an exception"
    ]
    assert sink.text("a", "stdout") == "out one\nout two\n"


def test_a_service_has_no_requests(orchestrator: Make) -> None:
    def run() -> None:
        print("here", flush=True)
        from procorch import current

        current().cancelled.wait()

    sink = Kept()
    orch = orchestrator(output_sink=sink)
    orch.add_service("s", run)
    orch.spawn("s")
    sink.wait_for("s", "stdout", "here\n")
    assert sink.requests("s", b"here") == {None}


def test_an_object_that_is_no_sink_is_refused() -> None:
    class Half:
        def write(self) -> None: ...

    with pytest.raises(TypeError, match="Half has no missing"):
        AgentOrchestrator(output_sink=Half())  # type: ignore[arg-type]
