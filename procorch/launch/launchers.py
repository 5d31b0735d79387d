"""The launchers by start method."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from procorch.launch.base import Launcher

if TYPE_CHECKING:
    from procorch.launch.ray.backend import RayBackend

METHODS = ("zygote", "spawn")


def start_method(given: str | None) -> str:
    """The start method: the given one, else ``PROCORCH_START_METHOD``, else the fastest.

    Raises:
        ValueError: there is no such method, or not on this system.
    """
    method = given or os.environ.get("PROCORCH_START_METHOD")
    if method is None:
        return "zygote" if sys.platform == "linux" else "spawn"
    if method not in METHODS:
        raise ValueError(f"start_method={method!r}; known: {', '.join(METHODS)}")
    if method == "zygote" and sys.platform != "linux":
        raise ValueError("start_method='zygote' needs Linux; use 'spawn'")
    return method


def launcher(
    method: str, max_frame: int, preload: Sequence[str], sys_path: Sequence[str]
) -> Launcher:
    """Make a launcher for ``method``. Modules of the other launcher are not imported."""
    reap_if_first()
    if method == "zygote":
        from procorch.launch.forkserver.client import ZygoteLauncher

        return ZygoteLauncher(max_frame, preload, sys_path)
    from procorch.launch.spawn import SpawnLauncher

    return SpawnLauncher(max_frame)


def remote_launcher(backend: RayBackend, max_frame: int, preload: Sequence[str]) -> Launcher:
    """Make a launcher that starts workers on the nodes of a cluster."""
    reap_if_first()
    from procorch.launch.ray.launcher import RayLauncher

    return RayLauncher(backend, max_frame, preload)


def remote_backend(given: str | RayBackend | None) -> RayBackend | None:
    """The backend that ``backend=`` means, see `launch.ray.backend.backend_of`; None: this
    machine."""
    if given is None:
        return None
    from procorch.launch.ray.backend import backend_of

    return backend_of(given)


def reap_if_first() -> None:
    """As PID 1, reap the orphans that this process adopts, from now on (N20)."""
    if os.getpid() == 1:
        from procorch.worker.orphans import reap_as_first

        reap_as_first()


def has_fences() -> bool:
    """Whether the kernel lets requests be sent ahead to workers (membarrier)."""
    from procorch.wire import fence

    return fence.is_supported()
