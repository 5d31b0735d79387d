"""State that outlives a process: `checkpoint` and `restored`, on real processes (N17)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentHung,
    AgentOrchestrator,
    AgentStatus,
    DefaultSupervisor,
    MessageTooLarge,
    OrchestratedHandle,
    PluginError,
    SerializationError,
    Shutdown,
    StartError,
)

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]


@pytest.fixture
def remembering() -> Callable[[], Any]:
    """An agent that notes in its factory what it was restored to, and saves what it is told to."""

    def factory():
        import os
        import threading

        import procorch

        context = procorch.current()
        found = context.restored

        def handle(x):
            what, *rest = x
            for state in rest:
                context.checkpoint(state)
            if what == "lock":
                context.checkpoint({"client": threading.Lock()})
            if what == "huge":
                context.checkpoint(bytes(64 << 20))
            if what == "die":
                os._exit(1)
            if what == "hang":
                threading.Event().wait()
            return found, context.restored, context.generation

        return handle

    return factory


def told(handle: OrchestratedHandle, *request: Any) -> Any:
    return handle.deliver(request).result().output


def die(handle: OrchestratedHandle, *states: Any) -> None:
    assert isinstance(handle.deliver(("die", *states)).exception(), AgentCrashed)


def test_there_is_nothing_to_restore_at_the_first_start(
    start: Start, remembering: Callable[[], Any]
) -> None:
    handle = start(remembering, supervisor=DefaultSupervisor())
    assert told(handle, "look") == (None, None, 1)
    die(handle)
    assert told(handle, "look") == (None, None, 2)  # without a checkpoint a restart is fresh


def test_the_next_generation_has_the_last_checkpoint_before_its_first_request(
    start: Start, remembering: Callable[[], Any]
) -> None:
    """N17: in its factory already."""
    handle = start(remembering, supervisor=DefaultSupervisor())
    assert told(handle, "save", {"n": 1}, {"n": 2}) == (None, None, 1)
    assert told(handle, "look") == (None, None, 1)  # it is for the next one
    die(handle)
    assert told(handle, "look") == ({"n": 2}, {"n": 2}, 2)


def test_a_checkpoint_stays_until_there_is_a_newer_one(
    start: Start, remembering: Callable[[], Any]
) -> None:
    handle = start(remembering, supervisor=DefaultSupervisor(9))
    die(handle, "first")
    die(handle)
    assert told(handle, "look") == ("first", "first", 3)
    die(handle, "second")
    assert told(handle, "look") == ("second", "second", 4)
    die(handle, None)
    assert told(handle, "look") == (None, None, 5)


def test_a_checkpoint_survives_any_death_that_follows_it(
    start: Start, remembering: Callable[[], Any]
) -> None:
    """N17, N3: what a worker wrote is read before its death counts; megabytes of it as well."""

    def saving():
        import os
        import signal

        import procorch

        context = procorch.current()
        found = context.restored

        def handle(x):
            if x is not None:
                context.checkpoint(x)
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return handle

    handle = start(saving, supervisor=DefaultSupervisor(9))
    for size in (1, 100_000, 20_000_000):
        state = os.urandom(size)
        error = handle.deliver(state).exception()
        assert isinstance(error, AgentCrashed)
        assert error.signal == "SIGKILL"
        assert handle.deliver(None).result().output == state


def test_it_does_not_matter_who_ended_the_process(
    start: Start, remembering: Callable[[], Any]
) -> None:
    """N17: a signal from outside, the watchdog, an operator, a cancelled request."""
    handle = start(
        remembering, supervisor=DefaultSupervisor(9), heartbeat_timeout=0.3,
        shutdown=Shutdown(cooperate=0, interrupt=0, terminate=0.1),
    )  # fmt: skip
    told(handle, "save", "state")
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGKILL)
    while handle.generation == 1:
        pass
    assert told(handle, "look")[1:] == ("state", 2)
    assert isinstance(handle.deliver(("hang", "hung")).exception(), AgentHung)
    assert told(handle, "look")[1:] == ("hung", 3)
    handle.restart()
    assert told(handle, "look")[1:] == ("hung", 4)


def test_a_checkpoint_may_be_made_before_the_first_request(start: Start) -> None:
    """N17: in the factory, in `ready()`, and by a thread of the agent."""

    def factory():
        import os
        import threading
        import types

        import procorch

        context = procorch.current()
        before = list(context.restored or [])
        context.checkpoint([*before, "factory"])

        async def ready():
            context.checkpoint([*before, "factory", "ready"])

        def handle(x):
            if x == "die":
                state = [*before, "factory", "ready", "thread"]
                thread = threading.Thread(target=context.checkpoint, args=[state])
                thread.start()
                thread.join()
                os._exit(1)
            return before

        return types.SimpleNamespace(ready=ready, handle=handle)

    handle = start(factory, supervisor=DefaultSupervisor())
    handle.restart()
    assert handle.deliver("look").result().output == ["factory", "ready"]
    assert isinstance(handle.deliver("die").exception(), AgentCrashed)
    assert handle.deliver("look").result().output[2:] == ["factory", "ready", "thread"]


def test_a_start_that_fails_loses_nothing(start: Start) -> None:
    """N17, N9."""

    def factory():
        import os

        import procorch

        context = procorch.current()
        if context.generation == 2:
            raise ConnectionError("not yet")

        def handle(x):
            if x == "die":
                context.checkpoint("kept")
                os._exit(1)
            return context.restored, context.generation

        return handle

    handle = start(factory, supervisor=DefaultSupervisor())
    assert isinstance(handle.deliver("die").exception(), AgentCrashed)
    assert handle.deliver("look").result().output == ("kept", 3)


def test_what_cannot_be_saved_is_refused_and_changes_nothing(
    start: Start, remembering: Callable[[], Any]
) -> None:
    """N17: size-limited, and with the path to what cannot be serialised."""
    handle = start(remembering)
    told(handle, "save", "good")
    with pytest.raises(SerializationError, match=r"checkpoint: value\['client'\]: cannot pickle"):
        told(handle, "lock")
    with pytest.raises(MessageTooLarge, match="checkpoint") as caught:
        told(handle, "huge")
    assert caught.value.limit == 64 << 20
    assert caught.value.size is not None
    assert caught.value.size > caught.value.limit
    handle.restart()
    assert told(handle, "look") == ("good", "good", 2)


def test_each_instance_has_a_checkpoint_of_its_own(
    orchestrator: Orchestrator, remembering: Callable[[], Any]
) -> None:
    orch = orchestrator()
    orch.add_agent("a", remembering)
    first, second = orch.spawn("a"), orch.spawn("a")
    told(first, "save", "first")
    told(second, "save", "second")
    first.restart()
    second.restart()
    assert told(first, "look") == ("first", "first", 2)
    assert told(second, "look") == ("second", "second", 2)
    assert told(orch.spawn("a"), "look") == (None, None, 1)


def test_a_checkpoint_that_does_not_load_ends_the_agent_at_once(
    start: Start,
) -> None:
    """N9, N17: no restart would mend it, and starting without it would lose the state silently."""

    def factory():
        import os

        import procorch

        class Broken:
            def __reduce__(self):
                return int, ("no number",)

        def handle(x):
            procorch.current().checkpoint(Broken())
            os._exit(1)

        return handle

    handle = start(factory, supervisor=DefaultSupervisor(99))
    assert isinstance(handle.deliver("die").exception(), AgentCrashed)
    handle.wait()
    with pytest.raises(PluginError, match="stopped by supervisor") as caught:
        handle.await_result()
    assert handle.status() is AgentStatus.FAILED
    cause = caught.value.__cause__
    assert isinstance(cause, StartError)
    assert cause.permanent
    assert "checkpoint" in str(cause)
    assert handle.generation == 2
