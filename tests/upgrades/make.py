"""Writes ``v01.json``: an instance of each public class of version 0.1 that has one, pickled.

Run it with the Python of an environment that has version 0.1 (commit 04b78da):

    python tests/upgrades/make.py
"""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import threading
from pathlib import Path

import procorch


def instances() -> dict[str, bytes]:
    found = {}
    for name in procorch.__all__:
        kind = getattr(procorch, name)
        if isinstance(kind, type):
            for arguments in ((), ("x",), (1, 2.0), ("x", "y"), (0, True)):
                with contextlib.suppress(Exception):
                    found[name] = pickle.dumps(kind(*arguments), protocol=4)
                    break
    return found


def caused() -> bytes:
    """An error whose cause cannot be pickled, and the cause of that can."""
    error, cause = procorch.AgentCrashed("crashed"), ValueError("boom")
    cause.lock = threading.Lock()  # type: ignore[attr-defined]
    error.__cause__, cause.__cause__ = cause, KeyError("bottom")
    return pickle.dumps(error, protocol=4)


if __name__ == "__main__":
    found = instances() | {"AgentCrashed with causes": caused()}
    data = {name: base64.b64encode(pickled).decode() for name, pickled in found.items()}
    Path(__file__).with_name("v01.json").write_text(json.dumps(data, indent=0) + "\n")
