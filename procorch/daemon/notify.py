"""Tells the service manager how the daemon is (sd_notify of systemd).

Messages are datagrams to the socket that ``NOTIFY_SOCKET`` names. Without it nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time

_log = logging.getLogger("procorch")


class Notifier:
    """Sends messages to the service manager.

    It takes ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` out of the environment, so
    that no agent speaks for the daemon.

    Attributes:
        watchdog: seconds within which the manager expects a sign of life; None: it expects none.
    """

    def __init__(self) -> None:
        self._path = os.environ.pop("NOTIFY_SOCKET", "")
        usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        ours = usec.isdecimal() and int(usec) > 0 and pid in ("", str(os.getpid()))
        self.watchdog: float | None = int(usec) / 1e6 if ours else None
        self._socket: socket.socket | None = None
        if self._path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(1.0)

    def ready(self, status: str) -> None:
        """The daemon has started, or a reload is over."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """A reload begins (``notify-reload``: both lines in one message)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1\nSTATUS=finishing what runs")

    def status(self, text: str) -> None:
        """One line for people."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        path = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        try:
            self._socket.sendto(text.encode(), path)
        except OSError as error:
            _log.warning("cannot notify the service manager at %s: %s", self._path, error)
