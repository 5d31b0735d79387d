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


def same(x: Any) -> Any:
    return x


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


def nap_and_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die_at_five(x: int) -> int:
    if x == 5:
        os._exit(7)
    return x


def die_at(number: int, x: int) -> int:
    if x == number:
        die()
    return x


def first(items: list[int]) -> int:
    return next(iter(items))


class Refusing(Exception):
    """One whose attributes cannot be set."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot assign to {name!r}")


class Hostile(Exception):
    """One whose methods raise or lie."""

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __hash__(self) -> int:
        raise RuntimeError("not hashable")

    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise StopIteration


def raise_one(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


def raise_group() -> None:
    raise ExceptionGroup("several", [ValueError(1), StopIteration(2)])


def exhaust(what: str) -> Any:
    if what == "memory":
        return bytearray(1 << 62)
    return exhaust(what)


def double(x: int) -> int:
    return 2 * x


def touch(path: str) -> None:
    time.sleep(0.01)
    open(path, "w").close()


def touch_or_die(path: str) -> None:
    if "die" in path:
        os._exit(3)
    if "raise" in path:
        raise ValueError(path)
    touch(path)


def begin_and_end(folder: str, number: int) -> None:
    open(f"{folder}/{number}.begun", "w").close()
    time.sleep(0.2)
    open(f"{folder}/{number}.ended", "w").close()
