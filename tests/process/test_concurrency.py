"""Several requests at once in one process (`concurrency`): what is apart, and what is shared."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentFailure,
    AgentHung,
    AgentOptions,
    AgentOrchestrator,
    AgentStatus,
    DefaultSupervisor,
    Hung,
    OrchestratedHandle,
    RequestTimeout,
    ServiceSupervisor,
    Shutdown,
    StartError,
    SupervisorAction,
    current,
)

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]

PATIENT = Shutdown(cooperate=30, interrupt=30, grace=30)
"""Nobody is ended by mere slowness of the machine."""
STRICT = Shutdown(cooperate=0.05, interrupt=0.05, grace=30)


def tasks(begun: Any, go: Any) -> Callable[[], Any]:
    """An agent that does what the first word of a request says.

    "meet" waits until so many meet; "hold" tells that it has begun and waits for the gate.
    """
    tell, wait = begun.tell, go.wait

    def factory():
        import asyncio
        import os
        import time

        from procorch import current

        meeting = {}
        counts = {"now": 0, "most": 0}

        async def handle(request):
            word, *given = request
            counts["now"] += 1
            counts["most"] = max(counts.values())
            try:
                return await do(word, *given)
            finally:
                counts["now"] -= 1

        async def do(word, *given):
            if word == "meet":
                number = given[0]
                meeting["barrier"] = meeting.get("barrier") or asyncio.Barrier(number)
                await meeting["barrier"].wait()
                return os.getpid()
            if word == "hold":
                tell(current().request)
                await asyncio.to_thread(wait)
                return os.getpid()
            if word == "most":
                return counts["most"]
            if word == "raise together":
                await do("meet", *given)
            if word.startswith("raise"):
                raise ValueError("no")
            if word == "exit":
                os._exit(7)
            if word == "leave":
                raise SystemExit(8)
            if word == "block":
                tell(current().request)
                time.sleep(600)
            if word == "stay":
                tell(current().request)
                while True:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        tell("cancelled")
                        if not given:
                            raise
            if word == "finish":
                current().finish()
            return os.getpid()

        return handle

    return factory


class Restarts:
    """A policy of the user, which wants a new process after each error."""

    max_restarts = 3

    def __init__(self) -> None:
        self.asked = 0

    def on_agent_error(self, name: str, error: BaseException) -> SupervisorAction:
        self.asked += 1
        return SupervisorAction.RESTART


@pytest.fixture
def begun(gate: GateMaker) -> Any:
    return gate()


@pytest.fixture
def go(gate: GateMaker) -> Any:
    return gate()


@pytest.fixture
def several(start: Start, begun: Any, go: Any) -> Start:
    """Start an agent of `tasks`."""

    def begin(concurrency: int = 8, **settings: Any) -> OrchestratedHandle:
        settings = {"shutdown": PATIENT, "concurrency": concurrency, **settings}
        return start(tasks(begun, go), **settings)

    return begin


def test_as_many_run_at_once_as_it_says_in_one_process(several: Start) -> None:
    handle = several(3)
    replies = [handle.deliver(("meet", 3)) for _ in range(9)]
    assert {reply.result().output for reply in replies} == {handle.pid}
    assert handle.deliver(("most",)).result().output == 3


def test_requests_and_callers_that_wait_mix(several: Start) -> None:
    handle = several(4)
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(10):
            replies = [handle.deliver(("pid",)) for _ in range(3)]
            pids = {handle.deliver(("pid",)).result().output}
            pids.update(reply.result().output for reply in replies)
            if pids != {handle.pid}:
                wrong.append(pids)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_each_request_has_a_context_of_its_own(start: Start) -> None:
    def factory():
        import asyncio

        barrier = asyncio.Barrier(3)

        async def seen():
            await asyncio.sleep(0)
            return current().request, current().remaining() is None

        async def handle(payload):
            own = current().request, current().remaining() is None
            await barrier.wait()
            inside = await asyncio.gather(seen(), asyncio.to_thread(lambda: current().request))
            return own, inside[0], inside[1], await seen()

        return handle

    handle = start(factory, concurrency=3)
    replies = [handle.deliver(n, timeout=60 if n == 1 else None) for n in range(3)]
    answers = [reply.result().output for reply in replies]
    assert len({own[0] for own, *_ in answers}) == 3
    for own, task, thread, after in answers:
        assert own == task == after
        assert thread == own[0]
    assert [own[1] for own, *_ in answers] == [True, False, True]


def test_an_error_is_that_of_its_request_alone(several: Start, begun: Any, go: Any) -> None:
    handle = several(supervisor=ServiceSupervisor())
    held = [handle.deliver(("hold",)) for _ in range(3)]
    for _ in held:
        begun.line()
    assert isinstance(handle.deliver(("raise",)).exception(), AgentFailure)
    go.open(3)
    assert {reply.result().output for reply in held} == {handle.pid}
    assert handle.generation == 1


def test_a_process_that_is_to_be_replaced_finishes_the_others_first(
    several: Start, begun: Any, go: Any
) -> None:
    policy = Restarts()
    handle = several(supervisor=policy)
    pid = handle.pid
    held = handle.deliver(("hold",))
    begun.line()
    failed = [handle.deliver(("raise together", 3)) for _ in range(3)]
    assert all(isinstance(each.exception(), AgentFailure) for each in failed)
    assert policy.asked == 3
    later = handle.deliver(("pid",))
    assert not later.done()  # it waits for the next process
    go.open()
    assert held.result().output == pid
    assert later.result().output != pid
    assert handle.generation == 2
    assert handle.info().restarts == 1


@pytest.mark.parametrize("word", ["exit", "leave"])
def test_a_death_fails_those_under_way_by_name(word: str, several: Start, begun: Any) -> None:
    handle = several(supervisor=ServiceSupervisor())
    held = [handle.deliver(("stay",)) for _ in range(3)]
    numbers = {int(begun.line()) for _ in held}
    fatal = handle.deliver((word,))
    errors = [reply.exception() for reply in held]
    assert all(type(error) is AgentCrashed and error.may_have_executed for error in errors)
    assert {error.request for error in errors if isinstance(error, AgentCrashed)} == numbers
    error = fatal.exception()
    assert isinstance(error, AgentCrashed)
    assert error.exitcode == (7 if word == "exit" else 8)
    assert error.request not in numbers
    assert handle.deliver(("pid",)).result().output == handle.pid
    assert handle.generation == 2


def test_those_beside_a_request_that_kills_are_sent_again_and_never_poison(
    several: Start, begun: Any, go: Any
) -> None:
    handle = several(supervisor=ServiceSupervisor(), retries=3, allowed_failures=0, max_restarts=9)
    held = handle.deliver(("hold",))
    for _ in range(2):
        begun.line()
        assert isinstance(handle.deliver(("exit",), retries=0).exception(), AgentCrashed)
    begun.line()
    go.open()
    assert held.result().output == handle.pid
    assert handle.generation == 3


def test_a_cancelled_request_ends_alone(several: Start, begun: Any) -> None:
    handle = several()
    first, second = handle.deliver(("stay",)), handle.deliver(("stay",))
    one = {first: None, second: None}
    assert {int(begun.line()) for _ in one}
    assert first.cancel()
    assert begun.line() == "cancelled"
    assert handle.deliver(("pid",)).result().output == handle.pid
    assert not second.done()
    assert second.cancel()
    assert isinstance(handle.deliver(("stay",), timeout=0.05).exception(), RequestTimeout)
    assert [line for line in (begun.line(), begun.line(), begun.line()) if line == "cancelled"]
    assert handle.deliver(("pid",)).result().output == handle.pid
    assert handle.generation == 1


def test_one_that_is_cancelled_in_the_queue_does_not_begin(
    several: Start, begun: Any, go: Any
) -> None:
    handle = several(2)
    held = [handle.deliver(("hold",)) for _ in range(2)]
    for _ in held:
        begun.line()
    waiting = handle.deliver(("hold",))
    assert waiting.cancel()
    go.open(2)
    assert [reply.result().output for reply in held] == [handle.pid] * 2
    assert handle.deliver(("pid",)).result().output
    assert begun.told() == []


def test_a_task_that_does_not_end_ends_the_process_and_the_others_fail_by_name(
    several: Start, begun: Any, go: Any
) -> None:
    handle = several(supervisor=DefaultSupervisor(), shutdown=STRICT, max_restarts=0)
    held = handle.deliver(("hold",))
    number = int(begun.line())
    stays = handle.deliver(("stay", "for ever"))
    begun.line()
    assert stays.cancel()
    error = held.exception()
    assert type(error) is AgentCrashed
    assert error.request == number
    assert f"request {number + 1} did not end" in str(error)
    assert handle.deliver(("pid",)).result().output == handle.pid
    assert handle.info().restarts == 0  # it was our own doing


def test_a_blocked_loop_is_a_hang_and_the_request_that_blocks_it_has_a_name(
    orchestrator: Orchestrator, begun: Any, go: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.add_agent("a", tasks(begun, go), concurrency=8, heartbeat_timeout=1.0)
    handle = orch.spawn("a")
    events = orch.events(requests=False)
    held = handle.deliver(("hold",))
    begun.line()
    blocks = handle.deliver(("block",))
    number = int(begun.line())
    error = blocks.exception()
    assert isinstance(error, AgentHung)
    assert error.request == number
    assert next(event for event in events if isinstance(event, Hung)).request == number
    assert " in do\n" in error.last_stack
    assert isinstance(held.exception(), AgentCrashed)
    go.open()
    assert handle.deliver(("pid",)).result().output == handle.pid


def test_requests_that_wait_are_no_hang(start: Start) -> None:
    def factory():
        async def handle(seconds):
            import asyncio

            await asyncio.sleep(seconds)
            return os.getpid()

        return handle

    handle = start(factory, concurrency=4, heartbeat_timeout=1.0)
    replies = [handle.deliver(seconds) for seconds in (1.6, 1.7)]
    assert {reply.result().output for reply in replies} == {handle.pid}
    assert handle.generation == 1


def test_the_last_requests_are_finished_at_the_end(
    orchestrator: Orchestrator, begun: Any, go: Any
) -> None:
    orch = orchestrator()
    orch.add_agent("a", tasks(begun, go), concurrency=8)
    handle = orch.spawn("a")
    held = [handle.deliver(("hold",)) for _ in range(3)]
    for _ in held:
        begun.line()
    closing = threading.Thread(target=orch.close)
    closing.start()
    go.open(3)
    assert len({reply.result().output for reply in held}) == 1
    closing.join()
    assert handle.status() is AgentStatus.STOPPED


def test_a_process_is_recycled_when_its_requests_have_ended(
    several: Start, begun: Any, go: Any
) -> None:
    handle = several(max_requests=3)
    held = [handle.deliver(("hold",)) for _ in range(3)]
    numbers = {begun.line() for _ in held}
    later = handle.deliver(("pid",))
    go.open(3)
    before = {reply.result().output for reply in held}
    assert len(before) == 1
    assert len(numbers) == 3
    assert later.result().output not in before


def test_an_agent_that_finishes_answers_what_it_has(several: Start, begun: Any, go: Any) -> None:
    handle = several()
    held = [handle.deliver(("hold",)) for _ in range(2)]
    for _ in held:
        begun.line()
    assert handle.deliver(("finish",)).result().output
    go.open(2)
    assert len({reply.result().output for reply in held}) == 1
    handle.wait()
    assert handle.status() is AgentStatus.COMPLETED


def test_many_ask_others_at_once_and_wait_for_permits(orchestrator: Orchestrator) -> None:
    def asker():
        import asyncio

        barrier = asyncio.Barrier(12)

        async def handle(number):
            await barrier.wait()
            async with current().limit("service"):
                first = await current().ask_async("echo", number)
            return first, await asyncio.to_thread(current().ask, "echo", -number)

        return handle

    def echo():
        return lambda number: number * 2

    orch = orchestrator()
    orch.limit("service", concurrent=1)
    orch.add_agent("asker", asker, concurrency=12)
    orch.add_agent("echo", echo)
    orch.spawn("echo")
    handle = orch.spawn("asker")
    replies = [handle.deliver(number) for number in range(12)]
    assert [reply.result().output for reply in replies] == [(2 * n, -2 * n) for n in range(12)]


def test_streams_that_run_at_once_do_not_mix(start: Start) -> None:
    def factory():
        import asyncio

        barrier = asyncio.Barrier(3)

        async def handle(messages):
            word = messages[-1].text
            await barrier.wait()
            for number in range(40):
                await current().emit_async(f"{word}{number} ")
            return word

        return handle

    handle = start(factory, concurrency=3)
    streams = [handle.stream(word) for word in "abc"]
    heard: dict[int, str] = {}

    def read(at: int) -> None:
        heard[at] = "".join(streams[at])

    readers = [threading.Thread(target=read, args=(at,)) for at in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for at, word in enumerate("abc"):
        assert heard[at] == "".join(f"{word}{number} " for number in range(40))
        assert streams[at].result().text == word


def test_conversations_run_at_once_each_in_its_order(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    def factory():
        import asyncio

        from procorch import TextBlock, UserMessage

        barrier = asyncio.Barrier(3)

        async def stream(turn):
            said = [m.text for m in turn.messages if isinstance(m, UserMessage)]
            if said == ["one"]:
                await barrier.wait()
            yield TextBlock(",".join(said))

        return AgentOptions(stream_fn=stream)

    orch = orchestrator(conversations=tmp_path / "chats.db")
    orch.add_agent("chat", factory, concurrency=3)
    handle = orch.spawn("chat")
    chats = [handle.conversation(name) for name in "xyz"]
    replies = [(chat.submit("one"), chat.submit("two")) for chat in chats]
    for first, second in replies:
        assert (first.result().text, second.result().text) == ("one", "one,two")
    for word in ("alone", "again"):
        assert handle.send_message(word).text == word  # no conversation: it begins anew
    assert handle.info().instances[0].pid == handle.pid


def test_an_agent_that_would_hold_the_others_up_is_refused(orchestrator: Orchestrator) -> None:
    def plain():
        def answer(messages):
            return "?"

        return answer

    def keeps():
        async def stream(turn):
            yield "?"

        return AgentOptions(stream_fn=stream, checkpoint=True)

    orch = orchestrator()
    orch.add_agent("plain", plain, concurrency=2)
    with pytest.raises(StartError, match=r"concurrency is for asynchronous agents.*`async def`"):
        orch.spawn("plain")
    orch.add_agent("keeps", keeps, concurrency=2)
    with pytest.raises(StartError, match=r"AgentOptions\.checkpoint keeps one conversation"):
        orch.spawn("keeps")
    with pytest.raises(ValueError, match="concurrency must be from 1 to 128"):
        orch.add_agent("many", plain, concurrency=129)
    with pytest.raises(ValueError, match="leave prefetch out"):
        orch.add_agent("ahead", plain, concurrency=2, prefetch=4)


def test_futures_of_requests_that_run_at_once_can_be_awaited(several: Start) -> None:
    handle = several(3)

    async def meet() -> set[int]:
        answers = await asyncio.gather(*(handle.deliver(("meet", 3)) for _ in range(3)))
        return {answer.output for answer in answers}

    assert asyncio.run(meet()) == {handle.pid}
