"""When a program that is kept alive is ready: its port answers, it has said so, or time has passed.

A `ReadyCheck` says what to look for. `Readiness` looks for it, in the worker of the service, once
for each process of the program. A connection may take as long as its timeout, so it is tried on a
thread of its own: meanwhile the program's output is read, and a stop is noticed.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from procorch.units import seconds

STEP = 0.05
"""Seconds before the first attempt, and between two looks whether one has succeeded."""
_LONGEST_STEP = 0.5
_GROWTH = 1.2
"""Each wait between two attempts is so many times the one before, up to the longest."""
_TIMEOUT = 2.0
"""Seconds that an attempt may wait for the other side."""
_LONGEST_LINE = 1 << 16
"""Bytes of a line that are compared with the expression."""

Sink = Callable[[bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyCheck:
    """When a program is ready: for ``command(..., ready=)``, with exactly one of the four checks.

    Args:
        port: this TCP port of ``host`` accepts connections.
        host: a name or an address; only together with ``port``.
        http: a GET of this URL (http or https) is answered with a status below 400. Redirects are
            not followed, and no proxy is used.
        line: a line of its standard output or standard error matches this regular expression
            (`re.search`).
        after: it has run for so many seconds, or for a duration such as ``"2s"``.

    Raises:
        TypeError: a value has a wrong type.
        ValueError: not exactly one check is given, or its value cannot be used.

    Example:
        >>> ReadyCheck(port=7001).port
        7001
    """

    port: int | None = None
    host: str = "127.0.0.1"
    http: str | None = None
    line: str | None = None
    after: float | str | None = None

    def __post_init__(self) -> None:
        checks = {"port": self.port, "http": self.http, "line": self.line, "after": self.after}
        given = [name for name, value in checks.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                "ReadyCheck takes exactly one of port, http, line and after, not "
                f"{' and '.join(given) or 'none of them'}"
            )
        if self.port is not None:
            _check_port(self.port)
            _check_host(self.host)
        elif self.host != "127.0.0.1":
            raise ValueError("host goes with port: an http URL has a host of its own")
        if self.http is not None:
            _check_url(self.http)
        if self.line is not None:
            _check_expression(self.line)
        if self.after is not None:
            # The class is frozen, and keeps seconds also where text was given.
            object.__setattr__(self, "after", seconds(self.after, "after"))

    def __str__(self) -> str:
        """The condition in words."""
        if self.port is not None:
            return f"port {self.port} of {self.host} accepts connections"
        if self.http is not None:
            return f"GET {self.http} answers with a status below 400"
        if self.line is not None:
            return f"a line of its output matches {self.line!r}"
        return f"it has run for {self.after:g} s"


class Readiness:
    """Watches one process of a program until its check has passed.

    Args:
        check: what to look for.
    """

    def __init__(self, check: ReadyCheck) -> None:
        self.check: ReadyCheck = check
        self._passed = threading.Event()
        self._over = threading.Event()
        self._due: float | None = None

    def start(self) -> None:
        """The program has been started."""
        check = self.check
        if check.after is not None:
            self._due = time.monotonic() + float(check.after)
        elif check.line is None:
            threading.Thread(target=self._attempt, name="procorch-ready", daemon=True).start()

    def stop(self) -> None:
        """Look no longer; an attempt that is under way ends within its timeout."""
        self._over.set()

    @property
    def passed(self) -> bool:
        """Whether the check has passed."""
        return self._passed.is_set() or (self._due is not None and time.monotonic() >= self._due)

    def reading(self, sink: Sink) -> Sink:
        """A sink for one stream of the program: passes everything on, and looks for the line."""
        if self.check.line is None:
            return sink
        wanted, passed = re.compile(self.check.line), self._passed
        held = bytearray()

        def look(data: bytes) -> None:
            sink(data)
            if passed.is_set():
                return
            *lines, rest = (bytes(held) + data).split(b"\n")
            held[:] = rest[:_LONGEST_LINE]
            for line in lines:
                text = line[:_LONGEST_LINE].removesuffix(b"\r").decode("utf-8", "replace")
                if wanted.search(text):
                    passed.set()

        return look

    def _attempt(self) -> None:
        check, wait = self.check, STEP
        while not self._over.wait(wait):
            if _answers(check.http) if check.http else _accepts(check.host, check.port):
                self._passed.set()
                return
            wait = min(wait * _GROWTH, _LONGEST_STEP)


def _accepts(host: str, port: int | None) -> bool:
    try:
        with socket.create_connection((host, port), _TIMEOUT) as connection:
            # Where nobody listens, TCP may connect a socket of this machine with itself.
            return bool(connection.getsockname() != connection.getpeername())
    except OSError:
        return False


def _answers(url: str) -> bool:
    import http.client  # slow, and other checks do without it

    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, parts.port or 443, timeout=_TIMEOUT)
    else:
        connection = http.client.HTTPConnection(host, parts.port or 80, timeout=_TIMEOUT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _check_port(port: Any) -> None:
    if type(port) is not int:
        raise TypeError(f"port must be a whole number, not {type(port).__name__}")
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be from 1 to 65535, not {port}")


def _check_host(host: Any) -> None:
    if not isinstance(host, str):
        raise TypeError(f"host must be text, not {type(host).__name__}")
    try:
        usable = bool(host.encode("idna")) and host.isprintable() and " " not in host
    except UnicodeError:
        usable = False
    if not usable:
        raise ValueError(f"host must be a name or an address, not {host!r}")


def _check_url(url: Any) -> None:
    if not isinstance(url, str):
        raise TypeError(f"http must be a URL, not {type(url).__name__}")
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"http must be a URL such as 'http://127.0.0.1:8000/health', not {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("http must be a URL without a user and a password")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"http: {url!r} has characters that a URL has to quote")
    _check_host(parts.hostname)


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return None if parts.port == 0 else parts  # a bad port is found when it is read
    except ValueError:
        return None


def _check_expression(line: Any) -> None:
    if not isinstance(line, str):
        raise TypeError(f"line must be text, not {type(line).__name__}")
    try:
        re.compile(line)
    except re.error as error:
        raise ValueError(f"line: {line!r} is no regular expression: {error}") from None
