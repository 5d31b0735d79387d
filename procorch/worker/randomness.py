"""Seeds random generators after a fork: workers of one zygote would draw the same numbers."""

from __future__ import annotations

import os
import sys


def reseed() -> None:
    """Seed the global generators of the loaded modules again: `random`, numpy, torch.

    Modules that are imported later seed themselves. Generators that the agent's code has made are
    not changed.
    """
    if (module := sys.modules.get("random")) is not None:
        module.seed()
    if (module := sys.modules.get("numpy.random")) is not None:
        module.seed()
    if (module := sys.modules.get("torch")) is not None and hasattr(module, "manual_seed"):
        # Not with `secrets`, which would load OpenSSL into each worker.
        module.manual_seed(int.from_bytes(os.urandom(8)) >> 1)
