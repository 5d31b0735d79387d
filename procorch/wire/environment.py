"""What a worker takes over from the program, as it is at the moment when the worker is started.

A zygote has what the program had when the zygote was started. So the program sends what may have
changed, with every start: a worker and its replacement are then the same whichever the start
method. Not sent is what the system forbids to change (a hard limit that was lowered).
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from multiprocessing import process

from procorch.wire.headers import Surroundings

_LIMITS = sorted(number for name, number in vars(resource).items() if name.startswith("RLIMIT_"))


_environ: dict[bytes, bytes] = os.environb._data  # type: ignore[attr-defined]
"""What `os.environ` keeps. Each start reads it: 4 us in place of 66 by its public methods."""


def gather() -> Surroundings:
    """The surroundings of this process."""
    folder = b""
    with contextlib.suppress(OSError):  # it has been deleted
        folder = os.getcwdb()
    return Surroundings(
        environ=list(_environ.items()),
        folder=folder,
        argv=[os.fsencode(arg) for arg in sys.argv],
        umask=_umask(),
        limits=[(number, *resource.getrlimit(number)) for number in _LIMITS],
        authkey=bytes(process.current_process().authkey),
        multiprocess_authkey=_multiprocess_authkey(),
    )


def adopt(given: Surroundings) -> None:
    """Take over what the program has changed since this process, or its zygote, was started.

    What is as it was then is left alone: a module of ``preload`` may have changed it here.
    """
    before, after = dict(_at_start.environ), dict(given.environ)
    for name in before.keys() - after.keys():
        os.environb.pop(name, None)
    for name, value in after.items():
        if before.get(name) != value:
            os.environb[name] = value
    if given.folder not in (b"", _at_start.folder):
        with contextlib.suppress(OSError):  # deleted meanwhile, or not for this user any more
            os.chdir(given.folder)
    if given.argv != _at_start.argv:
        sys.argv[:] = [os.fsdecode(arg) for arg in given.argv]
    if given.umask is not None and given.umask != _at_start.umask:
        os.umask(given.umask)
    for limit in set(given.limits) - set(_at_start.limits):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit[0], limit[1:])
    # Proxies of a multiprocessing.Manager prove with it that they come from this program.
    process.current_process().authkey = given.authkey
    if given.multiprocess_authkey is not None:
        from multiprocess import process as other

        other.current_process().authkey = given.multiprocess_authkey


def _multiprocess_authkey() -> bytes | None:
    # `multiprocess`, dill's variant, has a key as well, but no worker loads that for nothing.
    # The module that is looked for is loaded by whoever uses the key, and not by procorch.
    if "multiprocess.connection" not in sys.modules:
        return None
    return bytes(sys.modules["multiprocess.process"].current_process().authkey)


def _umask() -> int | None:
    # To ask the system call is to set it, for all threads.
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        head = os.read(fd, 256)  # the name of the program, 64 bytes at most, and then the umask
    finally:
        os.close(fd)
    _, found, rest = head.partition(b"\nUmask:")
    return int(rest.split(None, 1)[0], 8) if found else None


_at_start = gather()
"""Of a worker: what its zygote had before it loaded anything, or what it was born with itself."""
