"""The first call of a new interpreter, and how the parent passes it.

The child inherits a descriptor of memory that has the call. The code of `multiprocess` for this
would load dill in the child. That takes about a third of the time until a process is ready, and few
workers need it.
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

If the program is killed while the first modules load, the kernel kills the child. The garbage
collector is off meanwhile: it would take a tenth of that time and find nothing."""


def written(parent: int, path: Sequence[str], target: str, args: Sequence[Any]) -> int:
    """Write a call into memory.

    Args:
        parent: pid of the process; the child ends when it ends.
        path: the new ``sys.path``. Modules that procorch needs come before files of the user with
            the same names.
        target: the function, as ``"module:name"``.
        args: its arguments.

    Returns:
        A descriptor of that memory, positioned at its start; child processes do not inherit it.
    """
    module, _, function = target.partition(":")
    memory = os.memfd_create("procorch-start", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        pickle.dump((parent, sys.argv, own_first(path), module, function, tuple(args)), file)
    os.lseek(memory, 0, os.SEEK_SET)
    return memory
