"""What agents write on descriptors 1 and 2, and what they do to 0, 1 and 2 (row 8).

Whatever writes, it is remembered by agent and stream, the last words of a dead worker included; it
never harms the channel; and nobody who does not read it holds anybody up.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentCrashed, AgentOrchestrator, DefaultSupervisor, OrchestratedHandle

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("start_method")]

AT_ONCE = 2.0  # seconds
PATIENCE = 90.0
RING = 65536
TAIL = 4096

Make = Callable[..., AgentOrchestrator]
Start = Callable[..., OrchestratedHandle]
GateMaker = Callable[[], Any]


def running(code: str) -> Callable[[], Any]:
    """An agent that runs ``code``, with ``x`` as the request, and returns what it leaves in ``x``.

    In a process of its own, so it may do what it likes to its descriptors.
    """

    def factory():
        import ctypes
        import os
        import signal
        import subprocess
        import sys

        modules = {
            "ctypes": ctypes,
            "os": os,
            "signal": signal,
            "subprocess": subprocess,
            "sys": sys,
        }

        def handle(x):
            names = {**modules, "x": x}
            exec(code, names)
            return names["x"]

        return handle

    return factory


def crash_of(handle: OrchestratedHandle, request: Any = None) -> AgentCrashed:
    # A worker may have to be started first.
    error = handle.deliver(request).exception(timeout=30)
    assert isinstance(error, AgentCrashed), repr(error)
    return error


# ---- what is captured


WRITERS = {
    "print": "print(x); print('e' + x, file=sys.stderr)",
    "write without a newline": "os.write(1, x.encode()); os.write(2, b'e' + x.encode())",
    "c library": """
libc = ctypes.CDLL(None)
libc.dprintf(1, b"%s\\n", x.encode())
libc.dprintf(2, b"e%s\\n", x.encode())
libc.puts(b"buffered by stdio")
libc.fflush(None)
""",
    "subprocess": "subprocess.run(['sh', '-c', f'echo {x}; echo e{x} >&2'], check=True)",
    "by path": """
with open("/dev/stdout", "w") as out, open("/dev/stderr", "w") as err:
    out.write(x)
    err.write("e" + x)
""",
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_whatever_writes_it_is_there_with_the_answer_by_agent_and_stream(
    orchestrator: Make, writer: str
) -> None:
    orch = orchestrator()
    handles = {}
    for name in ("one", "two"):
        orch.add_agent(name, running(writer), output="capture")
        handles[name] = orch.spawn(name)
    for name, handle in handles.items():
        for word in ("first", "second"):
            assert handle.deliver(f"{word}-{name}").result().output == f"{word}-{name}"
            assert f"{word}-{name}" in handle.output("stdout")
            assert f"e{word}-{name}" in handle.output("stderr")
    for name, other in (("one", "two"), ("two", "one")):
        stdout, stderr = handles[name].output("stdout"), handles[name].output()
        assert other not in stdout + stderr
        assert "efirst" not in stdout
        assert stderr.count("-") == stderr.count("e" + "first-") + stderr.count("esecond-") == 2
        assert stdout.index("first") < stdout.index("second")
        assert stderr.index("first") < stderr.index("second")


def test_what_it_remembers_is_bounded_and_the_latest(start: Start) -> None:
    code = "\n".join(
        ["for n in range(200_000):", "    sys.stdout.write(f'{n}\\n')", "sys.stderr.write('é' * x)"]
    )
    handle = start(running(code), output="capture")
    handle.deliver(50_001).result()
    stdout, stderr = handle.output("stdout"), handle.output()
    assert RING - 8 <= len(stdout.encode()) <= RING
    assert stdout.endswith("199998\n199999\n")
    # 32,768 characters of two bytes; no half of one at the beginning.
    assert set(stderr) == {"é"}
    assert RING - 2 <= len(stderr.encode()) <= RING


def test_standard_input_is_empty_and_the_parents_stays_the_parents(run_python: Any) -> None:
    done = run_python(
        """
import os, sys
from procorch import AgentOrchestrator

def factory():
    import os, subprocess, sys
    return lambda x: (
        sys.stdin.read(),
        os.read(0, 100),
        subprocess.run(["cat"], stdout=subprocess.PIPE).stdout,
    )

with AgentOrchestrator() as orch:
    orch.add_agent("a", factory)
    print(orch.spawn("a").send_message("").output)
