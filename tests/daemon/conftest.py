"""Fixtures of the daemon's tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procorch.daemon.control.connection import Limits
from procorch.daemon.control.server import ControlServer
from tests.daemon.fake_core import FakeCore

Serve = Callable[..., ControlServer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a daemon."""
    made = tmp_path / "daemon"
    made.mkdir(0o700)
    return made


@pytest.fixture
def core() -> Iterator[FakeCore]:
    """A daemon without agents."""
    core = FakeCore()
    yield core
    core.held.set()


@pytest.fixture
def serve(folder: Path, core: FakeCore) -> Iterator[Serve]:
    """Start a server for `core`; it is closed at the end, and leaves no thread."""
    servers = []

    def start(limits: Limits | None = None, where: Path | None = None) -> ControlServer:
        server = ControlServer((where or folder) / "control.sock", core, limits=limits)
        server.start()
        servers.append(server)
        return server

    yield start
    core.held.set()
    for server in servers:
        server.close()
    for thread in threading.enumerate():
        if thread.name.startswith("procorch-control"):
            thread.join(10)
            assert not thread.is_alive()
