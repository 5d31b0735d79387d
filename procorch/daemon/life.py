"""The life of the daemon: from its lock to its last line, by signals and commands.

The main thread waits for one queue. Signal handlers, the control socket and the keeper of the
agents put into it what has happened, and return. So a signal is never late because something else
is under way: a reload runs on a thread of its own, and SIGTERM interrupts it.

* The lock decides who is the daemon (`lock`). The socket of a daemon that was killed is replaced
  only while the lock is held.
* SIGTERM and Ctrl-C drain: nothing new is accepted, what runs is finished. A second signal ends
  the daemon at once; the kernel ends the workers.
* SIGHUP reloads.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Literal, NoReturn

from procorch import __version__
from procorch.daemon.config.secrets import Redactor
from procorch.daemon.control.protocol import SOCKET
from procorch.daemon.control.server import ControlServer
from procorch.daemon.control.verbs import VERBS
from procorch.daemon.core import Core
from procorch.daemon.errors import ConfigErrors, DaemonError, FolderError
from procorch.daemon.history.history import History
from procorch.daemon.lock import Lock, make_folder
from procorch.daemon.logs.handler import LogHandler
from procorch.daemon.logs.writer import LogWriter
from procorch.daemon.notify import Notifier
from procorch.daemon.readiness_pipe import ReadinessPipe
from procorch.daemon.specs import Config
from procorch.daemon.watching import Watcher
from procorch.errors import AgentError
from procorch.launch import launchers

_log = logging.getLogger("procorch")

_WATCHDOG_ANSWER = 5.0
"""Seconds that the monitor has to answer before a sign of life is left out."""


def run(
    config: Config, *, watch: bool = False, echo: Literal["text", "json"] | None = "text"
) -> int:
    """Be the daemon of a configuration, until a signal or a command ends it.

    Args:
        watch: reload when a file of the configuration or of the agents' code changes.
        echo: also write the output of agents to standard output, in this form; None: do not.

    Returns:
        The exit code: 0 after an end in order; 1 if ``exit_when`` ended it because an agent failed;
        128 and the number of the signal if ``drain_timeout`` was not enough.

    Raises:
        DaemonBusy: another daemon has the folder.
        FolderError, HistoryError: the folder, or the history in it, cannot be used.
        ConfigErrors: an agent cannot be registered.
    """
    os.umask(0o077)
    os.chdir(config.folder)
    make_folder(config.daemon.dir)
    about = {"pid": os.getpid(), "config": str(config.file), "version": __version__}
    lock = Lock(config.daemon.dir, about)
    try:
        return _Life(config, watch=watch, echo=echo).run()
    finally:
        lock.release()


class _Life:
    """One daemon, which holds the lock of its folder."""

    def __init__(
        self, config: Config, *, watch: bool, echo: Literal["text", "json"] | None
    ) -> None:
        self._happened: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._notifier = Notifier()
        self._pipe = ReadinessPipe()
        self._redactor = Redactor()
        folder = config.daemon.dir
        mask = self._redactor.mask
        self._history = History(folder / "history.sqlite", config.daemon.history, mask)
        try:
            self._logs = LogWriter(folder / "logs", config.daemon.log, mask, echo=echo)
        except OSError as error:
            self._history.close()
            raise FolderError(f"cannot write logs in {folder / 'logs'}: {error.strerror}") from None
        self._handler = LogHandler(self._logs)
        self._socket = folder / SOCKET
        self._announced = False
        self._hangs = False
        self._change_is_noted = False
        self._watch = watch
        self._signum = 0
        self._core: Core | None = None
        self._config = config

    def run(self) -> int:
        """Run until the end; returns the exit code."""
        launchers.reap_if_first()
        self._handler.install()
        try:
            return self._run()
        finally:
            self._handler.remove()
            self._logs.close()
            self._history.close()
            self._notifier.close()
            self._pipe.close()

    def _run(self) -> int:
        core = self._core = Core(
            self._config, self._history, self._logs, self._redactor,
            ended=lambda reason: self._happened.put(("ended", reason)),
            stop=lambda timeout: self._happened.put(("stop", timeout)),
            changed=self._note_change,
            reloads=self._on_reload,
        )  # fmt: skip
        control = ControlServer(self._socket, core, VERBS)
        before = {each: signal.signal(each, self._came) for each in _signals()}
        watcher = Watcher(core.files, self._reload) if self._watch else None
        try:
            control.start()
            _log.info("pid %d listens on %s", os.getpid(), self._socket)
            core.begin()
            if watcher is not None:
                watcher.start()
            code, timeout = self._wait(core)
            self._notifier.stopping()
            control.end_soon()
            in_time = core.close(timeout)
            if not in_time and self._signum:
                return 128 + self._signum
            return code
        except BaseException:
            core.close(0)
            raise
        finally:
            if watcher is not None:
                watcher.close()
            control.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    # ---- signals

    def _came(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGHUP:
            self._happened.put(("reload", None))
            return
        if self._signum:
            _end_now(signum)
        self._signum = signum
        self._happened.put(("signal", signum))

    # ---- the main thread

    def _wait(self, core: Core) -> tuple[int, float]:
        """Wait for the reason to end.

        Returns:
            The exit code, and the seconds to drain.
        """
        beat = None if self._notifier.watchdog is None else self._notifier.watchdog / 2
        next_beat = time.monotonic()
        while True:
            try:
                pause = None if beat is None else max(0.0, next_beat - time.monotonic())
                what, about = self._happened.get(timeout=pause)
            except Empty:
                assert beat is not None
                next_beat = time.monotonic() + beat
                self._give_sign_of_life(core, min(beat, _WATCHDOG_ANSWER))
                continue
            default = core.config.daemon.drain_timeout  # a reload may have changed it
            match what:
                case "signal":
                    _log.info("%s: the daemon ends", signal.Signals(about).name)
                    return 0, default
                case "stop":
                    return 0, default if about is None else about
                case "ended":
                    _log.warning("the daemon ends: %s", about)
                    return (1 if core.failures() else 0), default
                case "reload":
                    threading.Thread(target=self._reload, daemon=True).start()
                case _:
                    self._change_is_noted = False
                    self._announce(core)

    def _give_sign_of_life(self, core: Core, timeout: float) -> None:
        """Feed the watchdog, unless the monitor of the agents takes no events."""
        answers = core.orchestrator.is_responsive(timeout)
        if answers:
            self._notifier.alive()
        elif not self._hangs:
            text = "the monitor of the agents does not answer"
            self._notifier.status(text)
            _log.error("%s: the watchdog of the service manager gets no sign of life", text)
        self._hangs = not answers

    def _note_change(self) -> None:
        """Have the main thread look at the agents: once, however many have changed until then."""
        if not self._change_is_noted:
            self._change_is_noted = True
            self._happened.put(("changed", None))

    def _announce(self, core: Core) -> None:
        """Tell who waits that all agents are ready, or that some will not be."""
        if self._announced:
            return
        waiting = core.not_ready()
        if not waiting:
            self._announced = True
            self._notifier.ready(f"{len(core.names())} agents")
            self._pipe.tell({"ready": True, "failed": {}})
            return
        failed = core.failures()
        if all(name in failed for name in waiting):
            self._pipe.tell({"ready": False, "failed": failed})
            self._notifier.status(f"failed: {', '.join(sorted(failed))}")

    # ---- reloads

    def _reload(self) -> None:
        core = self._core
        assert core is not None
        try:
            core.reload()
        except (ConfigErrors, DaemonError, AgentError) as error:
            _log.error("the reload has failed, the old release serves on: %s", error)

    def _on_reload(self, begins: bool) -> None:
        if begins:
            self._notifier.reloading()
        else:
            core = self._core
            assert core is not None
            self._notifier.ready(f"release {core.release}")


def _signals() -> list[signal.Signals]:
    """Signals that the daemon handles; a SIGHUP that was ignored at the start stays ignored."""
    handled = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handled.append(signal.SIGHUP)
    return handled


def _end_now(signum: int) -> NoReturn:
    """End without waiting for anything. The kernel ends the workers."""
    os._exit(128 + signum)
