"""The state of the program that a worker adopts at its start: environment, directory, limits.

A zygote has the state that the program had when the zygote was started. So the program sends the
current state with each start, and a worker and its replacement are the same with each start method.
The system forbids some changes, such as raising a hard limit; these are not made.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Collection
from multiprocessing import process

from procorch.wire.headers import Surroundings

_LIMITS = sorted(number for name, number in vars(resource).items() if name.startswith("RLIMIT_"))


_environ: dict[bytes, bytes] = os.environb._data  # type: ignore[attr-defined]
"""The data of `os.environ`. Reading it takes 4 us, with its public methods 66 us."""


def gather() -> Surroundings:
    """The surroundings of this process."""
    folder = b""
    with contextlib.suppress(OSError):  # it was deleted
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


def adopt(given: Surroundings, keep: Collection[bytes] = (), *, keep_folder: bool = False) -> None:
    """Apply what the program has changed since this process, or its zygote, was started, or since
    the last call of this function.

    Values that the program has not changed stay: a module may have set them here.

    Args:
        keep: names of variables that stay; ``keep_folder``: the working directory stays, too.
    """
    global _known
    before, after = dict(_known.environ), dict(given.environ)
    for name in before.keys() - after.keys() - set(keep):
        os.environb.pop(name, None)
    for name, value in after.items():
        if before.get(name) != value and name not in keep:
            os.environb[name] = value
    if given.folder not in (b"", _known.folder) and not keep_folder:
        with contextlib.suppress(OSError):  # deleted meanwhile, or no longer permitted
            os.chdir(given.folder)
    if given.argv != _known.argv:
        sys.argv[:] = [os.fsdecode(arg) for arg in given.argv]
    if given.umask is not None and given.umask != _known.umask:
        os.umask(given.umask)
    for limit in set(given.limits) - set(_known.limits):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit[0], limit[1:])
    # Proxies of a multiprocessing.Manager authenticate with this key.
    process.current_process().authkey = given.authkey
    if given.multiprocess_authkey is not None:
        from multiprocess import process as other

        other.current_process().authkey = given.multiprocess_authkey
    _known = given


def _multiprocess_authkey() -> bytes | None:
    # `multiprocess`, dill's variant, has a key as well. A worker loads that package only if the
    # program uses the key: then this module is loaded, which procorch itself does not load.
    if "multiprocess.connection" not in sys.modules:
        return None
    return bytes(sys.modules["multiprocess.process"].current_process().authkey)


def _umask() -> int | None:
    # The system call can only return it by setting it, for all threads.
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        head = os.read(fd, 256)  # the name of the program, at most 64 bytes, then the umask
    finally:
        os.close(fd)
    _, found, rest = head.partition(b"\nUmask:")
    return int(rest.split(None, 1)[0], 8) if found else None


_known = gather()
"""The state of the program as far as it is applied here. At first that before any module was
preloaded: the state of the zygote, or of this process."""
