"""The seed of a request, which follows from the seed of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Seed(NamedTuple):
    """What the seeds of a worker's requests are derived from.

    Args:
        run: the seed of the run.
        instance: which of several agents of that name this is.
        item: says which item of a chunk is under way.
    """

    run: str
    instance: int = 0
    item: Callable[[], int] = int

    def derive(self, agent: str, generation: int, request: int | None) -> int:
        """The seed of a request; None: of what runs outside requests."""
        import hashlib  # it loads OpenSSL, and few agents ask

        place = (0, self.instance) if request is None else (request, self.item())
        text = "\0".join(map(str, (self.run, agent, generation, *place)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
