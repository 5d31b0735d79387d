"""Programs on asyncio that talk to a daemon, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import procorch
from procorch import AgentCrashed, DaemonError, DaemonUnresponsive, NoDaemon, UnknownAgent
from procorch.daemon.client.client_async import AsyncDaemonClient
from tests.daemon.conftest import Serve
from tests.daemon.fake_core import FakeCore

Scenario = Callable[[AsyncDaemonClient], Awaitable[None]]


@pytest.fixture
def play(serve: Serve, folder: Path) -> Callable[[Scenario], None]:
    """Run a scenario with a client of the daemon."""
    serve()

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            async with await procorch.connect_async(folder) as client:
                await asyncio.wait_for(scenario(client), 30)

        asyncio.run(main())

    return run


async def of(queue: Any) -> Any:
    """What another thread puts into a queue."""
    return await asyncio.to_thread(queue.get, timeout=10)


def test_each_verb_reaches_the_daemon(play: Callable[[Scenario], None], core: FakeCore) -> None:
    core.held.set()

    async def scenario(client: AsyncDaemonClient) -> None:
        assert (await client.ping())["version"] == procorch.__version__
        assert list(await client.names()) == ["solver", "web-1", "web-2"]
        assert len((await client.status("web-*"))["agents"]) == 2
        assert await client.describe("solver") == {"name": "solver"}
        for verb in (client.start, client.stop, client.restart):
            assert (await verb("web:*", timeout=3))[1]["name"] == "web-2"
        for quick in (client.reset, client.pause, client.resume):
            assert (await quick("solver"))[0]["name"] == "solver"
        await client.scale({"web-*": 3}, timeout=1)
        assert await client.wait_ready(timeout="1s") == {"ready": True, "waiting": []}
        assert (await client.stack("solver"))[0]["pid"] == 1
        assert await client.prune() == {"logs": 0}
        assert await client.cancel(99) is False
        await client.shutdown(timeout="1m")
        with pytest.raises(UnknownAgent, match="did you mean 'solver'"):
            await client.status("slover")
        with pytest.raises(AgentCrashed):
            await client.rollback()
        with pytest.raises(DaemonError, match="not a number"):
            await client.reload()
        for broken in (client.rotate, client.disk):
            with pytest.raises(DaemonError):
                await broken()

    play(scenario)
    assert core.called[-2:] == [("shutdown", [], 60.0), ("reload", [], False, None)]


def test_a_hundred_requests_at_once(play: Callable[[Scenario], None]) -> None:
    async def scenario(client: AsyncDaemonClient) -> None:
        handle = client.handle("solver")
        tasks = [handle.submit(number) for number in range(100)]
        assert [result.output for result in await asyncio.gather(*tasks)] == list(range(100))
        assert (await handle.send_message("hi")).text == "solver: hi"
        with pytest.raises(AgentCrashed):
            await handle.send_message("crash", timeout="5s")
        with pytest.raises(TypeError):
            await handle.send_message(3)  # type: ignore[arg-type]

    play(scenario)


def test_a_task_that_is_cancelled_cancels_its_request(
    play: Callable[[Scenario], None], core: FakeCore
) -> None:
    async def scenario(client: AsyncDaemonClient) -> None:
        task = client.handle("solver").submit("wait")
        number = await of(core.began)
        task.cancel()
        assert await of(core.cancelled) == number
        with pytest.raises(asyncio.CancelledError):
            await task

    play(scenario)


def test_streams_are_read_and_left(play: Callable[[Scenario], None], core: FakeCore) -> None:
    async def scenario(client: AsyncDaemonClient) -> None:
        handle = client.handle("web-1")
        assert [piece async for piece in handle.stream("a b")] == ["web-1:", "a", "b"]
        async with handle.stream("a b") as stream:
            assert await anext(stream) == "web-1:"
            assert (await stream.result()).text == "web-1: a b"
        with pytest.raises(AgentCrashed):
            await handle.stream("crash").result()
        async with handle.stream("wait") as stream:
            number = await of(core.began)
        assert await of(core.cancelled) == number
        with pytest.raises(DaemonError, match="closed before its end"):
            await stream.result()

    play(scenario)


def test_events_are_followed_until_the_end(
    play: Callable[[Scenario], None], core: FakeCore
) -> None:
    async def scenario(client: AsyncDaemonClient) -> None:
        assert [event async for event in client.events(last=2)] == [{"event": 0}, {"event": 1}]
        await of(core.rows)
        async with client.events(last=1, follow=True) as events:
            assert await anext(events) == {"event": 0}
            rows = await of(core.rows)
            rows.put({"event": "new"})
            assert await anext(events) == {"event": "new"}
        assert await asyncio.to_thread(rows.closed.wait, 10)
        lines = [line async for line in client.logs(last=2000)]
        assert sum(len(line["text"]) for line in lines) == 2_000_000

    play(scenario)


@asynccontextmanager
async def silent(folder: Path) -> AsyncIterator[None]:
    """A process that listens and never says anything."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "control.sock"))
        listening.listen(0)
        yield


def test_daemons_that_are_not_there_or_do_not_answer(folder: Path) -> None:
    async def main() -> None:
        with pytest.raises(NoDaemon, match="`procorch up` starts one"):
            await procorch.connect_async(folder)
        async with silent(folder):
            with pytest.raises(DaemonUnresponsive, match=r"did not answer within 0.2 s"):
                await procorch.connect_async(folder, timeout=0.2)
            with pytest.raises(DaemonUnresponsive, match=r"took no connection within 0.2 s"):
                await procorch.connect_async(folder, timeout="200ms")

    asyncio.run(main())


def test_a_daemon_that_is_stuck_in_a_verb_is_not_waited_for(
    serve: Serve, folder: Path, core: FakeCore
) -> None:
    serve()

    async def main() -> None:
        client = await procorch.connect_async(folder, timeout=0.2)
        with pytest.raises(DaemonUnresponsive, match=r"did not answer within 0.4 s"):
            await client.restart(timeout=0.2)

    asyncio.run(main())
