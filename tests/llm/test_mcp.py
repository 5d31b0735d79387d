"""MCP servers of agents: connected before they are ready, started again, ended with them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentOptions,
    AgentOrchestrator,
    Http,
    McpServerError,
    McpToolError,
    OrchestratedHandle,
    StartError,
    Stdio,
    ToolResultMessage,
)
from procorch.agents.agent import as_agent
from procorch.agents.libraries import connect_servers
from tests.llm.libraries import libraries, of_openai_agents, of_pydantic_ai
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE, Watched

Begin = Callable[..., OrchestratedHandle]
HERE = Path(__file__).parent
TOKEN = "Bearer tok-0123456789abcdef"


def sdk(**settings: Any) -> Stdio:
    return Stdio([sys.executable, str(HERE / "mcp_program.py")], start_timeout=PATIENCE, **settings)


def small(*words: object, **settings: Any) -> Stdio:
    """The server whose start takes little."""
    program = [sys.executable, "-S", str(HERE / "mcp_faults.py"), *map(str, words)]
    return Stdio(program, **{"name": "small", **settings})


@pytest.fixture
def begin(begin: Begin) -> Iterator[Begin]:
    """The same, but agents are stopped: one that is cancelled leaves its servers to be killed."""
    agents: list[OrchestratedHandle] = []

    def make(*args: Any, **settings: Any) -> OrchestratedHandle:
        agents.append(begin(*args, **settings))
        return agents[-1]

    yield make
    for agent in agents:
        agent.stop()


def say(agent: OrchestratedHandle, words: str) -> str:
    """What the model answers: "told", and what the tools that it was to call have returned."""
    return agent.send_message(words, timeout=PATIENCE).text.removeprefix("told | ")


def started(path: Path, times: int) -> list[int]:
    """The pids of a server's processes, once it was started so often."""
    deadline = time.monotonic() + PATIENCE
    while True:
        pids = path.read_text().split() if path.exists() else []
        if len(pids) >= times:
            return [int(pid) for pid in pids]
        assert time.monotonic() < deadline, pids
        time.sleep(0.01)


@libraries
def test_tools_of_a_program_are_called_beside_functions(
    begin: Begin, provider: Provider, library: Any
) -> None:
    def double(n: int) -> int:
        """Double."""
        return 2 * n

    server = sdk(env={"GIVEN": "a-value-of-its-own"}, prefix="its_", tools=["fail", "variable"])
    agent = begin(
        library(provider.url("tools"), tools=[double], mcp=[server]),
        env={"NOT_GIVEN": "another"},
        start_timeout=2 * PATIENCE,
    )
    answers = say(
        agent,
        'double {"n": 4}; its_fail {"code": 404}; its_variable {"name": "GIVEN"}; '
        'its_variable {"name": "NOT_GIVEN"}',
    ).split(" | ")
    assert (answers[0], answers[2], answers[3]) == ("8", "a-value-of-its-own", "none")
    assert "McpToolError: the tool 'fail' of the MCP server 'python" in answers[1]
    assert "no page 404" in answers[1]
    assert "1234567890" not in answers[1]
    offered = [each["function"]["name"] for each in provider.requests[0]["tools"]]
    assert sorted(offered) == ["double", "its_fail", "its_variable"]


@libraries
def test_a_call_during_which_a_server_dies_fails_and_the_next_one_does_not(
    begin: Begin, provider: Provider, library: Any
) -> None:
    url = provider.url("tools")
    agent = begin(library(url, mcp=[small()], approval=["write"]))
    process = agent.info().pid
    first = say(agent, "pid {}")
    assert "ended during the call" in say(agent, "die {}")
    assert say(agent, "pid {}") not in (first, "")
    assert agent.info().pid == process
    assert "a dying server says so" in agent.output()

    result = agent.send_message("write {}", timeout=PATIENCE)
    (call,) = result.pending
    answer = agent.resume(result, {call.id: True}, timeout=PATIENCE)
    assert [m.is_error for m in answer.messages if isinstance(m, ToolResultMessage)] == [False]

    strict = begin(library(url, mcp=[small()], tool_errors="raise"))
    with pytest.raises(McpToolError, match="'die' of the MCP server 'small'") as caught:
        say(strict, "die {}")
    assert caught.value.is_retryable


