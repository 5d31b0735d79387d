"""Random generators after a fork: workers of one zygote would all draw the same numbers."""

from __future__ import annotations

import os
import sys


def reseed() -> None:
    """Seed the global generators of what is loaded anew: `random`, numpy, torch.

    What is imported later seeds itself. Generators that the agent's code has made are its own, and
    are left alone.
    """
    if (module := sys.modules.get("random")) is not None:
        module.seed()
    if (module := sys.modules.get("numpy.random")) is not None:
        module.seed()
    if (module := sys.modules.get("torch")) is not None and hasattr(module, "manual_seed"):
        # Not by `secrets`, which loads OpenSSL into every worker.
        module.manual_seed(int.from_bytes(os.urandom(8)) >> 1)
