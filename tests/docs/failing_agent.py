"""An agent that fails in the way that its request names; workers import nothing else of a test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from procorch import ModelThrottled, current

MIB = 1 << 20


def agent() -> Callable[[str], Any]:
    """Each request is one word: how to fail. ``pid`` and ``work`` succeed. After ``WORD > FILE``
    there is a file once it has begun."""

    def handle(request: str) -> Any:
        how, _, file = request.partition(" > ")
        if file:
            Path(file).touch()
        match how:
            case "raise":
                raise ValueError(how)
            case "raise, passing":
                raise ConnectionError(how)
            case "throttled":
                raise ModelThrottled(how, retry_after=0.01)
            case "die":
                os._exit(0)
            case "memory":
                held = b"x" * (300 * MIB)
                time.sleep(60 + len(held) % 2)
            case "unsendable":
                return (each for each in how)
            case "stubborn":
                ignore_everything()
            case "sleep":
                time.sleep(60)
            case "work":  # takes time in the first process only
                time.sleep(1 if current().generation == 1 else 0)
        return os.getpid()

    return handle


def ignore_everything() -> None:
    """Only SIGKILL ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # the exception of a timeout, too
            continue


def noting() -> Callable[[str], None]:
    """It writes the steps that end its request into the file that the request names."""

    def handle(file: str) -> None:
        began = time.monotonic()

        def note(step: str) -> None:
            with Path(file).open("a", encoding="utf-8") as lines:
                lines.write(f"{step} {time.monotonic() - began:.3f}\n")

        signal.signal(signal.SIGTERM, lambda *_: note("SIGTERM"))
        while not current().cancelled:
            time.sleep(0.005)
        note("cancelled")
        while True:
            try:
                time.sleep(0.02)
            except BaseException:
                note("exception")

    return handle
