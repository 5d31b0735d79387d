"""The deadline of a zygote on another machine than its supervisor (docs/how-to/cluster.md).

Without a new deadline the zygote ends its descendants and itself. If it cannot, because somebody
has stopped it by a signal, a timer of the kernel kills it a moment later, and the kernel then kills
its workers: they have armed a death signal. Neither needs the relay, which may be stopped as well.

Deadlines are times of CLOCK_BOOTTIME, which goes on while a machine sleeps.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import time

PATIENCE = 0.25
"""Seconds from the deadline until the kernel kills the zygote."""

_SIGEV_SIGNAL = 0
_TIMER_ABSTIME = 1


class _Event(ctypes.Structure):
    """`struct sigevent` of Linux, which has 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def now() -> float:
    """The time in which deadlines are given, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Deadline:
    """The deadline of this process; at first there is none.

    Attributes:
        at: the time; infinite: there is none.
    """

    def __init__(self) -> None:
        self.at: float = math.inf
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer: ctypes.c_void_p | None = None

    def set(self, at: float) -> None:
        """Put off the deadline until ``at``; an earlier one than the last has no effect.

        Raises:
            OSError: the kernel refuses a timer.
        """
        if at <= self.at < math.inf:
            return
        if self._timer is None:
            timer = ctypes.c_void_p()
            event = _Event(None, signal.SIGKILL, _SIGEV_SIGNAL)
            self._check(
                self._libc.timer_create(
                    time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(timer)
                )
            )
            self._timer = timer
        self.at = at
        seconds, rest = divmod(max(at + PATIENCE, 0.001), 1)
        setting = _Setting(_Timespec(0, 0), _Timespec(int(seconds), int(rest * 1e9)))
        self._check(
            self._libc.timer_settime(self._timer, _TIMER_ABSTIME, ctypes.byref(setting), None)
        )

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            errno = ctypes.get_errno()
            raise OSError(errno, f"no timer for the lease: {os.strerror(errno)}")

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.at < math.inf and now() >= self.at

    @property
    def timeout(self) -> float | None:
        """Milliseconds until the deadline, for ``poll``; None: there is none."""
        return None if self.at == math.inf else max(0.0, self.at - now()) * 1000
