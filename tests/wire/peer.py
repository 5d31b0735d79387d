"""A worker reduced to the codec: a process that loads a factory and answers messages.

Parent side `Worker`, worker side `serve`. Messages are one length and one body; everything else
(frames, supervision) has tests of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType
from typing import IO, Any

from procorch.wire.codec import decode, dump_factory, encode, load_factory, set_role


class Refused(Exception):
    """The worker could not do it; the text says why."""


class Worker:
    """A real process with the parent's ``sys.path``, in which the factory is built.

    Args:
        factory: what `dump_factory` accepts; its product is called with every message.
        without: an entry of ``sys.path`` that the worker does not get.
    """

    def __init__(self, factory: Any, *, without: str = "") -> None:
        path = [os.path.abspath(entry) for entry in sys.path if entry != without]
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.wire.peer import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        try:
            _write(self._in, dump_factory(factory))
            self.needed_dill = self._reply()
        except BaseException:
            self.close()
            raise

    def ask(self, message: Any) -> Any:
        """Return what the agent made of ``message``; raise `Refused` if it raised."""
        _write(self._in, *encode(message, what="request"))
        return self._reply()

    def _reply(self) -> Any:
        good, value = decode(_read(self._out))
        if not good:
            raise Refused(value)
        return value

    def close(self) -> None:
        self._in.close()
        self._out.close()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def serve() -> None:
    """Be the worker: load the factory from stdin, build the agent, answer until the end."""
    set_role("worker")
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an agent prints must not get between the replies
    agent: Any = None
    for message in iter(lambda: _read(stdin), b""):
        reply: tuple[bool, Any]
        try:
            if agent is None:
                agent = load_factory(message)()
                reply = True, "dill" in sys.modules
            else:
                reply = True, agent(decode(message))
            body = encode(reply, what="reply")
        except Exception as error:
            body = encode((False, f"{type(error).__name__}: {error}"), what="reply")
        _write(stdout, *body)


def _write(stream: IO[bytes], *parts: Any) -> None:
    stream.write(sum(len(part) for part in parts).to_bytes(8))
    for part in parts:
        stream.write(part)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    size = stream.read(8)
    return stream.read(int.from_bytes(size)) if size else b""