print(os.read(0, 100))
""",
        input="for the program",
    )
    assert done.stdout == "('', b'', b'')\nb'for the program'\n", done.stderr


# ---- the channel is unharmed


JUNK = {
    "text": "b'junk ' * 1000",
    "zeros": "bytes(100_000)",
    "every byte": "bytes(range(256)) * 5000",
    "frames": "(b'pO\\x01\\x04' + bytes(24)) * 1000",
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("output", ["inherit", "capture"])
def test_junk_on_0_1_and_2_harms_nothing(
    start: Start, junk: str, output: str, capfd: Any, start_method: str
) -> None:
    code = f"for fd in (0, 1, 2, 0): os.write(fd, {junk})\nx += 1"
    handle = start(running(code), output=output)
    pid = handle.pid
    for n in range(5):
        assert handle.deliver(n).result(timeout=PATIENCE).output == n + 1
    assert (handle.pid, handle.generation) == (pid, 1)


@pytest.mark.parametrize("output", ["inherit", "capture"])
def test_an_agent_may_close_0_1_and_2_or_put_something_else_there(
    start: Start, output: str
) -> None:
    code = """
if x == "close":
    os.closerange(0, 3)
elif x == "null":
    for fd in range(3):
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
elif x == "die":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    handle = start(running(code), output=output)
    for word in ("a", "close", "b", "null", "c"):
        assert handle.deliver(word).result(timeout=PATIENCE).output == word
    assert crash_of(handle, "die").signal == "SIGKILL"


def test_a_program_without_0_1_and_2_has_agents_as_well(run_python: Any, tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = run_python(
        f"""
import os
os.closerange(0, 3)
import traceback
from procorch import AgentOrchestrator

def factory():
    import os
    def handle(x):
        print("printed", flush=True)
        os.write(1, b"out\\n")
        os.write(2, b"err\\n")
        return x
    return handle

with open({str(said)!r}, "w") as file:
    try:
        for output in ("inherit", "capture"):
            with AgentOrchestrator() as orch:
                orch.add_agent("a", factory, output=output)
                handle = orch.spawn("a")
                for n in range(3):
                    assert handle.deliver(n).result(30).output == n
                print(repr(handle.output()), file=file)
        print(repr(handle.output("stdout")), file=file)
    except BaseException:
        traceback.print_exc(file=file)
"""
    )
    err, out = r"'err\nerr\nerr\n'", r"'printed\nout\nprinted\nout\nprinted\nout\n'"
    assert said.read_text() == f"{err}\n{err}\n{out}\n"
    assert done.returncode == 0


# ---- last words


LAST_WORDS = {
    "print": "print('last words', file=sys.stderr)",
    "os.write": "os.write(2, b'last words\\n')",
    "c library": "ctypes.CDLL(None).dprintf(2, b'last words\\n')",
    "subprocess": "subprocess.run(['sh', '-c', 'echo last words >&2'], check=True)",
}
DEATHS = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGABRT": "os.abort()",
    "SIGSEGV": "ctypes.string_at(0)",
    "_exit": "os._exit(0)",
}


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
@pytest.mark.parametrize("words", LAST_WORDS.values(), ids=LAST_WORDS)
def test_the_last_words_of_a_worker_are_on_the_error(start: Start, words: str, death: str) -> None:
    handle = start(running(f"{words}\n{death}"))
    assert crash_of(handle).stderr_tail == "last words\n"


def test_what_was_printed_before_a_death_is_there_unflushed_or_not(start: Start) -> None:
    code = "print('line one')\nprint('line two')\nos.kill(os.getpid(), signal.SIGKILL)"
    handle = start(running(code), output="capture")
    crash_of(handle)
    assert handle.output("stdout") == "line one\nline two\n"


def test_the_tail_is_the_end_of_it(start: Start) -> None:
    code = "sys.stderr.write('ä' * 40_000 + 'end'); sys.stderr.flush(); os._exit(3)"
    tail = crash_of(start(running(code), output="capture")).stderr_tail
    assert TAIL - 2 <= len(tail.encode()) <= TAIL
    assert tail.strip("ä") == "end"


def test_a_tail_has_the_words_of_its_own_generation_and_output_those_of_all(start: Start) -> None:
    code = "os.write(2, x.encode()); os._exit(1)"
    handle = start(running(code), output="capture", supervisor=DefaultSupervisor())
    assert crash_of(handle, "one.").stderr_tail == "one."
    assert crash_of(handle, "").stderr_tail == ""
    assert crash_of(handle, "three.").stderr_tail == "three."
    assert handle.output() == "one.three."


