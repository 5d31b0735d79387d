"""A dead worker: named, answered for at once, replaced, and nobody else's problem."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentStatus,
    AgentStopped,
    DefaultSupervisor,
    OrchestratedHandle,
    RequestTimeout,
    Shutdown,
    StartError,
    SupervisorAction,
)

pytestmark = pytest.mark.fault

AT_ONCE = 2.0  # seconds
QUICK = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=0.2)

Start = Callable[..., OrchestratedHandle]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]
Watch = Callable[..., Any]


class Recorder:
    """A policy that restarts, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[AgentError] = queue.SimpleQueue()

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        self.asked.put(error)
        return SupervisorAction.RESTART


def kill(handle: OrchestratedHandle, signum: int = signal.SIGKILL) -> None:
    assert handle.pid is not None  # 0 or -1 would be many processes
    os.kill(handle.pid, signum)


def crash_of(reply: Any) -> AgentCrashed:
    error = reply.exception(timeout=AT_ONCE)
    assert isinstance(error, AgentCrashed), repr(error)
    return error


@pytest.fixture
def mortal() -> Factory:
    """An agent that dies of the requests that say so, and answers all others with its pid."""

    def factory():
        import os
        import signal
        import sys

        def handle(x):
            match x:
                case ("kill", name):
                    os.kill(os.getpid(), getattr(signal, name))
                case ("_exit", code):
                    os._exit(code)
                case ("exit", code):
                    sys.exit(code)
            return os.getpid()

        return handle

    return factory


# In the middle of a request


