"""The lifecycle of an orchestrator: start of its monitor, forks, close."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from procorch.api.context_manager import ClosedOnExit
from procorch.errors import AgentStopped
from procorch.futures.fork_guard import is_ours
from procorch.futures.watch import EventHub
from procorch.launch import launchers
from procorch.runtime.lifetime import close_at_exit, forget_definitions, keep_definitions
from procorch.runtime.limits import LimitStore
from procorch.runtime.monitor import Monitor
from procorch.runtime.output_sink import OutputSink, checked_sink
from procorch.units import size_in_bytes, whole

if TYPE_CHECKING:
    from procorch.api.conversations.keeper import Keeper
    from procorch.launch.ray.backend import RayBackend

_FRAME_EXTRA = 1 << 20
"""Bytes that a frame may have beside its message (``worker.main`` keeps its headers below)."""


class Lifecycle(ClosedOnExit):
    """The base of `AgentOrchestrator`, which has the arguments: it starts and ends the monitor."""

    def __init__(
        self,
        *,
        max_message: int | str,
        preload: Sequence[str],
        start_method: str | None,
        seed: int | None,
        output_sink: OutputSink | None,
        backend: str | RayBackend | None,
        conversations: str | os.PathLike[str] | None = None,
    ) -> None:
        self._max_message = size_in_bytes(max_message, "max_message")
        if isinstance(preload, str) or not all(isinstance(name, str) for name in preload):
            raise TypeError(f"preload must be a list of module names, not {preload!r}")
        self._preload = tuple(preload)
        if backend is not None and start_method is not None:
            raise ValueError(
                "start_method= is about processes of this machine: leave it out with backend="
            )
        self._backend = launchers.remote_backend(backend)
        self._start_method = "ray" if self._backend else launchers.start_method(start_method)
        if self._preload and self._start_method == "spawn":
            raise ValueError(
                f"preload works with start_method='zygote', not with {self._start_method!r}"
            )
        chosen = _any_seed() if seed is None else whole(seed, "seed", least=None)
        self._seed = str(chosen)
        checked_sink(output_sink)
        self._output_sink = output_sink
        self._limits: dict[str, LimitStore] = {}
        self._monitor: Monitor | None = None
        self._conversations = None if conversations is None else Path(conversations)
        self._keeper: Keeper | None = None
        self._closed = False
        keep_definitions(self)
        # Re-entrant: a signal handler or a finalizer may interrupt a call and make another one.
        self._lock = threading.RLock()

    def hub(self) -> EventHub:
        """The hub that publishes events."""
        # A closed monitor still has the events of ended agents.
        monitor = self._monitor or self.running_monitor()
        return monitor.hub

    def running_monitor(self) -> Monitor:
        """The monitor, started on first use.

        Raises:
            AgentStopped: the orchestrator is closed.
        """
        with self._lock:
            if self._closed:
                raise AgentStopped("the orchestrator is closed")
            if self._monitor is None:
                monitor = self._make_monitor()
                if self._closed:
                    raise AgentStopped("the orchestrator is closed")
                if self._monitor is None:
                    self._monitor = monitor
                    try:
                        monitor.start()
                    except BaseException:  # no memory for a thread: the next call tries again
                        self._monitor = None
                        raise
                    close_at_exit(monitor)
            return self._monitor

    def keeper(self) -> Keeper:
        """What keeps the conversations, started on first use.

        Raises:
            ValueError: the orchestrator has no ``conversations``.
            AgentStopped: it is closed.
            ConversationStoreError: the file cannot be used.
        """
        from procorch.api.conversations.keeper import Keeper  # imports SQLite

        if self._conversations is None:
            raise ValueError("conversations need AgentOrchestrator(conversations=PATH)")
        with self._lock:
            monitor = self.running_monitor()
            if self._keeper is None:
                self._keeper = Keeper(self._conversations, monitor.clock)
            return self._keeper

    def _make_monitor(self) -> Monitor:
        max_frame = self._max_message + _FRAME_EXTRA
        if self._backend is not None:
            launcher = launchers.remote_launcher(self._backend, max_frame, self._preload)
        else:
            launcher = launchers.launcher(self._start_method, max_frame, self._preload, _sys_path())
        return Monitor(
            launcher, self._max_message, _sys_path, seed=self._seed, limits=self._limits,
            output_sink=self._output_sink,
        )  # fmt: skip

    # ---- forks

    def must_be_ours(self) -> None:
        """Refuse callers in the child of a fork: the agents belong to its parent (N21).

        All methods that need agents call it, so nothing waits there or affects the agents.

        Raises:
            AgentStopped: this process is a fork of the one that started the agents.
        """
        if self._monitor is not None:
            self._monitor.must_be_ours()

    def leave(self, kind: type[BaseException] | None) -> bool:
        """See `ClosedOnExit.leave`.

        In the child of a fork there is nothing to close. An exception there, usually `SystemExit`,
        goes on.

        Raises:
            AgentStopped: the child of a fork has reached the end of the block without an exception.
        """
        if kind is None or self._monitor is None:
            self.must_be_ours()
            return True
        return is_ours(self._monitor.owner)

    # ---- closing

    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """End all agents and wait until no process is left (N7, N15). A second call has no effect.

        Args:
            drain: finish the accepted requests; False: abort them (`Aborted`).
            timeout: seconds in all; after them the remaining requests are aborted and their
                processes killed.

        Raises:
            AgentStopped: this process is a fork of the one that started the agents.
        """
        self.must_be_ours()
        with self._lock:
            self._closed = True
            monitor, keeper = self._monitor, self._keeper
        if keeper is not None:
            end = time.monotonic() + timeout
            if drain:
                keeper.await_begun(timeout)
            keeper.abort()
            timeout = max(0.0, end - time.monotonic())
        if monitor is not None:
            monitor.close(drain=drain, timeout=timeout)
        if keeper is not None:
            keeper.close()
        forget_definitions(self)

    def await_quiet(self, timeout: float) -> None:
        """Wait until each request has its outcome, at most ``timeout`` seconds (pools)."""
        self.must_be_ours()
        monitor = self._monitor
        if monitor is not None:
            monitor.await_quiet(timeout)

    def is_responsive(self, timeout: float) -> bool:
        """Whether its monitor takes events: False if it took none within ``timeout`` seconds."""
        self.must_be_ours()
        monitor = self._monitor
        if monitor is None or self._closed:
            return True
        taken = threading.Event()
        monitor.post(taken.set)
        return taken.wait(timeout)


def _any_seed() -> int:
    """63 random bits; not by `secrets`, which loads OpenSSL into every program."""
    return int.from_bytes(os.urandom(8)) >> 1


def _sys_path() -> list[str]:
    """The parent's ``sys.path`` for other processes. The working directory replaces the empty
    entry, which is left out if that directory was deleted.

    Entries that are not text (a ``Path``) are left out, because Python's import ignores them.
    Entries that UTF-8 cannot encode are left out as well, because headers are UTF-8.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    paths = [path or here for path in sys.path if isinstance(path, str) and (path or here)]
    return [
        path for path in paths if path.isascii() or path == path.encode(errors="ignore").decode()
    ]
