"""The log of the library kept off the screen, while somebody tells the news in his own words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Replacements(logging.Handler):
    """Counts the workers replaced, by the events that the library logs.

    Where no logging is configured the library's warnings go to the console; a handler of ours keeps
    them off it, and hands on only what the outcomes could not tell.
    """

    def __init__(self, *, critical: bool = True) -> None:
        super().__init__(logging.WARNING)
        self.count: int = 0
        self._critical = critical

    def emit(self, record: logging.LogRecord) -> None:
        """Called on the orchestrator's callback thread."""
        if type(getattr(record, "notice", None)).__name__ == "Restarting":
            self.count += 1
        critical = self._critical and record.levelno >= logging.CRITICAL
        if critical and logging.lastResort is not None:
            logging.lastResort.handle(record)


@contextmanager
def replacements(*, critical: bool = True) -> Iterator[Replacements]:
    """Keep the library's log off the screen until the block ends, and count.

    Args:
        critical: what is critical is shown all the same.
    """
    handler = Replacements(critical=critical)
    log = logging.getLogger("procorch")
    log.addHandler(handler)
    try:
        yield handler
    finally:
        log.removeHandler(handler)
