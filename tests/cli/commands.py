"""Commands as a shell sees them, each in a process that is forked with its modules loaded."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

LIMIT = 150.0  # seconds
SERVER = Path(__file__).with_name("command_server.py")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


class CommandServer:
    """Asks `command_server` for commands."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER.read_text(), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",  # ``-c`` looks for modules here first, and the checkout has a procorch
            )

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Ended:
        """Run a command in the current folder, with pipes, and nothing to read.

        Raises:
            TimeoutError: it, or a process that it left behind, has its output open for too long.
        """
        request = {
            "arguments": [*arguments], "environment": {**environment}, "folder": os.getcwd(),
        }  # fmt: skip
        with ExitStack() as stack:
            ours = [stack.enter_context(open(fd, "rb")) for fd in self._send(request)]
            texts: list[bytes] = [b"", b"", b""]

            def read(number: int) -> None:
                texts[number] = ours[number].read()

            answer = ours[2]
            pid = int(answer.readline())
            threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
            for each in threads:
                each.daemon = True
                each.start()
            for each in threads:
                each.join(LIMIT)
                if each.is_alive():
                    os.kill(pid, signal.SIGKILL)
                    raise TimeoutError(f"procorch {' '.join(arguments)} takes over {LIMIT} s")
        out, err, code = texts
        return Ended(int(code), _text(out), _text(err))

    def _send(self, request: Mapping[str, object]) -> list[int]:
        """The ends to read from: standard output, standard error, and the answer."""
        pipes = [os.pipe() for _ in range(3)]
        nothing = os.open(os.devnull, os.O_RDONLY)
        given = [nothing, *(write for _, write in pipes)]
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], given)
        finally:
            for fd in given:
                os.close(fd)
        return [read for read, _ in pipes]

    def close(self) -> None:
        """End the process that forks; a command that runs goes on."""
        self._control.close()
        self._process.wait()


def _text(data: bytes) -> str:
    return data.decode("utf-8").replace("\r\n", "\n")
