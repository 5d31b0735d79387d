"""`procorch.run`: a main program that drains, ends in time, and is the first of a container."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import procorch
from tests.process.test_orphans import first_of_a_namespace

pytestmark = pytest.mark.fault

PATIENCE = 90.0

BEGIN = """
import os, subprocess, sys, threading, time
import procorch
from procorch import AgentOrchestrator, current

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: workers write, too

def slow():
    def handle(item):
        say("begun")
        time.sleep(item)
        return item
    return handle

def quiet():
    return lambda item: time.sleep(item) or item

def loop():
    worker = current()
    say("running")
    while not worker.cancelled:
        time.sleep(0.01)
    say("loop ends")
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program; the rest of it is killed after the test."""
    made: list[subprocess.Popen[str]] = []

    def start(text: str, *before: str) -> subprocess.Popen[str]:
        script = tmp_path / f"main{len(made)}.py"
        script.write_text(BEGIN + textwrap.dedent(text))
        process = subprocess.Popen(
            [*before, sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=_usual_signals,
        )  # fmt: skip
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.communicate()


def _usual_signals() -> None:
    """As in a program that a shell has started in front."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Its exit code, the lines that are left of its output, and its errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.splitlines(), err


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_what_was_accepted_is_finished_and_the_main_function_gets_it(
    start: Start, signum: signal.Signals
) -> None:
    program = start("""
        def main():
            with AgentOrchestrator() as orch:
                orch.add_agent("quiet", quiet)
                handle = orch.spawn("quiet")
                replies = [handle.deliver(0.3) for _ in range(2)]
                say("given")
                say(*(reply.result().output for reply in replies))
                try:
                    handle.deliver(0.0).result()
                except procorch.AgentStopped:
                    say("refused")

        if __name__ == "__main__":
            procorch.run(main)
    """)
    assert line(program) == "given"
    program.send_signal(signum)
    assert end(program) == (0, ["0.3 0.3", "refused"], "")


def test_an_async_main_function_is_drained_as_well(start: Start) -> None:
    program = start("""
        import asyncio

        async def main():
            async with AgentOrchestrator() as orch:
                orch.add_agent("slow", slow)
                say((await orch.spawn("slow").deliver(0.3)).output)
            try:
                await asyncio.sleep(60)
            finally:
                say("left")

        if __name__ == "__main__":
            procorch.run(main)
    """)
    assert line(program) == "begun"
    program.terminate()
    assert end(program) == (0, ["0.3", "left"], "")


def test_services_are_told_to_stop(start: Start) -> None:
    program = start("""
        def main():
            with AgentOrchestrator() as orch:
                orch.add_service("loop", loop)
                service = orch.spawn("loop")
                say("waits")
                service.wait()
            say("done")
            return 3

        if __name__ == "__main__":
            procorch.run(main)
    """)
    assert {line(program), line(program)} == {"running", "waits"}
    program.terminate()
    assert end(program) == (3, ["loop ends", "done"], "")


def test_a_main_function_that_only_waits_is_left_after_the_drain(start: Start) -> None:
    program = start("""
        def main():
            with AgentOrchestrator() as orch:
                orch.add_service("loop", loop)
                orch.spawn("loop")
                say("waits")
                try:
                    threading.Event().wait()
                finally:
                    say("left")

        if __name__ == "__main__":
            procorch.run(main)
    """)
    assert {line(program), line(program)} == {"running", "waits"}
    program.terminate()
    assert end(program) == (0, ["loop ends", "left"], "")


def test_a_drain_that_takes_too_long_ends_with_the_workers(start: Start) -> None:
    program = start("""
        def main():
            with AgentOrchestrator() as orch:
                orch.add_agent("slow", slow)
                handle = orch.spawn("slow")
                reply = handle.deliver(600)
                say(handle.pid)
                reply.exception()

        if __name__ == "__main__":
            procorch.run(main, drain_timeout=0.5)
    """)
    words = sorted((line(program), line(program)))
    pid = int(words[0])
    began = time.monotonic()
    program.terminate()
    code, _, _ = end(program)
    assert code == 143
    assert time.monotonic() - began < 15
    assert not psutil.pid_exists(pid)