@pytest.mark.parametrize(
    ("request_", "signal_", "exitcode", "words"),
    [
        (("kill", "SIGKILL"), "SIGKILL", None, "SIGKILL"),
        (("kill", "SIGSEGV"), "SIGSEGV", None, "SIGSEGV"),
        (("kill", "SIGABRT"), "SIGABRT", None, "SIGABRT"),
        (("kill", "SIGBUS"), "SIGBUS", None, "SIGBUS"),
        (("_exit", 0), None, 0, "exit code 0"),
        (("_exit", 7), None, 7, "exit code 7"),
        (("exit", None), None, 0, "exit code 0"),
        (("exit", 3), None, 3, "exit code 3"),
    ],
    ids=["SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "_exit(0)", "_exit(7)", "exit()", "exit(3)"],
)
def test_a_death_in_a_request_is_named_and_the_queue_survives_it(
    start: Start,
    mortal: Factory,
    request_: tuple[str, Any],
    signal_: str | None,
    exitcode: int | None,
    words: str,
) -> None:
    handle = start(mortal, supervisor=DefaultSupervisor())
    pid = handle.pid
    deadly = handle.deliver(request_)
    behind = [handle.deliver("go") for _ in range(3)]

    error = crash_of(deadly)
    assert error.signal == signal_
    assert error.exitcode == exitcode
    assert (error.agent, error.pid, error.generation) == ("a", pid, 1)
    assert error.request == deadly.request
    assert error.may_have_executed
    assert error.is_retryable
    text = str(error)
    assert "'a'" in text
    assert f"pid {pid}" in text
    assert words in text
    assert f"request {deadly.request}" in text
    assert "\n" not in text

    assert {reply.result().output for reply in behind} == {handle.pid}
    assert handle.pid != pid
    assert handle.generation == 2


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_the_stack_of_a_fault_is_on_the_error(start: Start, name: str) -> None:
    def factory():
        import os
        import signal

        def where_it_happens(x):
            os.kill(os.getpid(), getattr(signal, x))

        return where_it_happens

    error = crash_of(start(factory).deliver(name))
    assert "where_it_happens" in error.last_stack


def test_a_kill_from_outside_in_mid_request_is_answered_at_once(
    start: Start, gate: GateMaker
) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        def handle(x):
            tell()
            wait()

        return handle

    policy = Recorder()
    handle = start(factory, supervisor=policy)
    reply = handle.deliver("work")
    begun.line()
    kill(handle)
    error = crash_of(reply)
    assert error.signal == "SIGKILL"
    assert error.may_have_executed
    asked = policy.asked.get(timeout=AT_ONCE)
    assert isinstance(asked, AgentCrashed)
    assert asked.request == reply.request


def test_a_request_that_the_worker_never_began_has_not_executed(start: Start) -> None:
    handle = start(lambda: lambda x: x)
    kill(handle, signal.SIGSTOP)
    reply = handle.deliver("work")
    kill(handle)
    error = crash_of(reply)
    assert error.request == reply.request
    assert not error.may_have_executed


def test_a_request_that_kills_while_it_is_unpickled_is_a_crash(start: Start) -> None:
    class Bomb:
        def __reduce__(self):
            return os._exit, (9,)

    handle = start(lambda: lambda x: x, supervisor=DefaultSupervisor())
    assert crash_of(handle.deliver(Bomb())).exitcode == 9
    assert handle.deliver("go").result().output == "go"


def test_a_reply_that_kills_while_it_is_pickled_is_a_crash(start: Start) -> None:
    def factory():
        import os

        class Bomb:
            def __reduce__(self):
                os._exit(9)

        return lambda x: Bomb() if x == "bomb" else x

    handle = start(factory, supervisor=DefaultSupervisor())
    error = crash_of(handle.deliver("bomb"))
    assert error.exitcode == 9
    assert error.may_have_executed
    assert handle.deliver("go").result().output == "go"


# The moment of the reply


@pytest.fixture
def dying_writer() -> Callable[[float], Factory]:
    """Make an agent that is killed when it has written this part of the reply to "last"."""

    def make(part: float) -> Factory:
        def factory():
            import os
            import signal
            import socket

            def handle(x):
                if x == "last":
                    send = socket.socket.send

                    def send_and_die(sock, data, *flags):
                        send(sock, data[: int(len(data) * part)])
                        os.kill(os.getpid(), signal.SIGKILL)

                    socket.socket.send = send_and_die
                return x

            return handle

        return factory

    return make


def test_a_reply_written_just_before_the_death_is_delivered(
    start: Start, dying_writer: Callable[[float], Factory]
) -> None:
    policy = Recorder()
    handle = start(dying_writer(1.0), supervisor=policy)
    last, behind = handle.deliver("last"), handle.deliver("go")
    assert last.result().output == "last"

    # The death is an idle one: it is put to the policy with no request of its own.
    death = policy.asked.get(timeout=AT_ONCE)
    assert isinstance(death, AgentCrashed)
    assert death.signal == "SIGKILL"
    # If the next request was on its way already, it died unread.
    if death.request is None:
        assert behind.result().output == "go"
    else:
        assert death.request == behind.request
        assert not death.may_have_executed
        assert behind.exception() is not None
    assert handle.deliver("go").result().output == "go"
    assert handle.generation == 2


def test_a_reply_written_just_before_the_death_of_an_idle_agent(
    start: Start, dying_writer: Callable[[float], Factory]
) -> None:
    policy = Recorder()
    handle = start(dying_writer(1.0), supervisor=policy)
    assert handle.deliver("last").result().output == "last"
    death = policy.asked.get(timeout=AT_ONCE)
    assert isinstance(death, AgentCrashed)
    assert death.request is None
    assert not death.may_have_executed


def test_half_a_reply_is_a_crash(start: Start, dying_writer: Callable[[float], Factory]) -> None:
    handle = start(dying_writer(0.5), supervisor=DefaultSupervisor())
    error = crash_of(handle.deliver("last"))
    assert error.signal == "SIGKILL"
    assert error.may_have_executed
    assert handle.deliver("go").result().output == "go"


# Idle


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_an_idle_death_by_signal_is_seen_without_a_request(
    start: Start, gate: GateMaker, name: str
) -> None:
    built = gate()
    tell = built.tell

    def factory():
        tell()
        return lambda x: x

    policy = Recorder()
    handle = start(factory, supervisor=policy)
    built.line()
    pid = handle.pid
    kill(handle, getattr(signal, name))

    error = policy.asked.get(timeout=AT_ONCE)
    assert isinstance(error, AgentCrashed)
    assert (error.signal, error.pid, error.request) == (name, pid, None)
    assert not error.may_have_executed
    built.line()  # the next generation comes by itself
    assert handle.deliver("go").result().output == "go"
    assert handle.generation == 2


def test_an_idle_exit_is_seen_without_a_request(start: Start, gate: GateMaker) -> None:
    go = gate()
    wait = go.wait

    def factory():
        import os
        import threading

        def leave():
            wait()
            os._exit(7)

        threading.Thread(target=leave, daemon=True).start()
        return lambda x: x

    policy = Recorder()
    handle = start(factory, supervisor=policy)
    go.open()
    error = policy.asked.get(timeout=AT_ONCE)
    assert isinstance(error, AgentCrashed)
    assert (error.exitcode, error.request) == (7, None)
    assert handle.deliver("go").result().output == "go"


def test_a_death_without_a_policy_ends_the_agent_failed(start: Start, gate: GateMaker) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        def handle(x):
            tell()
            wait()

        return handle

    handle = start(factory)
    deadly, queued = handle.deliver("work"), handle.deliver("more")
    begun.line()
    kill(handle)
    error = crash_of(deadly)
    left = queued.exception(timeout=AT_ONCE)
    assert isinstance(left, AgentStopped)
    assert "agent reply dropped" in str(left)
    with pytest.raises(AgentCrashed) as caught:
        handle.await_result()
    assert str(caught.value) == str(error)
    assert handle.status() is AgentStatus.FAILED


def test_escalate_of_a_dead_agent_replaces_it(start: Start, mortal: Factory) -> None:
    handle = start(mortal, supervisor=lambda name, error: SupervisorAction.ESCALATE)
    crash_of(handle.deliver(("kill", "SIGKILL")))
    assert handle.deliver("go").result().output == handle.pid
    assert handle.generation == 2


# Hard cases


def test_a_worker_that_closes_all_its_descriptors_and_lives_on_is_replaced(start: Start) -> None:
    def factory():
        import os
        import threading

        def handle(x):
            if x == "deaf":
                os.closerange(0, os.sysconf("SC_OPEN_MAX"))
                threading.Event().wait()
            return os.getpid()

        return handle

    handle = start(factory, supervisor=DefaultSupervisor())
    pid = handle.pid
    error = handle.deliver("deaf").exception()
    assert isinstance(error, AgentCrashed)
    assert "closed its socket" in str(error)
    assert error.signal == "SIGKILL"
    assert error.may_have_executed
    assert handle.deliver("go").result().output == handle.pid != pid


def test_a_stopped_worker_does_not_hold_a_request_beyond_its_timeout(start: Start) -> None:
    def factory():
        import os
        import signal

        def handle(x):
            if x == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            return os.getpid()

        return handle

    handle = start(factory, shutdown=QUICK)
    stopped = handle.deliver("stop", timeout=0.1)
    behind = handle.deliver("go")
    error = stopped.exception(timeout=AT_ONCE)
    assert isinstance(error, RequestTimeout)
    assert str(error) == f"agent 'a': request {stopped.request} not answered within 0.1 s"
    assert error.ran
    assert behind.result().output == handle.pid
    assert handle.generation == 2


@pytest.mark.parametrize("own_session", [False, True], ids=["same group", "own session"])
def test_a_grandchild_that_holds_the_socket_does_not_hide_the_death(
    start: Start, gate: GateMaker, watched: Watch, own_session: bool
) -> None:
    begun, die, end = gate(), gate(), gate()
    tell, wait_to_die, wait_to_end = begun.tell, die.wait, end.wait

    def factory():
        import os
        import signal

        def handle(x):
            if x == "fork and die":
                if os.fork() == 0:
                    if own_session:
                        os.setsid()
                    tell(os.getpid())
                    wait_to_end()
                    os._exit(0)
                wait_to_die()
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        return handle

    handle = start(factory, supervisor=DefaultSupervisor())
    reply = handle.deliver("fork and die")
    grandchild = watched(int(begun.line()))
    die.open()
    assert crash_of(reply).signal == "SIGKILL"
    assert handle.deliver("go").result().output == "go"
    if not own_session:
        assert grandchild.alive(within=AT_ONCE) == []  # it went with its group
    end.open()
    assert grandchild.alive(within=AT_ONCE) == []


def test_a_death_while_starting_is_a_start_error_that_says_how(start: Start) -> None:
    def factory():
        import os

        os._exit(3)

    with pytest.raises(StartError, match=r"agent 'a' .*exited with code 3 while it was starting"):
        start(factory)


def test_deaths_of_one_agent_do_not_touch_another(start: Start, mortal: Factory) -> None:
    dying = start(mortal, supervisor=DefaultSupervisor(), max_restarts=100)
    living = start(mortal)
    pid = living.pid
    done = threading.Event()
    answers = []

    def talk() -> None:
        while not done.is_set():
            answers.append(living.deliver("go").result().output)

    talker = threading.Thread(target=talk)
    talker.start()
    for _ in range(5):
        crash_of(dying.deliver(("kill", "SIGKILL")))
        dying.deliver("go").result()
    done.set()
    talker.join()
    assert set(answers) == {pid}
