"""The state that a worker takes over at its start: where modules are looked for, the surroundings
of the program, and the agent's settings ``env`` and ``cwd``.

A branch of the zygote (`launch.forkserver.importing`) does so before it imports the agent's
modules, and its workers inherit that. They take over only what the program has changed since then:
what a module has changed while it was imported stays, as if the worker had imported it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from procorch.agents import import_path
from procorch.wire import environment
from procorch.wire.headers import Surroundings
from procorch.worker import limits

_paths: list[str] | None = None
"""The ``sys.path`` that was taken over; None: nothing was taken over yet."""


def settle(
    paths: Sequence[str],
    surroundings: Surroundings | None,
    env: Mapping[str, str],
    cwd: str | None,
) -> None:
    """Take over the state of the program, and the agent's settings.

    Args:
        surroundings: None: those of this process stay.
        env, cwd: the same at each call in one process and its forks.

    Raises:
        OSError: ``cwd`` cannot be the working folder, for instance because it does not exist.
    """
    global _paths
    again = _paths is not None
    if _paths != list(paths):
        import_path.use(paths)
        _paths = list(paths)
    if surroundings is not None:
        keep = [os.fsencode(name) for name in env] if again else []
        environment.adopt(surroundings, keep, keep_folder=again and cwd is not None)
    limits.own_environment()
    if not again:
        os.environ.update(env)
        if cwd is not None:
            os.chdir(cwd)