@libraries
def test_a_server_that_dies_between_requests_is_started_again(
    begin: Begin, provider: Provider, library: Any, tmp_path: Path
) -> None:
    log = tmp_path / "pids"
    agent = begin(library(provider.url("tools"), mcp=[small(log)]))
    (first,) = started(log, 1)
    os.kill(first, signal.SIGKILL)
    second = started(log, 2)[1]
    assert say(agent, "pid {}") == str(second)


@libraries
def test_the_policy_decides_about_an_agent_whose_server_ends_too_often(
    begin: Begin, provider: Provider, library: Any
) -> None:
    agent = begin(library(provider.url("tools"), mcp=[small(max_restarts=1)]))
    for _ in range(2):
        assert "ended during the call" in say(agent, "die {}")
    with pytest.raises(McpServerError, match=r"'small'.*restarts in a row: 1") as caught:
        say(agent, "pid {}")
    assert caught.value.is_retryable
    assert caught.value.agent == agent.name
    assert say(agent, "pid {}").isdigit()
    assert agent.generation == 2


@libraries
def test_calls_that_are_answered_begin_the_count_of_restarts_anew(
    begin: Begin, provider: Provider, library: Any
) -> None:
    agent = begin(library(provider.url("tools"), mcp=[small(max_restarts=1)]))
    for _ in range(3):
        assert "ended during the call" in say(agent, "die {}")
        assert say(agent, "pid {}").isdigit()
    assert agent.generation == 1


def test_servers_end_with_their_agent(
    begin: Begin, provider: Provider, tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    log = tmp_path / "pids"
    agent = begin(of_openai_agents(provider.url("tools"), mcp=[small(log)]))
    first = watched(*started(log, 1))
    os.kill(agent.info().pid or 0, signal.SIGKILL)
    assert first.alive(PATIENCE) == []
    second = watched(started(log, 2)[1])
    agent.stop()
    assert second.alive(PATIENCE) == []


def test_servers_end_with_a_killed_process_of_its_own(
    tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    log = tmp_path / "pids"

    def factory() -> Any:
        servers = connect_servers([small(log)], ())
        return lambda message: len(servers.tools)

    with AgentOrchestrator(start_method="spawn") as orch:
        orch.add_agent("killed", factory)
        killed = orch.spawn("killed")
        server = watched(*started(log, 1))
        os.kill(killed.info().pid or 0, signal.SIGKILL)
        assert server.alive(PATIENCE) == []


def test_a_server_that_does_not_start_fails_the_start_of_its_agent(
    begin: Begin, provider: Provider
) -> None:
    factory = of_openai_agents(
        provider.url("tools"), mcp=[small("exit", env={"SAID": "a-value-of-its-own"})]
    )
    with pytest.raises(McpServerError, match="agent 'broken': the MCP server 'small'") as caught:
        begin(factory, name="broken", max_restarts=0)
    assert caught.value.server == "small"
    assert "no database" in str(caught.value)
    said = str(caught.value) + caught.value.stderr_tail
    assert "hunter22" not in said
    assert "a-value-of-its-own" not in said


def whole(url: str, *words: object) -> Callable[[], Any]:
    """An agent of openai-agents that hands over to one with a server of the library's own."""

    def factory() -> Any:
        from agents import Agent
        from agents.mcp import MCPServerStdio

        model: Any = of_openai_agents(url)().model
        program = small(*words)
        params: Any = {"command": program.command[0], "args": list(program.command[1:])}
        server = MCPServerStdio(params, name="own")
        other = Agent(name="other", model=model, mcp_servers=[server])
        return Agent(name="whole", model=model, mcp_servers=[server], handoffs=[other])

    return factory


def test_servers_of_a_whole_agent_are_connected_and_looked_after(
    begin: Begin, provider: Provider, tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    log, url = tmp_path / "pids", provider.url("tools")
    agent = begin(whole(url, log))
    (first,) = started(log, 1)
    assert str(first) in say(agent, "pid {}")  # the library gives more than the text
    end = watched(first)
    os.kill(first, signal.SIGKILL)
    assert end.alive(PATIENCE) == []
    answer = say(agent, "pid {}")
    second = started(log, 2)[1]
    assert str(second) in answer
    end = watched(second)
    agent.stop()
    assert end.alive(PATIENCE) == []

    with pytest.raises(McpServerError, match="'own' cannot be used"):
        begin(whole(url, "exit"), name="without", max_restarts=0)


@pytest.mark.parametrize(
    ("servers", "words", "permanent"),
    [
        ([small("sleep", start_timeout=0.3)], "'small'.*not listed its tools within 0.3 s", False),
        ([Stdio(["no-such-program", "x"])], "'no-such-program x'.*No such file", True),
        ([small(cwd="/no/such/folder")], "'small'.*No such file.*'/no/such/folder'", True),
        ([small(), small(name="other")], "'die'.*'other' and one of.*'small'.*prefix", True),
        ([small(tools=["pid", "fly"])], "'small' has no tool 'fly'; there is: die", True),
        ([Http("http://127.0.0.1:9/mcp")], "'http://127.0.0.1:9/mcp'.*Connect", False),
        (small(), "a list of servers, not", True),
        (["small"], r"has Stdio\(...\) and Http\(...\), not", True),
    ],
    ids=["silent", "not found", "no folder", "collision", "no tool", "no address", "one", "text"],
)  # fmt: skip
def test_servers_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, servers: Any, words: str, permanent: bool
) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.05)
    with pytest.raises(StartError, match=words) as caught:
        as_agent(AgentOptions(model="test", mcp=servers))
    assert caught.value.permanent is permanent


def test_a_name_that_needs_approval_may_be_a_tool_of_a_server() -> None:
    with pytest.raises(StartError, match="names 'fly', which is no tool"):
        as_agent(AgentOptions(model="test", mcp=[small()], approval=["pid", "fly"]))
    with pytest.raises(StartError, match=r"AgentOptions\.mcp is for a model"):
        as_agent(AgentOptions(handler=len, mcp=[small()]))


def test_without_the_package_there_is_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "procorch.agents.adapters.mcp_supervision", None)
    with pytest.raises(StartError, match=r"pip install 'procorch\[mcp\]'"):
        as_agent(AgentOptions(model="test", mcp=[small()]))


