"""Agents of the batch tests. What they have done they write to the file named by EXECUTED."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from procorch.errors import ModelThrottled


def executed(item: object) -> None:
    """Leave a line, whatever happens next: the session, and the item."""
    path = os.environ.get("EXECUTED")
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{os.environ.get('SESSION', '1')} {item}\n".encode())
        os.close(fd)


class Stubborn(Exception):
    """Dumps well, and does not load."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first} and {second}")


def double() -> Callable[[Any], Any]:
    """Twice the item."""

    def handle(item: Any) -> Any:
        executed(item)
        return item * 2

    return handle


def echo() -> Callable[[Any], Any]:
    """The item itself."""

    def handle(item: Any) -> Any:
        executed(item)
        return item

    return handle


def hostile() -> Callable[[int], int]:
    """5 % kill their worker, 1 % hang, 1 % raise what does not unpickle, 1 % fail."""

    def handle(item: int) -> int:
        executed(item)
        match item % 100:
            case 3 | 23 | 43:
                os.kill(os.getpid(), signal.SIGKILL)
            case 63:
                os.abort()
            case 83:
                os._exit(0)
            case 50:
                while True:
                    time.sleep(0.01)
            case 60:
                raise Stubborn(item, "no more")
            case 70:
                raise ValueError(f"item {item} is wrong")
        return item * 2

    return handle


def expected(item: int) -> str | None:
    """The reason for which `hostile` fails an item."""
    kinds = dict.fromkeys((3, 23, 43, 63, 83), "crashed")
    return (kinds | {50: "timeout", 60: "error", 70: "error"}).get(item % 100)


def dies_twice() -> Callable[[str], str]:
    """Takes three attempts: the path that it gets counts them."""

    def handle(path: str) -> str:
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "third time lucky"

    return handle


class Busy(Exception):
    """An exception of somebody's own that asks for a pause."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


def throttled() -> Callable[[list[Any]], float]:
    """Refuses ``[path, seconds, kind]`` for so long; afterwards gives the time that has passed."""

    def handle(item: list[Any]) -> float:
        path, seconds, kind = item
        if os.path.exists(path):
            return time.time() - os.path.getmtime(path)
        open(path, "w").close()
        if kind == "model":
            raise ModelThrottled(retry_after=seconds)
        raise Busy(seconds)

    return handle


def always_throttled() -> Callable[[int], int]:
    """Is throttled for ever with the item 1."""

    def handle(item: int) -> int:
        if item == 1:
            raise ModelThrottled("slow down", retry_after=0.01)
        return item

    return handle


def sleeper() -> Callable[[float], float]:
    """Sleeps for as long as the item says."""

    def handle(seconds: float) -> float:
        executed(seconds)
        time.sleep(seconds)
        return seconds

    return handle


def waits_for() -> Callable[[str], str]:
    """Answers with the path that it gets, once there is a file of that name."""

    def handle(path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.005)
        return path

    return handle


def after_the_first() -> Callable[[Any], Any]:
    """The item itself; from the second on once there is a file of the name in GATE."""
    gate, begun = os.environ["GATE"], False

    def handle(item: Any) -> Any:
        nonlocal begun
        while begun and not os.path.exists(gate):
            time.sleep(0.005)
        begun = True
        return item

    return handle


def talker() -> Callable[[str], int]:
    """Says what it gets on both streams; dies of "die"."""

    def handle(word: str) -> int:
        os.write(1, f"out {word}\n".encode())
        os.write(2, f"err {word}\n".encode())
        if word == "die":
            os.abort()
        return len(word)

    return handle


def broken() -> Callable[[Any], Any]:
    """Cannot be made."""
    raise RuntimeError("no model here")


def parent_pid() -> Callable[[Any], int]:
    """The process that made this worker."""
    return lambda item: os.getppid()
