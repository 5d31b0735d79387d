"""The error tree: its texts, what survives pickle and copy, and the plain form on the wire."""

from __future__ import annotations

import copy
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import dill
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch import errors
from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentHung,
    AgentStopped,
    CommandCrashed,
    CommandFailed,
    MailboxFull,
    MemoryLimitExceeded,
    MessageTooLarge,
    ModelThrottled,
    NetworkError,
    PluginError,
    PoisonRequest,
    ProtocolError,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
    StartError,
    UnknownField,
)
from procorch.errors.base import TREE, describe_failure
from procorch.errors.plain_data import from_plain, to_plain
from procorch.errors.texts import signal_name

EVERY = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, AgentError) and cls.__module__ == errors.__name__
]
CRASH: dict[str, Any] = {
    "agent": "x",
    "exitcode": -11,
    "generation": 3,
    "pid": 4127,
    "request": 13,
    "may_have_executed": True,
    "last_stack": "File agent.py, line 9 in handle",
    "stderr_tail": "oops",
    "peak_rss": 1 << 30,
}
SAMPLES = [
    AgentError("boom", agent="x"),
    ModelThrottled(agent="x", retry_after=1.5),
    RequestCancelled(agent="x", request=7),
    PluginError("tool", "broken"),
    AgentStopped("agent reply dropped", agent="x", reason="stopped by its group"),
    AgentFailure(agent="x", exc_type="ValueError", exc_str="boom", remote_traceback="Traceback"),
    AgentCrashed(**CRASH),
    AgentCrashed("its own words", cause="sibling", **CRASH),
    AgentHung(heartbeat_timeout=2.5, **CRASH),
    CommandCrashed(command="ls ***", **CRASH),
    CommandFailed(agent="x", code=3, command="ls ***", stderr_tail="no"),
    UnknownField("no field 'a'", agent="x", field="a"),
    MemoryLimitExceeded(limit=1 << 29, observed=1 << 30, **CRASH),
    RequestTimeout(agent="x", timeout=0.5, ran=True, request=4),
    StartError(agent="x", phase="construct", permanent=True, exc_type="m.E", exc_str="no"),
    PoisonRequest(agent="x", request=4, deaths=(AgentCrashed(**CRASH), AgentCrashed(exitcode=1))),
    MailboxFull(agent="x", capacity=32),
    SerializationError(agent="x", what="request", path="value['a'].lock", reason="cannot pickle"),
    MessageTooLarge(agent="x", what="reply", size=1 << 31, limit=1 << 30, path="value[3]"),
    ProtocolError(agent="x", what="magic b'GET '", size=1 << 40, limit=1 << 30),
]


class WithItsOwnConstructor(ModelThrottled):
    """As users write them: other arguments than ours, and none of them in `args`."""

    def __init__(self, code: int, *, limits: dict[str, int]) -> None:
        super().__init__(f"code {code}", retry_after=2.0)
        self.code = code
        self.limits = limits


class WithSlotsAndNew(AgentError):
    __slots__ = ("where",)

    def __new__(cls, where: str) -> WithSlotsAndNew:
        return super().__new__(cls, where)

    def __init__(self, where: str) -> None:
        self.where = where  # and no call of our constructor


@dataclass(frozen=True)
class Frozen(AgentError):  # type: ignore[misc]
    code: int = 0


class WithItsOwnState(AgentError):
    def __init__(self, parts: list[str]) -> None:
        super().__init__("parts")
        self.parts = parts

    def __getstate__(self) -> object:
        return {"joined": "|".join(self.parts)}

    def __setstate__(self, state: Any) -> None:
        self.parts = state["joined"].split("|")


class Unreadable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text for you")


