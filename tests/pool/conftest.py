"""A gate for items: how a test holds the replicas of a pool until it has seen what it wants."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


class Door:
    """Closed until `open` is called. `wait` is for the workers: a plain function."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR)
        self.wait = _waiter(str(path))

    def open(self, times: int = 1) -> None:
        """Let ``times`` waits go on."""
        os.write(self._fd, b"." * times)

    def close(self) -> None:
        os.close(self._fd)


def _waiter(path: str) -> Callable[[], None]:
    def wait() -> None:
        import os

        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 1)  # ends, too, when the test has gone
        os.close(fd)

    return wait


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "door")
    yield made
    made.close()