def test_a_second_signal_ends_the_program_at_once(start: Start) -> None:
    program = start("""
        def main():
            with AgentOrchestrator() as orch:
                orch.add_agent("slow", slow)
                reply = orch.spawn("slow").deliver(600)
                reply.exception()

        if __name__ == "__main__":
            procorch.run(main, drain_timeout=600)
    """)
    assert line(program) == "begun"
    until = time.monotonic() + PATIENCE
    while program.poll() is None:  # two signals that come close together are one for Python
        assert time.monotonic() < until
        program.terminate()
        time.sleep(0.1)
    code, _, err = end(program)
    assert code == 143
    assert "a second signal came" in err


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return None", 0),
        ("return 3", 3),
        ("return 'text'", 0),
        ("sys.exit(4)", 4),
        ("raise ValueError('no')", 1),
    ],
)
def test_exit_codes(start: Start, body: str, code: int) -> None:
    program = start(f"""
        def main():
            {body}

        if __name__ == "__main__":
            procorch.run(main)
    """)
    ended, _, err = end(program)
    assert ended == code
    assert ("ValueError: no" in err) == (code == 1)


def test_a_thread_that_goes_on_does_not_keep_the_program(start: Start) -> None:
    program = start("""
        def main():
            threading.Thread(target=time.sleep, args=(600,)).start()

        if __name__ == "__main__":
            procorch.run(main, drain_timeout=0.3)
    """)
    code, _, err = end(program)
    assert code == 1
    assert "it has not ended within 0.3 s" in err


AS_FIRST = """
    def main():
        if os.getpid() != 1:  # No namespace is allowed here. Then it adopts at least.
            import ctypes
            from procorch.worker.orphans import reap_as_first
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
            reap_as_first()
        own = subprocess.Popen(["sh", "-c", "exit 7"])
        for _ in range(3):
            subprocess.run(["sh", "-c", "(sleep 0.05 &); sleep 0.1"])
        until = time.monotonic() + 90
        while zombies() - {own.pid} and time.monotonic() < until:
            time.sleep(0.05)
        say("zombies", len(zombies() - {own.pid}))
        time.sleep(1.5)  # More than the grace of those that are not noted.
        with AgentOrchestrator() as orch:
            orch.add_service("loop", loop)
            service = orch.spawn("loop")
            say("waits")
            service.wait()
        say("own child", own.wait())

    def zombies():
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:
            children = listed.read().split()
        states = {pid: open(f"/proc/{pid}/stat").read().rpartition(")")[2] for pid in children}
        return {int(pid) for pid, state in states.items() if state.split()[0] == "Z"}

    if __name__ == "__main__":
        procorch.run(main)
"""


def test_pid_1_reaps_and_ends_on_sigterm(start: Start) -> None:
    """N20: also before it has started an agent, and it leaves the exit status of its own child."""
    before = first_of_a_namespace()
    program = start(AS_FIRST, *before)
    assert line(program) == "zombies 0"
    assert {line(program), line(program)} == {"running", "waits"}
    first = psutil.Process(program.pid)
    while before and "main0.py" not in " ".join(first.cmdline()[:2]):
        (first,) = first.children()
    os.kill(first.pid, signal.SIGTERM)
    code, out, err = end(program)
    assert (out, err) == (["loop ends", "own child 7"], "")
    assert code == 0


def test_a_job_in_the_background_keeps_ignoring_ctrl_c(start: Start) -> None:
    program = start("""
        import signal

        def main():
            say(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)

        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does
            procorch.run(main)
    """)
    assert end(program) == (0, ["True"], "")


# ---- refusals


def test_it_is_refused_where_it_cannot_work() -> None:
    with pytest.raises(TypeError, match="a function without arguments, not int"):
        procorch.run(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="drain_timeout"):
        procorch.run(lambda: None, drain_timeout=-1)

    async def inside() -> None:
        procorch.run(lambda: None)

    with pytest.raises(RuntimeError, match="call it outside"):
        asyncio.run(inside())
    seen: list[Any] = []

    def elsewhere() -> None:
        try:
            procorch.run(lambda: None)
        except RuntimeError as error:
            seen.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in seen[0]
