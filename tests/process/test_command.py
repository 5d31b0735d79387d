"""Programs as agents: each request runs one, and however it ends, the agent lives."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentFailure,
    AgentHung,
    AgentOrchestrator,
    AgentPool,
    CommandCrashed,
    CommandFailed,
    MemoryLimitExceeded,
    MessageTooLarge,
    OrchestratedHandle,
    PoolSupervisor,
    RequestCancelled,
    RequestTimeout,
    ServiceSupervisor,
    Shutdown,
    StartError,
    UnknownField,
    command,
)

Start = Callable[..., OrchestratedHandle]
SHELL = command(["/bin/sh", "-c", "{}"])
SLOW = Shutdown(cooperate=0.05, interrupt=30, grace=30, terminate=30)
"""A ladder on which no agent's process gets SIGTERM by mere slowness of the machine."""


@pytest.fixture
def shell(start: Start) -> OrchestratedHandle:
    return start(SHELL, supervisor=PoolSupervisor(), shutdown=SLOW)


def output(handle: OrchestratedHandle, request: Any, **how: Any) -> Any:
    return handle.deliver(request, **how).result().output


# ---- what goes in and what comes out


def test_a_request_runs_the_program_and_its_output_is_the_answer(start: Start) -> None:
    handle = start(command(["printf", "%s|", "{id}", "{text}"]))
    assert output(handle, {"id": 7, "text": "$HOME; `rm`"}) == "7|$HOME; `rm`|"


@pytest.mark.parametrize(
    ("form", "written", "answer"),
    [
        ("text", "a\n", "a\n"),
        ("json", '{"a": [1]}\n', {"a": [1]}),
        ("jsonl", '1\n\n{"b": null}\n', [1, {"b": None}]),
        ("bytes", "\\377\\0", b"\xff\0"),
        (None, "dropped", None),
    ],
)
def test_output_is_read_in_the_form_that_was_asked_for(
    start: Start, form: Any, written: str, answer: Any
) -> None:
    handle = start(command(["printf", "{}"], output=form))
    assert output(handle, written) == answer


@pytest.mark.parametrize(
    ("form", "request_", "read"),
    [
        ("text", "two\nlines", "two\nlines"),
        ("text", b"\xc3\xa9", "é"),
        ("json", {"a": "é"}, '{"a": "é"}\n'),
        (None, "anything", ""),
    ],
)
def test_a_program_reads_the_request_on_standard_input(
    start: Start, form: Any, request_: Any, read: str
) -> None:
    assert output(start(command(["cat"], input=form)), request_) == read


def test_a_message_is_its_text(start: Start) -> None:
    handle = start(command(["cat"], input="text"))
    result = handle.send_message("hello")
    assert (result.text, result.output) == ("hello", "hello")
    assert output(handle, "") == ""


def test_text_for_standard_input_must_be_text(start: Start) -> None:
    handle = start(command(["cat"], input="text"))
    with pytest.raises(CommandFailed, match="takes requests that are text, not dict"):
        output(handle, {"a": 1})


def test_input_that_a_program_does_not_read_is_no_error(start: Start) -> None:
    handle = start(command(["/bin/sh", "-c", "exec <&-; echo done"], input="text"))
    assert output(handle, "x" * 5_000_000) == "done\n"
    handle = start(command(["head", "-c", "3"], input="text"))
    assert output(handle, "x" * 5_000_000) == "xxx"


def test_more_than_a_pipe_holds_goes_both_ways_at_once(start: Start) -> None:
    text = "0123456789" * 300_000
    assert output(start(command(["cat"], input="text")), text) == text


def test_output_that_is_not_what_was_said_fails_the_request(start: Start) -> None:
    strict = start(command(["printf", "{}"]))
    with pytest.raises(CommandFailed, match=r"not utf-8 \(invalid start byte\): errors='replace'"):
        output(strict, "\\377")
    assert output(start(command(["printf", "{}"], errors="replace")), "\\377") == "\ufffd"
    assert output(start(command(["printf", "{}"], encoding="latin-1")), "\\351") == "é"
    with pytest.raises(CommandFailed, match="standard output is not JSON"):
        output(start(command(["printf", "{}"], output="json")), "nothing")
    with pytest.raises(CommandFailed, match="line 2 of it is not JSON") as caught:
        output(start(command(["printf", "{}"], output="jsonl")), "1\\nx")
    assert caught.value.code == 0


