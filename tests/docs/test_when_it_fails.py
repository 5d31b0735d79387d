"""Each row of the tables of `docs/reference/when-it-fails.md` is what happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentExecutor,
    AgentFailure,
    AgentOrchestrator,
    AgentPool,
    Backoff,
    DefaultSupervisor,
    Intensity,
    ModelThrottled,
    OrchestratedHandle,
    Ready,
    ReplyFuture,
    RequestTimeout,
    SerializationError,
    ServiceSupervisor,
    Shutdown,
    StartError,
    Stopped,
    Throttle,
    Throttled,
    run_batch,
)
from tests.docs.failing_agent import MIB, agent, noting
from tests.docs.test_blocks import ROOT

PAGE = ROOT / "docs" / "reference" / "when-it-fails.md"

WAYS = {
    "the agent's code raises an error": "raise",
    "the agent's code raises `ConnectionError` or `TimeoutError`": "raise, passing",
    "the agent's service asks for a pause": "throttled",
    "its process dies: a signal, `os._exit`, `sys.exit`": "die",
    "its process exceeds `memory_limit`": "memory",
    "it makes no progress for `heartbeat_timeout`": "hang",
    "the answer cannot be serialised": "unsendable",
    "its time is up, and its code lets go": "late",
    "its time is up, and its code does not let go": "stubborn",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "memory": {"memory_limit": 200 * MIB},
    "hang": {"heartbeat_timeout": 0.3},
    "stubborn": {"shutdown": Shutdown(cooperate=0.05, interrupt=0.05, terminate=0.05)},
}
Start = Callable[..., OrchestratedHandle]


def table(name: str) -> list[list[str]]:
    """The rows of the table below the comment with that name, without its heading."""
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- table: {name} -->\n")[2]
    lines = text.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@contextmanager
def agents(policy: Any) -> Iterator[Start]:
    """A function that starts an agent with the given settings; all have one orchestrator."""
    with AgentOrchestrator(supervisor=policy) as orch:

        def start(**settings: Any) -> OrchestratedHandle:
            name = f"agent-{len(orch)}"
            orch.add_agent(name, agent, backoff=Backoff(initial=0), **settings)
            return orch.spawn(name)

        yield start
        orch.close(drain=False)


def begun(handle: OrchestratedHandle, how: str, file: Path, **options: Any) -> ReplyFuture:
    """A request that the agent works on, as the agent itself says."""
    future = handle.deliver(f"{how} > {file}", **options)
    while not file.exists() and not future.done():
        time.sleep(0.01)
    return future


def sent(start: Start, how: str) -> tuple[OrchestratedHandle, int | None, ReplyFuture]:
    """An agent, its first process, and a request that fails in that way."""
    handle = start(**SETTINGS.get(how, {}))
    options = {"timeout": 0.2} if how in ("late", "stubborn") else {}
    request = "sleep" if how in ("hang", "late") else how
    return handle, handle.pid, handle.deliver(request, **options)


def error_of(future: ReplyFuture) -> AgentError:
    """The error of a request that has failed."""
    try:
        error = future.exception(timeout=30)
    except AgentError as cancelled:
        error = cancelled
    assert isinstance(error, AgentError)
    return error


def name_of(error: AgentError) -> str:
    """The name of its public class, as code."""
    return next(
        f"`{each.__name__}`" for each in type(error).__mro__ if not each.__name__.startswith("_")
    )


def failures(start: Start, folder: Path) -> Iterator[tuple[str, AgentError]]:
    """What happens, as the page says it, and the error."""
    futures = {what: sent(start, how)[2] for what, how in WAYS.items() if "time is" not in what}
    futures["its time is up while it runs"] = sent(start, "late")[2]
    futures["it has `retries` left and kills a third worker"] = start().deliver("die", retries=9)
    handle = start()
    futures["you cancel its agent while it runs"] = begun(handle, "sleep", folder / "one")
    futures["its time is up while it waits"] = handle.submit({"n": 1}, timeout=0.05)
    error_of(futures["its time is up while it waits"])
    futures["you cancel it while it waits"] = handle.deliver("pid")
    futures["you cancel it while it waits"].cancel()
    futures["its agent ends while it waits"] = handle.deliver("pid")
    with pytest.raises(SerializationError) as refused:
        handle.deliver(each for each in "abc")
    yield "the request cannot be serialised", refused.value
    handle.cancel()
    futures["you cancel it while it runs"] = begun(start(), "sleep", folder / "two")
    futures["you cancel it while it runs"].cancel()
    for what, future in futures.items():
        yield what, error_of(future)


def test_each_outcome_is_as_the_page_says(tmp_path: Path) -> None:
    with agents(ServiceSupervisor()) as start:
        found = dict(failures(start, tmp_path))
    error = siblings("one_for_all", tmp_path)["after"][0]
    found["a sibling fails, and the group restarts, while it runs"] = error
    rows = [
        [what, name_of(error), str(error.may_have_executed), str(error.is_retryable)]
        for what, error in found.items()
    ]
    assert sorted(table("outcomes")) == sorted(rows)


@pytest.mark.parametrize(
    ("column", "policy"), [(1, None), (2, ServiceSupervisor()), (3, DefaultSupervisor())]
)
def test_the_agent_and_its_queue_are_as_the_page_says(column: int, policy: Any) -> None:
    rows = table("policies")
    assert {row[0] for row in rows} == set(WAYS)
    with agents(policy) as start:
        cases = [(*sent(start, WAYS[row[0]]), row[column]) for row in rows]
        waiting = [handle.deliver("pid") for handle, *_ in cases]
        for (handle, pid, future, said), queued in zip(cases, waiting, strict=True):
            assert error_of(future)
            if queued.exception(timeout=30) is None:
                assert said == ("goes on" if queued.result().output == pid else "new process")
            else:
                assert name_of(error_of(queued)) == "`AgentStopped`"
                assert not error_of(queued).may_have_executed
                handle.wait()
                assert (said, handle.status().name) == ("ends", "FAILED")


def test_a_first_start_that_fails_has_no_second_try() -> None:
    with AgentOrchestrator(supervisor=ServiceSupervisor()) as orch:
        orch.add_agent("broken", lambda: 1 / 0)
        with pytest.raises(StartError):
            orch.spawn("broken")
        waiting = orch.spawn("broken", wait=False).deliver("pid")
        error = error_of(waiting)
        assert (name_of(error), error.may_have_executed) == ("`AgentStopped`", False)
        assert isinstance(error.__cause__, StartError)


def test_retries_are_as_the_page_says() -> None:
    with agents(ServiceSupervisor()) as start:
        for retries, killed, name in table("retries"):
            handle = start()
            assert name_of(error_of(handle.deliver("die", retries=int(retries)))) == name
            assert handle.deliver("pid").result(timeout=30)
            assert handle.generation == 1 + int(killed)
    with agents(None) as start:
        error = error_of(start().deliver("die", retries=1))
        assert (name_of(error), error.may_have_executed) == ("`AgentStopped`", True)


def siblings(strategy: str, folder: Path, **options: Any) -> dict[str, tuple[Any, str]]:
    """By the sibling: the error of what it worked on, and which process answered its queue."""
    with AgentOrchestrator(supervisor=ServiceSupervisor()) as orch:
        orch.add_agent("parent", agent, strategy=strategy)
        for name in ("before", "fails", "after"):
            orch.add_child(name, "parent", agent)
        handles = orch.spawn_tree("parent")
        found = {}
        pids = {name: handle.pid for name, handle in handles.items()}
        running = {
            name: begun(handles[name], "work", folder / f"{strategy} {name} {options}", **options)
            for name in ("before", "after")
        }
        queued = {name: handles[name].deliver("pid") for name in running}
        error_of(handles["fails"].deliver("die"))
        for name, future in running.items():
            error: Any = future.exception(timeout=30)
            same = queued[name].result(timeout=30).output == pids[name]
            assert error is None or error.cause == "fails"
            assert handles[name].info().restarts == 0
            found[name] = (error, "same" if same else "new")
        return found


def test_groups_are_as_the_page_says(tmp_path: Path) -> None:
    rest = siblings("rest_for_one", tmp_path)
    found = {
        "one_for_one": siblings("one_for_one", tmp_path),
        "one_for_all": siblings("one_for_all", tmp_path),
        "one_for_all, the request has retries=1": siblings("one_for_all", tmp_path, retries=1),
        "rest_for_one, the sibling started before it": {"before": rest["before"]},
        "rest_for_one, the sibling started after it": {"after": rest["after"]},
    }
    rows = {row[0].replace("`", ""): row[1:] for row in table("groups")}
    assert rows.keys() == found.keys()
    for strategy, row in rows.items():
        for error, process in found[strategy].values():
            end = "goes on" if error is None else f"fails with {name_of(error)}"
            assert row == [end, f"the {process} process answers them"]


def test_the_times_of_a_timeout_add_up() -> None:
    shutdown = Shutdown()
    times = [0.0, 2.0]
    for step in (shutdown.cooperate, shutdown.interrupt, shutdown.terminate, shutdown.kill):
        times.append(times[-1] + step)
    assert [float(row[0]) for row in table("ladder")] == [round(each, 1) for each in times]


def test_the_steps_of_a_timeout_come_in_order_and_not_too_early(tmp_path: Path) -> None:
    file = tmp_path / "steps"
    shutdown = Shutdown(cooperate=0.1, interrupt=0.2, terminate=0.1)
    with AgentOrchestrator() as orch:
        orch.add_agent("noting", noting, shutdown=shutdown)
        handle = orch.spawn("noting")
        error_of(handle.deliver(str(file), timeout=0.3))
        orch.restart("noting")  # waits for a new process
    first: dict[str, float] = {}
    for step, at in map(str.split, file.read_text(encoding="utf-8").splitlines()):
        first.setdefault(step, float(at))
    assert list(first) == ["cancelled", "exception", "SIGTERM"]
    cancelled, exception, sigterm = first.values()
    assert exception - cancelled >= 0.05
    assert sigterm - exception >= 0.15


def test_a_group_beyond_its_intensity_stops_as_a_whole() -> None:
    with AgentOrchestrator(supervisor=ServiceSupervisor()) as orch:
        orch.add_agent("parent", agent, intensity=Intensity(1, 60))
        orch.add_child("fails", "parent", agent)
        orch.add_child("sibling", "parent", agent)
        handles = orch.spawn_tree("parent")
        events = orch.monitor("fails")
        for _ in range(2):
            assert handles["fails"].pid is not None
            os.kill(handles["fails"].pid, signal.SIGKILL)  # while it is idle, so that it counts
            next(each for each in events if isinstance(each, Ready | Stopped))
        handles["sibling"].wait()
        assert [each.status().name for each in handles.values()] == ["RUNNING", "FAILED", "STOPPED"]


def test_an_item_of_a_pool_fails_alone() -> None:
    assert Throttle().retries == 8
    with AgentPool(agent, workers=1, throttle=Throttle(retries=1)) as pool:
        ways = ["pid", "raise", "pid", "die", "pid"]
        first, raised, same, died, new = pool.imap(ways, outcomes=True, chunksize=1)
        assert isinstance(raised.error, AgentFailure)
        assert isinstance(died.error, AgentCrashed)
        assert first.output == same.output != new.output
        assert pool.info().restarts == 0
        late, behind = (pool.submit(how, timeout=0.5) for how in ("sleep", "pid"))
        assert behind.exception(timeout=30) is None  # it has waited for as long as the other ran
        assert isinstance(error_of(late), RequestTimeout)
        events = pool.events(requests=False)
        assert isinstance(error_of(pool.submit("throttled")), ModelThrottled)
        assert isinstance(next(events), Throttled)
    with AgentExecutor(1) as executor:
        error = executor.submit(agent(), "throttled").exception(timeout=30)
        assert isinstance(error, ModelThrottled)


def test_a_batch_tries_deaths_again_and_all_errors_if_it_is_told() -> None:
    ways = ["die", "raise", "raise, passing"]
    for also, attempts in (([], [2, 1, 2]), (["error"], [2, 2, 2])):
        options: dict[str, Any] = {"retries": 1, "retry_on": also, "keep_order": True}
        with run_batch(agent, ways, out=None, workers=1, **options) as run:
            assert [item.attempts for item in run] == attempts
