"""One contender in an interpreter of its own.

A pool forks, has threads, keeps memory and may fall over. None of that is to touch the others, so
each contender is opened in a fresh process, which is asked for its rounds over a connection.
`Host` is the side of the one who asks; run as a program this module is the other.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from benchmarks.registry import row
from benchmarks.rows import Samples

_LAST_WORDS = 2_000
"""Bytes of a contender's error output that are told when it fails."""


class ContenderFailed(Exception):
    """It raised, died or took too long; the text says which."""


class Host:
    """A process that runs one contender; whatever it leaves behind ends with `kill`.

    Args:
        row_id: the row.
        contender: name of the contender in it.
        amount: of work in a round.
        patience: seconds that it may take to open, to close, and for each round.
    """

    def __init__(self, row_id: str, contender: str, amount: int, patience: float) -> None:
        self.contender = contender
        self._patience = patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `kill`
        self._connection, theirs = Pipe()
        arguments = [str(theirs.fileno()), row_id, contender, str(amount)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.host", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=[theirs.fileno()],
            # So that Ctrl-C reaches us alone, and what it leaves is found by its group.
            start_new_session=True,
        )
        theirs.close()
        self._pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def opened(self) -> None:
        """Wait until it is ready.

        Raises:
            ContenderFailed: it will not be.
        """
        self._receive()

    def round(self) -> Samples:
        """One round.

        Raises:
            ContenderFailed: there will be no more.
        """
        self._send(True)
        samples: Samples = self._receive()
        return samples

    def close(self) -> None:
        """Have the contender closed, and wait for it.

        Raises:
            ContenderFailed: it does not close.
        """
        self._send(False)
        self._receive()

    def kill(self) -> None:
        """End the process and all that are in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._pidfd)
        self._connection.close()
        self._errors.close()

    def _send(self, go_on: bool) -> None:
        try:
            self._connection.send(go_on)
        except OSError:
            raise ContenderFailed(f"its process has ended{self._last_words()}") from None

    def _receive(self) -> Any:
        # Not the end of the stream: a worker that outlives the process holds its end open.
        ready = wait([self._connection, self._pidfd], self._patience)
        if not ready:
            raise ContenderFailed(f"no answer within {self._patience:g} s{self._last_words()}")
        try:
            failed, said = self._connection.recv() if self._connection.poll() else (True, "")
        except (EOFError, OSError):
            failed, said = True, ""
        if failed:
            raise ContenderFailed(said or f"its process has ended{self._last_words()}")
        return said

    def _last_words(self) -> str:
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - _LAST_WORDS))
        said = self._errors.read().decode(errors="replace").strip()
        return f": {said}" if said else ""


def main(fd: int, row_id: str, contender: str, amount: int) -> None:
    """Run a contender for whoever holds the other end of the connection ``fd``."""
    os.set_inheritable(fd, False)
    connection = Connection(fd)
    try:
        with row(row_id).contenders[contender].open(amount) as round_:
            connection.send((False, None))
            while connection.recv():
                gc.collect()
                connection.send((False, round_()))
        connection.send((False, None))
    except EOFError:
        return  # nobody asks any more
    except Exception as error:
        traceback.print_exc()
        connection.send((True, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
