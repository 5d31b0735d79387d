"""What is wrong is refused in words that a user understands, and harms nothing but itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentError,
    AgentFailure,
    AgentOrchestrator,
    AgentStatus,
    AuthError,
    Backoff,
    DefaultSupervisor,
    MessageTooLarge,
    ModelThrottled,
    OrchestratedHandle,
    PluginError,
    SerializationError,
    Shutdown,
    StartError,
    SupervisorAction,
)

Start = Callable[..., OrchestratedHandle]
Make = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]


def error_of(handle: OrchestratedHandle, request: Any = "go") -> AgentError:
    error = handle.deliver(request).exception()
    assert isinstance(error, AgentError)
    return error


def lives(handle: OrchestratedHandle, request: Any = "alive?") -> bool:
    """Whether the first process of the agent is still the one that answers."""
    reply = handle.deliver(request)
    return reply.result().metrics.generation == 1 and handle.status() is AgentStatus.RUNNING


@pytest.fixture
def echo() -> Factory:
    return lambda: lambda x: x


@pytest.fixture
def raising() -> Callable[[Callable[[], BaseException]], Factory]:
    """Make an agent that raises what ``make`` returns, and answers "alive?"."""

    def of(make: Callable[[], BaseException]) -> Factory:
        def factory():
            def handle(x):
                if x != "alive?":
                    raise make()
                return x

            return handle

        return factory

    return of


@pytest.fixture
def database() -> Any:
    """Something that no process can give to another."""
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


# Names and settings


@pytest.mark.parametrize("name", ["", 5, None, b"a"])
def test_a_name_is_text(name: Any, echo: Factory) -> None:
    orch = AgentOrchestrator()
    with pytest.raises(TypeError) as caught:
        orch.add_agent(name, echo)
    assert str(caught.value) == f"an agent's name must be a non-empty string, not {name!r}"
    assert orch.names() == []


def test_a_name_can_be_written(echo: Factory) -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        AgentOrchestrator().add_agent("\ud800", echo)


def test_a_name_may_be_anything_that_can_be_written(orchestrator: Make, echo: Factory) -> None:
    orch = orchestrator()
    for name in ("größer 😀", "a/b\n%s", "x" * 10_000, "\0"):
        orch.add_agent(name, echo)
        assert orch.spawn(name).deliver(1).result().output == 1


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        (
            {"max_restart": 1},
            TypeError,
            "unknown setting 'max_restart'; did you mean 'max_restarts'?",
        ),
        ({"request_timout": 1}, TypeError, "did you mean 'request_timeout'?"),
        ({"colour": 1}, TypeError, "unknown setting 'colour'; known: "),
        ({"max_restarts": "3"}, TypeError, "max_restarts must be a whole number, not str"),
        ({"max_restarts": True}, TypeError, "max_restarts must be a whole number, not bool"),
        ({"max_restarts": -1}, ValueError, "max_restarts must be 0 or more, not -1"),
        ({"channel_buffer": 0}, ValueError, "channel_buffer must be 1 or more, not 0"),
        ({"start_timeout": 0}, ValueError, "start_timeout must be more than 0 s"),
        ({"start_timeout": None}, TypeError, "start_timeout"),
        ({"request_timeout": "soon"}, ValueError, "request_timeout: 'soon' is not a duration"),
        ({"request_timeout": [5]}, TypeError, "request_timeout must be a duration, not list"),
        ({"memory_limit": "lots"}, ValueError, "memory_limit: 'lots' is not a size"),
        ({"backoff": 3}, TypeError, "backoff must be Backoff(...), not int"),
        ({"shutdown": 5}, TypeError, "shutdown must be Shutdown(...), not int"),
    ],
    ids=lambda value: "=".join(map(str, *value.items())) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_refused_where_it_is_given(
    echo: Factory, settings: dict[str, Any], kind: type[Exception], text: str
) -> None:
    orch = AgentOrchestrator()
    orch.add_agent("parent", echo)
    for add in (
        orch.add_agent,
        lambda name, *rest, **kw: orch.add_child(name, "parent", *rest, **kw),
    ):
        with pytest.raises(kind) as caught:
            add("a", echo, **settings)
        assert text in str(caught.value)
    assert orch.names() == ["parent"]
    assert orch.children_of("parent") == ()


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Backoff(initial=5, cap=1), ValueError, "backoff.cap (1.0 s) is shorter than"),
        (lambda: Backoff(factor=0.5), ValueError, "backoff.factor must be 1 or more, not 0.5"),
        (lambda: Backoff(initial="x"), ValueError, "backoff.initial: 'x' is not a duration"),
        (lambda: Shutdown(grace=-1), ValueError, "shutdown.grace must not be negative"),
        (lambda: DefaultSupervisor(-1), ValueError, "max_restarts must be 0 or more, not -1"),
        (lambda: DefaultSupervisor("3"), TypeError, "max_restarts must be a whole number, not"),
        (lambda: AgentOrchestrator(channel_buffer=0), ValueError, "channel_buffer must be 1 or"),
        (lambda: AgentOrchestrator(max_restarts=-1), ValueError, "max_restarts must be 0 or more"),
        (lambda: AgentOrchestrator(max_message="x"), ValueError, "max_message: 'x' is not a size"),
        (lambda: AgentOrchestrator().with_channel_buffer("8"), TypeError, "channel_buffer must be"),
        (lambda: AgentOrchestrator().with_max_restarts(1.5), TypeError, "max_restarts must be a"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(
    make: Callable[[], Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert text in str(caught.value)


# Policies


def test_a_policy_is_an_object_and_not_its_class() -> None:
    with pytest.raises(TypeError) as caught:
        AgentOrchestrator(supervisor=DefaultSupervisor)
    assert "not the class DefaultSupervisor: give DefaultSupervisor() instead" in str(caught.value)
    with pytest.raises(TypeError, match=r"on_agent_error\(name, error\).*not int"):
        AgentOrchestrator().with_supervisor(5)


def test_a_policy_that_raises_stops_its_agent_alone(
    orchestrator: Make, raising: Any, echo: Factory
) -> None:
    def policy(name: str, error: AgentError) -> SupervisorAction:
        raise ZeroDivisionError("in the policy")

    orch = orchestrator(supervisor=policy)
    orch.add_agent("bad", raising(lambda: ValueError("boom")))
    orch.add_agent("good", echo)
    bad, good = orch.spawn("bad"), orch.spawn("good")

    error = error_of(bad)
    assert str(error) == "agent 'bad' failed: ValueError: boom"
    assert any("ZeroDivisionError('in the policy')" in note for note in error.__notes__)
    with pytest.raises(PluginError, match="agent 'bad' stopped by supervisor") as caught:
        bad.await_result()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert bad.status() is AgentStatus.FAILED
    assert lives(good)


@pytest.mark.parametrize("junk", [None, "restart", True, 1], ids=repr)
def test_a_policy_that_answers_junk_stops_its_agent(start: Start, raising: Any, junk: Any) -> None:
    handle = start(raising(lambda: ValueError("boom")), supervisor=lambda name, error: junk)
    error = error_of(handle)
    assert str(error) == "agent 'a' failed: ValueError: boom"
    assert any(f"answered {junk!r} about agent 'a'" in note for note in error.__notes__)
    with pytest.raises(PluginError, match="stopped by supervisor"):
        handle.await_result()


def test_a_policy_that_exits_is_a_policy_that_raises(start: Start, raising: Any) -> None:
    def policy(name: str, error: AgentError) -> SupervisorAction:
        raise SystemExit(3)

    handle = start(raising(lambda: ValueError("boom")), supervisor=policy)
    assert "boom" in str(error_of(handle))
    with pytest.raises(PluginError, match="stopped by supervisor"):
        handle.await_result()


# Factories


@pytest.mark.parametrize("junk", [5, None, "agent", [1]], ids=repr)
def test_a_factory_is_a_callable(junk: Any) -> None:
    orch = AgentOrchestrator()
    with pytest.raises(TypeError, match=r"factory is a callable without arguments, not "):
        orch.add_agent("a", junk)
    assert orch.names() == []


def test_a_factory_that_cannot_be_serialised_is_refused_with_the_path(database: Any) -> None:
    def of(value: Any) -> Factory:
        return lambda: lambda x: value

    class Client:
        def __init__(self) -> None:
            self.pool = {"main": [database]}

    def with_default(connection=database):
        return connection

    orch = AgentOrchestrator()
    orch.add_agent("parent", of(1))
    for factory, words in [
        (of(database), ["closure variable 'value'"]),
        (of(Client()), ["closure variable 'value'"]),
        (of({"db": [database]}), ["closure variable 'value'", "['db'][0]"]),
        (with_default, ["default of 'connection'"]),
    ]:
        with pytest.raises(SerializationError) as caught:
            orch.add_child("a", "parent", factory)
        text = str(caught.value)
        assert "'a'" in text
        assert "factory" in text
        assert "sqlite3.Connection" in text
        assert "\n" not in text
        for word in words:
            assert word in text
    assert orch.names() == ["parent"]
    assert orch.children_of("parent") == ()


@pytest.mark.parametrize(
    ("factory", "phase", "words"),
    [
        (lambda: 1 / 0, "factory", "ZeroDivisionError: division by zero"),
        (lambda: int("x"), "factory", "ValueError: invalid literal"),
        (lambda: exec("raise KeyboardInterrupt"), "factory", "KeyboardInterrupt"),
        (lambda: __import__("procorch_is_no_such_module"), "factory", "ModuleNotFoundError"),
        (lambda: 5, "construct", "type int"),
        (lambda: None, "construct", "is a `return` missing?"),
        (lambda: __import__("procorch").AgentOptions(), "construct", "handler"),
        (lambda: __import__("procorch").AgentOptions(model="m"), "construct", "the model 'm'"),
        (lambda: type("A", (), {"handle": id, "ready": lambda self: 1 / 0})(), "ready", "division"),
    ],
    ids=["raises", "ValueError", "KeyboardInterrupt", "ImportError", "int", "None", "no options",
         "no library", "not ready"],
)  # fmt: skip
def test_a_factory_that_fails_in_the_worker_is_a_start_error(
    orchestrator: Make, factory: Factory, phase: str, words: str
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    with pytest.raises(StartError) as caught:
        orch.spawn("a")
    error = caught.value
    assert error.phase == phase
    assert error.agent == "a"
    text = str(error)
    assert "'a'" in text
    assert words in text
    assert "\n" not in text
    if phase != "construct":
        assert "Traceback" in error.remote_traceback
        assert any("Traceback" in note for note in error.__notes__)


def test_a_factory_that_exits_is_a_start_error(start: Start) -> None:
    with pytest.raises(StartError, match="exited with code 4 while it was starting"):
        start(lambda: exec("raise SystemExit(4)"))


def test_a_factory_that_hangs_is_ended_after_its_start_timeout(
    start: Start, gate: GateMaker
) -> None:
    never = gate()
    with pytest.raises(StartError, match=r"agent 'a' was not ready within 0\.3 s"):
        start(never.wait, start_timeout=0.3)


def test_a_factory_that_loads_nowhere_is_a_permanent_start_error(start: Start) -> None:
    class LoadsNowhere:
        def __reduce__(self):
            return int, ("not a number",)

    value = LoadsNowhere()
    with pytest.raises(StartError, match=r"'a'.*decode.*not a number") as caught:
        start(lambda: lambda x: value)
    assert caught.value.permanent
    assert not caught.value.is_retryable


# Requests and replies


def test_a_request_of_a_wrong_type_is_refused_at_once(start: Start, echo: Factory) -> None:
    handle = start(echo)
    with pytest.raises(TypeError, match=r"send_message\(\) takes text, not int"):
        handle.send_message(5)
    for junk in (5, "text", None, b"bytes"):
        with pytest.raises(TypeError, match=r"send_messages\(\) takes a list of messages, not "):
            handle.send_messages(junk)
    for timeout, kind in (("soon", ValueError), (-1, ValueError), (True, TypeError)):
        with pytest.raises(kind, match="timeout"):
            handle.submit("hi", timeout=timeout)
    assert lives(handle)


def test_a_request_that_cannot_be_serialised_is_refused_with_the_path(
    start: Start, echo: Factory, database: Any
) -> None:
    handle = start(echo)
    with pytest.raises(SerializationError) as caught:
        handle.submit({"client": [database]})
    text = str(caught.value)
    assert text.startswith("agent 'a': request: value['client'][0]: cannot pickle ")
    assert "sqlite3.Connection" in text
    with pytest.raises(SerializationError, match="nested too deeply"):
        handle.submit(nested(100_000))
    assert lives(handle)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_reply_that_cannot_be_serialised_fails_with_the_path(start: Start) -> None:
    def factory():
        import threading

        def handle(x):
            if x == "lock":
                return {"locks": [1, threading.Lock()]}
            if x == "deep":
                value = []
                for _ in range(100_000):
                    value = [value]
                return value
            return x

        return handle

    # With a policy that restarts whatever it is asked about: it is not asked about this.
    handle = start(factory, supervisor=lambda name, error: SupervisorAction.RESTART)
    error = error_of(handle, "lock")
    assert isinstance(error, SerializationError)
    assert str(error).startswith("agent 'a': reply: value['locks'][1]: cannot pickle ")
    error = error_of(handle, "deep")
    assert isinstance(error, SerializationError)
    assert "nested too deeply" in str(error)
    assert lives(handle)


def test_a_message_may_be_as_large_as_the_limit_and_no_larger(
    orchestrator: Make,
) -> None:
    def factory():
        return lambda x: x if isinstance(x, bytes) else b"x" * x

    orch = orchestrator(max_message="1M", supervisor=lambda name, error: SupervisorAction.RESTART)
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    limit = 1 << 20

    with pytest.raises(MessageTooLarge) as caught:
        handle.submit(b"x" * limit)
    assert (caught.value.agent, caught.value.what, caught.value.limit) == ("a", "request", limit)
    assert limit < caught.value.size < limit + 1000
    overhead = caught.value.size - limit

    assert len(handle.deliver(b"x" * (limit - overhead)).result().output) == limit - overhead

    error = error_of(handle, limit - overhead + 1)
    assert isinstance(error, MessageTooLarge)
    assert (error.what, error.size, error.limit) == ("reply", limit + 1, limit)
    assert "agent 'a': reply is too large: 1.0 MiB, the limit is 1.0 MiB" in str(error)
    assert isinstance(error_of(handle, 100 * limit), MessageTooLarge)
    assert lives(handle, b"")


# What agents raise


def test_an_exception_arrives_as_agent_failure_with_the_original_as_its_cause(
    start: Start, raising: Any
) -> None:
    handle = start(raising(lambda: LookupError("no such city")))
    error = error_of(handle)
    assert isinstance(error, AgentFailure)
    assert str(error) == "agent 'a' failed: LookupError: no such city"
    assert (error.agent, error.exc_type, error.exc_str) == ("a", "LookupError", "no such city")
    assert "in handle" in error.remote_traceback
    assert any("in handle" in note for note in error.__notes__)  # what an uncaught one prints
    assert isinstance(error.__cause__, LookupError)
    assert error.__cause__.args == ("no such city",)
    assert not error.is_retryable
    assert lives(handle)


@pytest.mark.parametrize("kind", [ConnectionError, TimeoutError, ConnectionResetError])
def test_a_passing_fault_of_the_network_is_retryable(
    start: Start, raising: Any, kind: type[Exception]
) -> None:
    error = error_of(start(raising(lambda: kind("try again"))))
    assert isinstance(error, AgentFailure)
    assert error.is_retryable


def test_an_exception_that_does_not_unpickle_arrives_in_words(start: Start, raising: Any) -> None:
    """As those of openai do: they pickle, and fail to load, which breaks whole pools elsewhere."""

    def make():
        class APIStatusError(Exception):
            def __init__(self, message, *, response):
                super().__init__(message)
                self.response = response
                self.retry_after = 2.5

        return APIStatusError("overloaded", response={"status": 529})

    handle = start(raising(make))
    error = error_of(handle)
    assert isinstance(error, AgentFailure)
    assert error.exc_type.endswith("APIStatusError")
    assert error.exc_str == "overloaded"
    assert error.retry_after == 2.5
    assert "Traceback" in error.remote_traceback
    assert error.__cause__ is None
    assert "agent 'a' failed: APIStatusError: overloaded" in str(error)
    assert lives(handle)


def test_an_exception_that_is_a_trap_arrives_in_words(orchestrator: Make, raising: Any) -> None:
    def unprintable():
        class Unprintable(Exception):
            def __str__(self):
                raise KeyboardInterrupt

            def __reduce__(self):
                raise GeneratorExit

        return Unprintable()

    def enormous():
        error = ValueError("x" * 10_000_000)
        for n in range(100):
            error.add_note(f"{n} " * 50_000)
        return error

    orch = orchestrator(max_message="1M")
    for make in (unprintable, enormous):
        orch.add_agent(make.__name__, raising(make))
        handle = orch.spawn(make.__name__)
        error = error_of(handle)
        assert isinstance(error, AgentFailure)
        assert len(str(error)) < 1000
        assert lives(handle)


def test_errors_of_procorch_arrive_as_themselves(start: Start, raising: Any) -> None:
    handle = start(raising(lambda: ModelThrottled("slow down", retry_after=3.0)))
    error = error_of(handle)
    assert type(error) is ModelThrottled
    assert (error.agent, error.retry_after, error.is_retryable) == ("a", 3.0, True)
    assert str(error) == "agent 'a': slow down"
    assert sum("remote traceback" in note for note in error.__notes__) == 1

    error = error_of(start(raising(lambda: AuthError("no key"))))
    assert type(error) is AuthError
    assert not error.is_retryable


class QuotaSpent(AuthError):
    """A user's own, with a figure of its own."""

    account: str = ""


