"""Loops for services. Workers import this module, so it loads nothing else."""

from __future__ import annotations

from collections.abc import Callable


def obedient() -> None:
    """Works until it is told to stop."""
    import time

    from procorch import current

    worker = current()
    while not worker.cancelled:
        worker.progress()
        time.sleep(0.005)


def stubborn() -> None:
    """Hears nothing."""
    import time

    while True:
        time.sleep(0.01)


def failing_at(*ways: Callable[[], None]) -> Callable[[], None]:
    """One way to end for each generation; afterwards it works until it is told to stop."""

    def run() -> None:
        from procorch import current

        generation = current().generation
        if generation <= len(ways):
            ways[generation - 1]()
        else:
            obedient()

    return run


def die() -> None:
    import os

    os._exit(3)


def raise_error() -> None:
    raise ValueError("no such queue")


def come_back() -> None:
    """Returns at once."""


def hang() -> None:
    import time

    while True:
        time.sleep(0.01)
