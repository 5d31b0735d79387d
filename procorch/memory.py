"""How much memory a process and all its descendants hold, as limits count it.

Counted is anonymous and shared memory, and what of either is swapped out. Pages of mapped files are
not: the kernel drops them when it needs room. After a fork, parent and child have most pages in
common until one of them writes, so that adding up what each has counts those several times. Hence
two ways to ask:

* `upper_bound` is cheap (20 us) and counts shared pages in full;
* `share` divides each page among the processes that have it, and walks all pages for it (4 ms for
  200 MB). It is asked only where the cheap sum is above a limit, and no more often than it takes to
  see that the whole is below it.

Any process may end between two reads, and then holds nothing.
"""

from __future__ import annotations

import os

_COUNTED = (b"RssAnon:", b"RssShmem:", b"VmSwap:")
_COUNTED_SHARES = (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")


def held(pid: int, limit: int) -> int:
    """Bytes that a process and its descendants hold; above ``limit`` each shared page counts once.

    A result of at most ``limit`` may be too large, because shared pages may be in it repeatedly.
    """
    bounds = {each: upper_bound(each) for each in family(pid)}
    total = sum(bounds.values())
    for each in sorted(bounds, key=bounds.__getitem__, reverse=True):
        if total <= limit:
            break
        total -= bounds[each] - share(each, bounds[each])
    return total


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for each in found:  # grows meanwhile
        found += _children(each)
    return found


def upper_bound(pid: int) -> int:
    """Bytes that a process holds, with the pages that it shares with others."""
    status = _read(f"/proc/{pid}/status")
    # Where the kernel does not tell them apart, all that is resident has to count.
    return _sum(status, _COUNTED) if b"RssAnon:" in status else _sum(status, (b"VmRSS:",))


def share(pid: int, bound: int) -> int:
    """Bytes that a process holds, each shared page divided by the number of those that have it.

    Args:
        bound: the answer where the kernel does not tell: an old one, or a process of another user.
    """
    rollup = _read(f"/proc/{pid}/smaps_rollup")
    return min(bound, _sum(rollup, _COUNTED_SHARES)) if b"Pss_Anon:" in rollup else bound


def peak_rss(pid: int) -> int:
    """The most bytes of a process that were resident at a time; 0: the kernel does not tell."""
    return _sum(_read(f"/proc/{pid}/status"), (b"VmHWM:",))


def used(peak: int, limit: int) -> int:
    """Bytes that this process and its descendants held at most; above ``limit``
    each shared page counts once.

    The kernel remembers how large the resident part was at most, ``peak``, but not what was in it.
    So this is what is held now, and what has been given back since.
    """
    pid = os.getpid()
    below = sum(upper_bound(each) for each in family(pid)[1:])
    if peak + below <= limit:
        return peak + below
    now = _sum(_read(f"/proc/{pid}/status"), (b"VmRSS:",))
    return held(pid, 0) + max(0, peak - now)


def _children(pid: int) -> list[int]:
    """Each thread has a list of the children that it has made."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    listed = b"".join(_read(f"/proc/{pid}/task/{thread}/children") for thread in threads)
    return [int(child) for child in listed.split()]


def _read(path: str) -> bytes:
    """A file of /proc; nothing where the process has ended or is not ours to look at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(fd, 65536), b""))
    except OSError:
        return b""
    finally:
        os.close(fd)


def _sum(text: bytes, names: tuple[bytes, ...]) -> int:
    lines = (line.split() for line in text.splitlines() if line.startswith(names))
    return sum(int(words[1]) for words in lines) * 1024