def test_a_death_at_the_start_leaves_its_words(orchestrator: Make) -> None:
    def factory():
        import os

        os.write(2, b"cannot go on\n")
        os._exit(1)

    orch = orchestrator()
    orch.add_agent("a", factory, output="capture")
    handle = orch.spawn("a", wait=False)
    handle.wait()
    assert handle.output() == "cannot go on\n"


def test_who_holds_the_pipe_and_writes_on_delays_nothing(start: Start, gate: GateMaker) -> None:
    """A grandchild that has left the group and never stops writing: until nobody can read it."""
    begun = gate()
    tell = begun.tell

    def factory():
        import os
        import signal

        def handle(x):
            os.write(2, b"the worker's\n")
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    tell()
                    while True:
                        os.write(1, b"." * 4096)
                        os.write(2, b"." * 4096)
                os._exit(0)
            while True:
                signal.pause()

        return handle

    handle = start(factory, output="capture")
    reply = handle.deliver("go")
    begun.line()
    assert handle.pid is not None
    os.kill(handle.pid, 9)
    error = reply.exception(timeout=AT_ONCE)
    assert isinstance(error, AgentCrashed)
    assert error.signal == "SIGKILL"
    assert len(error.stderr_tail) <= TAIL


# ---- nobody is held up


def test_a_flood_of_one_agent_holds_up_neither_it_nor_others(
    orchestrator: Make, gate: GateMaker
) -> None:
    orch = orchestrator()
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def flooding():
        import os
        import threading

        flooded = threading.Event()

        def flood():
            while True:
                os.write(1, b"x" * 100_000)
                os.write(2, b"y" * 100_000)
                flooded.set()

        def handle(x):
            threading.Thread(target=flood, daemon=True).start()
            flooded.wait()
            tell()
            wait()
            return x

        return handle

    orch.add_agent("loud", flooding, output="capture")
    orch.add_agent("quiet", running("pass"))
    loud, quiet = orch.spawn("loud"), orch.spawn("quiet")
    reply = loud.deliver("done")
    begun.line()
    for n in range(50):
        assert quiet.deliver(n).result(timeout=PATIENCE).output == n
    go.open()
    assert reply.result(timeout=PATIENCE).output == "done"
    loud.cancel()
    loud.wait()
    assert set(loud.output("stdout")) == {"x"}
    assert set(loud.output("stderr")) == {"y"}


PROGRAM = """
import os, sys
from procorch import AgentOrchestrator

def factory():
    import os
    def handle(size):
        left = memoryview(b"." * 99 + b"\\n")
        for _ in range(size // 100):
            os.write(2, left)
        return size
    return handle

with AgentOrchestrator() as orch:
    orch.add_agent("loud", factory)
    orch.add_agent("quiet", factory)
    loud, quiet = orch.spawn("loud"), orch.spawn("quiet")
    reply = loud.deliver(SIZE)
    for _ in range(20):
        quiet.deliver(0).result(30)
    print("quiet", flush=True)
    reply.result(60)
    print("loud", flush=True)
print("closed", flush=True)
if READ: sys.stdin.readline()
"""


def test_a_reader_that_is_slow_gets_everything(host: Any) -> None:
    size = 8_000_000
    process = host(PROGRAM.replace("SIZE", str(size)).replace("READ", "0"))
    written: list[int] = []

    def read() -> None:
        while data := os.read(process.stderr.fileno(), 10_000):
            written.append(len(data))

    reader = threading.Thread(target=read)
    reader.start()
    assert process.stdout.read() == "quiet\nloud\nclosed\n"
    reader.join()
    assert sum(written) == size


def test_a_reader_that_has_stopped_holds_nobody_up(host: Any) -> None:
    process = host(PROGRAM.replace("SIZE", "8_000_000").replace("READ", "1"))
    for word in ("quiet", "loud", "closed"):
        assert process.stdout.readline() == f"{word}\n"
    written = b""
    while b"bytes of output are missing here" not in written:
        data = os.read(process.stderr.fileno(), 100_000)
        assert data, "the end, and no mark where something is missing"
        written += data


# ---- what becomes of it