def test_large_output_is_bounded_and_the_program_is_ended(
    orchestrator: Callable[..., AgentOrchestrator],
) -> None:
    orch = orchestrator(max_message=1 << 20)
    orch.add_agent("a", SHELL)
    orch.add_agent("b", command(["head", "-c", "5000000", "/dev/zero"], output=None))
    handle, dropped = orch.spawn("a"), orch.spawn("b")
    with pytest.raises(MessageTooLarge, match="the program's standard output"):
        output(handle, "yes")
    assert output(handle, "echo $PPID") == f"{handle.pid}\n"
    assert output(dropped, None) is None


def test_output_is_streamed_where_it_is_asked_for(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    handle = start(command(["/bin/sh", "-c", "printf 'a\\303'; read x < {}; printf '\\251b'"]))
    pieces = iter(stream := handle.stream(str(tmp_path / "go")))
    assert next(pieces) == "a"
    (tmp_path / "go").write_text("now\n")
    assert "".join(pieces) == "éb"
    assert stream.result().output == "aéb"


def test_a_program_inherits_environment_and_folder_of_its_agent(
    start: Start, tmp_path: Path
) -> None:
    handle = start(SHELL, env={"GREETING": "hi"}, cwd=str(tmp_path))
    assert output(handle, "echo $GREETING; pwd") == f"hi\n{tmp_path}\n"


def test_a_program_has_default_signals_and_no_terminal_input(shell: OrchestratedHandle) -> None:
    with pytest.raises(CommandCrashed, match="SIGPIPE"):
        output(shell, "kill -PIPE $$")
    assert output(shell, "cat; echo end") == "end\n"


def test_metrics_have_what_the_program_used(shell: OrchestratedHandle) -> None:
    code = "x = bytearray(200_000_000); sum(i for i in range(3_000_000))"
    metrics = shell.deliver(f"{sys.executable} -c '{code}'").result().metrics
    assert metrics is not None
    assert metrics.cpu_user > 0.05
    assert metrics.peak_rss > 200_000_000
    little = shell.deliver("true").result().metrics
    assert little is not None
    assert little.cpu_user < 0.05
    assert little.peak_rss < 200_000_000


# ---- how it fails


def test_an_exit_code_is_a_failure_with_code_command_and_last_words(
    shell: OrchestratedHandle,
) -> None:
    with pytest.raises(CommandFailed) as caught:
        output(shell, "echo first >&2; echo why >&2; exit 3")
    error = caught.value
    assert isinstance(error, AgentFailure)
    assert (error.code, error.stderr_tail, error.is_retryable) == (3, "first\nwhy\n", False)
    assert error.command == "/bin/sh -c 'echo first >&2; echo why >&2; exit 3'"
    assert str(error).startswith("agent 'a' failed: exit code 3: /bin/sh -c 'echo")
    assert str(error).endswith(": why")


def test_a_signal_is_a_crash_by_name_and_the_agent_lives(shell: OrchestratedHandle) -> None:
    agent = shell.pid
    for _ in range(5):  # more than a worker may die
        with pytest.raises(CommandCrashed) as caught:
            output(shell, "echo last words >&2; kill -SEGV $$")
        error = caught.value
        assert isinstance(error, AgentCrashed)
        assert (error.signal, error.exitcode, error.generation) == ("SIGSEGV", -11, 1)
        assert error.stderr_tail == "last words\n"
        assert error.may_have_executed
        assert error.pid not in (None, agent)
        assert "its program (pid" in str(error)
        assert "crashed: SIGSEGV on request" in str(error)
    assert output(shell, "echo $PPID") == f"{agent}\n"


def test_a_service_keeps_an_agent_whose_program_crashed(start: Start) -> None:
    handle = start(SHELL, supervisor=ServiceSupervisor())
    agent = handle.pid
    with pytest.raises(CommandCrashed):
        output(handle, "kill -KILL $$")
    assert output(handle, "echo $PPID") == f"{agent}\n"


def test_a_shell_that_tells_of_a_signal_is_understood(shell: OrchestratedHandle) -> None:
    with pytest.raises(CommandFailed, match=r"exit code 139 \(a shell says so of SIGSEGV\)"):
        output(shell, "/bin/sh -c 'kill -SEGV $$'; exit $?")


def test_an_unknown_field_starts_nothing(start: Start, tmp_path: Path) -> None:
    handle = start(command(["touch", str(tmp_path / "made"), "{nam}"]))
    with pytest.raises(UnknownField, match="did you mean 'name'") as caught:
        output(handle, {"name": "x"})
    assert (caught.value.field, caught.value.agent) == ("nam", "a")
    assert not (tmp_path / "made").exists()


def test_a_program_that_is_not_installed_is_refused_at_the_start(
    orchestrator: Callable[..., AgentOrchestrator], tmp_path: Path
) -> None:
    (tmp_path / "plain").write_text("")
    for program, said in (
        ("no-such-program", "'no-such-program' is not installed, or its folder is not in PATH"),
        (str(tmp_path / "plain"), "is not executable: chmod"),
        (str(tmp_path / "none"), "there is no program"),
    ):
        orch = orchestrator()
        orch.add_agent("a", command([program]))
        with pytest.raises(StartError, match=said) as caught:
            orch.spawn("a")
        assert caught.value.permanent


def test_a_program_that_cannot_be_started_fails_its_request_alone(
    start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("echo no first line\n")
    script.chmod(0o755)
    handle = start(command([str(script), "{}"]))
    with pytest.raises(CommandFailed, match="a script without a first line") as caught:
        output(handle, "x")
    assert caught.value.code is None
    script.unlink()
    with pytest.raises(CommandFailed, match="cannot be started: No such file"):
        output(handle, "x")
    script.write_text("#!/bin/sh\necho $1\n")
    script.chmod(0o755)
    assert output(handle, "x") == "x\n"
    with pytest.raises(CommandFailed, match="an argument is too long"):
        output(handle, "x" * 200_000)


def test_an_agent_without_descriptors_fails_requests_and_lives(start: Start) -> None:
    def factory() -> Any:
        import contextlib
        import os
        import resource

        program = SHELL()

        def handle(free: int) -> Any:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            taken = []
            try:
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                for fd in taken[:free]:
                    os.close(fd)
                del taken[:free]
                return program.handle("ls /proc/self/fd | wc -l")
            finally:
                for fd in taken:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        return handle

    handle = start(factory)
    for free in range(4):
        with pytest.raises(CommandFailed, match="Too many open files"):
            output(handle, free)
    assert output(handle, 4).strip() == "4"


# ---- how it ends


def test_a_late_program_is_ended_with_its_group(
    shell: OrchestratedHandle, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    os.mkfifo(tmp_path / "told")
    agent = shell.pid
    line = f"sleep 100 & echo $! $$ > {tmp_path / 'told'}; wait"
    reply = shell.deliver(line, timeout=2)
    processes = watched(*map(int, (tmp_path / "told").read_text().split()))
    with pytest.raises(RequestTimeout):
        reply.result()
    assert processes.alive(within=30) == []
    assert output(shell, "echo $PPID") == f"{agent}\n"


def test_a_program_has_time_to_end_by_itself(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "told")
    handle = start(command(["/bin/sh", "-c", "{}"], grace="30s"), shutdown=SLOW)
    line = f"trap 'echo ended > {tmp_path / 'last'}; exit' TERM; echo > {tmp_path / 'told'}; "
    reply = handle.deliver(line + "while :; do sleep 0.02; done")
    (tmp_path / "told").read_text()
    reply.cancel()
    with pytest.raises(RequestCancelled):
        reply.result()
    assert output(handle, f"cat {tmp_path / 'last'}") == "ended\n"


def test_one_that_ignores_sigterm_is_killed_after_its_grace(
    start: Start, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    os.mkfifo(tmp_path / "told")
    handle = start(command(["/bin/sh", "-c", "{}"], grace=0.05), shutdown=SLOW)
    agent = handle.pid
    reply = handle.deliver(
        f"trap '' TERM; echo $$ > {tmp_path / 'told'}; while :; do sleep 9; done"
    )
    program = watched(int((tmp_path / "told").read_text()))
    reply.cancel()
    assert program.alive(within=30) == []
    assert output(handle, "echo $PPID") == f"{agent}\n"


def test_no_interrupt_comes_between_the_start_of_a_program_and_its_being_known(
    start: Start, gate: Callable[[], Any], watched: Callable[..., Any]
) -> None:
    tell = (started := gate()).tell

    def factory() -> Any:
        import os
        import signal
        import time

        from procorch.worker.interrupts import CANCEL, RAISE

        spawn = os.posix_spawn

        def slow(*args: Any, **settings: Any) -> int:
            pid = spawn(*args, **settings)
            tell(pid)
            while signal.getsignal(CANCEL).__self__._last_force < RAISE:
                time.sleep(0.01)
            return pid

        os.posix_spawn = slow
        return command(["sleep", "100"])()

    handle = start(factory, shutdown=SLOW)
    reply = handle.deliver(None)
    program = watched(int(started.line()))
    reply.cancel()
    assert program.alive(within=30) == []


def test_what_a_program_leaves_in_its_group_ends_with_it(
    shell: OrchestratedHandle, watched: Callable[..., Any]
) -> None:
    left = output(shell, "sleep 100 & echo $!; kill -STOP $!")  # it holds the pipe open
    with contextlib.suppress(ProcessLookupError):
        assert watched(int(left)).alive(within=30) == []


# With spawn, what has left the group of its agent is not found (docs/explanation/guarantees.md).


def test_what_has_left_the_group_of_a_program_ends_with_the_agent(
    orchestrator: Callable[..., AgentOrchestrator], watched: Callable[..., Any], tmp_path: Path
) -> None:
    orch = orchestrator(start_method="zygote")
    orch.add_agent("a", SHELL)
    shell = orch.spawn("a")
    os.mkfifo(tmp_path / "told")
    line = f"setsid sh -c 'echo $$ > {tmp_path / 'told'}; exec sleep 100' & cat {tmp_path / 'told'}"
    daemon = watched(int(output(shell, line)))  # it has left the group, and holds the pipe, too
    assert daemon.alive(within=0.0)
    shell.stop()
    assert daemon.alive(within=30) == []


def test_what_was_written_before_the_end_is_read_whatever_is_left_behind(
    shell: OrchestratedHandle,
) -> None:
    line = "head -c 60000 /dev/zero | tr '\\0' x; setsid sleep 100 & exit 0"
    assert output(shell, line) == "x" * 60000


def test_a_program_without_output_hangs_and_one_with_output_does_not(start: Start) -> None:
    handle = start(SHELL, supervisor=PoolSupervisor(), heartbeat_timeout=1.0)
    busy = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done"
    assert len(output(handle, busy)) == 16
    with pytest.raises(AgentHung):
        output(handle, "sleep 100")
    assert output(handle, "echo again") == "again\n"


def test_memory_of_the_program_counts_for_the_limit_of_its_agent(start: Start) -> None:
    handle = start(SHELL, supervisor=PoolSupervisor(), memory_limit="150M")
    code = "x = bytearray(400_000_000); input()"
    with pytest.raises(MemoryLimitExceeded):
        output(handle, f"{sys.executable} -c '{code}' < /dev/zero")
    assert output(handle, "echo again") == "again\n"


def test_programs_end_with_the_worker_that_ran_them(
    orchestrator: Callable[..., AgentOrchestrator], tmp_path: Path, watched: Callable[..., Any]
) -> None:
    orch = orchestrator(start_method="zygote")
    orch.add_agent("a", SHELL)
    handle = orch.spawn("a")
    os.mkfifo(tmp_path / "told")
    reply = handle.deliver(f"trap '' TERM; echo $$ > {tmp_path / 'told'}; sleep 100; sleep 100")
    program = watched(int((tmp_path / "told").read_text()))
    os.kill(handle.pid or 0, signal.SIGKILL)
    with pytest.raises(AgentCrashed, match="SIGKILL"):
        reply.result()
    assert program.alive(within=30) == []


# ---- in pools


def test_a_pool_of_programs_gives_each_item_its_outcome() -> None:
    lines = ["echo 0", "kill -SEGV $$", "exit 4", *(f"echo {n}" for n in range(3, 12))]
    with AgentPool(SHELL, workers=2) as pool:
        found = list(pool.map(lines, outcomes=True, chunksize=4))
        assert pool.info().restarts == 0
    assert [each.output for each in found if each.ok] == [
        f"{n}\n" for n in range(12) if n not in (1, 2)
    ]
    assert isinstance(found[1].error, CommandCrashed)
    assert isinstance(found[2].error, CommandFailed)
    assert found[2].error.code == 4
