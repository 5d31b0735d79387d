"""Functions that workers import by name."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

STATE: list[Any] = []


def remember(*values: Any) -> None:
    STATE.extend(values)


def state() -> list[Any]:
    return STATE


def pid(*_: Any) -> int:
    return os.getpid()


def add(a: Any, b: Any) -> Any:
    return a + b


def power(a: Any, b: Any = 2, *, plus: Any = 0) -> Any:
    return a**b + plus


class Odd(Exception):
    """One whose constructor does not take its own args: it dumps well and does not load."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} is odd")


def even(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


def odd(x: int) -> int:
    raise Odd(x, x)


def die(how: Any = "SIGKILL") -> None:
    if isinstance(how, int):
        os._exit(how)
    os.kill(os.getpid(), getattr(signal, how))


def leave(code: int) -> None:
    raise SystemExit(code)


def interrupt() -> None:
    raise KeyboardInterrupt


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def die_at_five(x: int) -> int:
    if x == 5:
        os._exit(7)
    return x