def test_by_default_it_appears_where_the_programs_own_output_does(run_python: Any) -> None:
    done = run_python(
        """
import sys
from procorch import AgentCrashed, AgentOrchestrator

def factory():
    import os, sys
    def handle(x):
        print("agent's", x)
        print("agent's error", x, file=sys.stderr)
        if x == 3:
            os.kill(os.getpid(), 9)
    return handle

with AgentOrchestrator() as orch:
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    for x in (1, 2):
        handle.deliver(x).result()
        print("program's", x, flush=True)
    try:
        handle.deliver(3).result()
    except AgentCrashed as error:
        assert error.stderr_tail.endswith("agent's error 3\\n")
    assert handle.output() == "".join(f"agent's error {x}\\n" for x in (1, 2, 3))
"""
    )
    assert done.stdout == "agent's 1\nprogram's 1\nagent's 2\nprogram's 2\nagent's 3\n", done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("agent's")]
    assert lines == [f"agent's error {x}" for x in (1, 2, 3)]


def test_standard_output_that_is_not_captured_is_not_called_empty(start: Start) -> None:
    handle = start(running("pass"))
    with pytest.raises(ValueError, match="output='capture'"):
        handle.output("stdout")
    with pytest.raises(ValueError, match="stdout, stderr"):
        handle.output("stdwarn")  # type: ignore[arg-type]


def test_what_is_captured_appears_nowhere_else(run_python: Any) -> None:
    done = run_python(
        """
from procorch import AgentOrchestrator

def factory():
    import os
    return lambda x: [os.write(1, b"out"), os.write(2, b"err")]

with AgentOrchestrator() as orch:
    orch.add_agent("a", factory, output="capture")
    orch.spawn("a").send_message("")
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_file_gets_all_of_it_and_is_nobody_elses(
    orchestrator: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.log"
    monkeypatch.chdir(tmp_path)
    code = """
print("out", x)
print("err", x, file=sys.stderr)
if x == 2:
    os._exit(1)
"""
    with orchestrator(supervisor=DefaultSupervisor()) as orch:
        orch.add_agent("a", running(code), output="./a.log")
        handle = orch.spawn("a")
        monkeypatch.chdir("/")
        handle.deliver(1).result()
        assert crash_of(handle, 2).stderr_tail.endswith("err 2\n")
        handle.deliver(3).result()
        assert handle.output("stdout") == "out 1\nout 2\nout 3\n"
    lines = log.read_text().splitlines()
    assert [line for line in lines if "out" in line] == ["out 1", "out 2", "out 3"]
    assert [line for line in lines if "err" in line] == ["err 1", "err 2", "err 3"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600

    with orchestrator() as orch:
        orch.add_agent("a", running(code), output=log)
        orch.spawn("a").deliver(4).result()
    assert log.read_text().startswith("\n".join(lines))
    assert "out 4" in log.read_text()


def test_a_file_that_cannot_be_written_is_refused_at_once(
    orchestrator: Make, tmp_path: Path
) -> None:
    orch = orchestrator()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    orch.add_agent("nowhere", running("pass"), output=tmp_path / "no" / "a.log")
    orch.add_agent("directory", running("pass"), output=tmp_path)
    orch.add_agent("link", running("pass"), output=link)
    for name in ("nowhere", "directory", "link"):
        with pytest.raises(OSError, match=str(tmp_path)):
            orch.spawn(name)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("captured", "did you mean 'capture'"),
        ("agent.log", r"\./agent\.log"),
        ("/tmp/a\0b", "cannot be a path"),
        (3, "not int"),
        (None, "not NoneType"),
    ],
    ids=repr,
)
def test_a_setting_that_means_nothing_is_refused(
    orchestrator: Make, output: Any, complaint: str
) -> None:
    orch = orchestrator()
    with pytest.raises((ValueError, TypeError), match=complaint):
        orch.add_agent("a", running("pass"), output=output)
    assert "a" not in orch


def test_a_full_disk_costs_the_output_and_nothing_else(
    orchestrator: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "procorch"), orchestrator() as orch:
        orch.add_agent("a", running("print(x)"), output="/dev/full")
        handle = orch.spawn("a")
        for n in range(5):
            assert handle.deliver(n).result().output == n
        assert handle.output("stdout") == "0\n1\n2\n3\n4\n"
    said = [record.message for record in caplog.records if "/dev/full" in record.message]
    assert len(said) == 1
    assert "No space left" in said[0]


@pytest.mark.parametrize("output", ["inherit", "capture"])
def test_an_agent_costs_four_descriptors_at_most(orchestrator: Make, output: str) -> None:
    orch = orchestrator()
    orch.add_agent("a", running("pass"), output=output)
    orch.spawn("a")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        orch.spawn("a")
    assert len(os.listdir("/proc/self/fd")) - before <= 4 * 5
