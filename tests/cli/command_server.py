"""Runs `procorch` commands in processes that have the modules of the command line loaded.

A command is mostly imports: half a second of processor time in which nothing of a test happens.
This process loads them once and forks for each command. It is started with its text as
``python -c``, as the commands of tests are, so that ``__main__`` and ``sys.path`` are the same in
its forks.

It reads JSON lines with the descriptors of standard input, output and error beside them, and for
each it makes a process that waits for the command, and answers with the pid and the exit code.
"""

import importlib
import json
import os
import socket
import sys

MODULES = (
    "batch", "batch_exec", "batch_report", "batch_screen", "bench", "bench_report", "export",
    "merge", "runs", "show", "show_comparison",
)  # fmt: skip


def serve() -> list[str]:
    """Serve until the other end is closed; returns the arguments of the command in its process."""
    with socket.socket(fileno=int(sys.argv[1])) as control:
        while True:
            text, fds, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not text:
                os._exit(0)
            if not os.fork():
                break
            for fd in fds:
                os.close(fd)
            os.wait()
    request, answer = json.loads(text), fds[3]
    # The command is a grandchild, so that this process can serve another one meanwhile.
    if os.fork():
        os._exit(0)
    pid = os.fork()
    if pid:
        os.write(answer, b"%d\n" % pid)
        for fd in fds[:3]:
            os.close(fd)
        os.write(answer, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    os.closerange(3, 1024)
    os.chdir(request["folder"])
    for name in "multiprocessing", "multiprocess":  # where an interpreter has started
        sys.modules[f"{name}.process"].ORIGINAL_DIR = request["folder"]
    os.environ.clear()
    os.environ.update(request["environment"])
    for name, number in ("stdin", 0), ("stdout", 1), ("stderr", 2):
        mode, errors = ("r", "strict") if number == 0 else ("w", "strict")
        if number == 2:
            errors = "backslashreplace"
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return request["arguments"]


importlib.import_module("multiprocess.process")
importlib.import_module("multiprocessing.process")
importlib.import_module("procorch.cli.main")
for each in MODULES:
    importlib.import_module(f"procorch.cli.{each}")
sys.argv[1:] = serve()
sys.exit(sys.modules["procorch.cli.main"].main())