class WillNotLoad(Exception):
    """As some libraries have them: pickles well, and raises when it is loaded."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


class WillNotPickle(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.holds = (number for number in range(3))


def copies(error: AgentError) -> list[AgentError]:
    return [
        *(pickle.loads(pickle.dumps(error, protocol)) for protocol in (2, 5)),
        dill.loads(dill.dumps(error)),
        copy.copy(error),
        copy.deepcopy(error),
    ]


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def figures(error: AgentError) -> dict[str, Any]:
    own = {k: v for k, v in vars(error).items() if k not in ("__notes__", "deaths")}
    return own | {"deaths": [figures(d) for d in getattr(error, "deaths", ())]}


# What a person reads.


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_can_be_made_of_its_agent_alone_and_names_it_on_one_line(
    cls: type[AgentError],
) -> None:
    error = cls(agent="solver-2")
    assert error.agent == "solver-2"
    assert "\n" not in str(error)
    if cls is not PluginError:  # whose words are the seed's: plugin error (name): source
        assert "agent 'solver-2'" in str(error)
    assert str(cls())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AgentError("boom"), "boom"),
        (AgentError("boom", agent="x"), "agent 'x': boom"),
        (AgentError("agent 'x' is lost", agent="x"), "agent 'x' is lost"),
        (PluginError("orchestrator", "agent not registered: nonexistent"),
         "plugin error (orchestrator): agent not registered: nonexistent"),
        (AgentStopped(), "plugin error (orchestrator): agent channel closed"),
        (AgentStopped("agent reply dropped", agent="x", reason="cancelled"),
         "plugin error (orchestrator): agent reply dropped (agent 'x': cancelled)"),
        (AgentFailure(agent="x", exc_type="ValueError", exc_str="boom"),
         "agent 'x' failed: ValueError: boom"),
        (AgentFailure(agent="x", exc_type="json.decoder.JSONDecodeError", exc_str="a\n  b"),
         "agent 'x' failed: JSONDecodeError: a b"),
        (AgentCrashed(**CRASH), "agent 'x' (pid 4127) crashed: SIGSEGV on request 13"),
        (AgentCrashed(agent="x", exitcode=0), "agent 'x' crashed: exit code 0"),
        (AgentCrashed(agent="x", signal="SIGKILL", cause="y", request=2, may_have_executed=True),
         "agent 'x' was stopped on request 2: its sibling 'y' failed"),
        (AgentHung(agent="x", signal="SIGKILL", heartbeat_timeout=5),
         "agent 'x' hung: no progress for 5 s, ended by SIGKILL"),
        (MemoryLimitExceeded(agent="x", limit=1 << 20, observed=3 << 20),
         "agent 'x' exceeded its memory limit: 3.0 MiB of 1.0 MiB"),
        (RequestTimeout(agent="x", timeout=0.5, request=4),
         "agent 'x': request 4 not answered within 0.5 s, and was not executed"),
        (StartError(agent="x", phase="ready", exc_type="ValueError", exc_str="boom"),
         "agent 'x' failed to start in phase ready: ValueError: boom"),
        (PoisonRequest(agent="x", request=4, deaths=(AgentCrashed(exitcode=-9),) * 2),
         "agent 'x': request 4 killed 2 workers (SIGKILL, SIGKILL) and is not sent again"),
        (MailboxFull(agent="x", capacity=32), "agent 'x': mailbox full (32 requests)"),
        (SerializationError(what="request", path="value['client'].lock", reason="cannot pickle"),
         "request: value['client'].lock: cannot pickle"),
        (MessageTooLarge(what="reply", size=2 << 20, limit=100),
         "reply is too large: 2.0 MiB, the limit is 100 bytes"),
        (ProtocolError(what="magic b'GET '"), "protocol error: magic b'GET '"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_text_of_an_error(error: AgentError, text: str) -> None:
    assert str(error) == text
    assert text.splitlines()[0] in repr(error)


def test_an_unknown_figure_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"MailboxFull\(\) has no argument 'size'"):
        MailboxFull(size=3)  # type: ignore[call-arg]


def test_a_plugin_error_of_an_exception_has_it_as_its_cause() -> None:
    source = ValueError("boom")
    error = PluginError("tool", source)
    assert str(error) == "plugin error (tool): boom"
    assert error.__cause__ is source


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGSEGV, "SIGSEGV"),
        (9, "SIGKILL"),
        (signal.SIGRTMIN, "SIGRTMIN"),
        (signal.SIGRTMIN + 3, "SIGRTMIN+3"),
        (signal.SIGRTMAX, "SIGRTMAX"),
        (99, "signal 99"),
        (0, "signal 0"),
    ],
)
def test_a_signal_is_named(number: int, name: str) -> None:
    assert signal_name(number) == name


# What a policy asks.


def test_only_what_a_fresh_agent_may_mend_is_retryable() -> None:
    retryable = {cls.__name__ for cls in EVERY if cls().is_retryable}
    assert retryable == {
        "ModelThrottled", "NetworkError", "AgentCrashed", "AgentHung", "CommandCrashed",
        "MemoryLimitExceeded", "StartError", "ClusterError", "McpServerError",
    }  # fmt: skip
    assert not StartError(permanent=True).is_retryable
    assert AgentFailure(retryable=True).is_retryable


def test_the_tree_can_be_caught_by_its_branches() -> None:
    assert issubclass(RequestTimeout, TimeoutError)
    assert issubclass(RequestCancelled, Aborted)
    assert issubclass(AgentStopped, PluginError)
    assert issubclass(AgentHung, AgentCrashed)
    assert issubclass(MemoryLimitExceeded, AgentCrashed)


# Pickle and copy.


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_an_error_is_copied_and_pickled_without_loss(error: AgentError) -> None:
    noted = copy.copy(error)
    noted.add_note("seen twice")
    noted.__cause__ = NetworkError("reset", agent="x")
    for twin in copies(noted):
        assert type(twin) is type(error)
        assert (str(twin), twin.args) == (str(error), error.args)
        assert figures(twin) == figures(noted)
        assert twin.__notes__ == ["seen twice"]
        assert isinstance(twin.__cause__, NetworkError)
        assert str(twin.__cause__) == "agent 'x': reset"
        assert twin.__suppress_context__
    assert not hasattr(error, "__notes__")


def test_a_note_on_a_copy_is_not_on_the_original() -> None:
    error = AgentError("boom")
    error.add_note("first")
    copy.copy(error).add_note("second")
    assert error.__notes__ == ["first"]


def test_a_users_error_keeps_what_its_constructor_was_never_told() -> None:
    for twin in copies(WithItsOwnConstructor(7, limits={"rpm": 3})):
        assert isinstance(twin, WithItsOwnConstructor)
        assert (twin.code, twin.limits, twin.retry_after) == (7, {"rpm": 3}, 2.0)
        assert str(twin) == "code 7"
    for slotted in copies(WithSlotsAndNew("here")):
        assert isinstance(slotted, WithSlotsAndNew)
        assert (slotted.where, slotted.args, slotted.agent) == ("here", ("here",), None)
    for frozen in copies(Frozen(code=3)):
        assert isinstance(frozen, Frozen)
        assert frozen.code == 3
    for own in copies(WithItsOwnState(["a", "b"])):
        assert isinstance(own, WithItsOwnState)
        assert own.parts == ["a", "b"]
        assert str(own) == "parts"


def test_errors_that_are_each_others_cause_are_copied_as_a_circle() -> None:
    one, two = AgentError("one"), AgentError("two")
    one.__cause__, two.__cause__ = two, one
    for twin in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert str(twin.__cause__) == "two"
        assert twin.__cause__ is not None
        assert twin.__cause__.__cause__ is twin
    assert to_plain(one)["cause"]["cause"]["message"] == "one"


def test_a_foreign_cause_that_loads_is_pickled_as_it_is_with_the_causes_behind_it() -> None:
    error, middle = AgentError("top"), ValueError("middle", 3)
    error.__cause__, middle.__cause__ = middle, KeyError("bottom")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin.__cause__), twin.__cause__.args) == (ValueError, ("middle", 3))
    assert (type(twin.__cause__.__cause__), twin.__cause__.__cause__.args) == (
        KeyError,
        ("bottom",),
    )


@pytest.mark.parametrize("cause", [WillNotLoad("lost", "x"), WillNotPickle()])
def test_a_foreign_cause_that_does_not_survive_pickle_is_described_in_its_place(
    cause: Exception,
) -> None:
    error = AgentError("top")
    error.__cause__ = cause
    described = pickle.loads(pickle.dumps(error)).__cause__
    assert isinstance(described, AgentFailure)
    assert described.exc_type.endswith(type(cause).__qualname__)
    assert described.exc_str == str(cause)
    assert copy.deepcopy(error).__cause__ is cause


def test_an_error_loads_in_another_process() -> None:
    error = AgentCrashed(**CRASH)
    error.__cause__ = ValueError("boom")
    script = (
        "import pickle, sys\n"
        "error = pickle.load(sys.stdin.buffer)\n"
        "print(error, error.signal, repr(error.__cause__), sep='|')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(error, 5),
        capture_output=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert ran.stdout.decode().strip() == f"{error}|SIGSEGV|ValueError('boom')"


# The plain form.


def over_the_wire(error: AgentError) -> AgentError:
    return from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(to_plain(error))))


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_an_error_crosses_the_wire_as_plain_data(error: AgentError) -> None:
    error = copy.copy(error)
    error.add_note("seen twice")
    twin = over_the_wire(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.args, twin.is_retryable) == (
        str(error), error.args, error.is_retryable,
    )  # fmt: skip
    for name in type(error)._figures:
        if name != "deaths":
            assert getattr(twin, name) == getattr(error, name), name
    assert [str(d) for d in getattr(twin, "deaths", ())] == [
        str(d) for d in getattr(error, "deaths", ())
    ]
    assert twin.__notes__[0] == "seen twice"


def test_the_remote_traceback_is_shown_once_however_often_an_error_travels() -> None:
    error = AgentFailure(agent="x", exc_type="E", remote_traceback="Traceback: line 9")
    twin = over_the_wire(over_the_wire(error))
    assert twin.__notes__ == ["remote traceback:\nTraceback: line 9"]


def test_causes_cross_the_wire_foreign_ones_as_failures() -> None:
    error = StartError(agent="x")
    error.__cause__ = AgentCrashed(agent="x", exitcode=-6)
    error.__cause__.__cause__ = ValueError("boom")
    twin = over_the_wire(error)
    assert isinstance(twin.__cause__, AgentCrashed)
    assert twin.__cause__.signal == "SIGABRT"
    assert isinstance(twin.__cause__.__cause__, AgentFailure)
    assert str(twin.__cause__.__cause__) == "agent failed: ValueError: boom"


def test_a_users_error_becomes_its_nearest_class_and_stays_as_retryable_as_it_was() -> None:
    class Stubborn(WithItsOwnConstructor):
        @property
        def is_retryable(self) -> bool:
            return False

    twin = over_the_wire(Stubborn(7, limits={}))
    assert type(twin) is ModelThrottled
    assert (str(twin), twin.retry_after, twin.is_retryable) == ("code 7", 2.0, False)
    assert [note.rpartition(".")[2] for note in twin.__notes__] == ["Stubborn"]
    assert twin.__notes__[0].startswith("exc_type: ")


def test_junk_in_the_attributes_is_left_out() -> None:
    class Junk(AgentCrashed):
        @property
        def last_stack(self) -> str:  # type: ignore[override]
            raise RuntimeError("not now")

        def __str__(self) -> NoReturn:
            raise RuntimeError("no text")

    error = Junk()
    vars(error).update(
        agent=b"x", exitcode="minus one", pid=1 << 70, signal="lone \udc80", peak_rss=True,
        retry_after=float("nan"), stderr_tail="x" * 10_000_000, __notes__=[3, "a note", None],
    )  # fmt: skip
    twin = over_the_wire(error)
    assert isinstance(twin, AgentCrashed)
    assert (twin.agent, twin.exitcode, twin.pid, twin.peak_rss, twin.retry_after) == (None,) * 5
    assert twin.signal == "lone \\udc80"
    assert len(twin.stderr_tail) < 100_000
    assert twin.__notes__[0] == "a note"
    assert "cannot be read" in str(twin)


def test_args_that_cannot_be_read_do_not_keep_an_error_from_crossing() -> None:
    error = AgentError()
    error.args = (Unreadable(),)
    assert "cannot be read" in str(over_the_wire(error))


def test_a_class_that_is_unknown_here_becomes_a_failure_that_names_it() -> None:
    error = from_plain({"class": "FromTheFuture", "message": "boom", "figures": {"agent": "x"}})
    assert str(error) == "agent 'x' failed: FromTheFuture: boom"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
KEYS = st.sampled_from(["class", "message", "figures", "notes", "cause"])
NAMES = st.sampled_from(sorted(TREE))
FIGURES = st.dictionaries(st.sampled_from(sorted({f for c in EVERY for f in c._figures})), PLAIN)


@given(st.dictionaries(KEYS, PLAIN | NAMES | FIGURES) | PLAIN)
def test_whatever_arrives_becomes_an_error_that_can_be_read_and_sent_on(junk: Any) -> None:
    error = from_plain(junk)
    assert isinstance(error, AgentError)
    assert isinstance(str(error), str)
    assert msgspec.msgpack.encode(to_plain(error))


def test_a_bottomless_chain_of_causes_is_cut() -> None:
    deep: dict[str, Any] = {"class": "AgentError"}
    for _ in range(5_000):
        deep = {"class": "AgentError", "cause": deep}
    error: BaseException | None = from_plain(deep)
    length = 0
    while error is not None:
        error, length = error.__cause__, length + 1
    assert 2 < length < 50


# What a worker makes of an exception.


def test_an_exception_of_the_agents_code_becomes_a_failure() -> None:
    original = ValueError("boom")
    original.add_note("while planning")
    failure = describe_failure(raised(original), agent="x")
    assert isinstance(failure, AgentFailure)
    assert str(failure) == "agent 'x' failed: ValueError: boom"
    assert (failure.exc_type, failure.exc_str) == ("ValueError", "boom")
    assert failure.__cause__ is original
    assert failure.__notes__ == ["while planning"]
    assert "in raised" in failure.remote_traceback
    assert "ValueError: boom" in failure.remote_traceback
    assert not failure.is_retryable


def test_the_type_of_an_exception_is_qualified_by_its_module() -> None:
    failure = describe_failure(subprocess.TimeoutExpired("ls", 3))
    assert isinstance(failure, AgentFailure)
    assert failure.exc_type == "subprocess.TimeoutExpired"


def test_an_error_of_ours_stays_itself_and_learns_its_agent() -> None:
    error = ModelThrottled("slow down", retry_after=3)
    assert describe_failure(raised(error), agent="x") is error
    assert str(error) == "agent 'x': slow down"
    assert "in raised" in error.remote_traceback


def test_an_error_that_came_from_another_agent_keeps_its_origin() -> None:
    error = ModelThrottled(agent="y", remote_traceback="there")
    describe_failure(raised(error), agent="x")
    assert (error.agent, error.remote_traceback) == ("y", "there")


class Says(Exception):
    def __init__(self, **says: Any) -> None:
        self.__dict__ |= says


@pytest.mark.parametrize(
    ("error", "retryable", "after"),
    [
        (ConnectionResetError(), True, None),
        (TimeoutError(), True, None),
        (OSError(), False, None),
        (Says(is_retryable=True), True, None),
        (Says(is_retryable=lambda: True, retry_after=lambda: 2), True, 2.0),
        (Says(is_retryable="yes", retry_after="3"), False, 3.0),
        (Says(retry_after=1.5), False, 1.5),
        (Says(retry_after=float("inf")), False, None),
        (Says(retry_after=True), False, None),
        (Says(is_retryable=lambda needed: needed), False, None),
    ],
)
def test_a_failure_is_retryable_where_the_original_says_so_or_is_transient(
    error: Exception, retryable: bool, after: float | None
) -> None:
    failure = describe_failure(error)
    assert (failure.is_retryable, failure.retry_after) == (retryable, after)


def test_an_original_that_calls_itself_final_is_not_retried_for_its_class() -> None:
    class Final(ConnectionError):
        is_retryable = False

    assert not describe_failure(Final()).is_retryable


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_exception_that_is_no_exception_is_described_as_well(error: BaseException) -> None:
    failure = describe_failure(raised(error), agent="x")
    assert isinstance(failure, AgentFailure)
    assert failure.exc_type == type(error).__name__


def test_an_exception_whose_text_raises_is_described_by_its_type() -> None:
    failure = describe_failure(raised(Unreadable()), agent="x")
    assert "Unreadable" in str(failure)
    assert "RuntimeError" in str(failure)
    assert over_the_wire(failure).is_retryable is False


def test_the_report_of_a_runaway_recursion_stays_small() -> None:
    def down(n: int) -> int:
        return down(n + 1) + 1

    with pytest.raises(RecursionError) as caught:
        down(0)
    failure = describe_failure(caught.value, agent="x")
    assert "RecursionError" in failure.remote_traceback
    assert len(failure.remote_traceback) < 100_000


def test_errors_cost_a_light_import_only() -> None:
    heavy = {"asyncio", "dill", "inspect", "traceback", "pickle", "psutil"}
    script = "import procorch.errors, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert not heavy & set(ran.stdout.split())


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (20, 20.0),
        ("20", 20.0),
        ("20s", 20.0),
        ("6m0s", 360.0),
        ("1 minute and 5 seconds", 65.0),
        ("120ms", 0.12),
        (timedelta(seconds=3), 3.0),
        (datetime(2000, 1, 1, tzinfo=UTC), 0.0),
        ("2000-01-01T00:00:00Z", 0.0),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        (-1, None),
        ("nan", None),
        (True, None),
        ("9" * 400, None),
        (10**400, None),
    ],
)
def test_a_wait_is_understood_in_all_its_forms_and_travels(
    asked: Any, seconds: float | None
) -> None:
    for error in (Says(retry_after=asked), ModelThrottled("slow down", retry_after=asked)):
        arrived = from_plain(to_plain(describe_failure(error)))
        assert arrived.retry_after == seconds