def test_a_users_subclass_of_our_errors_arrives_as_itself(start: Start, raising: Any) -> None:
    error = error_of(start(raising(lambda: QuotaSpent("no money", account="x-1"))))
    assert type(error) is QuotaSpent
    assert (error.agent, error.account) == ("a", "x-1")


@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize(
    "kind",
    [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, MemoryError, BaseException],
    ids=lambda kind: kind.__name__,
)
def test_whatever_an_agent_raises_its_worker_lives(
    start: Start, form: str, kind: type[BaseException]
) -> None:
    def factory():
        def handle(x):
            if x != "alive?":
                raise kind("why")
            return x

        async def handle_async(x):
            return handle(x)

        return handle if form == "sync" else handle_async

    handle = start(factory)
    for _ in range(2):
        error = error_of(handle)
        assert isinstance(error, AgentFailure)
        assert str(error) == f"agent 'a' failed: {kind.__name__}: why"
        assert lives(handle)


def test_an_endless_recursion_fails_its_request_alone(start: Start) -> None:
    def factory():
        def handle(x):
            return x if x == "alive?" else handle(x)

        return handle

    handle = start(factory)
    error = error_of(handle)
    assert isinstance(error, AgentFailure)
    assert error.exc_type == "RecursionError"
    assert lives(handle)
