"""A fence between a store and a load, for two processes that share a page.

Parent and worker agree about a request that was sent ahead by the rule "write your word first, read
the other's second" (`StatusPage.claim`, `StatusPage.take_back`). At least one of them then sees
what the other wrote, if no processor performs its load before its store is visible to the others.
All processors do exactly this (x86: the store waits in a buffer), and a program prevents it by a
fence between the two. Pure Python has none.

``membarrier(2)`` gives both sides one, at the expense of the side that calls it. A worker registers
once. While the parent is in the call (between its store and its load), each thread of registered
processes that runs executes a full fence at some point of its program, and one that does not run
has executed one when it was switched off. Consider that point in the worker:

* It is before the worker's load. Then the load sees the parent's store, which came before the call.
* It is after the worker's load, so after its store as well. Then the parent's load, which comes
  after the call, sees that store.

So the worker's path costs two accesses to memory and no fence. In the interpreter both are calls
through pointers, so no compiler exchanges them; each is one aligned word.

The kernel may refuse the call: it is older than 4.16, was built without it, or a seccomp filter
forbids it. Then nothing may be sent ahead that might have to be taken back.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

_NUMBERS = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
"""The number of the system call by machine; the C library has no function for it."""

_QUERY, _GLOBAL_EXPEDITED, _REGISTER_GLOBAL_EXPEDITED = 0, 1 << 1, 1 << 2

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_uint, ctypes.c_int]


def register() -> bool:
    """Have this process execute the fences of others; False: the kernel refuses."""
    return _call(_REGISTER_GLOBAL_EXPEDITED) == 0


def fence() -> bool:
    """A full fence here and in every process that has registered; False: the kernel refuses."""
    return _call(_GLOBAL_EXPEDITED) == 0


@cache
def is_supported() -> bool:
    """Whether the kernel knows `fence`."""
    return _call(_QUERY) & _GLOBAL_EXPEDITED != 0 and fence()


def _call(command: int) -> int:
    number = _NUMBERS.get(os.uname().machine)
    return -1 if number is None else _syscall(number, command, 0, 0)
