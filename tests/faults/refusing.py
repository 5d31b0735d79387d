"""A module to preload: while the file named by PROCORCH_TEST_REFUSE exists, no fork succeeds."""

from __future__ import annotations

import errno
import os

_fork = os.fork


def _refusing() -> int:
    if os.path.exists(os.environ["PROCORCH_TEST_REFUSE"]):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = _refusing