def test_a_call_that_takes_too_long_is_a_tool_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.05)
    servers = connect_servers([small(call_timeout=0.2)], ())
    tools = {tool.name: tool for tool in servers.tools}
    with pytest.raises(McpToolError, match=r"no answer within 0\.2 s") as caught:
        asyncio.run(tools["hang"].call({}))
    assert not caught.value.is_retryable
    servers.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stdio([]), "needs a command line"),
        (lambda: Stdio(["x"], env={"A": 1}), "mapping of names to texts"),  # type: ignore[dict-item]
        (lambda: Stdio(["x"], start_timeout=-1), "start_timeout"),
        (lambda: Stdio(["x"], tools="read"), "list of names"),
        (lambda: Stdio(["x"], name=3), "name of an MCP server is text"),  # type: ignore[arg-type]
        (lambda: Http("ftp://user:pass-word-1@host"), r"http:// or https://, not 'ftp://user:\*\*\*@"),
        (lambda: Http("http://x", headers={"A": 1}), "mapping"),  # type: ignore[dict-item]
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


class Served:
    """The SDK's server over HTTP, on a port of its own."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        program = [sys.executable, str(HERE / "mcp_program.py"), str(self.port), TOKEN]
        self.process = subprocess.Popen(program)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.02)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.stop()


def test_tools_over_http_are_called_again_when_the_server_is_back(
    begin: Begin, provider: Provider, served: Served
) -> None:
    server = Http(served.url, headers={"Authorization": TOKEN}, max_restarts=100)
    assert "tok-" not in repr(server) + repr(AgentOptions(mcp=[server]))
    libraries = (of_pydantic_ai, of_openai_agents)
    agents = [begin(library(provider.url("tools"), mcp=[server])) for library in libraries]
    words = 'add {"a": 2, "b": 3}'
    assert [say(agent, words) for agent in agents] == ["5", "5"]
    served.stop()
    for agent in agents:
        assert f"the MCP server '{served.url}'" in say(agent, words)
    served.start()
    assert [say(agent, words) for agent in agents] == ["5", "5"]

    stranger = Http(served.url, headers={"Authorization": "Bearer tok-of-somebody-else"})
    with pytest.raises(McpServerError, match="answered with HTTP 401") as caught:
        as_agent(AgentOptions(model="test", mcp=[stranger]))
    assert "somebody" not in str(caught.value)
    assert caught.value.permanent
