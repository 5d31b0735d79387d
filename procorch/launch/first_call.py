"""What a fresh interpreter of ours calls first, and how it is told so.

It is told in memory, under a descriptor that it inherits. `multiprocess` would do it by code of its
own in the child, which loads dill: about a third of the time until a process of ours is ready, and
few workers ever need it.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from typing import Any

from procorch.agents.import_path import own_first

CODE = """\
import gc
gc.disable()
import importlib, pickle, sys
with open(int(sys.argv[1]), "rb") as file:
    parent, sys.argv, sys.path, module, function, args = pickle.load(file)
from procorch.worker.limits import die_with
die_with(parent)
module = importlib.import_module(module)
gc.enable()
getattr(module, function)(*args)
"""
"""For ``python -c``, with the descriptor of `written` as the argument.

A program that is killed while the first modules are loaded takes the child along; the collector of
garbage would need a tenth of that time, and find none."""


def written(parent: int, path: Sequence[str], target: str, args: Sequence[Any]) -> int:
    """Write down a call.

    Args:
        parent: pid of the process with which the child is to end.
        path: the new ``sys.path``; what procorch needs is found first, before files of the user
            that are called the same.
        target: the function, as ``"module:name"``.
        args: its arguments.

    Returns:
        A descriptor of what is written, at its beginning; it is not inherited.
    """
    module, _, function = target.partition(":")
    memory = os.memfd_create("procorch-start", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        pickle.dump((parent, sys.argv, own_first(path), module, function, tuple(args)), file)
    os.lseek(memory, 0, os.SEEK_SET)
    return memory
